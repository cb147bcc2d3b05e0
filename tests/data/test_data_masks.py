"""Masks: every layout and way of storing ids; read when asked; what is no mask of its picture is refused by name."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from saccade.data import formats, lock
from saccade.data.check import check
from saccade.data.splits import split
from saccade.errors import DataError, UsageError
from saccade.images import decode
from saccade.types import Array

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [9] * 756


def picture(file: Path, seed: int = 0, width: int = 12, height: int = 9) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(file)
    return file


def ids(seed: int, high: int = 3, width: int = 12, height: int = 9) -> Array:
    return np.random.default_rng(seed).integers(0, high, (height, width)).astype(np.uint8)


def mask(file: Path, values: Array, mode: str | None = None, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(PALETTE)
    image.save(file, **options)
    return file


def simple(root: Path, n: int = 4) -> Path:
    for i in range(n):
        picture(root / "images" / f"p{i}.jpg", i)
        mask(root / "masks" / f"p{i}.png", ids(i))
    return root


def test_beside_pictures_with_a_class_file(tmp_path: Path) -> None:
    for s, part in enumerate(("train", "valid", "test")):
        for i in range(3):
            picture(tmp_path / part / f"{i}.jpg", 10 * s + i)
            values = ids(10 * s + i)
            values[0, 0] = 255
            mask(tmp_path / part / f"{i}_mask.png", values)
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, floor\n2, wall\n1, door")
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "masks"
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 3, "val": 3, "test": 3}
    assert dataset.labels.names == ("floor", "wall", "door")
    assert dataset.labels.originals == (0, 2, 1)
    wanted = np.array([0, 2, 1], np.uint8)[ids(0)]
    wanted[0, 0] = 255
    assert np.array_equal(dataset.splits["train"][0].annotation["mask"], wanted)
    assert not dataset.ignored


def test_fields_are_known_and_counts_kept_without_reading_again(tmp_path: Path) -> None:
    dataset, _ = formats.read(simple(tmp_path / "d"))
    sample = dataset.splits["all"][0]
    mask(tmp_path / "d" / "masks" / "p0.png", np.full((9, 12), 2, np.uint8))
    assert dataset.fields == {"mask"}
    assert (sample.annotation["mask"] == 2).all()


@pytest.mark.parametrize(
    ("pictures", "marks"),
    [
        ("images", "labels"),
        ("img", "SegmentationClass"),
        ("train", "trainannot"),
        ("a/images", "a/annotations"),
        ("images/train", "masks/train"),
        ("train/images", "train/masks"),
        ("photos", "truth"),
    ],
)
def test_parallel_folders(pictures: str, marks: str, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / pictures / f"p{i}.jpg", i)
        mask(tmp_path / marks / f"p{i}.png", ids(i))
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "masks", evidence
    assert len(dataset) == 3
    assert list(dataset.splits) == (["train"] if "train" in pictures else ["all"])
    assert dataset.labels.names == ("0", "1", "2")
    assert np.array_equal(next(iter(dataset)).annotation["mask"], ids(0))


@pytest.mark.parametrize(
    ("pictures", "marks", "high"),
    [
        ("images", "annotations", 12),
        ("a/images", "a/annot", 12),
        ("train", "train_annotations", 12),
        ("train", "trainannot", 11),
    ],
)
def test_only_camvids_own_folders_and_values_get_its_names(
    pictures: str, marks: str, high: int, tmp_path: Path
) -> None:
    for i in range(3):
        picture(tmp_path / pictures / f"p{i}.jpg", i)
        mask(tmp_path / marks / f"p{i}.png", ids(i, high))
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names == tuple(str(v) for v in range(high))
    assert np.array_equal(next(iter(dataset)).annotation["mask"], ids(0, high))


def turned(file: Path, orientation: int, width: int = 12, height: int = 9) -> Path:
    """A JPEG whose rows are stored so many px wide and high, to be turned by EXIF."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "JPEG", exif=exif)
    return file


