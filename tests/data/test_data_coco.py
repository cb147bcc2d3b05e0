"""COCO: the ledger survives holes, groups and orders of ids; shapes become boxes; faults are named by key."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data import formats, rle
from saccade.data.check import check
from saccade.data.convert import convert
from saccade.data.formats.coco import pages
from saccade.data.masks import fill
from saccade.errors import DataError
from saccade.types import Array


def picture(file: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def record(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"p{i}.png", "width": 40, "height": 30} for i in (0, 7)],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 90, "bbox": [1, 2, 10.5, 5], "area": 40.0, "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 17, "name": "cat"}],
        **changes,
    }


def write(root: Path, content: Any, name: str = "_annotations.coco.json") -> Path:
    for i in (0, 7):
        picture(root / f"p{i}.png", i)
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def test_ids_with_holes_keep_their_names_and_originals(tmp_path: Path) -> None:
    dataset, evidence = formats.read(write(tmp_path, record()))
    assert evidence.format == "coco"
    assert dataset.labels.names == ("car", "cat", "toothbrush")
    assert dataset.labels.originals == (3, 17, 90)
    first, second = dataset.splits["all"]
    assert first.annotation["boxes"].tolist() == [[1, 2, 11.5, 7]]
    assert first.annotation["box_classes"].tolist() == [2]
    assert first.annotation["box_area"].tolist() == [40]
    assert second.annotation["box_crowd"].tolist() == [True]
    assert "3, 17, 90 became 0 to 2" in dataset.notes[0]


def test_two_categories_of_one_name_are_named(tmp_path: Path) -> None:
    twice = [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}, {"id": 90, "name": " car "}]
    with pytest.raises(
        DataError,
        match=r"json categories\[2\]: id 90 is 'car', and so is id 3 in _annotations.coco.json categories\[0\]",
    ):
        formats.read(write(tmp_path, record(categories=twice)))
    # The group of Roboflow may have the name of its only class.
    only = [{"id": 0, "name": "car", "supercategory": "none"}, {"id": 3, "name": "car", "supercategory": "car"}]
    dataset, _ = formats.read(write(tmp_path / "group", record(categories=only, annotations=[])))
    assert dataset.labels.names == ("car",)


def test_a_picture_of_two_files_stays_where_it_is_measured_on(tmp_path: Path) -> None:
    """In whatever order the files come: train before val by name, and a test beside them."""
    root = write(tmp_path / "d", record(), "annotations/instances_train.json")
    shared = record(images=record()["images"][:1], annotations=record()["annotations"][:1])
    shared["annotations"][0]["bbox"] = [2, 2, 4, 4]
    write(root, shared, "annotations/instances_val.json")
    dataset, _ = formats.read(root)
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {"train": ["p7.png"], "val": ["p0.png"]}
    assert dataset.splits["val"][0].annotation["boxes"].tolist() == [[2, 2, 6, 6]]
    (told,) = [f for f in dataset.faults if f.id == "in_two_splits"]
    assert told.where == "annotations/instances_train.json images[0]"
    assert told.text.endswith(
        "in annotations/instances_val.json as well, and stays there; its 1 annotations here are left out"
    )
    left = "1 annotations of pictures that stand in two files are left out, those of the second"
    assert left in dataset.unheld
    assert left in convert(dataset, "voc", tmp_path / "copy").lost
    write(root, shared, "annotations/instances_test.json")
    assert [s.key for s in formats.read(root)[0].splits["test"]] == ["p0.png"]


def test_the_group_of_roboflow_is_no_class(tmp_path: Path) -> None:
    groups = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "red", "supercategory": "cells"},
        {"id": 2, "name": "white", "supercategory": "cells"},
    ]
    shapes = [{"id": 1, "image_id": 0, "category_id": 2, "bbox": [1, 1, 5, 5]}]
    dataset, _ = formats.read(write(tmp_path, record(categories=groups, annotations=shapes)))
    assert dataset.labels.names == ("red", "white")
    assert next(iter(dataset)).annotation["box_classes"].tolist() == [1]
    used = [{"id": 1, "image_id": 0, "category_id": 0, "bbox": [1, 1, 5, 5]}]
    again, _ = formats.read(write(tmp_path / "used", record(categories=groups, annotations=used)))
    assert again.labels.names == ("cells", "red", "white")


def test_splits_come_from_names_and_folders(tmp_path: Path) -> None:
    root = tmp_path / "a"
    for part in ("train2017", "val2017"):
        picture(root / part / "p0.png", len(part))
        only = record(images=[{"id": 1, "file_name": "p0.png"}], annotations=[])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(only))
        (root / "annotations" / f"captions_{part}.json").write_text('{"images": [], "annotations": []}')
    dataset, _ = formats.read(root)
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {
        "train": ["train2017/p0.png"],
        "val": ["val2017/p0.png"],
    }
    other = tmp_path / "b"
    for part in ("train", "valid", "test"):
        write(other / part, record())
    assert list(formats.read(other)[0].splits) == ["train", "val", "test"]
    changed = record(categories=[{"id": 3, "name": "lorry"}, {"id": 90, "name": "x"}, {"id": 17, "name": "y"}])
    write(other / "valid", changed)
    with pytest.raises(DataError, match=r"valid/_annotations.coco.json categories\[0\]: id 3 is 'lorry' here"):
        formats.read(other)


def drawn() -> Array:
    mask = np.zeros((30, 40), bool)
    mask[4:9, 10:22] = True
    mask[6:8, 12:14] = False
    return mask


@pytest.mark.parametrize("kind", ["runs", "packed", "polygons"])
def test_shapes_without_a_box_give_their_bounds(kind: str, tmp_path: Path) -> None:
    runs = rle.encode(drawn())
    shape: Any = {
        "runs": {"size": [30, 40], "counts": runs},
        "packed": {"size": [30, 40], "counts": rle.pack(runs)},
        "polygons": [[10, 4, 15, 4, 15, 9], [20, 5, 22, 5, 22, 9]],
    }[kind]
    shapes = [{"id": 1, "image_id": 0, "category_id": 3, "segmentation": shape}]
    dataset, _ = formats.read(write(tmp_path, record(annotations=shapes)))
    assert next(iter(dataset)).annotation["boxes"].tolist() == [[10, 4, 22, 9]]


def test_run_lengths_without_a_size_beside_them_have_that_of_the_picture(tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": "p0.png"}]
    shape = {
        "id": 1,
        "image_id": 0,
        "category_id": 3,
        "segmentation": {"size": [30, 40], "counts": rle.encode(drawn())},
    }
    dataset, _ = formats.read(write(tmp_path, record(images=images, annotations=[shape])))
    assert not [f for f in dataset.faults if f.id != "missing_annotation"]
    assert next(iter(dataset)).annotation["boxes"].tolist() == [[10, 4, 22, 9]]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 1), st.integers(0, 2**16))
def test_bounds_of_run_lengths_are_those_of_the_mask(width: int, height: int, share: float, seed: int) -> None:
    grid = np.random.default_rng(seed).random((height, width)) < share
    ys, xs = np.nonzero(grid)
    wanted = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if len(xs) else (0, 0, 0, 0)
    assert rle.bounds(rle.encode(grid), width, height) == wanted


def vast(width: int, height: int) -> dict[str, Any]:
    """An object over the whole of a picture, in two runs."""
    runs = {"size": [height, width], "counts": [0, width * height]}
    return {"id": 1, "image_id": 0, "category_id": 3, "segmentation": runs}


def test_run_lengths_of_another_picture_or_a_vast_one_are_a_fault_of_their_annotation(tmp_path: Path) -> None:
    fine = {"id": 2, "image_id": 0, "category_id": 3, "bbox": [1, 1, 5, 5]}
    side = 999_999_999
    images = [{"id": 0, "file_name": "p0.png", "width": side, "height": side}]
    shapes = [vast(side, side), {**vast(80, 60), "id": 3}, fine]
    dataset, _ = formats.read(write(tmp_path, record(images=images, annotations=shapes)))
    assert [(f.where, f.text) for f in dataset.faults if f.id == "bad_box"] == [
        ("_annotations.coco.json annotations[0]", f"an RLE of size [{side}, {side}], expected [30, 40]"),
        ("_annotations.coco.json annotations[1]", "an RLE of size [60, 80], expected [30, 40]"),
    ]
    assert next(iter(dataset)).annotation["boxes"].tolist() == [[1, 1, 6, 6]]
    # Of a picture that cannot be read the stated size is all there is.
    (tmp_path / "p0.png").write_bytes(b"no picture")
    told = [f.text for f in formats.read(tmp_path)[0].faults if f.id == "bad_box"]
    assert told[0] == "the runs are of 999,999,999 x 999,999,999 px, limit 50,000,000 pixels"


def test_outlines_are_not_painted_on_a_picture_beyond_the_limits(tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": "p0.png", "width": 9000, "height": 9000}]
    root = write(tmp_path, record(images=images, annotations=[vast(9000, 9000)]))
    data = (root / "p0.png").read_bytes()
    head = b"IHDR" + struct.pack(">II", 9000, 9000) + data[24:29]
    (root / "p0.png").write_bytes(data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:])
    dataset, _ = formats.read(root, format="coco_masks")
    assert len(dataset) == 0
    assert [f.text for f in dataset.faults if f.id == "bad_annotation"] == [
        "p0.png has 9,000 x 9,000 px, limit 50,000,000 pixels"
    ]
    assert "bad_box" in {f.id for f in formats.read(root)[0].faults}


def test_run_lengths_are_those_of_the_coco_api() -> None:
    # Worked out with maskApi.c: a 3 x 3 picture whose middle column is set.
    mask = np.zeros((3, 3), bool)
    mask[:, 1] = True
    assert rle.encode(mask) == [3, 3, 3]
    assert rle.pack([3, 3, 3]) == "333"
    random = np.random.default_rng(0)
    for density in (0.02, 0.5, 0.98):
        grid = random.random((37, 53)) < density
        runs = rle.encode(grid)
        assert rle.unpack(rle.pack(runs)) == runs
        assert np.array_equal(rle.decode(runs, 53, 37), grid)
    long = [100_000, 5, 1, 70_000, 0, 3]
    assert rle.unpack(rle.pack(long)) == long


def test_run_lengths_against_another_implementation() -> None:
    other = pytest.importorskip("faster_coco_eval.core.mask", reason="faster-coco-eval is not installed")
    random = np.random.default_rng(1)
    for density in (0.1, 0.9):
        grid = random.random((31, 47)) < density
        theirs = other.encode(np.asfortranarray(grid.astype(np.uint8)))["counts"]
        text = theirs.decode() if isinstance(theirs, bytes) else theirs
        assert rle.pack(rle.encode(grid)) == text


@pytest.mark.parametrize("text", ["P", "3\x10", "zzzzzzzzzzzzzzzzzzzzz"])
def test_packed_runs_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="packed runs"):
        rle.unpack(text)


def test_what_is_wrong_is_a_finding_with_its_key(tmp_path: Path) -> None:
    shapes: list[Any] = [
        {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 1, 0, 5]},
        {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 1, 5, 5]},
        {"id": 3, "image_id": 0, "category_id": 4, "bbox": [1, 1, 5, 5]},
        {"id": 4, "image_id": 99, "category_id": 3, "bbox": [1, 1, 5, 5]},
        {"id": 5, "image_id": 0, "category_id": 3, "bbox": [1, 1, "5", 5]},
        {"id": 6, "image_id": 0, "category_id": 3, "bbox": [1e9, 1, 5, 5]},
        {"id": 7, "image_id": 0, "category_id": 3, "segmentation": [[1, 2, 3]]},
        {"id": 8, "image_id": 0, "category_id": 3, "segmentation": {"size": [30, 40], "counts": [5]}},
        {"id": 9, "image_id": 0, "category_id": 3, "bbox": [float("nan"), 1, 5, 5]},
        {"id": 10, "image_id": 0, "category_id": 3, "bbox": [30, 20, 50, 5]},
        "no object",
    ]
    images = [
        {"id": 0, "file_name": "p0.png", "width": 400, "height": 300},
        {"id": 7, "file_name": "p7.png"},
        {"id": 8, "file_name": "../p7.png"},
        {"id": 9, "file_name": "/etc/passwd"},
        {"id": 10, "file_name": "lost.png"},
        {"id": 7, "file_name": "p7.png"},
        {"id": "x"},
    ]
    root = write(tmp_path, record(annotations=shapes, images=images))
    picture(root / "bare.png", 5)
    dataset, _ = formats.read(root)
    found = {f.id: f for f in check(dataset)}
    counts = {
        "box_without_area": 1, "same_id": 2, "unknown_class": 1, "missing_image": 2, "bad_box": 4, "box_not_finite": 2,
        "box_clipped": 1, "other_size": 1, "path_outside": 2, "bad_annotation": 1, "missing_annotation": 1,
    }  # fmt: skip
    assert {k: found[k].count for k in counts} == counts
    assert found["unknown_class"].files == ("_annotations.coco.json annotations[2]: category_id 4 is no category",)
    assert found["path_outside"].files[0].startswith("_annotations.coco.json images[2]: '../p7.png' leads out")
    assert dataset.splits["all"][0].annotation["boxes"].tolist() == [[1, 1, 6, 6], [30, 20, 40, 25]]


def test_corners_where_sizes_belong(tmp_path: Path) -> None:
    shapes = [
        {"id": i, "image_id": 0, "category_id": 3, "bbox": [20 + i, 15, 35, 28]} for i in range(5)
    ]  # x_min y_min x_max y_max
    found = {f.id: f for f in check(formats.read(write(tmp_path, record(annotations=shapes)))[0])}
    assert found["corners_as_sizes"].severity == "ERROR"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"images": [], "annotations": [], "categories": [],', "line 1 is no JSON"),
        ('{"images": {}, "annotations": [], "categories": []}', "images is dict, expected a list"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no category"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', r"categories\[0\] needs a whole number id"),
        ('["images", "annotations", "categories"]', "holds a list"),
        ('{"images": ' + "[" * 100_000 + "], \"annotations\" \"categories\"", "nested too deeply"),
        ('{"images": [], "annotations": [' + "9" * 5000 + '], "categories": []}', "is no JSON"),
    ],
)  # fmt: skip
def test_hostile_json_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        formats.read(write(tmp_path, text))


def test_shapes_are_painted_when_masks_are_asked_for(tmp_path: Path) -> None:
    square = [10, 4, 22, 4, 22, 9, 10, 9]
    hole = rle.encode(drawn())
    shapes = [
        {"id": 1, "image_id": 0, "category_id": 3, "segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]], "iscrowd": 1},
        {"id": 2, "image_id": 0, "category_id": 17, "segmentation": [[11, 5, 13, 5, 13, 7, 11, 7]]},
        {"id": 3, "image_id": 0, "category_id": 90, "segmentation": [square]},
        {"id": 4, "image_id": 7, "category_id": 3, "segmentation": {"size": [30, 40], "counts": rle.pack(hole)}},
    ]
    root = write(tmp_path, record(annotations=shapes))
    dataset, _ = formats.read(root, format="coco_masks")
    assert dataset.labels.names == ("background", "car", "cat", "toothbrush")
    first, second = (s.annotation["mask"] for s in dataset.splits["all"])
    wanted = np.full((30, 40), 255, np.uint8)
    wanted[4:9, 10:22] = 3
    wanted[5:7, 11:13] = 2
    assert np.array_equal(first, wanted)
    assert np.array_equal(second, drawn().astype(np.uint8))
    bad = [{"id": 1, "image_id": 0, "category_id": 3, "segmentation": {"size": [3, 4], "counts": "3"}}]
    broken, _ = formats.read(write(tmp_path / "b", record(annotations=bad)), format="coco_masks")
    found = {f.id: f for f in check(broken)}
    assert found["bad_mask"].files[0].startswith("_annotations.coco.json annotations[0]: an RLE of size [3, 4]")


def test_polygons_are_filled_by_the_middles_of_pixels() -> None:
    points = np.array([[2, 1], [14, 3], [9, 12], [5, 6], [1, 11]], np.float64)
    got = fill(points, 16, 14)
    grid = np.array(
        [
            [cv2.pointPolygonTest(points.astype(np.float32), (x + 0.5, y + 0.5), False) > 0 for x in range(16)]
            for y in range(14)
        ]
    )
    assert np.array_equal(got, grid)
    assert not fill(np.array([[-9.0, -9], [-3, -9], [-3, -3]]), 16, 14).any()
    assert fill(np.array([[-9.0, -9], [99, -9], [99, 99], [-9, 99]]), 16, 14).all()


def test_runs_that_no_number_holds_are_a_finding(tmp_path: Path) -> None:
    for counts in ([10**30], [2**62, 2**62, 2**62, 2**62], [-5, 1205]):
        shape = {"id": 1, "image_id": 0, "category_id": 3, "segmentation": {"size": [30, 40], "counts": counts}}
        root = write(tmp_path / str(len(counts)), record(annotations=[shape]))
        assert any("the runs cover" in f.text for f in formats.read(root)[0].faults), counts


def test_a_colon_in_a_name_is_no_drive(tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": "2024-05-01 12:30:00.png", "width": 40, "height": 30}]
    root = write(tmp_path, record(images=images, annotations=record()["annotations"][:1]))
    picture(root / "2024-05-01 12:30:00.png")
    assert len(formats.read(root)[0]) == 1
    for name in ("C:/p0.png", "https://example.org/p0.png", "../p0.png", "/p0.png"):
        images[0]["file_name"] = name
        dataset = formats.read(write(tmp_path, record(images=images, annotations=[])))[0]
        assert [f.id for f in dataset.faults if f.id == "path_outside"], name


def test_outlines_that_boxes_do_not_hold_are_said(tmp_path: Path) -> None:
    shape = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
    dataset = formats.read(write(tmp_path / "d", record(annotations=[shape])))[0]
    assert "the outlines of 1 objects are read as their boxes" in dataset.unheld[0]
    assert dataset.unheld[0] in convert(dataset, "coco", tmp_path / "copy").lost


def test_outlines_on_a_picture_that_fits_both_ways_are_told(tmp_path: Path) -> None:
    kinds = {"upside.jpg": (3, 40, 30), "square.jpg": (6, 30, 30), "lying.jpg": (6, 40, 30), "plain.jpg": (1, 40, 30)}
    images, shapes = [], []
    for i, (name, (orientation, width, height)) in enumerate(kinds.items()):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / name, exif=exif)
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        shapes.append({"id": i, "image_id": i, "category_id": 3, "segmentation": [[1, 1, 9, 1, 9, 6]]})
    root = write(tmp_path, record(images=images, annotations=shapes))
    for kind in ("coco", "coco_masks"):
        dataset, _ = formats.read(root, format=kind)
        told = [f.where for f in dataset.faults if f.id == "orientation_unsure"]
        assert told == ["_annotations.coco.json images[0]", "_annotations.coco.json images[1]"], kind
        assert "orientation_unsure" in {f.id for f in check(dataset)}
    del images[2]["width"]  # nothing says now on which side the third was drawn
    dataset, _ = formats.read(write(tmp_path, record(images=images, annotations=shapes)), format="coco_masks")
    assert len([f for f in dataset.faults if f.id == "orientation_unsure"]) == 3


@pytest.mark.parametrize("kind", ["coco", "coco_masks"])
def test_keypoints_that_no_annotation_holds_are_said(kind: str, tmp_path: Path) -> None:
    shape = {"image_id": 0, "category_id": 3, "bbox": [1, 1, 8, 5], "segmentation": [[1, 1, 9, 1, 9, 6]]}
    shapes = [
        {**shape, "id": 1, "keypoints": [4, 4, 2]},
        {**shape, "id": 2, "keypoints": [0, 0, 0]},  # none is marked
        {**shape, "id": 3},
    ]
    dataset, _ = formats.read(write(tmp_path / "d", record(annotations=shapes)), format=kind)
    told = "the keypoints of 1 objects are not read"
    assert told in dataset.unheld
    assert told in convert(dataset, kind, tmp_path / "copy").lost


def test_a_large_file_is_read_where_the_memory_for_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pages.MOST_BYTES == 1 << 30
    root = write(tmp_path, record())
    size = (root / "_annotations.coco.json").stat().st_size

    def read(large: int, most: int, free: int | None) -> int:
        monkeypatch.setattr(pages, "LARGE_BYTES", large)
        monkeypatch.setattr(pages, "MOST_BYTES", most)
        monkeypatch.setattr("saccade.process.free_memory", lambda: free)
        return len(formats.read(root)[0])

    assert read(size, size, 0) == 2
    assert read(size - 1, size, None) == 2
    assert read(size - 1, size + 1, 10 * size + 1) == 2
    assert read(size - 1, size, 10 * size) == 2
    told = f"{size:,} bytes, which take {10 * size:,} bytes of memory to read, and {10 * size - 1:,} are free"
    with pytest.raises(DataError, match=told):
        read(size - 1, size, 10 * size - 1)
    with pytest.raises(DataError, match=f"is {size:,} bytes, limit {size - 1:,}"):
        read(size, size - 1, None)


@pytest.mark.parametrize("kind", ["coco", "coco_masks"])
def test_what_no_copy_holds_is_counted(kind: str, tmp_path: Path) -> None:
    shape = {"image_id": 7, "category_id": 3, "bbox": [1, 1, 8, 5], "segmentation": [[1, 1, 9, 1, 9, 6]]}
    content = record(
        images=[
            {"id": 7, "file_name": "p0.png", "license": 1, "date_captured": "2020-01-01"},
            {"id": 0, "file_name": "p7.png", "license": 2, "flickr_url": "", "extra": {"name": "x"}},
        ],
        annotations=[
            {**shape, "id": 1, "attributes": {"occluded": True, "track": 0}},
            {**shape, "id": 2, "attributes": {"occluded": False}},
            {**shape, "id": 3, "score": 0.5},
        ],
        categories=[
            {"id": 90, "name": "toothbrush", "supercategory": "toothbrush"},
            {"id": 3, "name": "car", "supercategory": "vehicle"},
            {"id": 17, "name": "cat", "supercategory": "none"},
        ],
        licenses=[{"id": 1, "name": "CC BY"}, {"id": 2, "name": "", "url": ""}],
    )
    dataset, _ = formats.read(write(tmp_path / "d", content), format=kind)
    told = (
        "the supercategories of 1 categories are not read",
        "the licences of 1 images are not read",
        "the ids of 2 images are not kept",
        "2 images have fields that are not read: date_captured, extra",
        "2 objects have fields that are not read: occluded, score",
    )
    assert dataset.unheld[-5:] == told
    assert set(told) <= set(convert(dataset, kind, tmp_path / "copy").lost)


def test_what_says_nothing_is_not_counted(tmp_path: Path) -> None:
    shape = {"id": 0, "image_id": 0, "category_id": 3, "bbox": [1, 1, 8, 5], "segmentation": [], "iscrowd": 0}
    content = record(
        images=[{"id": i, "file_name": f"p{7 * i}.png", "license": 0, "date_captured": 0} for i in (0, 1)],
        annotations=[{**shape, "area": 40, "keypoints": [0, 0, 0], "attributes": {"occluded": False}}],
        categories=[{"id": 3, "name": "car", "supercategory": ""}],
        licenses=[{"id": 0, "name": "", "url": ""}],
    )
    assert formats.read(write(tmp_path, content))[0].unheld == ()
