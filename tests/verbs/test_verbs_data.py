"""Data are never written to: where copies and runs may lie, and that it is asked before all is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.data import formats
from saccade.errors import StorageError, UsageError
from saccade.verbs import data as verbs


def pictures(folder: Path, count: int = 4) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{i}.png")


def table(file: Path, form: str, count: int = 4) -> Path:
    """form: how a picture is named, like photos/{}.png."""
    rows = [f"{form.format(f'p{i}')},{('cat', 'dog')[i % 2]}" for i in range(count)]
    file.write_text("\n".join(["image,label", *rows, ""]))
    return file


def test_beside_a_table_that_names_its_pictures_anything_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "photos")
    table(tmp_path / "labels.csv", "photos/{}.png")
    monkeypatch.chdir(tmp_path)
    assert verbs.convert("labels.csv", "out", to="image_folder").images == 4
    assert verbs.convert("labels.csv", "again", to="image_folder", images=Path()).images == 4
    with pytest.raises(UsageError, match="inside the data"):
        verbs.convert("labels.csv", "photos/out", to="image_folder")
    with pytest.raises(UsageError, match="inside the data"):
        verbs.check("labels.csv").fix(Path("photos/fixed"))
    assert main(["train", "labels.csv", "--out", "photos/run"]) == 2
    assert "inside the data" in capsys.readouterr().err
    assert sorted(p.name for p in Path("photos").iterdir()) == [f"p{i}.png" for i in range(4)]
    verbs.refuse_found(Path("runs/labels-1"), formats.read(Path("labels.csv"))[0], None, copy=False)


def test_pictures_that_lie_beside_their_table_leave_room_there(tmp_path: Path) -> None:
    pictures(tmp_path / "d")
    file = table(tmp_path / "d" / "labels.csv", "{}.png")
    assert verbs.convert(file, tmp_path / "d" / "out", to="csv").images == 4
    assert len(formats.read(file)[0]) == 4


def test_a_table_that_looks_for_names_would_find_a_copy(tmp_path: Path) -> None:
    pictures(tmp_path / "d" / "photos")
    file = table(tmp_path / "d" / "train.csv", "{}")
    with pytest.raises(UsageError, match="inside the data"):
        verbs.convert(file, tmp_path / "d" / "out", to="image_folder")
    verbs.refuse_found(tmp_path / "d" / "runs" / "one", formats.read(file)[0], None, copy=False)
    assert verbs.convert(file, tmp_path / "out", to="image_folder").images == 4


def test_a_file_that_looks_through_its_folder_would_find_a_copy(tmp_path: Path) -> None:
    pictures(tmp_path / "d" / "photos")
    record = {
        "images": [{"id": i, "file_name": f"p{i}.png", "width": 32, "height": 24} for i in range(4)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 10, 8]} for i in range(4)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = tmp_path / "d" / "boxes.json"
    file.write_text(json.dumps(record))
    with pytest.raises(UsageError, match="inside the data"):
        verbs.convert(file, tmp_path / "d" / "out", to="voc")
    dataset = formats.read(file)[0]
    verbs.refuse_found(tmp_path / "d" / "runs" / "boxes-1", dataset, None, copy=False)
    with pytest.raises(UsageError, match="inside the data"):
        verbs.refuse_found(tmp_path / "d" / "photos" / "run", dataset, None, copy=False)
    assert verbs.convert(file, tmp_path / "out", to="voc").images == 4


def test_the_folder_of_the_pictures_is_part_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "photos")
    (tmp_path / "labels").mkdir()
    file = table(tmp_path / "labels" / "labels.csv", "{}")
    images = tmp_path / "photos"
    with pytest.raises(UsageError, match="inside the data"):
        verbs.convert(file, images / "out", to="image_folder", images=images)
    for words in (["train", str(file)], ["check", str(file), "--fix"]):
        assert main([*words, "--images", str(images), "--out", str(images / "new")]) == 2
        assert "inside the data" in capsys.readouterr().err
    with pytest.raises(UsageError, match="inside the data"):
        verbs.check(file, images=images).fix(images / "new")
    assert len(list(images.iterdir())) == 4
    assert verbs.convert(file, tmp_path / "labels" / "out", to="image_folder", images=images).images == 4


def test_arrays_look_for_nothing(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    np.savez(tmp_path / "digits.npz", all_images=images, all_labels=np.arange(4) % 2)
    assert verbs.convert(tmp_path / "digits.npz", tmp_path / "out", to="image_folder").images == 4


def test_a_place_that_is_taken_is_told_before_hours_of_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "d" / "cat")
    pictures(tmp_path / "d" / "dog")
    (tmp_path / "taken").mkdir()

    def look(*_: object, **__: object) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr(verbs, "check", look)
    monkeypatch.setattr(formats, "read", look)
    assert main(["check", str(tmp_path / "d"), "--fix", "--out", str(tmp_path / "taken")]) == 1
    assert "already there, and nothing is overwritten" in capsys.readouterr().err
    with pytest.raises(StorageError, match="already there"):
        verbs.convert(tmp_path / "d", tmp_path / "taken", to="csv")
