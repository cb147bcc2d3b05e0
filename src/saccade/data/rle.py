"""Run-length masks of COCO: runs of 0 and 1 in turn, down the columns; as a list, or packed into text.

The packed form (COCO API, maskApi.c, rleToString): each run, from the third on its difference to the run two before, in
groups of five bits with the lowest first, bit 5 for "more follows", 48 added to make a character.
"""

from collections.abc import Sequence

import numpy as np

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
    """bool [H, W]. Raises ValueError when the runs do not fill the picture."""
    if len(runs) > MOST_RUNS or sum(runs) != width * height or min(runs, default=0) < 0:
        raise ValueError(f"the runs cover {sum(runs):,} pixels, expected {width} x {height}")
    lengths = np.asarray(runs, np.int64)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def encode(mask_HW: Array) -> list[int]:
    """Runs of a mask, the first of zeros, maybe of none."""
    flat = np.asarray(mask_HW, np.bool_).T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = [0, *edges.tolist(), len(flat)]
    runs = np.diff(bounds).tolist()
    return [0, *runs] if len(flat) and flat[0] else runs
