"""Many pictures are asked about in parts, and told as they come."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from saccade.cli.main import main
from saccade.inference.model import Model
from saccade.testing.packages import colors, masks, png
from saccade.verbs import ask


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures a model is asked about at once, of parts of two."""
    seen: list[int] = []
    results = Model.results

    def counted(self: Model, images: Sequence[Any], *, tile: bool | float = False) -> Any:
        seen.append(len(images))
        return results(self, images, tile=tile)

    monkeypatch.setattr(ask, "PART", 2)
    monkeypatch.setattr(Model, "results", counted)
    return seen


def pictures(folder: Path, count: int) -> list[Path]:
    """One after the other red, green and blue; the second is none."""
    folder.mkdir()
    files = [folder / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        color = [9, 9, 9]
        color[i % 3] = 250
        file.write_bytes(b"no picture" if i == 1 else png(*color))
    return files


def test_not_all_answers_are_held_at_once(tmp_path: Path, parts: list[int]) -> None:
    files = pictures(tmp_path / "photos", 5)
    package = masks(tmp_path / "p").path
    coming = ask.answers(package, files, draw=tmp_path / "drawn")
    first = next(coming)
    assert first["task"] == "segmentation"
    assert first["mask"]["encoding"] == "png"
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["0.png"], "it is drawn as it comes"
    assert parts == [2]
    second, *rest = coming
    assert second["error"]["code"].startswith("image_")
    assert len(rest) == 3
    assert parts == [2, 2, 1]
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["0.png", "2.png", "3.png", "4.png"]


def test_lines_come_in_order_and_json_as_one_list(
    tmp_path: Path, parts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    files = pictures(tmp_path / "photos", 5)
    package = colors(tmp_path / "p").path
    assert main(["predict", str(package), *map(str, files)]) == 1, "one is no picture"
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(f) for f in files]
    assert [line.partition(": ")[2].split()[0] for line in (lines[0], *lines[2:])] == ["red", "blue", "red", "green"]
    assert main(["predict", str(package), *map(str, files), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [next(iter(one)) for one in told] == ["model", "error", "model", "model", "model"]
    assert parts == [2, 2, 1] * 2
    assert main(["predict", str(package), str(files[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["label"] == "red"
