"""The detector in numbers, the same for every engine: its shape, which point learns which box,
what its losses weigh."""

BINS = 16
"""A side is a distribution over 0..15 strides; its mean is the distance."""
WIDTH = 64
"""Channels of pyramid and towers."""
SHORT = 1 / 3
"""How much less likely each further stride is before the first step: sides begin 2.5 strides
long, as most boxes are."""
PRIOR = 0.01
"""The score of every class before the first step (arXiv:1708.02002)."""
NEAREST = 10
"""Points that learn a box."""
ALPHA, BETA = 1.0, 6.0
"""Powers of score and IoU in what ranks them (arXiv:2108.07755)."""
REACH = 1.0
"""Strides of the finest grid within which points around a centre count as inside, for boxes narrower than that."""
LEVEL_SPAN = 8
"""A level answers for boxes whose longer side is up to so many of its strides; the coarsest for all that are larger."""
BOX_WEIGHT, SIDE_WEIGHT = 2.0, 0.5
"""Of the overlap and of the distributions, beside 1 for the scores."""
HOT = 0.5
"""Heat from which a point learns its sides."""
FLOOR = 0.01
"""Scores at or below are no answer."""
