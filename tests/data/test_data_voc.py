"""Pascal VOC: every layout and counting from 1 or 0; what is wrong in a file is named with its line, never raised."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data import formats
from saccade.data.check import check
from saccade.data.convert import convert
from saccade.errors import DataError
from saccade.images.decode import decode


def picture(file: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def xml(file: Path, *objects: str, width: int = 40, height: int = 30) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    file.write_text("<annotation>\n" + size + "\n" + "\n".join(objects) + "\n</annotation>")
    return file


def thing(name: str, *corners: object, more: str = "") -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


def devkit(root: Path) -> Path:
    for i in range(6):
        picture(root / "JPEGImages" / f"p{i}.png", i)
        xml(root / "Annotations" / f"p{i}.xml", thing("dog", 1, 1, 10, 20), thing("cat", 11, 2, 40, 30))
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("p0\np1\np2\n")
    (lists / "val.txt").write_text("p3\n")
    (lists / "test.txt").write_text("p4\np5\n")
    (lists / "trainval.txt").write_text("p0\np1\np2\np3\n")
    return root


def test_the_devkit_counts_from_one_and_keeps_its_lists(tmp_path: Path) -> None:
    dataset, evidence = formats.read(devkit(tmp_path / "d"))
    assert evidence.format == "voc"
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 3, "val": 1, "test": 2}
    assert dataset.labels.names == ("cat", "dog")
    record = dataset.splits["train"][0].annotation
    assert record["boxes"].tolist() == [[0, 0, 10, 20], [10, 1, 40, 30]]
    assert record["boxes"].dtype == np.float32
    assert record["box_classes"].tolist() == [1, 0]
    assert "from 1" in dataset.notes[0]
    assert not dataset.faults


def test_annotations_in_folders_belong_to_pictures_in_folders_of_the_same_name(tmp_path: Path) -> None:
    for k, camera in enumerate(("left", "right/far")):
        for i in range(3):
            (tmp_path / "JPEGImages" / camera).mkdir(parents=True, exist_ok=True)
            (tmp_path / "Annotations" / camera).mkdir(parents=True, exist_ok=True)
            picture(tmp_path / "JPEGImages" / camera / f"{i}.png", 3 * k + i)
            xml(tmp_path / "Annotations" / camera / f"{i}.xml", thing(("dog", "cat")[k], 1, 1, 10 + i, 20))
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "voc"
    assert "(6)" in evidence.facts[0]
    assert not dataset.faults
    told = {s.key: (int(s.annotation["box_classes"][0]), float(s.annotation["boxes"][0, 2])) for s in dataset}
    assert told == {
        f"JPEGImages/{camera}/{i}.png": (1 - k, 10.0 + i)
        for k, camera in enumerate(("left", "right/far"))
        for i in range(3)
    }


def test_folders_of_one_name_lists_of_paths_and_circles(tmp_path: Path) -> None:
    """Pictures that lie beside Annotations/, in folders whose last names are the same."""
    for k, side in enumerate(("left", "right")):
        for i in range(2):
            picture(tmp_path / side / "far" / f"{i}.png", 2 * k + i)
            xml(tmp_path / "Annotations" / side / "far" / f"{i}.xml", thing(("dog", "cat")[k], 1, 1, 10, 20))
    (tmp_path / "Annotations" / "round").symlink_to(tmp_path / "Annotations")
    dataset, evidence = formats.read(tmp_path)
    assert "(4)" in evidence.facts[0]
    assert not dataset.faults
    told = {s.key: dataset.labels.names[int(s.annotation["box_classes"][0])] for s in dataset}
    assert told == {f"{side}/far/{i}.png": name for side, name in (("left", "dog"), ("right", "cat")) for i in range(2)}
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("left/far/0\nright/far/1.png\n")
    (lists / "val.txt").write_text("left/far/1\nright/far/0\nleft/far/2\n")
    dataset, _ = formats.read(tmp_path)
    assert {k: sorted(s.key for s in v) for k, v in dataset.splits.items()} == {
        "train": ["left/far/0.png", "right/far/1.png"],
        "val": ["left/far/1.png", "right/far/0.png"],
    }
    assert [(f.id, f.text) for f in dataset.faults] == [("missing_image", "2 has no picture or no XML file")]


def test_a_picture_in_a_folder_is_not_taken_for_one_outside_of_it(tmp_path: Path) -> None:
    for i, below in enumerate(("0", "left/0")):
        picture(tmp_path / "JPEGImages" / f"{below}.png", i)
        xml(tmp_path / "Annotations" / f"{below}.xml", thing(("dog", "cat")[i], 1, 1, 10, 20))
    dataset, _ = formats.read(tmp_path)
    assert not dataset.faults
    told = {s.key: dataset.labels.names[int(s.annotation["box_classes"][0])] for s in dataset}
    assert told == {"JPEGImages/0.png": "dog", "JPEGImages/left/0.png": "cat"}


def test_what_files_say_beside_boxes_is_counted(tmp_path: Path) -> None:
    root = devkit(tmp_path / "d")
    assert formats.read(root)[0].unheld == ()
    silent = "<pose>Unspecified</pose><truncated>0</truncated><occluded>0</occluded>"
    said = "<pose>Left</pose><truncated>1</truncated><occluded>1</occluded>"
    for i, more in enumerate((silent, said, "<truncated>1</truncated>")):
        xml(root / "Annotations" / f"p{i}.xml", thing("dog", 2, 2, 9, 9, more=more), thing("cat", 2, 2, 9, 9))
    dataset, _ = formats.read(root)
    assert dataset.unheld == (
        "<truncated> of 2 objects is not read",
        "<occluded> of 1 objects is not read",
        "<pose> of 1 objects is not read",
    )
    assert set(dataset.unheld) <= set(convert(dataset, "voc", tmp_path / "copy").lost)


def test_coordinates_of_zero_show_that_files_count_from_zero(tmp_path: Path) -> None:
    root = devkit(tmp_path / "d")
    xml(root / "Annotations" / "p0.xml", thing("dog", 0, 0, 10, 20))
    dataset, _ = formats.read(root)
    assert "from 0" in dataset.notes[0]
    assert dataset.splits["train"][0].annotation["boxes"].tolist() == [[0, 0, 10, 20]]
    assert dataset.splits["train"][1].annotation["boxes"].tolist()[0] == [1, 1, 10, 20]


def test_xml_beside_pictures_in_split_folders(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for i in range(2):
            picture(tmp_path / split / f"{i}.jpg", i)
            xml(tmp_path / split / f"{i}.xml", thing("a b", 2, 2, 9, 9, more="<difficult>1</difficult>"))
    dataset, evidence = formats.read(tmp_path)
    assert evidence.format == "voc"
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 2, "val": 2}
    assert dataset.splits["val"][0].annotation["box_difficult"].tolist() == [True]
    assert {s.key for s in dataset} == {"train/0.jpg", "train/1.jpg", "valid/0.jpg", "valid/1.jpg"}


def test_boxes_drawn_on_the_stored_rows_are_turned_with_the_picture(tmp_path: Path) -> None:
    for orientation in (6, 8):
        root = tmp_path / str(orientation)
        stored = np.zeros((30, 40, 3), np.uint8)
        stored[2:6, 10:30] = 255
        file = root / "p.jpg"
        root.mkdir()
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(file, exif=exif, quality=95)
        xml(root / "p.xml", thing("bar", 11, 3, 30, 6))
        sample = formats.read(root)[0].splits["all"][0]
        upright = decode(file)
        ys, xs = np.nonzero(upright[:, :, 0] > 128)
        left, top, right, bottom = sample.annotation["boxes"][0].tolist()
        assert (left, top, right, bottom) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_what_is_wrong_is_a_finding_with_its_line(tmp_path: Path) -> None:
    root = devkit(tmp_path / "d")
    notes = root / "Annotations"
    xml(notes / "p0.xml", thing("dog", 5, 5, 5, 5), thing("dog", 3, 3, "nan", 9), thing("dog", 2, 2, "x", 4))
    xml(notes / "p1.xml", thing("dog", 2, 2, 99, 20), thing("dog", 50, 50, 60, 60), thing("", 2, 2, 4, 4))
    xml(notes / "p2.xml", thing("dog", 2, 2, 9, 9), width=80, height=60)
    (notes / "p3.xml").write_text("<annotation><object>")
    xml(notes / "lost.xml", thing("dog", 2, 2, 9, 9))
    picture(root / "JPEGImages" / "bare.png", 77)
    (root / "ImageSets" / "Main" / "val.txt").write_text("p3\np4\n")
    dataset, _ = formats.read(root)
    found = {f.id: f for f in check(dataset)}
    for id, where in {
        "box_without_area": "Annotations/p0.xml line 3: 5, 5, 5, 5 has no area",
        "box_not_finite": "Annotations/p0.xml line 4",
        "box_clipped": "Annotations/p1.xml line 3",
        "box_off_image": "Annotations/p1.xml line 4",
        "other_size": "Annotations/p2.xml: says 80 x 60 px, the picture has 40 x 30",
        "bad_annotation": "Annotations/p3.xml",
        "missing_annotation": "JPEGImages/bare.png",
    }.items():
        assert found[id].count == 1, id
        assert found[id].files[0].startswith(where), found[id].files
    assert found["bad_box"].count == 2
    assert {f.split(":")[0] for f in found["missing_image"].files} == {"Annotations/lost.xml", "ImageSets/Main/val.txt"}
    assert found["in_two_splits"].count == 1
    assert dataset.splits["train"][1].annotation["boxes"].tolist() == [[1, 1, 40, 20]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>',
            "line 1 declares a document type",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "line 1 declares a document type"),
        ("<annotation>" + "<a>" * 60 + "</a>" * 60 + "</annotation>", "nested deeper than 32"),
        ("<annotation>" + " " * 1_100_000 + "</annotation>", "limit 1,048,576"),
        ("<annotation>&nothing;</annotation>", "line 1 is no XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "p0.xml"),
        ("<svg/>", "expected <annotation>, got <svg>"),
        ("", "line 1 is no XML"),
    ],
)
def test_hostile_xml_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    root = devkit(tmp_path / "d")
    (root / "Annotations" / "p0.xml").write_text(text)
    found = {f.id: f for f in check(formats.read(root)[0])}
    assert found["bad_annotation"].severity == "ERROR"
    assert sentence in found["bad_annotation"].files[0]


def test_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    xml(tmp_path / "a.xml")
    with pytest.raises(DataError, match="not one object"):
        formats.read(tmp_path)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((80, 60), "6 of 6 pictures are stated 2 times as large as they are; coordinates would have to be multiplied by 0.5"),
        ((20, 15), "6 of 6 pictures are stated 0.5 times as large as they are; coordinates would have to be multiplied by 2"),
        ((120, 45), "stated 3 (width) and 1.5 (height) times as large as they are; coordinates would have to be multiplied by 0.3333 and 0.6667"),
    ],
)  # fmt: skip
def test_sizes_that_differ_by_one_ratio_are_another_resolution(
    size: tuple[int, int], told: str, tmp_path: Path
) -> None:
    root = devkit(tmp_path / "d")
    for i in range(6):
        xml(root / "Annotations" / f"p{i}.xml", thing("dog", 2, 2, 9, 9), width=size[0], height=size[1])
    found = {f.id: f for f in check(formats.read(root)[0])}
    assert found["other_resolution"].severity == "ERROR"
    assert found["other_resolution"].files[0].startswith("Annotations/p0.xml: ")
    assert told in found["other_resolution"].files[0]
    assert found["other_size"].count == 6


def test_sizes_that_differ_each_in_its_way_are_no_resolution(tmp_path: Path) -> None:
    root = devkit(tmp_path / "d")
    for i in range(6):
        xml(root / "Annotations" / f"p{i}.xml", thing("dog", 2, 2, 9, 9), width=80 + 30 * i, height=60 + 10 * i)
    assert "other_resolution" not in {f.id for f in check(formats.read(root)[0])}
    for i in range(6):  # no more than half of them
        xml(
            root / "Annotations" / f"p{i}.xml",
            thing("dog", 2, 2, 9, 9),
            width=80 if i < 3 else 40,
            height=60 if i < 3 else 30,
        )
    assert "other_resolution" not in {f.id for f in check(formats.read(root)[0])}


def test_masks_of_the_devkit_are_not_taken_for_its_pictures(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / "JPEGImages" / f"p{i}.jpg", i)
        for masks in ("SegmentationClass", "SegmentationObject"):
            picture(tmp_path / masks / f"p{i}.png", i)
        xml(tmp_path / "Annotations" / f"p{i}.xml", f"<filename>p{i}.jpg</filename>", thing("dog", 2, 2, 9, 9))
    dataset, _ = formats.read(tmp_path, format="voc")
    assert [s.key for s in dataset] == ["JPEGImages/p0.jpg", "JPEGImages/p1.jpg"]
    assert "missing_image" not in {f.id for f in dataset.faults}


def test_of_pictures_that_a_file_names_the_nearest_is_its_own(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / split / "0.jpg", len(split))
        xml(tmp_path / split / "0.xml", "<filename>0.jpg</filename>", thing("dog", 2, 2, 9, 9))
    dataset, _ = formats.read(tmp_path)
    assert {k: [s.key for s in v] for k, v in dataset.splits.items()} == {
        "train": ["train/0.jpg"],
        "val": ["valid/0.jpg"],
    }
    assert not dataset.faults
