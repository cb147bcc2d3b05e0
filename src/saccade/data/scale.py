"""Pictures that were resized after they were annotated: the sizes that files state beside those that pictures have."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from saccade.data.dataset import Fault
from saccade.data.frames import Frame

FEWEST = 3
"""Pictures that must differ by one ratio before it is more than chance."""
NEAR = 0.02
"""Ratios this near to 1 are rounding or a cut at the border, not another resolution."""


@dataclass(frozen=True)
class Stated:
    """where: file or key. size: width and height as it says, 0 when it does not. frame: the picture's own."""

    where: str
    size: tuple[float, float]
    frame: Frame | None


def scaled(pictures: Sequence[Stated]) -> list[Fault]:
    """One fault when most stated sizes differ from the real ones by one ratio, up to a pixel of rounding."""
    sized = [(p, _own(p.size, p.frame)) for p in pictures if p.frame is not None and _is_size(p.size)]
    other = [(p, own) for p, own in sized if p.size != own]
    if len(other) < FEWEST:
        return []
    wide, high = (float(np.median([p.size[i] / own[i] for p, own in other])) for i in (0, 1))
    alike = [p for p, own in other if _near(p.size[0], own[0], wide) and _near(p.size[1], own[1], high)]
    if len(alike) < FEWEST or 2 * len(alike) <= len(sized) or max(abs(wide - 1), abs(high - 1)) < NEAR:
        return []
    even = abs(wide / high - 1) < NEAR / 2
    times = f"{wide:.4g}" if even else f"{wide:.4g} (width) and {high:.4g} (height)"
    cure = f"{1 / wide:.4g}" if even else f"{1 / wide:.4g} and {1 / high:.4g}"
    told = f"{len(alike):,} of {len(sized):,} pictures are stated {times} times as large as they are"
    return [Fault("other_resolution", alike[0].where, f"{told}; coordinates would have to be multiplied by {cure}")]


def _is_size(stated: tuple[float, float]) -> bool:
    return all(isfinite(v) and v > 0 for v in stated)


def _own(stated: tuple[float, float], frame: Frame) -> tuple[int, int]:
    """The picture's size the way up that lies as the stated one does."""
    lying = (stated[0] > stated[1]) != (frame.width > frame.height)
    return frame.stored if lying else (frame.width, frame.height)


def _near(stated: float, own: int, ratio: float) -> bool:
    return abs(stated / ratio - own) <= max(1.0, 1 / ratio)
