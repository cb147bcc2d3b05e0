"""How learning rate and input size move, functions of progress 0..1 alone, whether steps or the clock measure it."""

import math
import random
from dataclasses import replace
from functools import cache

from saccade.training.recipe import Recipe

GROWN = 0.6
"""From this share of a run on, the network learns at full size."""
FLOOR = 0.002
"""What the peak falls to at the end of a cosine or one-cycle schedule."""


def factor(recipe: Recipe, progress: float) -> float:
    """Share of the peak rate at `progress`. one_cycle follows arXiv:1708.07120, warm-up arXiv:1706.02677."""
    progress = min(1.0, max(0.0, progress))
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return float(recipe.step_factor ** math.floor(progress / recipe.step_every + 1e-9))
    rise = 0.3 if recipe.schedule == "one_cycle" and recipe.warmup <= 0.05 else recipe.warmup
    start = 0.04 if recipe.schedule == "one_cycle" else 0.0
    if progress < rise:
        return start + (1 - start) * max(progress / rise, 0.01)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (progress - rise) / max(1e-9, 1 - rise)))


def joins(recipe: Recipe, progress: float) -> bool:
    """Whether pictures with boxes may still be joined (mosaic) or blended (mixup) at `progress`."""
    return progress < 1 - recipe.mosaic_close and not rests(recipe, progress)


def rests(recipe: Recipe, progress: float) -> bool:
    """Whether pictures stay whole and in place at `progress`."""
    return progress >= 1 - (0.0 if recipe.is_auto("still") else float(recipe.still))


@cache
def resting(recipe: Recipe) -> Recipe:
    """The recipe of that last share: mirror images and colours go on, for they leave at a
    border what is at a border."""
    return replace(recipe, rotation=0.0, shift=0.0, zoom=0.0, crop=1.0, erase=0.0)


def size_share(recipe: Recipe, progress: float, step: int) -> float:
    """Share of the input size that is learned from at `progress`: from start_size to 1 over the first 60 % of a run.

    multi_scale draws around it, the same for the same seed and step.
    """
    start = float(recipe.start_size)
    grown = min(1.0, start + (1 - start) * max(0.0, progress) / GROWN)
    if not recipe.multi_scale:
        return grown
    return grown * (1 + recipe.multi_scale * random.Random(f"{recipe.seed} {step}").uniform(-1, 1))
