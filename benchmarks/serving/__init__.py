"""Servers of models beside each other: one picture over HTTP until the answer, decode on the clock. See README.md
here."""
