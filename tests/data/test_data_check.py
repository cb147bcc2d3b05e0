"""The doctor says what is wrong in sentences, splits do not leak, and nothing of the user's is touched."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.data import formats, lock
from saccade.data.check import check, fix
from saccade.data.check.finding import finding
from saccade.data.frames import Frame, frame
from saccade.data.splits import split
from saccade.errors import DataError, UsageError
from saccade.images import decode
from saccade.limits import IMAGE_LIMITS
from saccade.verbs import data as verbs


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(small).resize((48, 36), Image.Resampling.NEAREST).save(file)


def folder(root: Path, n: int = 12) -> Path:
    for c, name in enumerate(("cat", "dog")):
        for i in range(n):
            picture(root / name / f"{name}{i}.png", 100 * c + i)
    return root


def ids(root: Path, full: bool = False) -> set[str]:
    return {f.id for f in check(formats.read(root)[0], full=full)}


def test_a_sound_dataset_has_no_error(tmp_path: Path) -> None:
    assert not [f for f in check(formats.read(folder(tmp_path / "d"))[0], full=True) if f.severity == "ERROR"]


def test_damaged_and_lying_files_are_found(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "noise.png").write_bytes(b"no picture at all")
    whole = (root / "dog" / "dog0.png").read_bytes()
    (root / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "dog" / "lie.jpg", "PNG")
    found = {f.id: f for f in check(formats.read(root)[0], full=True)}
    assert found["empty_file"].count == 1
    assert found["unreadable"].files[0].startswith("cat/noise.png")
    assert found["truncated"].told() == "1 image ends before its picture does (dog/cut.png)"
    assert found["wrong_extension"].files[0].startswith("dog/lie.jpg")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a"], "1 file holds nothing (a)"),
        (["a", "b"], "2 files hold nothing (a, b)"),
        ([str(i) for i in range(1200)], "1,200 files hold nothing (0, 1 and 1,198 more)"),
    ],
)
def test_a_finding_counts_and_names(names: list[str], told: str) -> None:
    assert [f.told() for f in finding("empty_file", "{n} {file holds|files hold} nothing", names)] == [told]
    assert finding("empty_file", "{n}", []) == []


def test_labels_that_cannot_be_learnt(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    picture(root / "bird" / "b.png", 999)
    picture(root / "birds" / "c.png", 998)
    assert {"single_image_class", "similar_names"} <= ids(root)
    shutil.rmtree(root / "dog")
    shutil.rmtree(root / "bird")
    shutil.rmtree(root / "birds")
    assert "one_class" in ids(root)


def test_names_that_differ_in_case(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    picture(root / "cat" / "CAT0.png", 500)
    assert "case_clash" in ids(root)


def test_leaks_and_contradictions(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for part in ("train", "val"):
        folder(root / part)
    shutil.copy(root / "train" / "cat" / "cat1.png", root / "train" / "dog" / "other.png")
    assert {"leak_exact", "two_labels"} <= ids(root)


def test_the_users_files_stay_and_the_copy_is_clean(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    (root / "cat" / "noise.png").write_bytes(b"no picture")
    shutil.copy(root / "cat" / "cat1.png", root / "cat" / "twin.png")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    dataset, _ = formats.read(root)
    fix(dataset, tmp_path / "copy")
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
    assert not {"unreadable", "duplicate"} & ids(tmp_path / "copy", full=True)
    assert len(list((tmp_path / "copy").rglob("*.png"))) == 24


def test_splits_are_stratified_seeded_and_keep_duplicates_together(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", 30)
    for i in range(10):
        shutil.copy(root / "cat" / f"cat{i}.png", root / "cat" / f"twin{i}.png")
    dataset, _ = formats.read(root)
    made = split(dataset, seed=3)
    again = split(dataset, seed=3)
    assert {k: [s.key for s in v] for k, v in made.splits.items()} == {
        k: [s.key for s in v] for k, v in again.splits.items()
    }
    assert sum(len(v) for v in made.splits.values()) == len(dataset)
    assert not {f.id for f in check(made, full=True)} & {"leak_exact", "leak_near"}
    shares = [np.mean([int(s.annotation["classes"][0]) for s in v]) for v in made.splits.values()]
    assert max(shares) - min(shares) < 0.25


def test_too_few_for_a_split_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="independent image"):
        split(formats.read(folder(tmp_path / "d", 2))[0])


def test_the_lock_notices_what_changed(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    dataset = split(formats.read(root)[0], seed=0)
    file = tmp_path / "dataset.lock.json"
    lock.write(dataset, file)
    lock.verify(dataset, file)
    victim = next(iter(dataset.splits["train"])).image
    assert isinstance(victim, Path)
    picture(victim, 12345)
    with pytest.raises(DataError, match="changed 1 image"):
        lock.verify(dataset, file)
    picture(root / "ant" / "a.png", 1)
    with pytest.raises(DataError, match="ledger"):
        lock.verify(formats.read(root)[0], file)


def jpeg(file: Path, seed: int = 0, **options: object) -> Path:
    picture(file.with_suffix(".png"), seed)
    with Image.open(file.with_suffix(".png")) as found:
        found.convert("RGB").save(file, "JPEG", **options)
    file.with_suffix(".png").unlink()
    return file


def test_what_follows_the_end_of_a_photo_is_not_its_end(tmp_path: Path) -> None:
    """Phones put a film behind the picture, whose bytes may look like the begin of another one."""
    root = folder(tmp_path / "d")
    photo = jpeg(root / "cat" / "motion.jpg", 7)
    photo.write_bytes(photo.read_bytes() + b"ftypmp42" + b"\xff\xda" * 50 + bytes(1000))
    cut = jpeg(root / "cat" / "cut.jpg", 8)
    cut.write_bytes(cut.read_bytes()[:-40])
    found = {f.id: f for f in check(formats.read(root)[0])}
    assert found["truncated"].files == ("cat/cut.jpg",)


def test_an_animation_is_no_picture_and_called_one(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    frames = [Image.new("RGB", (40, 30), (i * 80, 0, 0)) for i in range(3)]
    frames[0].save(root / "cat" / "moving.webp", save_all=True, append_images=frames[1:])
    found = {f.id: f for f in check(formats.read(root)[0])}
    assert found["animated"].severity == "ERROR"
    assert "3 frames" in found["animated"].files[0]
    assert "huge_image" not in found


def test_a_copy_is_never_made_inside_the_data(tmp_path: Path) -> None:
    root = folder(tmp_path / "d")
    with pytest.raises(UsageError, match="inside the data"):
        verbs.check(root).fix(root / "copy")
    assert main(["check", str(root), "--fix", "--out", str(root / "copy")]) == 2
    assert main(["check", str(root), "--fix"]) == 2
    with pytest.raises(UsageError, match="inside the data"):
        verbs.convert(root, root / "copy", to="csv")
    assert not (root / "copy").exists()


def test_a_copy_tells_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path / "d")
    shutil.copy(root / "cat" / "cat1.png", root / "cat" / "twin.png")
    assert main(["check", str(root), "--fix", "--out", str(tmp_path / "copy")]) == 0
    told = capsys.readouterr().out
    assert "1 pictures were left out or renamed" in told
    assert "cat/twin.png: left out: the same image as cat/cat1.png" in told


def test_labels_and_pixels_agree_which_way_is_up(tmp_path: Path) -> None:
    """An orientation that stands in XMP alone turns neither."""
    upright = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    upright += (
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    file = jpeg(tmp_path / "xmp.jpg", xmp=upright)
    assert frame(file) == Frame(48, 36, 1)
    assert decode.decode(file).shape == (36, 48, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    limits = replace(IMAGE_LIMITS, formats=(*IMAGE_LIMITS.formats, "tiff"))
    for name, kind in (("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tiff", "TIFF")):
        Image.new("RGB", (48, 36)).save(tmp_path / name, kind, exif=exif)
        assert frame(tmp_path / name) == Frame(36, 48, 6), name
        assert decode.decode(tmp_path / name, limits=limits).shape == (48, 36, 3), name