def test_a_mask_that_fits_a_turned_picture_both_ways_is_told(tmp_path: Path) -> None:
    sizes = {"upside": (3, 12, 9), "lying": (6, 12, 9), "stood": (8, 12, 9), "square": (6, 9, 9), "plain": (1, 12, 9)}
    for name, (orientation, width, height) in sizes.items():
        turned(tmp_path / "images" / f"{name}.jpg", orientation, width, height)
        mask(
            tmp_path / "masks" / f"{name}.png",
            ids(0, width=height if name == "stood" else width, height=12 if name == "stood" else 9),
        )
    dataset, _ = formats.read(tmp_path)
    found = {f.id: f for f in check(dataset)}
    assert "bad_mask" not in found
    assert found["orientation_unsure"].sentence.startswith("2 pictures are turned by EXIF")
    assert [f.where for f in dataset.faults] == ["masks/square.png", "masks/upside.png"]
    assert dataset.notes == ("no class file: the 3 values are classes",)
    held = {Path(s.key).stem: s.annotation["mask"] for s in dataset}
    assert np.array_equal(held["lying"], decode.turn(ids(0), 6))
    assert np.array_equal(held["stood"], ids(0, width=9, height=12))
    assert np.array_equal(held["upside"], ids(0))


def test_entries_of_lists_that_name_nothing_are_told(tmp_path: Path) -> None:
    root = simple(tmp_path)
    picture(root / "images" / "bare.jpg", 50)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("p0\np1\ngone\n")
    (lists / "val.txt").write_text("p2\nbare\nlost\ngone\n")
    dataset, _ = formats.read(root)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 2, "val": 1}
    found = {f.id: f.files for f in check(dataset)}
    assert found["missing_image"] == (
        "ImageSets/Segmentation/val.txt line 3: lost is neither a picture nor a mask",
        "ImageSets/Segmentation/val.txt line 4: gone is neither a picture nor a mask",
    )
    assert found["missing_annotation"] == ("images/bare.jpg: picture without a mask",)
    assert found["in_two_splits"] == (
        "ImageSets/Segmentation/train.txt line 3: gone is in val already, and stays there",
    )


def test_voc_palette_with_lists(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "JPEGImages" / f"p{i}.jpg", i)
    for i in range(4):
        values = ids(i)
        values[0] = 255
        mask(tmp_path / "SegmentationClass" / f"p{i}.png", values, "P")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("p0\np1\n")
    (lists / "val.txt").write_text("p2\np3\n")
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names[:3] == ("background", "aeroplane", "bicycle")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 2, "val": 2}
    assert not dataset.faults
    assert (dataset.splits["train"][0].annotation["mask"][0] == 255).all()
    assert np.array_equal(dataset.splits["train"][0].annotation["mask"][1:], ids(0)[1:])


def test_camvid_lists_of_another_machine_and_void_eleven(tmp_path: Path) -> None:
    for name in ("x", "y"):
        picture(tmp_path / "train" / f"{name}.png", 1)
        mask(tmp_path / "trainannot" / f"{name}.png", ids(3, 12))
    (tmp_path / "train.txt").write_text("/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n")
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names[0] == "Sky"
    assert len(dataset.labels) == 11
    assert (dataset.splits["train"][0].annotation["mask"] == 255).any()
    assert any("CamVid" in n for n in dataset.notes)


def test_lists_beside_folders_of_no_split(tmp_path: Path) -> None:
    simple(tmp_path)
    (tmp_path / "train.txt").write_text("/far/away/p0.jpg /far/away/p0.png\np1.jpg\n")
    (tmp_path / "test.txt").write_text("p2\n")
    dataset, _ = formats.read(tmp_path)
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {
        "train": ["images/p0.jpg", "images/p1.jpg"],
        "test": ["images/p2.jpg"],
    }
    assert any(i.path == "images/p3.jpg" for i in dataset.ignored)


def test_cityscapes_names(tmp_path: Path) -> None:
    for part in ("train", "val"):
        stem = f"aachen_{part}_000019"
        picture(tmp_path / "leftImg8bit" / part / "aachen" / f"{stem}_leftImg8bit.png")
        for kind in ("labelIds", "labelTrainIds", "instanceIds", "color"):
            mask(tmp_path / "gtFine" / part / "aachen" / f"{stem}_gtFine_{kind}.png", ids(5 if "Train" in kind else 6))
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 1, "val": 1}
    assert np.array_equal(dataset.splits["val"][0].annotation["mask"], ids(5))
    assert dataset.labels.names[:3] == ("road", "sidewalk", "building")
    assert len(dataset.labels) == 19


def test_cityscapes_ids_that_are_not_evaluated_are_ignored(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 3, 7], [8, 11, 33, 29], [15, 21, 26, 255]], np.uint8)
    picture(tmp_path / "leftImg8bit" / "train" / "a" / "a_0_leftImg8bit.png", width=4, height=3)
    mask(tmp_path / "gtFine" / "train" / "a" / "a_0_gtFine_labelIds.png", stored)
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names[-1] == "bicycle"
    assert dataset.labels.originals[:3] == (7, 8, 11)
    wanted = np.array([[255, 255, 255, 0], [1, 2, 18, 255], [255, 8, 13, 255]], np.uint8)
    (sample,) = list(dataset)
    assert np.array_equal(sample.annotation["mask"], wanted)


