"""What the doctor sees in boxes and masks, each planted once; the contact sheet shows them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data.check import check, sheet
from saccade.data.check.boxes import iou
from saccade.data.check.finding import Finding
from saccade.data.dataset import Dataset, Fault
from saccade.data.formats import keepers
from saccade.errors import StorageError
from saccade.testing.formats import picture
from saccade.types import Array, Labels, Sample

LABELS = Labels(("cat", "dog"), exclusive=False)
Box = tuple[float, float, float, float]


def boxed(*pictures: list[Box], ids: list[int] | None = None, size: tuple[int, int] = (200, 100)) -> Dataset:
    samples = []
    for i, boxes in enumerate(pictures):
        classes = np.array(ids if ids is not None else [0] * len(boxes), np.int64)
        record = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "box_classes": classes}
        samples.append(Sample(f"p{i}.png", picture(i, *size), record))
    return Dataset("t", Path(), LABELS, {"all": tuple(samples)})


def found(dataset: Dataset, full: bool = False) -> dict[str, Finding]:
    return {f.id: f for f in check(dataset, full)}


def test_overlap_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 15, 15]], np.float32)
    b = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    assert np.allclose(iou(a, b), [[1, 0], [25 / 175, 0]])


def test_doubles() -> None:
    one = found(boxed([(0, 0, 100, 50), (0, 0, 100, 50.5), (9, 9, 50, 50)]))
    assert one["duplicate_box"].count == 1
    assert one["duplicate_box"].files == ("p0.png: 0, 0, 100, 50 and 0, 0, 100, 50.5",)
    two = found(boxed([(0, 0, 100, 50), (0, 0, 100, 50)], ids=[0, 1]))
    assert two["two_class_box"].count == 1
    assert "duplicate_box" not in two
    assert not {"two_class_box", "duplicate_box"} & set(found(boxed([(0, 0, 100, 50), (0, 0, 100, 55)])))


def test_sizes() -> None:
    seen = found(boxed([(0, 0, 2.9, 50), (5, 5, 8, 8), (10, 10, 190, 13.5), (0, 0, 200, 100)]))
    assert seen["tiny_box"].files == ("p0.png: 0, 0, 2.9, 50",)
    assert seen["thin_box"].files == ("p0.png: 10, 10, 190, 13.5",)
    assert seen["whole_image_box"].count == 1
    large = found(boxed([(0, 0, 5, 50)], size=(1280, 100)))
    assert large["tiny_box"].count == 1


def test_other_ways_of_writing() -> None:
    assert found(boxed([(0, 0, 0.5, 1)]))["boxes_as_shares"].severity == "ERROR"
    corner = [[(float(i), 1.5, 60.0, 40.0) for i in range(5)] for _ in range(10)]
    assert "boxes_in_a_corner" in found(boxed(*corner))
    ones = [[(1.0, 7.0 + i, 200.0, 90.0)] for i in range(10)]
    assert "counted_from_one" in found(boxed(*ones))
    assert "counted_from_one" not in found(boxed(*ones, [(0, 0, 50, 50)]))


def test_many_boxes_beyond_their_pictures_are_an_error() -> None:
    dataset = boxed([(0, 0, 50, 50)] * 10)
    few = Dataset("t", Path(), LABELS, dataset.splits, faults=(Fault("box_clipped", "a line 1", "x"),))
    assert "boxes_elsewhere" not in found(few)
    many = Dataset("t", Path(), LABELS, dataset.splits, faults=(Fault("box_off_image", "a line 1", "x"),) * 3)
    assert found(many)["boxes_elsewhere"].severity == "ERROR"
    assert "3 of 13 boxes" in found(many)["boxes_elsewhere"].sentence


def test_copied_annotations_and_crowds() -> None:
    same = [(1.0, 2.0, 30.0, 40.0), (50.0, 50.0, 90.0, 90.0)]
    dataset = boxed(same, same, [(3.0, 3.0, 9.0, 9.0)])
    assert found(dataset)["same_annotation"].files == ("p0.png and p1.png",)
    first = dataset.splits["all"][0]
    crowd = {**first.annotation, "box_crowd": np.array([True, False])}
    assert "crowd" in found(Dataset("t", Path(), LABELS, {"all": (Sample("c.png", first.image, crowd),)}))


def masked(*values: Array) -> Dataset:
    samples = [Sample(f"p{i}.png", picture(i, v.shape[1], v.shape[0]), {"mask": v}) for i, v in enumerate(values)]
    return Dataset("t", Path(), LABELS, {"all": tuple(samples)})


def test_masks() -> None:
    plain = np.zeros((40, 60), np.uint8)
    plain[:, 30:] = 1
    specked = plain.copy()
    specked[2:40:4, 2:30:8] = 1
    edge = np.zeros((40, 60), np.uint8)
    edge[:, 20:22] = 1
    edge[:, 50:52] = 1
    seen = found(masked(np.full((40, 60), 255, np.uint8), plain, specked), full=True)
    assert seen["void_mask"].files == ("p0.png",)
    assert seen["specks"].files == ("p2.png: 40",)
    assert "halo_class" not in seen
    assert found(masked(edge), full=True)["halo_class"].files == ("dog: 0 of 160 pixels lie inside",)


def test_the_sheet_shows_what_is_annotated(tmp_path: Path) -> None:
    dataset = boxed(*[[(10.0, 10.0, 90.0, 80.0)] for _ in range(20)])
    drawn = sheet(dataset)
    assert drawn.shape[1] == 3 * 360
    assert not np.array_equal(drawn, sheet(boxed(*[[] for _ in range(20)])))
    broken = Dataset("t", Path(), LABELS, {"all": (Sample("x", b"no picture", {"mask": np.zeros((3, 3), np.uint8)}),)})
    assert sheet(broken).shape[1] == 360
    keepers()["voc"].write(dataset, tmp_path / "d")
    file = tmp_path / "sheet.png"
    assert main(["check", str(tmp_path / "d"), "--sheet", str(file)]) == 0
    with Image.open(file) as shown:
        assert shown.size[0] == 3 * 360
    with pytest.raises(StorageError, match="already there"):
        saccade.check(tmp_path / "d").draw(file)


def test_amounts_are_told(tmp_path: Path) -> None:
    keepers()["coco"].write(boxed([(1, 2, 30, 40), (5, 5, 50, 50)], ids=[0, 1]), tmp_path / "d")
    health = saccade.check(tmp_path / "d")
    assert health.amounts() == {"cat": 1, "dog": 1}
    assert "boxes    2                cat 1, dog 1" in health.summary()
