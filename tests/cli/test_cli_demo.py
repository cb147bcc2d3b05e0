"""What the demo may delete: runs of an earlier demo, and nothing else."""

from pathlib import Path

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