def test_nothing_of_ade20k_is_a_class(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 150, 7]], np.uint8)
    picture(tmp_path / "images" / "training" / "ADE_train_1.jpg", width=4, height=1)
    mask(tmp_path / "annotations" / "training" / "ADE_train_1.png", stored)
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names == ("1", "7", "150")
    (sample,) = list(dataset)
    assert np.array_equal(sample.annotation["mask"], np.array([[255, 0, 2, 1]], np.uint8))


@pytest.mark.parametrize("mark", ["\t", ","])
def test_ade20k_is_called_by_the_table_beside_it(mark: str, tmp_path: Path) -> None:
    rows = [["Idx", "Ratio", "Train", "Val", "Name"], ["1", "0.15", "11", "1", "wall"], ["2", "0.1", "6", "0", "sky"]]
    rows += [["3", "0.1", "6", "0", "road, route" if mark == "\t" else "road;route"]]
    file = tmp_path / ("objectInfo150.txt" if mark == "\t" else "objectInfo150.csv")
    file.write_text("\n".join(mark.join(row) for row in rows))
    for part in ("training", "validation"):
        picture(tmp_path / "images" / part / f"ADE_{part}_1.jpg", width=4, height=1)
        mask(tmp_path / "annotations" / part / f"ADE_{part}_1.png", np.array([[0, 1, 3, 7]], np.uint8))
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 1, "val": 1}
    assert dataset.labels.names == ("wall", "sky", "road", "7")
    assert dataset.labels.originals == (1, 2, 3, 7)
    assert np.array_equal(dataset.splits["val"][0].annotation["mask"], np.array([[255, 0, 2, 3]], np.uint8))
    assert not dataset.ignored
    file.write_text(file.read_text().replace(f"2{mark}", f"two{mark}", 1))
    with pytest.raises(DataError, match=rf"{file.name} line 3: expected the number of a class, 1 to 150, and its name"):
        formats.read(tmp_path)


def test_other_masks_that_bear_the_names_of_a_set_keep_their_values(tmp_path: Path) -> None:
    """Ids of ADE20K that were shifted to count from 0; a few classes of one's own under a name of Cityscapes."""
    picture(tmp_path / "a" / "images" / "training" / "ADE_1.jpg", width=4, height=1)
    mask(tmp_path / "a" / "annotations" / "training" / "ADE_1.png", np.array([[0, 1, 2, 255]], np.uint8))
    assert formats.read(tmp_path / "a")[0].labels.names == ("0", "1", "2")
    picture(tmp_path / "c" / "leftImg8bit" / "train" / "x" / "x_leftImg8bit.png", width=4, height=1)
    mask(tmp_path / "c" / "gtFine" / "train" / "x" / "x_gtFine_labelIds.png", np.array([[0, 1, 2, 3]], np.uint8))
    assert formats.read(tmp_path / "c")[0].labels.names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nsky,0,0,0\nroad,128\n"),
        ("class_dict.csv", "name,r,g,b\nsky,0,0,0\nroad,-1,64,128\n"),
        ("classes.csv", "name,value\nsky,0\nroad,128,64,128\n"),
    ],
)
def test_a_row_that_is_written_otherwise_than_those_before_is_told(file: str, text: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0.jpg")
    mask(tmp_path / "masks" / "0.png", ids(0))
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=rf"{file} line 3: expected a class with its value"):
        formats.read(tmp_path)


