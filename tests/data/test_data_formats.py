"""Layouts are recognised with evidence, read whole, and never guessed."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data import formats
from saccade.data.check import check
from saccade.data.format import MOST_CLASSES
from saccade.data.formats import keepers
from saccade.errors import DataError, SaccadeError, StorageError, UsageError
from saccade.verbs import data


def picture(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def folder(root: Path, splits: tuple[str, ...] = ("",), n: int = 3) -> Path:
    for s, split in enumerate(splits):
        for c, name in enumerate(("b", "a")):
            for i in range(n):
                picture(root / split / name / f"{name}{i}.png", 100 * s + 10 * c + i)
    return root


def test_a_plain_folder_gives_one_split_and_sorted_classes(tmp_path: Path) -> None:
    dataset, evidence = formats.read(folder(tmp_path / "d"))
    assert evidence.format == "image_folder"
    assert dataset.labels.names == ("a", "b")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"all": 6}


def test_split_folders_are_kept_and_other_files_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", ("train", "valid", "test"))
    (root / "README.md").write_text("hello")
    (root / "train" / "a" / "notes.txt").write_text("x")
    dataset, _ = formats.read(root)
    assert list(dataset.splits) == ["train", "val", "test"]
    assert {i.path for i in dataset.ignored} == {"README.md", "train/a/notes.txt"}


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        formats.read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        formats.read(tmp_path / "no")


def test_two_readings_are_not_guessed(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    (root / "labels.csv").write_text("image,label\na/a0.png,x\nb/b0.png,y\n")
    with pytest.raises(UsageError, match="2 ways"):
        formats.read(root)
    dataset, _ = formats.read(root, format="csv")
    assert dataset.labels.names == ("x", "y")


def test_csv_with_several_labels(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"p{i}.png", i)
    (tmp_path / "tags.csv").write_text("id;tags;split\np0;red|big;train\np1;red;val\np2;;test\n")
    dataset, _ = formats.read(tmp_path / "tags.csv")
    assert not dataset.labels.exclusive
    assert [s.annotation["classes"].tolist() for s in dataset] == [[0, 1], [1], []]


def test_csv_with_one_column_a_class(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / f"p{i}.png", i)
    (tmp_path / "hot.csv").write_text("filename,cat,dog\np0.png,1,0\np1.png,1,1\n")
    dataset, _ = formats.read(tmp_path / "hot.csv")
    assert dataset.labels.names == ("cat", "dog")
    assert [s.annotation["classes"].tolist() for s in dataset] == [[0], [0, 1]]


@pytest.mark.parametrize("gap", ["", "-1"])
def test_a_class_column_with_a_gap_is_not_lost_without_a_word(gap: str, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"p{i}.png", i)
    (tmp_path / "hot.csv").write_text(
        f"filename,cat,dog,night,age\np0.png,1,0,1,7\np1.png,1,1,{gap},8\np2.png,0,1,0,\n"
    )
    with pytest.raises(DataError, match=r"hot\.csv line 3: night is (blank|-1) there and 0 or 1 elsewhere"):
        formats.read(tmp_path / "hot.csv")
    (tmp_path / "hot.csv").write_text("filename,cat,dog,age\np0.png,1,0,7\np1.png,1,1,8\np2.png,0,1,\n")
    assert formats.read(tmp_path / "hot.csv")[0].unheld == ("1 columns are not read: age",)


@pytest.mark.parametrize("to", ["csv", "image_folder"])
def test_names_without_an_ending_get_one_in_a_copy(to: str, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "d" / f"000{i}.png", i)
    (tmp_path / "d" / "labels.csv").write_text("id,label\n0000,x\n0001,y\n0002,x\n")
    made = data.convert(tmp_path / "d", tmp_path / "copy", to=to)
    assert made.images == 3
    assert {p.suffix for p in (tmp_path / "copy").rglob("000*")} == {".png"}


def test_csv_with_missing_files_names_the_lines(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\nnowhere.png,x\n")
    with pytest.raises(DataError, match=r"line 2: nowhere\.png"):
        formats.read(tmp_path / "labels.csv")
    picture(tmp_path / "b" / "there.png")
    (tmp_path / "labels.csv").write_text("image,label\nb/there.png,x\nnowhere.png,y\n")
    with pytest.raises(DataError, match=r"1 of 2 pictures .* line 3: nowhere\.png; bring the files back"):
        formats.read(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_text("image,label\nthere.png,x\n")
    with pytest.raises(DataError, match=r"try --images .*b$"):
        formats.read(tmp_path / "labels.csv")


def test_idx_files_and_their_lies(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 5, dtype=np.uint8)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">HBBIII", 0, 8, 3, 2, 4, 5) + pixels.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + bytes([1, 0]))
    dataset, _ = formats.read(tmp_path)
    assert [int(s.annotation["classes"][0]) for s in dataset] == [1, 0]
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 9) + bytes([1, 0]))
    with pytest.raises(DataError, match="9 bytes"):
        formats.read(tmp_path)


def test_npz_must_hold_uint8_and_no_objects(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, train_images=np.zeros((2, 4, 4), np.float32), train_labels=np.array([0, 1]))
    with pytest.raises(DataError, match="uint8"):
        formats.read(file)
    np.savez(file, train_images=np.array([{}, {}], dtype=object), train_labels=np.array([0, 1]))
    with pytest.raises(SaccadeError):
        formats.read(file)


@pytest.mark.parametrize("name", ["image_folder", "csv"])
def test_written_and_read_again_is_the_same(name: str, tmp_path: Path) -> None:
    dataset, _ = formats.read(folder(tmp_path / "d", ("train", "val")))
    keepers()[name].write(dataset, tmp_path / "copy")
    again, _ = formats.read(tmp_path / "copy", format=name)
    assert again.labels.names == dataset.labels.names
    for split, samples in dataset.splits.items():
        found = sorted((s.image.read_bytes(), s.annotation["classes"].tolist()) for s in samples)  # type: ignore[union-attr]
        back = sorted((s.image.read_bytes(), s.annotation["classes"].tolist()) for s in again.splits[split])  # type: ignore[union-attr]
        assert found == back
    with pytest.raises(StorageError, match="already there"):
        keepers()[name].write(dataset, tmp_path / "copy")


HEADS = {
    "corners": ("filename,class_name,x1,y1,x2,y2", "p0.png,cat,1,2,9,8", [1, 2, 9, 8]),
    "tensorflow": ("filename,width,height,class,xmin,ymin,xmax,ymax", "p0.png,16,12,cat,1,2,9,8", [1, 2, 9, 8]),
    "sizes": ("image,label,x,y,w,h", "p0.png,cat,1,2,8,6", [1, 2, 9, 8]),
    "list": ("image_id,width,height,bbox,source", 'p0,16,12,"[1.0, 2.0, 8.0, 6.0]",x', [1, 2, 9, 8]),
    "shares": ("image,label,xmin,xmax,ymin,ymax", "p0.png,cat,0.0625,0.5625,0.25,0.75", [1, 3, 9, 9]),
}


@pytest.mark.parametrize("kind", HEADS)
def test_csv_of_boxes(kind: str, tmp_path: Path) -> None:
    head, row, box = HEADS[kind]
    picture(tmp_path / "p0.png")
    (tmp_path / "boxes.csv").write_text(f"{head}\n{row}\n{row}\n")
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "csv"
    assert len(dataset) == 1
    assert dataset.splits["all"][0].annotation["boxes"].tolist() == [box, box]
    assert dataset.labels.names == ("object",) if kind == "list" else ("cat",)


def test_csv_of_boxes_names_the_lines_of_its_faults(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"p{i}.png", i)
    rows = [
        "image,split,label,xmin,ymin,xmax,ymax",
        "p0.png,train,cat,1,1,5,5",
        "p0.png,train,cat,1,1,1,5",
        "p0.png,val,cat,nan,1,5,5",
        "p1.png,val,cat,1,x,5,5",
        "p1.png,val,,1,1,5,5",
        "p1.png,val,cat,,,,",
        "p2.png,test,,,,,",
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    dataset, _ = formats.read(tmp_path)
    assert sorted((f.id, f.where) for f in dataset.faults) == [
        ("bad_box", "boxes.csv line 5"),
        ("bad_box", "boxes.csv line 6"),
        ("bad_box", "boxes.csv line 7"),
        ("box_not_finite", "boxes.csv line 4"),
        ("box_without_area", "boxes.csv line 3"),
        ("in_two_splits", "boxes.csv line 2"),
    ]
    # What is measured on stays measured on, with all its boxes.
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {
        "val": ["p0.png", "p1.png"],
        "test": ["p2.png"],
    }
    assert dataset.splits["val"][0].annotation["boxes"].tolist() == [[1, 1, 5, 5]]
    assert dataset.splits["test"][0].annotation["boxes"].shape == (0, 4)


def test_a_table_of_boxes_names_every_line_without_its_picture(tmp_path: Path) -> None:
    for place in ("d/p0.png", "d/p0.jpg", "d/p1.png", "out.png"):
        picture(tmp_path / place)
    names = [
        "p1.png",
        *(f"gone{i}.png" for i in range(5)),
        "p0",
        "",
        "../out.png",
        f"{tmp_path}/out.png",
        "..\\out.png",
    ]
    rows = [f"{name},cat,1,1,5,5" for name in names]
    (tmp_path / "d" / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows]))
    dataset, _ = formats.read(tmp_path / "d")
    assert [s.key for s in dataset] == ["p1.png"]
    lines: dict[str, list[str]] = {}
    for fault in dataset.faults:
        lines.setdefault(fault.id, []).append(fault.where)
    assert lines == {
        "path_outside": [f"boxes.csv line {i}" for i in (10, 11, 12)],
        "missing_image": [f"boxes.csv line {i}" for i in (3, 4, 5, 6, 7, 9, 8)],
    }
    found = {f.id: f for f in check(dataset)}
    assert found["missing_image"].count == 7
    assert found["path_outside"].severity == "ERROR"
    assert (
        found["path_outside"].files[0]
        == "boxes.csv line 10: '../out.png' leads out of the folder, which is not followed"
    )
    # Without one picture it is the folder that is wrong, not the lines.
    (tmp_path / "d" / "boxes.csv").write_text("\n".join(["image,label,xmin,ymin,xmax,ymax", *rows[1:6]]))
    with pytest.raises(DataError, match=r"5 of 5 pictures that are not there: line 2: gone0\.png.* and 2 more"):
        formats.read(tmp_path / "d")


def test_a_table_of_labels_does_not_follow_paths_that_lead_out(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "d" / f"p{i}.png", i)
    picture(tmp_path / "out.png", 9)
    rows = ["image,label", "p0.png,x", "p1.png,y", f"{tmp_path}/out.png,x", "../out.png,x", "p2.png,x"]
    (tmp_path / "d" / "labels.csv").write_text("\n".join(rows))
    dataset, _ = formats.read(tmp_path / "d")
    assert [s.key for s in dataset] == ["p0.png", "p1.png", "p2.png"]
    assert [(f.id, f.where) for f in dataset.faults] == [
        ("path_outside", "labels.csv line 4"),
        ("path_outside", "labels.csv line 5"),
    ]


def test_a_labelled_picture_of_two_splits_stays_where_it_is_measured_on(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"p{i}.png", i)
    rows = [
        "image,label,split",
        "p0.png,x,train",
        "p1.png,y,train",
        "p2.png,x,train",
        "p0.png,x,test",
        "p1.png,y,train",
        "p0.png,x,val",
    ]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    dataset, _ = formats.read(tmp_path)
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {
        "train": ["p1.png", "p2.png"],
        "test": ["p0.png"],
    }
    assert [(f.id, f.where, f.text) for f in dataset.faults] == [
        ("in_two_splits", f"labels.csv line {line}", "p0.png is in test as well, and stays there") for line in (2, 7)
    ]
    assert [i.path for i in dataset.ignored] == ["p1.png (line 6)"]


@pytest.mark.parametrize(
    ("head", "row", "to", "told"),
    [
        (
            "image,label,xmin,ymin,xmax,ymax,occluded,,score",
            "{},cat,1,1,5,5,1,0,0.5",
            "voc",
            "3 columns are not read: occluded, one without a name, score",
        ),
        ("image,label,score", "{},cat,0.5", "image_folder", "1 columns are not read: score"),
    ],
)
def test_columns_that_no_annotation_holds_are_said(head: str, row: str, to: str, told: str, tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / "d" / f"p{i}.png", i)
    rows = [row.format(f"p{i}.png") for i in range(2)]
    (tmp_path / "d" / "table.csv").write_text("\n".join([head, *rows]))
    assert formats.read(tmp_path / "d")[0].unheld == (told,)
    assert told in data.convert(tmp_path / "d", tmp_path / "copy", to=to).lost


@pytest.mark.parametrize(("head", "box"), [("image,target", ""), ("image,target,xmin,ymin,xmax,ymax", ",1,1,5,5")])
def test_a_measured_number_is_no_class(head: str, box: str, tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    rows = [f"p0.png,{i / 7}{box}" for i in range(MOST_CLASSES + 1)]
    (tmp_path / "table.csv").write_text("\n".join([head, *rows]))
    with pytest.raises(DataError, match=r"table\.csv has 10,001 different labels, expected at most 10,000 classes"):
        formats.read(tmp_path)
    (tmp_path / "table.csv").write_text("\n".join([head, *rows[1:]]))
    assert len(formats.read(tmp_path)[0].labels) == MOST_CLASSES
