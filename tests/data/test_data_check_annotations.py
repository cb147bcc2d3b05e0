"""What the doctor sees in boxes and masks, each planted once; the contact sheet shows them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data import outlines
from saccade.data.check import check, sheet
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


def test_tiny_is_what_the_network_sees_as_tiny() -> None:
    large = boxed([(0, 0, 11, 50), (0, 0, 12, 50)], size=(1280, 100))
    at_320 = found(large)["tiny_box"]
    assert at_320.count == 1
    assert "320 px a side" in at_320.sentence
    assert at_320.fix == "saccade train DATA --set size=352"
    assert 352 * 11 / 1280 >= 3
    assert "tiny_box" not in {f.id for f in check(large, side_px=352)}
    # Pictures are never enlarged for this.
    assert "tiny_box" in {f.id for f in check(boxed([(0, 0, 2.9, 50)]), side_px=2048)}


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


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_a_fixed_copy_of_boxes(tmp_path: Path, layout: str) -> None:
    """Damage and copies go, contradictions go, what the reader had to cut stays cut, and the data are as they were."""
    good = boxed([(10, 10, 90, 80), (20, 5, 60, 60)], [(5, 5, 50, 50)], [], [(7, 7, 70, 70)],
                     [(0, 0, 30, 30)], [(1, 2, 33, 44)])  # fmt: skip
    keepers()[layout].write(good, tmp_path / "d")
    pictures = sorted(p for p in (tmp_path / "d").rglob("*.png"))
    assert len(pictures) == 6
    pictures[1].write_bytes(b"")  # damaged
    pictures[4].write_bytes(pictures[3].read_bytes())  # the same picture with other boxes
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()}
    assert main(["check", str(tmp_path / "d"), "--fix", "--out", str(tmp_path / "copy")]) == 1
    assert {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()} == before
    health = saccade.check(tmp_path / "copy")
    assert not [f for f in health.findings if f.severity == "ERROR"]
    held = {Path(s.key).name: s.annotation["boxes"].tolist() for s in health.dataset}
    assert held == {"p0.png": [[10, 10, 90, 80], [20, 5, 60, 60]], "p2.png": [], "p5.png": [[1, 2, 33, 44]]}
    assert health.dataset.labels.names[0] == LABELS.names[0]


def test_a_fixed_copy_of_masks(tmp_path: Path) -> None:
    plain = np.zeros((40, 60), np.uint8)
    plain[:, 30:] = 1
    plain[0] = 255
    other = np.roll(plain, 7, 1)
    keepers()["masks"].write(masked(plain, other, plain, other), tmp_path / "d")
    pictures = sorted((tmp_path / "d" / "images").glob("*.png"))
    masks = sorted((tmp_path / "d" / "masks").glob("*.png"))
    assert len(pictures) == len(masks) == 4
    pictures[2].write_bytes(pictures[0].read_bytes())  # a copy with the same mask
    Image.fromarray(np.full((9, 9), 1, np.uint8)).save(masks[3])  # of another size
    before = {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()}
    assert main(["check", str(tmp_path / "d"), "--fix", "--out", str(tmp_path / "copy")]) == 1
    assert {p: p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()} == before
    health = saccade.check(tmp_path / "copy")
    assert not [f for f in health.findings if f.severity == "ERROR"]
    held = {Path(s.key).name: s.annotation["mask"] for s in health.dataset}
    assert sorted(held) == ["p0.png", "p1.png"]
    np.testing.assert_array_equal(held["p0.png"], plain)
    np.testing.assert_array_equal(held["p1.png"], other)


def outlined(root: Path, *shapes: dict[str, object]) -> dict[str, Finding]:
    """Findings on a COCO file of one picture of 200 x 100 px with these annotations."""
    (root / "p.png").parent.mkdir(parents=True, exist_ok=True)
    (root / "p.png").write_bytes(picture(0, 200, 100))
    record = {
        "images": [{"id": 1, "file_name": "p.png", "width": 200, "height": 100}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, **s} for i, s in enumerate(shapes)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / "_annotations.coco.json").write_text(json.dumps(record))
    return {f.id: f for f in saccade.check(root).findings}


SQUARE = [10, 10, 90, 10, 90, 90, 10, 90]
BOW = [10, 10, 90, 90, 90, 10, 10, 90]


def test_a_fixed_copy_tells_what_it_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outlined(tmp_path / "d", {"bbox": [10, 10, 80, 80], "segmentation": [SQUARE], "keypoints": [11, 12, 2]})
    main(["check", str(tmp_path / "d"), "--fix", "--out", str(tmp_path / "copy"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["changes"] == []
    assert told["lost"] == [
        "the keypoints of 1 objects are not read",
        "the outlines of 1 objects are read as their boxes; --format coco_masks reads them",
    ]
    main(["check", str(tmp_path / "d"), "--fix", "--out", str(tmp_path / "again")])
    assert "  not kept: the keypoints of 1 objects are not read\n" in capsys.readouterr().out


def test_a_fixed_copy_tells_of_a_class_that_went_with_its_picture(tmp_path: Path) -> None:
    dataset = boxed([(10, 10, 90, 80), (20, 5, 60, 60)], [(5, 5, 50, 50), (5, 5, 60, 60)], ids=[0, 1])
    first, second = dataset.splits["all"]
    first = Sample(first.key, first.image, {**first.annotation, "box_classes": np.array([0, 0])})
    keepers()["voc"].write(Dataset("t", Path(), LABELS, {"all": (first, second)}), tmp_path / "d")
    (tmp_path / "d" / "JPEGImages" / "p1.png").write_bytes(b"")
    repair = saccade.check(tmp_path / "d").fix(tmp_path / "copy")
    assert [c.path for c in repair.changes] == ["JPEGImages/p1.png"]
    assert repair.lost == ("1 classes that no picture shows are not in the copy: dog",)


def test_outlines_that_cross_themselves(tmp_path: Path) -> None:
    box = [10, 10, 80, 80]
    assert "crossed_polygon" not in outlined(tmp_path / "a", {"bbox": box, "segmentation": [SQUARE]})
    seen = outlined(
        tmp_path / "b", {"bbox": box, "segmentation": [SQUARE]}, {"bbox": box, "segmentation": [SQUARE, BOW]}
    )
    assert seen["crossed_polygon"].count == 1
    assert seen["crossed_polygon"].files[0].startswith("_annotations.coco.json annotations[1]: its sides cross")
    # The same file read as masks says the same.
    masks = saccade.check(tmp_path / "b", format="coco_masks").findings
    assert [f.count for f in masks if f.id == "crossed_polygon"] == [1]
    # A knot of rounding, and an outline that cannot be read, are no crossing.
    knot = [10, 10, 90, 10, 90, 90, 89, 89, 90, 89.5, 10, 90]
    assert "crossed_polygon" not in outlined(tmp_path / "c", {"bbox": box, "segmentation": [knot]})
    assert "crossed_polygon" not in outlined(tmp_path / "d", {"bbox": box, "segmentation": [[1, 2], "x", None]})


def test_polygons_of_yolo_are_looked_at(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "p.png").write_bytes(picture(0, 200, 100))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    lines = [" ".join(["0", *(str(v / (200, 100)[i % 2]) for i, v in enumerate(points))]) for points in (SQUARE, BOW)]
    (tmp_path / "labels" / "p.txt").write_text("\n".join(lines))
    (crossed,) = [f for f in saccade.check(tmp_path).findings if f.id == "crossed_polygon"]
    assert crossed.files == ("labels/p.txt line 2: its sides cross, and what they enclose twice counts as outside",)


def test_boxes_beside_their_outline(tmp_path: Path) -> None:
    near = {"bbox": [9, 9, 82, 82], "segmentation": [SQUARE]}
    far = {"bbox": [30, 10, 80, 80], "segmentation": [SQUARE]}
    alone = {"bbox": [30, 10, 80, 80], "segmentation": []}
    unsure = {"bbox": [30, 10, 80, float("nan")], "segmentation": [SQUARE]}
    seen = outlined(tmp_path / "a", near, far, alone, unsure)
    assert seen["box_off_outline"].files == (
        "_annotations.coco.json annotations[1]: the box is 30, 10, 110, 90, its outline reaches over 10, 10, 90, 90",
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=12, unique=True))
def test_crossings_are_those_of_pairs_of_sides(points: list[tuple[int, int]]) -> None:
    """Against every pair of sides on paper: two sides cross when each has its ends on both sides of the other."""
    n = len(points)
    sides = [(points[i], points[(i + 1) % n]) for i in range(n)]

    def turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    def cross(one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]) -> bool:
        (a, b), (c, d) = one, other
        long = all(np.hypot(q[0] - p[0], q[1] - p[1]) > 2 for p, q in (one, other))
        return long and turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0

    apart = [(i, j) for i in range(n) for j in range(i + 2, n) if (i, j) != (0, n - 1)]
    expected = any(cross(sides[i], sides[j]) for i, j in apart)
    assert outlines.crossed([np.array(points), np.array(SQUARE).reshape(-1, 2)]).tolist() == [expected, False]


def test_a_copied_mask_is_told() -> None:
    plain = np.zeros((40, 60), np.uint8)
    plain[:, 30:] = 1
    assert found(masked(plain, np.roll(plain, 3, 1), plain))["same_mask"].files == ("p0.png and p2.png",)
    assert "same_mask" not in found(masked(np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)))


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_frames_of_one_video_in_two_splits(kind: str) -> None:
    """A camera that moves over a long wall; every fourth frame is held out. Numbered photos of other walls are no
    video."""
    random = np.random.default_rng(0)

    def wall() -> Array:
        rough = random.integers(0, 256, (6, 24, 3)).astype(np.uint8)
        return np.asarray(Image.fromarray(rough).resize((1600, 240), Image.Resampling.BICUBIC))

    def frames(moving: bool) -> Dataset:
        long = wall()
        shown = [(long if moving else wall())[:, 15 * i :][:, :320] for i in range(28)]
        record = (
            {"boxes": np.array([[5, 5, 90, 90]], np.float32), "box_classes": np.zeros(1, np.int64)}
            if kind == "boxes"
            else {"mask": np.tile(np.arange(2, dtype=np.uint8), (240, 160))}
        )
        samples = [
            Sample(f"{'val' if i % 4 == 3 else 'train'}/frame_{i:04}.png", p, record) for i, p in enumerate(shown)
        ]
        parts = {s: tuple(x for x in samples if x.key.startswith(s)) for s in ("train", "val")}
        return Dataset("t", Path(), LABELS, parts)

    told = found(frames(moving=True), full=True)["video_in_two_splits"]
    assert told.count >= 6
    assert "val/frame_0003.png and train/frame_000" in told.files[0]
    assert "video_in_two_splits" not in found(frames(moving=False), full=True)
