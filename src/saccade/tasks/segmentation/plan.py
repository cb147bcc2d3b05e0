"""`light-mask` in numbers, the same for every engine."""

WIDTHS = (24, 48, 96, 160)
DEPTHS = (1, 2, 2, 2)
"""Channels and blocks of its stages, from 1/4 to 1/32."""
DECODER = 48
"""Channels of the way back up."""
FINEST = 4
"""No finer map is used: at half the picture's size the way up would cost more than the whole rest."""
