"""COCO JSON read as masks, when asked for: the shapes of objects painted as classes; written as one RLE a class."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data import folder, masks, outlines, rle, scale
from saccade.data.dataset import Dataset, Fault
from saccade.data.format import Evidence, Format
from saccade.data.formats.coco import fields
from saccade.data.formats.coco.beyond import beyond
from saccade.data.formats.coco.entries import Picture, listed, unlisted
from saccade.data.formats.coco.write import write_pages
from saccade.data.frames import Frame
from saccade.data.masks import MOST_CLASSES, LazyMask
from saccade.data.scale import Stated
from saccade.errors import DataError
from saccade.images import decode
from saccade.images.masks import VOID
from saccade.limits import IMAGE_LIMITS
from saccade.types import Array, Labels, Sample

BACKGROUND = "background"


class Painted(LazyMask):
    """shapes: key, ledger id (VOID for crowds) and outline of each object. rest: the id of what nothing covers."""

    def __init__(self, shapes: Sequence[tuple[str, int, Any]], stated: tuple[int, int], size: Frame, rest: int) -> None:
        self.shapes = shapes
        self.stated = stated
        self.size = size
        self.rest = rest

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.shapes, self.stated, self.size, self.rest)).encode()).hexdigest()

    def make(self) -> Array:
        width, height = self.stated
        painted = np.full((height, width), self.rest, np.uint8)
        drawn = [(id, *_cut(_area(where, outline, width, height))) for where, id, outline in self.shapes]
        # Crowds lie below everything, then large things below small ones.
        for id, rows, columns, inside in sorted(drawn, key=lambda d: (d[0] != VOID, -int(d[3].sum()))):
            painted[rows, columns][inside] = id
        lying = (width, height) != (self.size.width, self.size.height)
        return decode.turn(painted, self.size.orientation) if lying else painted


class CocoMasks(Format):
    name = "coco_masks"
    holds = ("mask",)
    keeps = frozenset({"originals"})

    def recognises(self, root: Path) -> Evidence | None:
        """Never by itself: the same files are boxes."""
        return None

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        given = listed(root, images)
        pages, pictures, found, sizes = given.pages, given.pictures, given.found, given.sizes
        faults, notes, unheld, ids = given.faults, given.notes, given.unheld, given.ids
        whole = all(isinstance(p.info, Mapping) and p.info.get("every_pixel") is True for p in pages)
        labels, first = _ledger(given.names, whole, notes)
        rest = VOID if whole else labels.id(BACKGROUND)
        faults += scale.scaled([Stated(p.where, p.stated, size) for p, size in zip(found, sizes, strict=True)])
        faults += outlines.faults(
            [o for p in found for where, shape in p.shapes for o in fields.outlined(where, shape)]
        )
        pairs = []
        for picture, size in zip(found, sizes, strict=True):
            shapes = _outlines(picture, {k: v + first for k, v in ids.items()}, faults)
            stated = _stated(picture, size, faults)
            if stated is not None and size is not None:
                if shapes and size.fits_both(picture.stated):
                    told = (
                        f"EXIF orientation {size.orientation}: the outlines are taken as drawn on the upright picture"
                    )
                    faults.append(Fault("orientation_unsure", picture.where, told))
                record = Painted(shapes, stated, size, rest)
                pairs.append((picture.page.split, Sample(picture.key, pictures.paths[picture.key], record)))
        ignored = unlisted(pictures, found, pages, faults, root)
        splits = folder.by_split(pairs, notes)
        unheld += beyond(pages, given.names)
        return Dataset(
            self.name, root, labels, splits, tuple(ignored), tuple(notes), None, tuple(faults), tuple(unheld)
        )

    def write(self, dataset: Dataset, root: Path) -> None:
        write_pages(dataset, root, _shapes, every_pixel=True)


def _ledger(names: Mapping[int, str], whole: bool, notes: list[str]) -> tuple[Labels, int]:
    """The ledger, and how far the ids of categories are moved by a background put before them."""
    every, originals = list(names.values()), list[int | str](names)
    first = 0
    if not whole and BACKGROUND not in every:
        notes.append("what no object covers is class 0, background")
        every, originals, first = [BACKGROUND, *every], [BACKGROUND, *originals], 1
    if len(every) > MOST_CLASSES:
        raise DataError(f"{len(every)} classes do not fit one byte a pixel, limit {MOST_CLASSES}")
    return Labels(tuple(every), tuple(originals), exclusive=False), first


def _outlines(picture: Picture, ids: Mapping[int, int], faults: list[Fault]) -> list[tuple[str, int, Any]]:
    shapes = []
    for where, shape in picture.shapes:
        category = shape.get("category_id")
        if not isinstance(category, int) or category not in ids:
            faults.append(Fault("unknown_class", where, f"category_id {str(category)[:40]} is no category"))
        elif not shape.get("segmentation"):
            faults.append(Fault("bad_box", where, "an object without an outline cannot be painted"))
        else:
            shapes.append((where, VOID if shape.get("iscrowd") == 1 else ids[category], shape["segmentation"]))
    return shapes


def _stated(picture: Picture, size: Frame | None, faults: list[Fault]) -> tuple[int, int] | None:
    """The size that outlines were drawn on: that of the picture, upright or as stored."""
    if size is None:
        faults.append(Fault("bad_annotation", picture.where, f"{picture.key} cannot be read"))
        return None
    # A mask is made at the size of its picture, so a picture no decoder would take must not be painted either.
    if size.width * size.height > IMAGE_LIMITS.max_pixels:
        told = f"{picture.key} has {size.width:,} x {size.height:,} px, limit {IMAGE_LIMITS.max_pixels:,} pixels"
        faults.append(Fault("bad_annotation", picture.where, told))
        return None
    stated = (int(picture.stated[0]), int(picture.stated[1]))
    if min(stated) <= 0:
        return size.width, size.height
    if stated not in ((size.width, size.height), size.stored):
        told = f"says {stated[0]} x {stated[1]} px, the picture has {size.width} x {size.height}; it is left out"
        faults.append(Fault("other_size", picture.where, told))
        return None
    return stated


def _area(where: str, outline: Any, width: int, height: int) -> Array:
    """bool [H, W]. Raises DataError naming the annotation."""
    try:
        runs = fields.runs(outline, width, height)
        if runs is not None:
            return rle.decode(runs, width, height)
        inside = np.zeros((height, width), np.bool_)
        for part in fields.polygons(outline):
            points = np.array(part).reshape(-1, 2)
            if not np.isfinite(points).all() or np.abs(points).max() > 1e7:
                raise ValueError("a polygon with a corner that is no place in a picture")
            inside |= masks.fill(points, width, height)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    return inside


def _cut(inside_HW: Array) -> tuple[slice, slice, Array]:
    """Rows, columns and what lies between them: of many objects whole masks would not fit memory."""
    ys, xs = np.flatnonzero(inside_HW.any(1)), np.flatnonzero(inside_HW.any(0))
    if not len(ys):
        return slice(0, 0), slice(0, 0), inside_HW[:0, :0]
    rows, columns = slice(int(ys[0]), int(ys[-1]) + 1), slice(int(xs[0]), int(xs[-1]) + 1)
    return rows, columns, inside_HW[rows, columns].copy()


def _shapes(sample: Sample, image: int, ids: Sequence[int], first: int) -> list[dict[str, Any]]:
    mask_HW = sample.annotation["mask"]
    made: list[dict[str, Any]] = []
    for k, id in enumerate(ids):
        inside = mask_HW == k
        if not inside.any():
            continue
        ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        made.append({
            "id": first + len(made), "image_id": image, "category_id": id, "iscrowd": 0, "area": int(inside.sum()),
            "bbox": [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)],
            "segmentation": {"size": list(mask_HW.shape), "counts": rle.pack(rle.encode(inside))},
        })  # fmt: skip
    return made


FORMAT = CocoMasks()
