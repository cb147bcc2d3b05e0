"""YOLO: every layout people have; shares become pixels; paths stay below the data; faults are named by line."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from saccade.data import formats
from saccade.data.check import check
from saccade.data.convert import convert
from saccade.errors import DataError

LINE = "1 0.5 0.5 0.5 0.2\n"


def picture(file: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def text(file: Path, content: str = LINE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


LAYOUTS = {
    "ultralytics": (
        {"images/train": "labels/train", "images/val": "labels/val"},
        "path: /somewhere/else\ntrain: images/train\nval: images/val\nnames: [a, b]\n",
    ),
    "roboflow": (
        {"train/images": "train/labels", "valid/images": "valid/labels"},
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['a', 'b']\n",
    ),
    "path": (
        {"set/images/train": "set/labels/train", "set/images/val": "set/labels/val"},
        "path: set\ntrain: images/train\nval: [images/val]\nnames:\n  0: a\n  1: b\n",
    ),
    "beside": ({"train": "train", "val": "val"}, "train: train\nval: val\nnames: {0: a, 1: b}\n"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    places, content = LAYOUTS[layout]
    text(tmp_path / "data.yaml", content)
    for s, (pictures, labels) in enumerate(places.items()):
        for i in range(2):
            picture(tmp_path / pictures / f"{i}.jpg", 10 * s + i)
            text(tmp_path / labels / f"{i}.txt")
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "yolo"
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 2, "val": 2}
    assert dataset.labels.names == ("a", "b")
    assert not dataset.faults
    sample = dataset.splits["val"][0]
    assert np.allclose(sample.annotation["boxes"], [[10, 12, 30, 18]])
    assert sample.annotation["box_classes"].tolist() == [1]


def test_darknet_with_lists_of_another_machine(tmp_path: Path) -> None:
    text(tmp_path / "obj.names", "a\nb\n")
    text(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\n")
    for i in range(3):
        picture(tmp_path / "obj_train_data" / f"{i}.jpg", i)
        text(tmp_path / "obj_train_data" / f"{i}.txt")
    text(tmp_path / "data" / "train.txt", "data/obj_train_data/0.jpg\n/home/me/x/obj_train_data/1.jpg\n")
    text(tmp_path / "data" / "test.txt", "C:\\x\\2.jpg\nC:\\x\\lost.jpg\n")
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 2, "val": 1}
    assert [(f.id, f.where) for f in dataset.faults] == [("missing_image", "data/test.txt line 2")]


def test_classes_beside_images_and_labels(tmp_path: Path) -> None:
    text(tmp_path / "classes.txt", "a\nb\n")
    for i in range(3):
        picture(tmp_path / "images" / f"{i}.jpg", i)
    for i in range(2):
        text(tmp_path / "labels" / f"{i}.txt")
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"all": 3}
    assert dataset.splits["all"][2].annotation["boxes"].shape == (0, 4)
    assert "1 pictures have no label file and are background" in dataset.notes


def test_polygons_poses_and_ids_with_holes(tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", "train: images\nval: images\nkpt_shape: [2, 3]\nnames: {3: x, 8: y}\n")
    picture(tmp_path / "images" / "0.jpg")
    lines = "8 0.1 0.1 0.4 0.1 0.2 0.5\n3 0.5 0.5 0.5 0.2 " + "0.1 0.2 2 " * 2 + "\n3 .1 .1 .2 .1 .2 .2 .1 .2\n"
    text(tmp_path / "labels" / "0.txt", lines)
    dataset, _ = formats.read(tmp_path)
    assert list(dataset.splits) == ["all"]
    assert dataset.labels.originals == (3, 8)
    record = dataset.splits["all"][0].annotation
    assert record["box_classes"].tolist() == [1, 0, 0]
    assert np.allclose(record["boxes"], [[4, 3, 16, 15], [10, 12, 30, 18], [4, 3, 8, 6]])
    assert dataset.unheld == (
        "2 outlines are read as the boxes around them",
        "the keypoints of 1 objects are not read",
    )


def test_what_is_wrong_is_a_finding_with_its_line(tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", "train: images/train\nval: ../../etc\nnames: [a, b]\n")
    picture(tmp_path / "images" / "train" / "0.jpg")
    lines = [
        "0 0.5 0.5 0.5 0.2", "2 0.5 0.5 0.5 0.2", "0 320 240 20 20", "0 nan 0.5 0.5 0.2", "0 0.5 0.5 0.5", "0 a b c d",
        "0 0.5 0.5 0 0.2", "0 0.9 0.5 0.5 0.2", "0.5 0.5 0.5 0.5 0.2",
    ]  # fmt: skip
    text(tmp_path / "labels" / "train" / "0.txt", "\n".join(lines))
    text(tmp_path / "labels" / "train" / "lost.txt")
    dataset, _ = formats.read(tmp_path)
    found = {f.id: f for f in check(dataset)}
    counts = {
        "unknown_class": 2, "pixel_coordinates": 1, "box_not_finite": 1, "bad_box": 2, "box_without_area": 1,
        "box_clipped": 1, "missing_image": 1, "path_outside": 1,
    }  # fmt: skip
    assert {k: found[k].count for k in counts} == counts
    assert found["pixel_coordinates"].files[0].startswith("labels/train/0.txt line 3")
    assert len(dataset.splits["train"][0].annotation["boxes"]) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("names: [a, b]\nnc: 3\ntrain: images\n", "nc is 3, and names holds 2"),
        ("train: images\n", "names is 'None'"),
        ("names: [a, b, a]\ntrain: images\n", "data.yaml: names 0 and 2 are both 'a'"),
        ("names: {3: a, 8: ' a'}\ntrain: images\n", "data.yaml: names 3 and 8 are both 'a'"),
        ("names: {a: 1}\ntrain: images\n", "class id 'a'"),
        ("names: [[a]]\ntrain: images\n", "the name of class 0"),
        ("names: [a\ntrain: images\n", "data.yaml line 2 is no YAML"),
        ("a: &x [1]\nb: *x\n", "line 2 refers to an anchor"),
        ("- a\n", "holds no keys"),
        ("names: !!python/object/apply:os.system ['ls']\n", "is no YAML"),
        ("train: 5\nnames: [a]\n", "train is '5'"),
        ("train: nowhere\nnames: [a]\n", "names no picture that is there"),
        ("[" * 5000, "is no YAML"),
    ],
)
def test_hostile_yaml_is_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    text(tmp_path / "data.yaml", content)
    picture(tmp_path / "images" / "0.jpg")
    text(tmp_path / "labels" / "0.txt", "0 0.5 0.5 0.5 0.2")
    with pytest.raises(DataError, match=sentence):
        formats.read(tmp_path)


def test_pictures_outside_the_splits_are_learned_from_and_said(tmp_path: Path) -> None:
    text(tmp_path / "classes.txt", "a\nb\n")
    for part in ("train", "extra"):
        for i in range(3):
            picture(tmp_path / "images" / part / f"{part}{i}.png", len(part) + i)
            text(tmp_path / "labels" / part / f"{part}{i}.txt")
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 6}
    assert any("3 pictures outside the folders of splits are read as train" in note for note in dataset.notes)


def test_a_list_of_very_many_pictures_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt")
    text(tmp_path / "data.yaml", "train: train.txt\nnames: [a, b]\n")
    text(tmp_path / "train.txt", "images/a.png\n" + "\n" * 2_000_000)
    assert len(formats.read(tmp_path)[0]) == 1


def test_outlines_are_said_to_become_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", "0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    text(tmp_path / "data.yaml", "train: images\nnames: [a]\n")
    assert formats.read(tmp_path)[0].unheld == ("1 outlines are read as the boxes around them",)


@pytest.mark.parametrize("plan", ["data.yaml", "obj.data"])
@pytest.mark.parametrize("typed", ["cells", "../here/cells", "."])
def test_lists_are_read_below_a_path_however_it_is_typed(
    typed: str, plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "here" / "cells"
    if plan == "data.yaml":
        text(root / "data.yaml", "train: train.txt\nnames: [a, b]\n")
    else:
        text(root / "obj.names", "a\nb\n")
        text(root / "obj.data", "train = train.txt\n")
    text(root / "train.txt", "./images/0.jpg\n./images/lost.jpg\n")
    picture(root / "images" / "0.jpg")
    text(root / "labels" / "0.txt")
    monkeypatch.chdir(root if typed == "." else root.parent)
    dataset, evidence = formats.read(Path(typed))
    assert evidence.format == "yolo"
    assert [s.key for s in dataset.splits["all"]] == ["images/0.jpg"]
    assert [(f.id, f.where) for f in dataset.faults] == [("missing_image", "train.txt line 2")]


def test_label_files_that_were_read_are_not_told_as_left_out(tmp_path: Path) -> None:
    root = tmp_path / "d"
    text(root / "classes.txt", "a\nb\n")
    text(root / "README.md", "who took these")
    for i in range(3):
        picture(root / "images" / f"{i}.jpg", i)
        text(root / "labels" / f"{i}.txt")
    dataset, _ = formats.read(root)
    assert [i.path for i in dataset.ignored] == ["README.md"]
    assert "1 files were not part of the data" in convert(dataset, "voc", tmp_path / "copy").lost


def test_keypoints_that_boxes_do_not_hold_are_said(tmp_path: Path) -> None:
    picture(tmp_path / "d" / "images" / "0.jpg")
    text(tmp_path / "d" / "data.yaml", "train: images\nkpt_shape: [2, 2]\nnames: [a]\n")
    text(tmp_path / "d" / "labels" / "0.txt", "0 0.5 0.5 0.5 0.2 0.4 0.4 0.6 0.6\n0 0.5 0.5 0.2 0.2\n")
    dataset, _ = formats.read(tmp_path / "d")
    assert dataset.unheld == ("the keypoints of 1 objects are not read",)
    assert dataset.unheld[0] in convert(dataset, "voc", tmp_path / "copy").lost


def test_a_copy_is_found_by_other_tools_and_tells_of_the_split_they_ask_for(tmp_path: Path) -> None:
    root = tmp_path / "d"
    text(root / "classes.txt", "a\nb\n")
    for i in range(3):
        picture(root / "images" / f"{i}.jpg", i)
        text(root / "labels" / f"{i}.txt")
    made = convert(formats.read(root)[0], "yolo", tmp_path / "copy")
    assert [sentence.split(",")[0] for sentence in made.lost] == ["the copy has no val split"]
    file = tmp_path / "copy" / "data.yaml"
    assert yaml.safe_load(file.read_text()) == {"train": "images", "names": {0: "a", 1: "b"}}
    for content in (file.read_text(), f"path: .\n{file.read_text()}"):
        file.write_text(content)
        assert {k: len(v) for k, v in formats.read(tmp_path / "copy")[0].splits.items()} == {"all": 3}


def test_a_copy_with_the_splits_that_others_ask_for_lacks_none(tmp_path: Path) -> None:
    places, content = LAYOUTS["beside"]
    text(tmp_path / "d" / "data.yaml", content)
    for s, part in enumerate(places):
        picture(tmp_path / "d" / part / "0.jpg", s)
        text(tmp_path / "d" / part / "0.txt", "0 0.5 0.5 0.5 0.2\n" + LINE)
    assert convert(formats.read(tmp_path / "d")[0], "yolo", tmp_path / "copy").lost == ()
