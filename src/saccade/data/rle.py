"""Run-length masks of COCO: runs of 0 and 1 in turn, down the columns; as a list, or packed into text.

The packed form (COCO API, maskApi.c, rleToString): each run, from the third on its difference to the run two before, in
groups of five bits with the lowest first, bit 5 for "more follows", 48 added to make a character.
"""

from collections.abc import Sequence

import numpy as np

from saccade.limits import IMAGE_LIMITS
from saccade.types import Array

MOST_RUNS = 10_000_000


def unpack(text: str) -> list[int]:
    """Raises ValueError when the text ends within a run or holds other characters."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(text) or shift > 60:
                raise ValueError("the packed runs end within a number")
            group = ord(text[at]) - 48
            if not 0 <= group < 64:
                raise ValueError(f"the packed runs hold the character {text[at]!r}")
            value |= (group & 31) << shift
            more = bool(group & 32)
            at += 1
            shift += 5
            if not more and group & 16:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def pack(runs: Sequence[int]) -> str:
    text: list[str] = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != -1 if group & 16 else value != 0
            text.append(chr((group | 32 if more else group) + 48))
    return "".join(text)


def decode(runs: Sequence[int], width: int, height: int) -> Array:
    """bool [H, W]. Raises ValueError when the runs do not fill the picture, or it is beyond the limit of pixels."""
    lengths = _lengths(runs, width, height)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def bounds(runs: Sequence[int], width: int, height: int) -> tuple[float, float, float, float]:
    """x, y, width, height in px of what is set, all 0 when nothing is; no mask is made. Raises
    ValueError as `decode`."""
    lengths = _lengths(runs, width, height)
    ends = np.cumsum(lengths)
    some = (np.arange(len(lengths)) % 2 == 1) & (lengths > 0)
    first, last = (ends - lengths)[some], ends[some] - 1
    if not len(first):
        return 0.0, 0.0, 0.0, 0.0
    left, right = int(first[0]) // height, int(last[-1]) // height
    # A run that goes on in the next column has been at the bottom and begins again at the top.
    across = bool((first // height != last // height).any())
    top, bottom = (0, height - 1) if across else (int((first % height).min()), int((last % height).max()))
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def _lengths(runs: Sequence[int], width: int, height: int) -> Array:
    if width * height > IMAGE_LIMITS.max_pixels:
        raise ValueError(f"the runs are of {width:,} x {height:,} px, limit {IMAGE_LIMITS.max_pixels:,} pixels")
    if len(runs) > MOST_RUNS or sum(runs) != width * height or min(runs, default=0) < 0:
        raise ValueError(f"the runs cover {sum(runs):,} pixels, expected {width} x {height}")
    return np.asarray(runs, np.int64)


def encode(mask_HW: Array) -> list[int]:
    """Runs of a mask, the first of zeros, maybe of none."""
    flat = np.asarray(mask_HW, np.bool_).T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = [0, *edges.tolist(), len(flat)]
    runs = np.diff(bounds).tolist()
    return [0, *runs] if len(flat) and flat[0] else runs
