"""Writes a folder a split with its pictures and _annotations.coco.json, as Roboflow lays it out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saccade.data import folder
from saccade.data.dataset import Dataset
from saccade.data.frames import frame
from saccade.data.numbers import numbers
from saccade.types import Sample

Shapes = Callable[[Sample, int, Sequence[int], int], list[dict[str, Any]]]
"""A sample, its image id, the ids of the classes, the first free annotation id."""


def write_pages(dataset: Dataset, root: Path, shapes: Shapes, **info: Any) -> None:
    """A folder a split. shapes: the annotations of a sample. Classes keep the numbers they had; without
    any they count from 1."""
    names = dataset.labels.names
    ids = numbers(dataset.labels) or list(range(1, len(names) + 1))
    folder.new(root)
    for split, samples in dataset.splits.items():
        place = root if split == "all" else root / split
        place.mkdir(exist_ok=True)
        record: dict[str, Any] = {"info": info, "images": [], "annotations": []}
        for i, sample in enumerate(samples, 1):
            target = folder.put(sample, place, folder.tail(sample.key))
            size = frame(target)
            record["images"].append({
                "id": i, "file_name": target.relative_to(place).as_posix(),
                "width": size.width if size else 0, "height": size.height if size else 0,
            })  # fmt: skip
            record["annotations"] += shapes(sample, i, ids, len(record["annotations"]) + 1)
        record["categories"] = [{"id": k, "name": n} for k, n in zip(ids, names, strict=True)]
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        (place / "_annotations.coco.json").write_text(text, encoding="utf-8")
