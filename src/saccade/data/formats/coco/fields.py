"""What a field of COCO JSON holds: ids, numbers, polygons and run lengths, taken from untrusted values."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from saccade.data import rle
from saccade.data.frames import Frame
from saccade.data.outlines import Outline


def is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """True for NaN and infinity as well, which JSON of Python holds: they are told as places that are none."""
    return isinstance(value, float) or (is_id(value) and abs(value) < 1e300)


def number(value: Any) -> float:
    return float(value) if is_id(value) and 0 < value < 1e9 else 0.0


def canvas(stated: tuple[float, float], size: Frame | None) -> tuple[int, int]:
    """Width and height that run lengths must have: as stated where the picture has them,
    either way up, else its own."""
    written = (int(stated[0]), int(stated[1]))
    if size is None or written in ((size.width, size.height), size.stored):
        return written
    return size.width, size.height


def runs(segmentation: Any, width: int, height: int) -> list[int] | None:
    """Runs of an RLE, packed or not; None for polygons. Raises ValueError."""
    if not isinstance(segmentation, Mapping):
        return None
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [height, width]:
        raise ValueError(f"an RLE of size {str(size)[:40]}, expected [{height}, {width}]")
    if isinstance(counts, str):
        return rle.unpack(counts)
    if isinstance(counts, list) and all(is_id(c) for c in counts):
        return [int(c) for c in counts]
    raise ValueError("an RLE whose counts are neither a text nor a list of whole numbers")


def polygons(segmentation: Any) -> list[list[float]]:
    """Parts of a shape, each x, y, x, y, ... Raises ValueError."""
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("neither a bbox nor a segmentation")
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    for part in parts:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2 or not all(is_number(v) for v in part):
            raise ValueError("a polygon with fewer than three points, or of other things than numbers")
    return [[float(v) for v in part] for part in parts]


def is_posed(shape: Mapping[str, Any]) -> bool:
    """True for an annotation whose keypoints are not all 0, which is how COCO writes that there are none."""
    points = shape.get("keypoints")
    return isinstance(points, list) and any(points)


def outlined(where: str, shape: Mapping[str, Any]) -> list[Outline]:
    """The polygons of an annotation beside its box; nothing for run lengths, or where they cannot be read."""
    if not isinstance(shape.get("segmentation"), list):
        return []
    try:
        parts = [np.array(part).reshape(-1, 2) for part in polygons(shape["segmentation"])]
    except ValueError:
        return []
    box = shape.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
        return [Outline(where, tuple(parts))]
    left, top, width, height = (float(v) for v in box)
    return [Outline(where, tuple(parts), (left, top, left + width, top + height))]
