"""Data whose classes stand in another order are judged by name, whatever the annotation is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from saccade.data.dataset import Dataset
from saccade.errors import DataError
from saccade.evaluation.evaluate import aligned
from saccade.types import Annotation, Array, Labels, Sample

OURS = Labels(("a", "b", "c"))
PICTURE = np.zeros((2, 3, 3), np.uint8)


def moved(annotation: Annotation, names: tuple[str, ...] = ("c", "a", "b")) -> Annotation:
    data = Dataset("memory", Path("memory"), Labels(names), {"test": (Sample("x", PICTURE, annotation),)})
    return aligned(data, "test", OURS)[0].annotation


def test_ids_of_pictures_boxes_and_pixels_all_move() -> None:
    mask = np.array([[0, 1, 2], [255, 200, 0]], np.uint8)
    boxes = np.array([[0, 0, 1, 1], [1, 1, 2, 2]], np.float32)
    found = moved({"classes": np.array([0, 2]), "box_classes": np.array([1, 0]), "boxes": boxes, "mask": mask})
    assert found["classes"].tolist() == [2, 1]
    assert found["box_classes"].tolist() == [0, 2]
    assert found["boxes"] is boxes
    assert found["mask"].tolist() == [[2, 0, 1], [255, 200, 2]]


def test_a_mask_is_read_only_when_it_is_asked_for() -> None:
    class Lazy(Mapping[str, Array]):
        def __getitem__(self, name: str) -> Array:
            raise DataError(f"{name} was read")

        def __iter__(self) -> Iterator[str]:
            return iter(("mask",))

        def __len__(self) -> int:
            return 1

    found = moved(Lazy())
    assert list(found) == ["mask"]
    with pytest.raises(DataError, match="was read"):
        found["mask"]
