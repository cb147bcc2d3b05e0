"""A small world for each finding of the doctor that no other test plants."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data import folder, formats
from saccade.data.check import check
from saccade.data.check.finding import KINDS, Finding
from saccade.data.check.labels import MOST_ALIKE, one_edit
from saccade.data.dataset import Dataset, Ignored
from saccade.data.fingerprint import ALIKE, NEAR, perceptual_print
from saccade.data.splits import split
from saccade.types import Array, Labels, Sample

AB = ("ab", "cd")


def picture(seed: int, width: int = 96, height: int = 72) -> Array:
    """A soft scene, other than any of another seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def twin(pixels: Array, quality: int = 60) -> bytes:
    """The same picture, sent on by a phone: smaller, and compressed again."""
    out = io.BytesIO()
    Image.fromarray(pixels).resize((70, 52)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def sample(key: str, image: Array | bytes | Path, *classes: int, group: str | None = None) -> Sample:
    return Sample(key, image, {"classes": np.array(classes, np.int64)}, group)


def plain(split_name: str, counts: Sequence[int], first: int = 0) -> tuple[Sample, ...]:
    """So many pictures of each class."""
    made = []
    for label, count in enumerate(counts):
        for i in range(count):
            made.append(sample(f"{split_name}/{label}/{i}", picture(first + 1000 * label + i), label))
    return tuple(made)


def found(splits: dict[str, Sequence[Sample]], names: tuple[str, ...] = AB, full: bool = False, **more: object) -> dict[str, Finding]:  # fmt: skip
    data = Dataset("t", Path(), Labels(names), {k: tuple(v) for k, v in splits.items()}, **more)  # type: ignore[arg-type]
    return {f.id: f for f in check(data, full=full)}


def test_every_kind_of_finding_is_planted_somewhere() -> None:
    tests = "".join(f.read_text(encoding="utf-8") for f in Path(__file__).parents[1].rglob("test_*.py"))
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []


def test_pictures_of_odd_kinds(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.gif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(1)).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(picture(2)).convert("L").save(tmp_path / "grey.png")
    files_of = [sample(p.name, p, 0) for p in sorted(tmp_path.iterdir())]
    told = found({"all": [*files_of, sample("even", np.full((40, 40, 3), 9, np.uint8), 1)]}, full=True)
    assert told["unsupported_format"].files[0].startswith("a.gif")
    assert told["exif_orientation"].files == ("turned.jpg (orientation 6)",)
    assert "grey.png" in str(told["mixed_modes"].files) or "turned.jpg" in str(told["mixed_modes"].files)
    assert told["blank_image"].files == ("even",)


def test_links_that_lead_out_of_the_data(tmp_path: Path) -> None:
    root, store = tmp_path / "d", tmp_path / "store"
    for place in (store, root / "ab", root / "cd"):
        place.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(picture(i)).save(store / f"{i}.png")
    Image.fromarray(picture(9)).save(root / "cd" / "own.png")
    (root / "ab" / "0.png").symlink_to(store / "0.png")
    (root / "ef").symlink_to(store)
    (root / "cd" / "near.png").symlink_to(root / "cd" / "own.png")
    (root / "cd" / "gone.png").symlink_to(store / "none.png")
    dataset, _ = formats.read(root)
    assert len(dataset) == 6
    told = {f.id: f for f in check(dataset)}["link_outside"]
    assert (told.severity, told.files) == ("INFO", ("ab/0.png", "ef"))
    assert told.sentence == "2 files are links that lead out of the data; a copy holds what they point to"
    # Of a table only what is on the way to its pictures.
    (root / "labels.csv").write_text("image,label\nab/0.png,x\ncd/own.png,y\n")
    told = {f.id: f for f in check(formats.read(root / "labels.csv")[0])}["link_outside"]
    assert told.files == ("ab/0.png",)
    assert told.sentence == "1 file is a link that leads out of the data; a copy holds what it points to"
    (root / "labels.csv").write_text("image,label\ncd/near.png,x\ncd/own.png,y\n")
    assert "link_outside" not in {f.id for f in check(formats.read(root / "labels.csv")[0])}


def test_a_disk_that_sets_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    pictures = {"all": [sample("a.png", tmp_path / "a.png", 0)]}
    monkeypatch.setattr(sys.modules["saccade.data.check.files"], "SLOW_S", 60.0)
    assert "slow_disk" not in found(pictures)
    monkeypatch.setattr(sys.modules["saccade.data.check.files"], "SLOW_S", 0.0)
    assert found(pictures)["slow_disk"].files[0].startswith("a.png (")


def test_classes_that_are_too_few_or_absent() -> None:
    told = found({"all": plain("all", (2, 12, 0))}, ("ab", "cd", "none of it"))
    assert told["too_few_to_split"].files == ("ab (2)",)
    assert told["few_images"].files == ("ab (2)",)
    assert told["unused_class"].files == ("none of it",)
    told = found({"train": plain("train", (12, 0)), "val": plain("val", (3, 3), 50), "test": plain("test", (0, 3), 90)})
    assert told["absent_from_train"].files == ("cd",)
    assert told["absent_from_test"].files == ("ab",)
    assert "absent_from_val" not in told
    told = found({"train": plain("t", (12, 12)), "val": plain("v", (3, 0), 50), "test": plain("e", (3, 3), 90)})
    assert told["absent_from_val"].files == ("cd",)


@pytest.mark.parametrize("kind", ["boxes", "mask", "tags", "labels"])
def test_a_class_of_one_image_stops_only_where_an_image_has_one_class(kind: str) -> None:
    """A long tail can be learnt and split all the same; what holds one class an image cannot."""
    made = []
    for i in range(24):
        rare = i == 7
        record: dict[str, Array] = {
            "boxes": {"boxes": np.array([[5, 5, 40, 40]], np.float32), "box_classes": np.array([int(rare)])},
            "mask": {"mask": np.tile(np.array([0, 0, int(rare)], np.uint8), (72, 32))},
            "tags": {"classes": np.array([0, 1] if rare else [0], np.int64)},
            "labels": {"classes": np.array([int(rare)], np.int64)},
        }[kind]
        made.append(Sample(f"{i}.png", picture(i), record))
    data = Dataset("t", Path(), Labels(AB, exclusive=kind == "labels"), {"all": tuple(made)})
    told = {f.id: f for f in check(data)}
    assert told["single_image_class"].files == ("cd",)
    assert told["single_image_class"].severity == ("ERROR" if kind == "labels" else "WARN")
    if kind != "labels":
        parted = split(data, seed=0)
        assert sum(map(len, parted.splits.values())) == 24
        assert not [f for f in check(parted) if f.severity == "ERROR"]


def test_labels_that_are_missing_misspelt_or_lopsided() -> None:
    left = (Ignored("x.png (line 3)", folder.NO_LABEL),)
    told = found({"all": plain("all", (43, 2))}, (" ab", "cd"), ignored=left)
    assert told["missing_label"].files == ("x.png (line 3)",)
    assert told["spaced_name"].files == ("' ab'",)
    assert told["imbalance"].sentence.startswith(" ab has 22 times the images of cd")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abB1", min_size=1, max_size=7), min_size=2, max_size=12, unique=True))
def test_similar_names_are_those_of_pairs(names: list[str]) -> None:
    """Against every pair of names, although only those that share letters are compared."""
    near = [
        f"{a} and {b}"
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if a.casefold() == b.casefold() or one_edit(a.casefold(), b.casefold())
    ]
    told = found({"all": [sample("p", np.zeros((8, 8, 3), np.uint8), 0)]}, tuple(names)).get("similar_names")
    assert (told.count if told else 0, told.files if told else ()) == (len(near), tuple(near))


def test_a_typo_among_ten_thousand_names_is_found() -> None:
    names = (*(f"part {i:05}" for i in range(10_000)), "tabby", "taby")
    told = found({"all": [sample("p", picture(0), 0)]}, names)
    assert told["similar_names"].files == ("tabby and taby",)


def test_names_that_letters_number_are_no_typos() -> None:
    """The characters of a script, each a class."""
    names = tuple(f"sign {chr(0x4E00 + i)}" for i in range(MOST_ALIKE + 1))
    assert "similar_names" not in found({"all": [sample("p", picture(0), 0)]}, names)
    assert found({"all": [sample("p", picture(0), 0)]}, names[1:])["similar_names"].count == 50 * 49 // 2


def test_alike_pictures_are_found_and_stay_on_one_side() -> None:
    scenes = [picture(i) for i in range(40)]
    whole, again = perceptual_print(sample("a", scenes[0])), perceptual_print(sample("b", twin(scenes[0])))
    assert whole is not None
    assert again is not None
    assert whole.bits is not None
    assert again.bits is not None
    assert (whole.bits ^ again.bits).bit_count() <= NEAR
    assert float(whole.grey @ again.grey) >= ALIKE
    data = [sample(f"{i}", s, i % 2) for i, s in enumerate(scenes)]
    twins = [sample(f"twin {i}", twin(scenes[i]), i % 2) for i in range(8)]
    told = found({"all": [*data, *twins]}, full=True)
    assert told["near_duplicate"].count == 8
    told = found({"train": data, "test": twins}, full=True)
    assert told["leak_near"].count == 8
    assert "near_two_labels" not in told
    torn = [sample(f"twin {i}", twin(scenes[i]), 1 - i % 2) for i in range(3)]
    assert found({"all": [*data, *torn]}, full=True)["near_two_labels"].count == 3
    made = split(Dataset("t", Path(), Labels(AB), {"all": (*data, *twins)}), seed=4)
    side = {s.key: name for name, part in made.splits.items() for s in part}
    assert all(side[f"twin {i}"] == side[f"{i}"] for i in range(8))


def test_groups_that_stand_on_two_sides() -> None:
    one = sample("a", picture(0), 0, group="patient 7")
    other = sample("b", picture(1), 0, group="patient 7")
    told = found({"train": [one], "test": [other]})
    assert told["group_in_two_splits"].files == ("patient 7 (test, train)",)


def test_splits_that_differ_from_what_is_learned() -> None:
    train = plain("train", (60, 60))
    dark = [sample(f"test/{i}", (picture(500 + i) // 4).astype(np.uint8), 0) for i in range(60)]
    large = [sample(f"val/{i}", picture(800 + i, 240, 180), i % 2) for i in range(20)]
    told = found({"train": train, "val": large, "test": dark}, full=True)
    assert told["label_shift"].files[0].startswith("test: PSI")
    assert told["size_shift"].files[0].startswith("val: ")
    assert told["brightness_shift"].files[0].startswith("test: PSI")
    assert "val has 20 images" in told["small_val"].sentence
    assert "test has 60 images" in told["small_test"].sentence


def coloured(seed: int, label: int) -> Array:
    """A picture whose colour says its class."""
    noise = np.random.default_rng(seed).integers(0, 60, (40, 40, 3))
    noise[..., label] += 150
    return noise.astype(np.uint8)


def test_labels_that_disagree_with_their_neighbours() -> None:
    names = ("red", "green", "blue")
    truth = [i % 3 for i in range(90)]
    said = list(truth)
    for i in (3, 40, 77):
        said[i] = (truth[i] + 1) % 3
    pictures = [sample(f"{i}", coloured(i, t), label) for i, (t, label) in enumerate(zip(truth, said, strict=True))]
    told = found({"all": pictures}, names, full=True)
    assert {line.split(":")[0] for line in told["suspect_label"].files} == {"3", "40", "77"}
    random = np.random.default_rng(0).integers(0, 3, 90)
    chance = [
        sample(f"{i}", coloured(i, t), int(label)) for i, (t, label) in enumerate(zip(truth, random, strict=True))
    ]
    told = found({"all": chance}, names, full=True)
    assert "labels_not_judged" in told
    assert "suspect_label" not in told


def test_a_size_that_fits_both_ways_up_is_told(tmp_path: Path) -> None:
    """A square picture that was turned, with boxes: nothing says in which frame they were drawn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.fromarray(picture(0, 60, 60)).save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]\n")
    kinds = {f.id for f in check(formats.read(tmp_path)[0])}
    assert "orientation_unsure" in kinds


def test_what_was_understood_is_printed(tmp_path: Path) -> None:
    from saccade.verbs.data import check as verb

    for i in range(3):
        (tmp_path / AB[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(picture(i)).save(tmp_path / AB[i % 2] / f"{i}.png")
    (tmp_path / "ab" / "notes.txt").write_text("not a picture")
    lines = dict(line.split(None, 1) for line in verb(tmp_path).summary().splitlines())
    assert lines["format"].split() == ["image_folder", "2", "class", "folders", "with", "images"]
    assert lines["task"] == "classification"
    assert lines["images"].split() == ["3", "1", "ignored"]
    assert lines["classes"].split() == ["2", "ab,", "cd"]
    assert lines["splits"] == "all 3"