def test_a_row_that_is_no_class_is_told_wherever_it_stands(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0.jpg")
    mask(tmp_path / "masks" / "0.png", np.array([[0, 0, 0], [128, 64, 128], [7, 8, 9]], np.uint8)[ids(0)])
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nsky,0,0,0\nroad,12o,64,128\nvoid,7,8,9\n")
    with pytest.raises(DataError, match=r"class_dict\.csv line 3: expected a class with its value"):
        formats.read(tmp_path)


def test_binary_masks(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / "images" / f"{i}.jpg", i)
        mask(tmp_path / "masks" / f"{i}.png", ids(i, 2) * 255)
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names == ("background", "foreground")
    assert np.array_equal(dataset.splits["all"][1].annotation["mask"], ids(1, 2))


@pytest.mark.parametrize("file", ["class_dict.csv", "label_colors.txt", "labelmap.txt"])
def test_colours_with_a_class_file(file: str, tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [128, 64, 128], [7, 8, 9]], np.uint8)
    text = {
        "class_dict.csv": "name,r,g,b\nsky,0,0,0\nroad,128,64,128\nvoid,7,8,9\n",
        "label_colors.txt": "0 0 0 sky\n128 64 128\troad\n7 8 9 void\n",
        "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,64,128::\nvoid:7,8,9::\n",
    }[file]
    for i in range(2):
        picture(tmp_path / "images" / f"{i}.jpg", i)
        mask(tmp_path / "masks" / f"{i}.png", colours[ids(i)])
    (tmp_path / file).write_text(text)
    dataset, _ = formats.read(tmp_path)
    assert dataset.labels.names == ("sky", "road")
    wanted = np.array([0, 1, 255], np.uint8)[ids(0)]
    assert np.array_equal(dataset.splits["all"][0].annotation["mask"], wanted)
    assert "void is ignored (255)" in dataset.notes


def test_every_depth_gives_the_same_ids(tmp_path: Path) -> None:
    root = simple(tmp_path, 6)
    wanted = ids(0, 2)
    place = root / "masks"
    mask(place / "p0.png", wanted)
    mask(place / "p1.png", wanted, "P", bits=4)
    mask(place / "p2.png", wanted.astype(np.uint16))
    Image.fromarray(np.stack([wanted] * 3, 2)).save(place / "p3.png")
    Image.fromarray(np.stack([wanted, np.full_like(wanted, 255)], 2)).save(place / "p4.png")
    mask(place / "p5.png", wanted.astype(bool))
    dataset, _ = formats.read(root)
    for sample in dataset:
        assert np.array_equal(sample.annotation["mask"], wanted), sample.key


def test_grey_of_two_and_four_bits_is_not_stretched(tmp_path: Path) -> None:
    wanted = ids(0)
    root = simple(tmp_path, 2)
    packed = wanted[:, ::2] << 4 | wanted[:, 1::2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", 12, 9, 4, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (root / "masks" / "p0.png").write_bytes(data)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).max() > 2
    assert np.array_equal(formats.read(root)[0].splits["all"][0].annotation["mask"], wanted)


def bad(root: Path, kind: str) -> None:
    file = root / "masks" / "p0.png"
    rng = np.random.default_rng(0)
    if kind == "jpeg":
        Image.fromarray(ids(0) * 80).save(file, "JPEG")
    elif kind == "wide":
        mask(file, ids(0).astype(np.uint16) * 300)
    elif kind == "size":
        mask(file, ids(0, width=13))
    elif kind == "colour":
        mask(file, rng.integers(0, 256, (9, 12, 3), np.uint8))
    elif kind == "clear":
        mask(file, rng.integers(0, 256, (9, 12, 4), np.uint8))
    elif kind == "values":
        (root / "classes.txt").write_text("a\nb\nc\n")
        mask(file, ids(0) + 100)
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:-30])
    elif kind == "text":
        file.write_text("no picture")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("jpeg", "masks/p0.png is JPEG"),
        ("wide", "masks/p0.png is a 16-bit PNG with values up to 600"),
        ("size", "masks/p0.png has 13 x 9 px, its picture 12 x 9"),
        ("clear", "masks/p0.png has transparent pixels"),
        ("values", "masks/p0.png holds 3 values that are no class: 100, 101, 102"),
        ("cut", "masks/p0.png cannot be read"),
        ("text", "masks/p0.png cannot be read"),
    ],
)
def test_what_is_no_mask_is_named(kind: str, sentence: str, tmp_path: Path) -> None:
    root = simple(tmp_path)
    bad(root, kind)
    dataset, _ = formats.read(root)
    found = {f.id: f for f in check(dataset)}
    assert found["bad_mask"].severity == "ERROR"
    assert found["bad_mask"].count == 1
    assert sentence in found["bad_mask"].files[0]
    with pytest.raises(DataError, match=sentence.split()[0]):
        dataset.splits["all"][0].annotation["mask"]


def test_class_files_must_agree(tmp_path: Path) -> None:
    for part in ("train", "test"):
        picture(tmp_path / part / "a.jpg")
        mask(tmp_path / part / "a_mask.png", ids(0))
    (tmp_path / "train" / "_classes.csv").write_text("Pixel Value,Class\n0,a\n1,b\n2,c\n")
    (tmp_path / "test" / "_classes.csv").write_text("Pixel Value,Class\n0,a\n1,c\n2,b\n")
    with pytest.raises(DataError, match="disagree"):
        formats.read(tmp_path)
    (tmp_path / "test" / "_classes.csv").write_text("Pixel Value,Class\n0,a\n999,b\n")
    with pytest.raises(DataError, match=r"test/_classes.csv line 3"):
        formats.read(tmp_path)


