"""What augmentation means in numbers, the same for every engine."""

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""
BORDER = 114 / 255
"""What lies around a picture with boxes: the fill of letterboxing."""
FAINT = 0.2
"""Share of a blended picture below which its objects are not asked for."""
SEEN = 0.25
"""A box is kept when at least this share of its area stays in the picture."""
