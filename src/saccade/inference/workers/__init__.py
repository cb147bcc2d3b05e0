"""Graphs kept in processes of their own: pixels in shared memory, small messages, restart when one is lost."""