def test_orphans_are_named(tmp_path: Path) -> None:
    root = simple(tmp_path, 12)
    picture(root / "images" / "bare.jpg", 50)
    mask(root / "masks" / "lost.png", ids(0))
    found = {f.id: f.files for f in check(formats.read(root)[0])}
    assert found["missing_annotation"] == ("images/bare.jpg: picture without a mask",)
    assert found["missing_image"] == ("masks/lost.png: mask without a picture",)


def test_splits_and_lock_go_by_the_classes_of_masks(tmp_path: Path) -> None:
    root = simple(tmp_path / "d", 24)
    dataset = split(formats.read(root)[0], seed=1)
    assert sum(map(len, dataset.splits.values())) == 24
    assert all(dataset.splits.values())
    lock.write(dataset, tmp_path / "lock.json")
    lock.verify(dataset, tmp_path / "lock.json")
    changed = ids(0)
    changed[0, 0] = (changed[0, 0] + 1) % 3
    mask(root / "masks" / "p0.png", changed)
    with pytest.raises(DataError, match="relabelled 1 image"):
        lock.verify(split(formats.read(root)[0], seed=1), tmp_path / "lock.json")


def test_two_folders_of_equal_names_are_not_taken_for_masks_without_a_word(tmp_path: Path) -> None:
    """Classes of numbered photos, one of which was saved as PNG."""
    for i in range(4):
        picture(tmp_path / "normal" / f"{i:04}.png", i)
        picture(tmp_path / "sick" / f"{i:04}.jpg", 9 + i)
    with pytest.raises(UsageError, match=r"2 ways: .*image_folder.*masks|2 ways: .*masks.*image_folder"):
        formats.read(tmp_path)
    assert formats.read(tmp_path, format="image_folder")[0].labels.names == ("normal", "sick")


def test_a_first_mask_that_is_all_black_does_not_make_the_others_grey(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "images" / f"{i}.jpg", i)
        colours = np.zeros((9, 12, 3), np.uint8)
        colours[: 3 * i] = (128, 64, 128)
        Image.fromarray(colours).save(mask(tmp_path / "masks" / f"{i}.png", ids(i)))
    dataset, _ = formats.read(tmp_path)
    assert len(dataset.labels) == 2
    assert not [f for f in check(dataset) if f.severity == "ERROR"]


def test_trees_of_painted_masks_are_read_by_their_few_colours(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "photos" / f"{i}.jpg", i)
        colours = np.zeros((9, 12, 3), np.uint8)
        colours[: 2 * i] = (128, 64, 128)
        (tmp_path / "painted").mkdir(exist_ok=True)
        Image.fromarray(colours).save(tmp_path / "painted" / f"{i}.png")
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "masks"
    assert len(dataset.labels) == 2


def test_pictures_in_a_folder_without_masks_are_named(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "train" / "images" / f"{i}.jpg", i)
        mask(tmp_path / "train" / "masks" / f"{i}.png", ids(i))
    picture(tmp_path / "test" / "images" / "9.jpg", 9)
    dataset, _ = formats.read(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 3}
    assert [(i.path, i.reason) for i in dataset.ignored] == [("test/images/9.jpg", "in no pair of picture and mask")]
    found = {f.id: f for f in check(dataset)}
    assert found["ignored_file"].files == ("test/images/9.jpg: in no pair of picture and mask",)


def test_what_lies_beside_pairs_and_is_in_none_is_named(tmp_path: Path) -> None:
    """Two pictures for one mask, and a mask that is no PNG."""
    for i in range(3):
        picture(tmp_path / f"{i}.jpg", i)
        mask(tmp_path / f"{i}_mask.png", ids(i))
    picture(tmp_path / "0.png", 50)
    picture(tmp_path / "x.jpg", 51)
    mask(tmp_path / "x_mask.jpg", ids(0))
    dataset, _ = formats.read(tmp_path)
    assert len(dataset) == 3
    named = {i.path: i.reason for i in dataset.ignored}
    lone = ({"0.jpg", "0.png"} - {s.key for s in dataset}).pop()
    assert named == {
        lone: "picture without a mask",
        "x.jpg": "picture without a mask",
        "x_mask.jpg": "in no pair of picture and mask",
    }
