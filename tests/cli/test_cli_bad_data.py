"""Data that cannot be learnt from: `saccade train` ends with one sentence that names the file and the cure."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main


def picture(file: Path, seed: int, format: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(small).resize((48, 36), Image.Resampling.NEAREST).save(file, format)


def photos(root: Path, n: int = 8) -> None:
    for c, name in enumerate(("cat", "dog")):
        for i in range(n):
            picture(root / name / f"{name}{i}.jpg", 100 * c + i)


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def one_class(root: Path) -> None:
    shutil.rmtree(root / "dog")


def one_image(root: Path) -> None:
    picture(root / "bird" / "only.jpg", 7)


def too_few(root: Path) -> None:
    empty(root)
    photos(root, 2)


def truncated(root: Path) -> None:
    file = root / "cat" / "cat3.jpg"
    file.write_bytes(file.read_bytes()[:-200])


def no_byte(root: Path) -> None:
    (root / "cat" / "none.jpg").write_bytes(b"")


def no_picture(root: Path) -> None:
    (root / "dog" / "words.jpg").write_text("these are words")


def a_bomb(root: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(root / "dog" / "bomb.png")


def lost_files(root: Path) -> None:
    empty(root)
    picture(root / "here.jpg", 1)
    (root / "labels.csv").write_text("image,label\nhere.jpg,cat\ngone.jpg,dog\n")


CASES: dict[Callable[[Path], None], tuple[str, ...]] = {
    empty: ("is empty", "one folder per class"),
    one_class: ("fewer than two classes", "cat"),
    one_image: ("1 class has one image", "bird"),
    too_few: ("fewer than the 3 images", "cat (2), dog (2)"),
    truncated: ("1 image ends before its picture does", "cat/cat3.jpg"),
    no_byte: ("1 file holds no byte", "cat/none.jpg"),
    no_picture: ("dog/words.jpg",),
    a_bomb: ("beyond the limits", "dog/bomb.png"),
    lost_files: ("labels.csv", "line 3: gone.jpg"),
}


@pytest.mark.parametrize("harm", CASES, ids=lambda harm: harm.__name__)
def test_training_is_refused_in_one_sentence(
    harm: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    photos(root)
    harm(root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert main(["train", str(root), "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in CASES[harm]), said
    assert not (tmp_path / "run").exists()
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_a_name_in_two_cases_and_a_lying_extension_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    photos(root)
    picture(root / "cat" / "CAT0.jpg", 55)
    picture(root / "dog" / "lie.jpg", 56, "png")
    assert main(["check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "1 pair of names differs only in case" in said
    assert "cat/CAT0.jpg and cat/cat0.jpg" in said
    assert "dog/lie.jpg is png" in said
    assert main(["check", str(root), "--strict"]) == 1


def test_a_run_never_lies_inside_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    photos(root)
    assert main(["train", str(root), "--out", str(root / "run")]) == 2
    assert "inside the data" in capsys.readouterr().err
    monkeypatch.chdir(root)
    assert main(["train", "."]) == 2
    assert "name a folder elsewhere with --out" in capsys.readouterr().err
    assert sorted(p.name for p in root.iterdir()) == ["cat", "dog"]


def test_a_name_that_no_model_may_have_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("waste v2", "a/b", ""):
        run = tmp_path / "run"
        assert main(["train", str(tmp_path / "nothing"), "--model", name, "--out", str(run)]) == 2
        assert f"got {name!r}" in capsys.readouterr().err
        assert not run.exists()
