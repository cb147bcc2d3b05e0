"""COCO JSON: images, annotations and categories in one file a split; boxes as x, y, width, height from the top left.

Category ids may have holes and begin anywhere: the ledger counts from 0 in their order and keeps them as originals.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data import boxes, folder, outlines, rle, scale
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault
from saccade.data.format import Evidence, Format
from saccade.data.formats.coco.beyond import beyond
from saccade.data.formats.coco.entries import Picture, listed, unlisted
from saccade.data.formats.coco.fields import canvas, is_id, is_number, outlined, polygons, runs
from saccade.data.formats.coco.pages import KEYS, Page, files
from saccade.data.formats.coco.write import write_pages
from saccade.data.frames import Frame
from saccade.data.scale import Stated
from saccade.types import Labels, Sample, names_text

EXTRAS = ("box_crowd", "box_area")


class Coco(Format):
    name = "coco"
    holds = ("boxes", "box_classes", "box_crowd", "box_area")
    keeps = frozenset({"originals"})

    def recognises(self, root: Path) -> Evidence | None:
        found = files(root)
        if not found:
            return None
        shown = names_text([f.name if root.is_file() else folder.name(f, root) for f in found], 3)
        return Evidence(self.name, (f"{shown} with {', '.join(KEYS)}",), 2)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        given = listed(root, images)
        pages, pictures, found, sizes = given.pages, given.pictures, given.found, given.sizes
        faults, notes, unheld, ids = given.faults, given.notes, given.unheld, given.ids
        labels = Labels(tuple(given.names.values()), tuple(given.names), exclusive=False)
        extras = [e for e, key in zip(EXTRAS, ("iscrowd", "area"), strict=True) if _any(pages, key)]
        written: list[tuple[tuple[float, ...], Frame | None]] = []
        pairs = []
        faults += outlines.faults([o for p in found for where, shape in p.shapes for o in outlined(where, shape)])
        for picture, size in zip(found, sizes, strict=True):
            raw = [
                b
                for where, shape in picture.shapes
                if (b := _box(where, shape, ids, picture, size, faults)) is not None
            ]
            written += [
                ((b.corners[0], b.corners[1], b.corners[2] - b.corners[0], b.corners[3] - b.corners[1]), size)
                for b in raw
            ]
            if boxes.framed(picture.stated, size, picture.where, faults) and size is not None:
                raw = [Box(boxes.upright(b.corners, size), b.class_id, b.where, b.crowd, area=b.area) for b in raw]
            record = boxes.annotation(raw, size, faults, extras)
            pairs.append((picture.page.split, Sample(picture.key, pictures.paths[picture.key], record)))
        faults += scale.scaled([Stated(p.where, p.stated, size) for p, size in zip(found, sizes, strict=True)])
        if odd := boxes.swapped(written):
            told = f"{odd} of {len(written)} boxes fit their picture as corners, but not as x, y, width, height"
            faults.append(Fault("corners_as_sizes", pages[0].key, told))
        ignored = unlisted(pictures, found, pages, faults, root)
        if shaped := sum(bool(shape.get("segmentation")) for p in found for _, shape in p.shapes):
            unheld.append(f"the outlines of {shaped:,} objects are read as their boxes; --format coco_masks reads them")
        unheld += beyond(pages, given.names)
        return Dataset(
            self.name,
            root,
            labels,
            folder.by_split(pairs, notes),
            tuple(ignored),
            tuple(notes),
            None,
            tuple(faults),
            tuple(unheld),
        )

    def write(self, dataset: Dataset, root: Path) -> None:
        """A folder a split with its pictures and _annotations.coco.json, as Roboflow lays it out."""
        write_pages(dataset, root, _shapes)


def _box(
    where: str,
    shape: Mapping[str, Any],
    ids: Mapping[int, int],
    picture: Picture,
    size: Frame | None,
    faults: list[Fault],
) -> Box | None:
    category = shape.get("category_id")
    if not is_id(category) or category not in ids:
        faults.append(Fault("unknown_class", where, f"category_id {str(category)[:40]} is no category"))
        return None
    try:
        left, top, width, height = _bounds(shape, picture, size)
    except ValueError as error:
        faults.append(Fault("bad_box", where, str(error)))
        return None
    area = shape.get("area")
    return Box(
        (left, top, left + width, top + height),
        ids[int(category)],
        where,
        crowd=shape.get("iscrowd") == 1,
        area=float(area) if is_number(area) and 0 <= area < 1e14 else None,
    )


def _bounds(shape: Mapping[str, Any], picture: Picture, size: Frame | None) -> tuple[float, float, float, float]:
    """x, y, width, height: as given, else the bounds of the segmentation."""
    given = shape.get("bbox")
    if given is None or given == []:
        width, height = canvas(picture.stated, size)
        lengths = runs(shape.get("segmentation"), width, height)
        if lengths is not None:
            return rle.bounds(lengths, width, height)
        points = np.array([v for part in polygons(shape.get("segmentation")) for v in part]).reshape(-1, 2)
        left, top = points.min(0)
        return float(left), float(top), float(points[:, 0].max() - left), float(points[:, 1].max() - top)
    if not isinstance(given, list) or len(given) != 4 or not all(is_number(v) for v in given):
        raise ValueError(f"bbox is {str(given)[:60]}, expected four numbers")
    return float(given[0]), float(given[1]), float(given[2]), float(given[3])


def _shapes(sample: Sample, image: int, ids: Sequence[int], first: int) -> list[dict[str, Any]]:
    crowd = boxes.flags(sample.annotation, "box_crowd")
    areas = sample.annotation["box_area"].tolist() if "box_area" in sample.annotation else None
    made = []
    for i, ((left, top, right, bottom), class_id) in enumerate(boxes.each(sample.annotation)):
        width, height = right - left, bottom - top
        made.append({
            "id": first + i, "image_id": image, "category_id": ids[class_id], "bbox": [left, top, width, height],
            "area": width * height if areas is None else areas[i], "iscrowd": int(crowd[i]), "segmentation": [],
        })  # fmt: skip
    return made


def _any(pages: Sequence[Page], key: str) -> bool:
    """True when an annotation says something by a key: a crowd, or an area of its own."""
    return any(isinstance(a, Mapping) and a.get(key) not in (None, 0) for p in pages for a in p.annotations)


FORMAT = Coco()
