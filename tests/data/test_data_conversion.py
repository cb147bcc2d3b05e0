"""Every format reads what it wrote, every pair agrees, and what a format cannot hold is said."""

import errno
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from saccade.cli.main import main
from saccade.data.convert import convert
from saccade.data.dataset import Dataset
from saccade.data.folder import put
from saccade.data.formats import keepers
from saccade.errors import DataError, StorageError, UsageError
from saccade.testing import formats as suite
from saccade.types import Labels, Sample
from saccade.verbs import data

BOXED = ["coco", "csv", "voc", "yolo"]
slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", BOXED)
def test_boxes_written_are_boxes_read(name: str) -> None:
    @slow
    @given(dataset=suite.datasets("boxes"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check(keepers()[name], dataset, Path(folder) / "d")

    run()


def test_masks_and_coco_agree() -> None:
    @slow
    @given(dataset=suite.datasets("mask"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check_pair(keepers()["coco_masks"], keepers()["masks"], dataset, Path(folder) / "a")
            suite.check_pair(keepers()["masks"], keepers()["coco_masks"], dataset, Path(folder) / "b")

    run()


@pytest.mark.parametrize("style", [s for s in keepers()["masks"].styles if s != "binary"])
def test_masks_written_are_masks_read_in_every_style(style: str) -> None:
    @slow
    @given(dataset=suite.datasets("mask"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check(keepers()["masks"].styled(style), dataset, Path(folder) / "d")
            suite.check_pair(keepers()["masks"].styled(style), keepers()["coco_masks"], dataset, Path(folder) / "p")

    run()


def masked(values: list[int], originals: tuple[str | int, ...]) -> Dataset:
    record = {"mask": np.tile(np.array([values], np.uint8), (16, 24 // len(values)))}
    labels = Labels(tuple("abcd"[: len(originals)]), originals, exclusive=False)
    parts = {k: (Sample(f"{k} 1.png", suite.picture(i), record),) for i, k in enumerate(("train", "val"))}
    return Dataset("t", Path(), labels, parts)


def test_each_style_lays_out_what_its_tools_expect(tmp_path: Path) -> None:
    dataset = masked([0, 1, 255], (7, 3))
    for style in ("palette", "voc", "camvid", "colour"):
        convert(dataset, "masks", tmp_path / style, style)
    with Image.open(tmp_path / "palette" / "masks" / "train" / "train 1.png") as image:
        assert (image.mode, np.unique(np.asarray(image)).tolist()) == ("P", [3, 7, 255])
        assert image.convert("RGB").getpixel((0, 0)) == (128, 128, 128)  # 7 in the colour map of VOC
    voc = tmp_path / "voc"
    assert (voc / "ImageSets/Segmentation/train.txt").read_text() == "train_1\n"
    assert (voc / "JPEGImages/train_1.png").is_file()
    with Image.open(voc / "SegmentationClass/val_1.png") as image:
        assert (image.mode, image.getpixel((23, 0))) == ("P", 255)
    camvid = tmp_path / "camvid"
    assert (camvid / "train.txt").read_text() == "train/train_1.png trainannot/train_1.png\n"
    assert (camvid / "_classes.csv").read_text().split() == ["Pixel", "Value,Class", "7,a", "3,b", "2,void"]
    with Image.open(camvid / "valannot/val_1.png") as image:
        assert np.unique(np.asarray(image)).tolist() == [2, 3, 7]
    with Image.open(tmp_path / "colour" / "masks" / "val" / "val 1.png") as image:
        assert image.mode == "RGB"
    lines = (tmp_path / "colour" / "class_dict.csv").read_text().split()
    assert lines == ["name,r,g,b", "a,0,0,0", "b,128,0,0", "void,224,224,192"]


def test_colours_of_classes_stay_in_the_style_that_holds_colours(tmp_path: Path) -> None:
    dataset = masked([0, 1, 255], ("#e0e0c0", "#804000"))
    assert convert(dataset, "masks", tmp_path / "d", "colour").lost == ()
    again = keepers()["masks"].read(tmp_path / "d")
    assert again.labels == dataset.labels
    assert np.array_equal(again.splits["val"][0].annotation["mask"], dataset.splits["val"][0].annotation["mask"])


def test_binary_masks_hold_two_classes_and_nothing_ignored(tmp_path: Path) -> None:
    suite.check(keepers()["masks"].styled("binary"), masked([0, 1], ("a", "b")), tmp_path / "d")
    with Image.open(tmp_path / "d" / "masks" / "val" / "val 1.png") as image:
        assert np.unique(np.asarray(image)).tolist() == [0, 255]
    for values, originals, told in (([0, 1, 2], (0, 1, 2), "data has 3"), ([0, 1, 255], (0, 1), "ignored pixels")):
        with pytest.raises(DataError, match=told):
            convert(masked(values, originals), "masks", tmp_path / "no", "binary")
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("to", "style", "told"), [("masks", "vok", "has no style 'vok'"), ("coco_masks", "voc", "no style")]
)
def test_a_style_nobody_knows_is_refused(to: str, style: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        convert(masked([0, 1], (0, 1)), to, tmp_path / "d", style)


@pytest.mark.parametrize("first", BOXED)
@pytest.mark.parametrize("second", BOXED)
def test_every_pair_of_box_formats_agrees(first: str, second: str) -> None:
    @settings(slow, max_examples=5)
    @given(dataset=suite.datasets("boxes"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check_pair(keepers()[first], keepers()[second], dataset, Path(folder))

    run()


def boxed() -> Dataset:
    record = {
        "boxes": np.array([[1, 2, 9, 8], [3, 3, 4, 4]], np.float32),
        "box_classes": np.array([0, 1], np.int64),
        "box_crowd": np.array([True, False]),
        "box_area": np.array([30.0, 1.0], np.float32),
    }
    labels = Labels(("a", "b", "unused"), (7, 3, 90), exclusive=False)
    return Dataset("t", Path(), labels, {"all": (Sample("p.png", suite.picture(0), record, group="g"),)})


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    made = convert(boxed(), "voc", tmp_path / "voc")
    told = "\n".join(made.lost)
    for part in (
        "voc does not hold box_crowd, which 1 values say",
        "voc does not hold box_area",
        "voc does not hold groups",
        "voc numbers classes anew: 7 (a)",
        "1 classes that no picture shows are not in the copy: unused",
        "b: 1 became 0",
    ):
        assert part in told, told
    kept = convert(boxed(), "coco", tmp_path / "coco")
    assert kept.lost == ("coco does not hold groups, of which there are 1",)
    again = keepers()["coco"].read(tmp_path / "coco").labels
    assert dict(zip(again.names, again.originals, strict=True)) == {"a": 7, "b": 3, "unused": 90}
    assert (
        "yolo numbers classes anew: 7 (a), 3 (b), 90 (unused) keep their names only"
        in convert(boxed(), "yolo", tmp_path / "yolo").lost
    )


@pytest.mark.parametrize(
    ("originals", "told", "became"),
    [
        ((0, 255), ("masks numbers classes anew: 255 (b) keep their names only",), (0, 1)),
        (
            ("#000000", "#804000"),
            ("masks numbers classes anew: #000000 (a), #804000 (b) keep their names only",),
            (0, 1),
        ),
        ((90, 3), (), (90, 3)),
        (("a", 17), (), (0, 17)),
        ((0, 1), (), (0, 1)),
    ],
)
def test_values_of_masks_that_cannot_stay_are_said(
    originals: tuple[str | int, ...], told: tuple[str, ...], became: tuple[int, ...], tmp_path: Path
) -> None:
    record = {"mask": np.tile(np.array([[0, 1, 255]], np.uint8), (16, 8))}
    labels = Labels(("a", "b"), originals, exclusive=False)
    dataset = Dataset("t", Path(), labels, {"all": (Sample("p.png", suite.picture(0), record),)})
    made = convert(dataset, "masks", tmp_path / "masks")
    assert made.lost == told
    again = keepers()["masks"].read(tmp_path / "masks")
    assert again.labels.originals == became
    assert np.array_equal(again.splits["all"][0].annotation["mask"], record["mask"])


def test_a_background_beside_numbered_categories_moves_none_of_them(tmp_path: Path) -> None:
    record = {"mask": np.tile(np.array([[0, 1, 2]], np.uint8), (16, 8))}
    labels = Labels(("background", "car", "cat"), ("background", 3, 17), exclusive=False)
    dataset = Dataset("t", Path(), labels, {"all": (Sample("p.png", suite.picture(0), record),)})
    assert convert(dataset, "coco_masks", tmp_path / "d").lost == ()
    again = keepers()["coco_masks"].read(tmp_path / "d").labels
    assert (again.names, again.originals) == (labels.names, (0, 3, 17))


def test_the_verb_refuses_what_cannot_be(tmp_path: Path) -> None:
    keepers()["voc"].write(boxed(), tmp_path / "voc")
    with pytest.raises(DataError, match="masks holds mask"):
        data.convert(tmp_path / "voc", tmp_path / "m", to="masks")
    with pytest.raises(UsageError, match="no format"):
        data.convert(tmp_path / "voc", tmp_path / "m", to="coca")
    with pytest.raises(StorageError, match="already there"):
        data.convert(tmp_path / "voc", tmp_path, to="coco")


def test_the_command_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keepers()["coco"].write(boxed(), tmp_path / "coco")
    assert main(["convert", str(tmp_path / "coco"), str(tmp_path / "yolo"), "--to", "yolo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 1
    assert any("box_crowd" in sentence for sentence in told["lost"])
    assert main(["convert", str(tmp_path / "coco"), str(tmp_path / "csv"), "--to", "csv"]) == 0
    assert "1 pictures as csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    "lost", ["box_crowd", "box_difficult", "box_area", "group", "originals", "box_classes", "boxes"]
)
def test_the_suite_sees_what_a_format_lost(lost: str) -> None:
    """A word that is given and not kept is an AssertionError; what a format does not hold is not asked for."""
    record = {
        "boxes": np.array([[1, 2, 9, 8], [3, 3, 14, 14]], np.float32),
        "box_classes": np.array([0, 1], np.int64),
        "box_crowd": np.array([True, False]),
        "box_difficult": np.array([False, True]),
        "box_area": np.array([30.0, 99.0], np.float32),
    }
    data = suite.picture(0)

    def told(record: dict[str, np.ndarray], group: str | None, originals: tuple[int, ...]) -> Dataset:
        labels = Labels(("a", "b"), originals, exclusive=False)
        return Dataset("t", Path(), labels, {"all": (Sample("p.png", data, record, group),)})

    whole = told(record, "g", (7, 3))
    less = told(
        record | ({lost: record[lost][::-1]} if lost in record else {}),
        None if lost == "group" else "g",
        (1, 2) if lost == "originals" else (7, 3),
    )
    suite.same(whole, whole, "t", record.keys(), {"groups", "originals"})
    with pytest.raises(AssertionError, match="t: "):
        suite.same(whole, less, "t", record.keys(), {"groups", "originals"})
    if lost not in ("box_classes", "boxes"):
        suite.same(whole, less, "t", record.keys() - {lost}, set())


@pytest.mark.parametrize("style", keepers()["masks"].styles)
def test_no_mask_takes_the_place_of_another(style: str, tmp_path: Path) -> None:
    """Names that differ in their ending, their folder or a space alone, and an ending that stands twice."""
    keys = {"train": ("a.jpg", "b c.png", "b_c.jpg", "x/a.png"), "val": ("a.png", "d.jpg.png")}
    count, parts = 0, {}
    for split, names in keys.items():
        samples = []
        for name in names:
            mask = np.zeros((16, 24), np.uint8)
            mask.flat[: count + 1] = 1
            samples.append(Sample(name, suite.picture(count), {"mask": mask}))
            count += 1
        parts[split] = tuple(samples)
    dataset = Dataset("t", Path(), Labels(("a", "b"), (0, 1), exclusive=False), parts)
    keeper = keepers()["masks"].styled(style)
    keeper.write(dataset, tmp_path / "d")
    again = keeper.read(tmp_path / "d")
    assert not again.faults
    suite.same(dataset, again, style, ("mask",), ())


def test_a_background_is_black_in_binary_masks_wherever_it_stands(tmp_path: Path) -> None:
    dataset = replace(masked([0, 1], ("a", "b")), labels=Labels(("crack", "Background"), (0, 1), exclusive=False))
    suite.check(keepers()["masks"].styled("binary"), dataset, tmp_path / "d")
    with Image.open(tmp_path / "d" / "masks" / "val" / "val 1.png") as image:
        assert image.getpixel((0, 0)) == 255
    assert "255,crack" in (tmp_path / "d" / "_classes.csv").read_text()


def names(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir())


def test_a_mask_that_cannot_be_read_leaves_no_half_copy(tmp_path: Path) -> None:
    keepers()["masks"].write(masked([0, 1], (0, 1)), tmp_path / "d")
    bad = tmp_path / "d" / "masks" / "val" / "val 1.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:40])
    with pytest.raises(DataError, match=r"val 1\.png"):
        data.convert(tmp_path / "d", tmp_path / "copy", to="coco_masks")
    assert names(tmp_path) == ["d"]
    bad.write_bytes(whole)
    assert data.convert(tmp_path / "d", tmp_path / "copy", to="coco_masks").images == 2
    assert names(tmp_path) == ["copy", "d"]


@pytest.mark.parametrize("act", ["convert", "fix"])
@pytest.mark.parametrize(
    ("stop", "kind", "told"),
    [
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), StorageError, "copy was not written: the disk is full"),
    ],
)
def test_what_is_stopped_leaves_no_half_copy(
    stop: BaseException,
    kind: type[BaseException],
    told: str,
    act: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = boxed().splits["all"][0]
    both = (first, replace(first, key="q.png", image=suite.picture(1)))
    keepers()["coco"].write(replace(boxed(), splits={"all": both}), tmp_path / "d")

    def only_one(sample: Sample, place: Path, tail: str) -> Path:
        if any(place.glob("*.png")):
            raise stop
        return put(sample, place, tail)

    monkeypatch.setattr("saccade.data.folder.put", only_one)
    acts = {
        "convert": lambda out: data.convert(tmp_path / "d", out, to="voc"),
        "fix": lambda out: data.check(tmp_path / "d").fix(out),
    }
    with pytest.raises(kind, match=told):
        acts[act](tmp_path / "copy")
    assert names(tmp_path) == ["d"]


def test_a_copy_may_be_one_file(tmp_path: Path) -> None:
    pictures = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(tmp_path / "d.npz", train_images=pictures, train_labels=np.array([0, 1]))
    assert data.convert(tmp_path / "d.npz", tmp_path / "copy.npz", to="arrays").images == 2
    assert names(tmp_path) == ["copy.npz", "d.npz"]
    with pytest.raises(StorageError, match="already there"):
        data.convert(tmp_path / "d.npz", tmp_path / "copy.npz", to="arrays")
