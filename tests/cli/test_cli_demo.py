"""What the demo may delete: runs of an earlier demo, and nothing else; and what it calls its models."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saccade.cli import demo
from saccade.cli.main import main
from saccade.errors import UsageError


def test_a_folder_that_is_no_run_is_never_deleted(tmp_path: Path) -> None:
    photos = tmp_path / "photos" / "photos"
    photos.mkdir(parents=True)
    (photos / "a.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="holds no run of a demo"):
        demo._clear(photos)
    assert main(["demo", "--data", str(photos), "--out", str(tmp_path / "photos")]) == 2
    assert (photos / "a.jpg").read_bytes() == b"mine"
    demo._clear(tmp_path / "nothing")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text("")
    demo._clear(run)
    assert not run.exists()


@pytest.mark.parametrize("given", [".", "../my photos"])
def test_any_folder_gives_a_name_that_a_model_may_have(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Path]] = []

    def train(data: Path, *, out: Path, model: str, **knobs: Any) -> None:
        asked.append((model, out))
        raise UsageError("that is enough")

    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path / "my photos")
    monkeypatch.setattr(demo, "check", lambda data: SimpleNamespace(summary=lambda: ""))
    monkeypatch.setattr(demo, "train", train)
    assert main(["demo", "--data", given, "--out", str(tmp_path / "out")]) == 2
    assert "that is enough" in capsys.readouterr().err
    assert asked == [("my-photos", tmp_path / "out" / "my-photos")]
