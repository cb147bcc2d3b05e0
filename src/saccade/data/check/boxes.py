"""What the places of boxes show: doubles, boxes too small to be seen, and other ways of writing them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from saccade.data.check.finding import ERROR, Finding, finding
from saccade.data.check.scan import Seen
from saccade.data.dataset import Fault
from saccade.images.geometry import iou_matrix
from saccade.types import Array

SAME = 0.95
"""Intersection over union from which two boxes mark one object."""
WHOLE = 0.98
INPUT_PX = 320
"""Longer side that pictures are taken to be shrunk to for training unless the caller knows
better; smaller ones stay."""
LARGEST_PX = 2048
TINY = 3.0
THIN = 50.0
OUTSIDE = 0.1
"""Share of boxes beyond their pictures from which the data as a whole does not fit."""
SIGNS = 10
"""Boxes that must touch a border before it says how pixels are counted."""
CORNER = 0.6


def boxes(seen: Sequence[Seen], faults: Sequence[Fault], side_px: int = INPUT_PX) -> list[Finding]:
    """side_px: longer side of what the network will be given."""
    boxed = [s for s in seen if "boxes" in s.sample.annotation]
    if not boxed:
        return []
    return [
        *_outside(boxed, faults),
        *_doubles(boxed),
        *_sizes(boxed, side_px),
        *_writing(boxed),
        *_copies(boxed),
        *_crowds(boxed),
    ]


def _outside(boxed: Sequence[Seen], faults: Sequence[Fault]) -> list[Finding]:
    """Single boxes across the border are told by the reader; many mean that boxes and pictures
    do not belong together."""
    beyond = [f.where for f in faults if f.id in ("box_clipped", "box_off_image")]
    total = sum(len(s.sample.annotation["boxes"]) for s in boxed) + sum(f.id == "box_off_image" for f in faults)
    told = (
        f"{{n}} of {total:,} boxes lie beyond their picture: were the pictures resized, or the annotations of others?"
    )
    return finding("boxes_elsewhere", told, beyond if len(beyond) > max(1, OUTSIDE * total) else [])


def _pairs(boxes_N4: Array) -> Iterator[tuple[int, int]]:
    """Indices of boxes that mark one object, low first."""
    for start in range(0, len(boxes_N4), 256):
        rows = boxes_N4[start : start + 256]
        for a, b in zip(*np.nonzero(iou_matrix(rows, boxes_N4) > SAME), strict=True):
            if start + a < b:
                yield int(start + a), int(b)


def _doubles(boxed: Sequence[Seen]) -> list[Finding]:
    twice: list[str] = []
    torn: list[str] = []
    for s in boxed:
        ids = s.sample.annotation["box_classes"]
        places = s.sample.annotation["boxes"]
        for a, b in _pairs(places):
            told = f"{s.key}: {_told(places[a])} and {_told(places[b])}"
            (twice if ids[a] == ids[b] else torn).append(told)
    return [
        *finding("duplicate_box", "{n} {pair of boxes marks one object|pairs of boxes mark one object} twice", twice),
        *finding("two_class_box", "{n} {pair of boxes gives|pairs of boxes give} one object two classes", torn),
    ]


def _sizes(boxed: Sequence[Seen], side_px: int) -> list[Finding]:
    tiny, thin, whole, least = [], [], [], TINY
    for s in boxed:
        places = s.sample.annotation["boxes"]
        sides = places[:, 2:] - places[:, :2]
        if s.header is not None:
            shown = sides.min(1, initial=np.inf) * min(1.0, side_px / max(s.header.width, s.header.height))
            tiny += [f"{s.key}: {_told(p)}" for p in places[shown < TINY]]
            least = min(least, float(shown.min(initial=TINY)))
            share = sides.astype(np.float64).prod(1) / (s.header.width * s.header.height)
            whole += [f"{s.key}: {_told(p)}" for p in places[share > WHOLE]]
        ratio = sides.max(1, initial=0) / np.maximum(sides.min(1, initial=np.inf), 1e-9)
        thin += [f"{s.key}: {_told(p)}" for p in places[ratio > THIN]]
    return [
        *finding(
            "tiny_box",
            f"{{n}} {{box is|boxes are}} narrower than {TINY:g} px when pictures have {side_px} px a side",
            tiny,
            f"saccade train DATA --set size={min(LARGEST_PX, ceil(side_px * TINY / max(least, 1e-3) / 32) * 32)}",
        ),
        *finding("thin_box", f"{{n}} {{box is|boxes are}} over {THIN:g} times as long as wide", thin),
        *finding("whole_image_box", "{n} {box covers its|boxes cover their} whole picture", whole),
    ]


def _writing(boxed: Sequence[Seen]) -> list[Finding]:
    """Signs that coordinates were meant otherwise than they were read."""
    sized = [(s, s.header) for s in boxed if s.header is not None and len(s.sample.annotation["boxes"])]
    if not sized:
        return []
    places = np.concatenate([s.sample.annotation["boxes"] for s, _ in sized])
    frames = np.concatenate([[[h.width, h.height]] * len(s.sample.annotation["boxes"]) for s, h in sized])
    low, high = places[:, :2], places[:, 2:]
    reach = float((high / frames).max())
    found = []
    if float(high.max()) <= 1:
        found += finding(
            "boxes_as_shares",
            "all boxes lie within one pixel: their coordinates are shares of the picture",
            ["0..1"],
            "",
            ERROR,
        )
    elif reach < CORNER and len(places) >= 50 and len(sized) >= 10:
        told = f"no box reaches beyond {100 * reach:.0f} % of its picture's width or height: boxes of a smaller size?"
        found += finding("boxes_in_a_corner", told, [f"{len(places):,} boxes in {len(sized):,} pictures"])
    ones, zeros, ends = int((low == 1).sum()), int((low < 1).sum()), int((high == frames).sum())
    if not zeros and ones >= SIGNS and ends >= SIGNS:
        told = "boxes begin at 1 and never at 0: pixels seem to be counted from 1, which moves every box by one pixel"
        found += finding("counted_from_one", told, [f"{ones:,} coordinates are 1, {ends:,} touch the far border"])
    return found


def _copies(boxed: Sequence[Seen]) -> list[Finding]:
    """The same boxes to the last digit under other pictures."""
    same: dict[str, list[Seen]] = defaultdict(list)
    for s in boxed:
        if s.told and len(s.sample.annotation["boxes"]) > 1:
            same[s.told].append(s)
    copied = [" and ".join(s.key for s in group[:3]) for group in same.values() if len({s.digest for s in group}) > 1]
    return finding("same_annotation", "{n} {annotation stands|annotations stand} under pictures that differ", copied)


def _crowds(boxed: Sequence[Seen]) -> list[Finding]:
    found = [
        f"{s.key}: {int(s.sample.annotation[name].sum())}"
        for s in boxed for name in ("box_crowd", "box_difficult")
        if name in s.sample.annotation and s.sample.annotation[name].any()
    ]  # fmt: skip
    told = "{n} {picture holds|pictures hold} crowds or difficult boxes, which are not counted as missed"
    return finding("crowd", told, found)


def _told(box_4: Array) -> str:
    return ", ".join(f"{v:g}" for v in box_4.tolist())
