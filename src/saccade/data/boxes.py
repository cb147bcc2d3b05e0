"""Boxes as files give them to boxes as the house keeps them: finite, with area, inside the upright picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from saccade.data.dataset import Fault
from saccade.data.frames import Frame
from saccade.types import Annotation, Array

MOST = 1e7
"""Px; no picture is that large, so a coordinate beyond it is a mistake."""
ROUNDING = 1.0
"""Px beyond the border that tools write when they round; cut off without a word."""


@dataclass(frozen=True)
class Box:
    """One box as written: x_min y_min x_max y_max in px, half-open. where: file and line or key."""

    corners: tuple[float, float, float, float]
    class_id: int
    where: str
    crowd: bool = False
    difficult: bool = False
    area: float | None = None


def annotation(
    boxes: Sequence[Box], frame: Frame | None, faults: list[Fault], extras: Sequence[str] = ()
) -> Annotation:
    """The record of a picture: boxes float32 [K, 4], box_classes int64 [K], and the extras asked for.

    extras: of box_crowd, box_difficult (bool [K]) and box_area (float32 [K], px). Boxes without area, beyond the
    picture or not finite are left out, those across the border are cut; each is told in `faults`. frame: None when the
    picture cannot be read, then nothing is cut.
    """
    kept = [(box, corners) for box in boxes if (corners := _usable(box, frame, faults)) is not None]
    record: dict[str, Array] = {
        "boxes": np.array([c for _, c in kept], np.float32).reshape(-1, 4),
        "box_classes": np.array([b.class_id for b, _ in kept], np.int64),
    }
    if "box_crowd" in extras:
        record["box_crowd"] = np.array([b.crowd for b, _ in kept], np.bool_)
    if "box_difficult" in extras:
        record["box_difficult"] = np.array([b.difficult for b, _ in kept], np.bool_)
    if "box_area" in extras:
        areas = [(c[2] - c[0]) * (c[3] - c[1]) if b.area is None else b.area for b, c in kept]
        record["box_area"] = np.array(areas, np.float32)
    return record


def _usable(box: Box, frame: Frame | None, faults: list[Fault]) -> tuple[float, ...] | None:
    left, top, right, bottom = box.corners
    told = ", ".join(f"{v:g}" for v in box.corners)
    if not all(isfinite(v) and abs(v) <= MOST for v in box.corners):
        faults.append(Fault("box_not_finite", box.where, f"{told} is no place in a picture"))
        return None
    if np.float32(right) <= np.float32(left) or np.float32(bottom) <= np.float32(top):
        faults.append(Fault("box_without_area", box.where, f"{told} has no area"))
        return None
    if frame is None:
        return box.corners
    wide, high = float(frame.width), float(frame.height)
    if left >= wide or top >= high or right <= 0 or bottom <= 0:
        faults.append(Fault("box_off_image", box.where, f"{told} lies beside the picture of {wide:g} x {high:g} px"))
        return None
    if max(-left, -top, right - wide, bottom - high) > ROUNDING:
        faults.append(Fault("box_clipped", box.where, f"{told} leaves the picture of {wide:g} x {high:g} px"))
    return max(left, 0.0), max(top, 0.0), min(right, wide), min(bottom, high)


def upright(corners: tuple[float, float, float, float], frame: Frame) -> tuple[float, float, float, float]:
    """A box drawn on the stored rows, as it lies in the picture turned upright by its EXIF orientation."""
    left, top, right, bottom = corners
    if frame.orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if frame.orientation in (2, 3, 6, 7):
        left, right = frame.width - right, frame.width - left
    if frame.orientation in (3, 4, 7, 8):
        top, bottom = frame.height - bottom, frame.height - top
    return left, top, right, bottom


def framed(stated: tuple[float, float], size: Frame | None, where: str, faults: list[Fault]) -> bool:
    """True when boxes were drawn on the stored rows of a picture that EXIF turns.

    stated: width and height as the annotation gives them, 0 when it does not. Told when they are those of no side, and
    when they cannot tell the two apart.
    """
    if size is None:
        return False
    known = min(stated) > 0
    if known and stated not in ((size.width, size.height), size.stored):
        told = f"says {stated[0]:g} x {stated[1]:g} px, the picture has {size.width} x {size.height}"
        faults.append(Fault("other_size", where, told))
        return False
    if not size.fits_both(stated):
        return size.orientation != 1 and stated == size.stored
    told = f"EXIF orientation {size.orientation}: the boxes are taken as drawn on the upright picture"
    faults.append(Fault("orientation_unsure", where, told))
    return False


def swapped(written: Sequence[tuple[tuple[float, ...], Frame | None]]) -> int:
    """How many of x, y, width, height read like x_min, y_min, x_max, y_max: in the picture as such, out of it as sizes.

    0 unless they are the majority.
    """
    judged = [(w, f) for w, f in written if f is not None]
    odd = [
        1 for (x, y, w, h), f in judged
        if x < w <= f.width + 1 and y < h <= f.height + 1 and (x + w > f.width + 1 or y + h > f.height + 1)
    ]  # fmt: skip
    return len(odd) if len(odd) * 2 > len(judged) else 0


def each(record: Annotation) -> Iterator[tuple[tuple[float, float, float, float], int]]:
    """Corners and class id of every box of a record."""
    for corners, class_id in zip(record["boxes"].tolist(), record["box_classes"].tolist(), strict=True):
        yield (corners[0], corners[1], corners[2], corners[3]), int(class_id)


def flags(record: Mapping[str, Array], name: str) -> list[bool]:
    """A bool field of every box; False where a dataset does not know it."""
    return [bool(v) for v in record[name]] if name in record else [False] * len(record["boxes"])
