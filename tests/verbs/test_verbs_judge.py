"""A report is written whole or not at all, and never into what it tells of."""

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.package.reader import open_package
from saccade.storage.files import Files
from saccade.testing.packages import colors


def test_a_report_replaces_the_older_one_in_one_step_and_breaks_no_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = colors(tmp_path / "run" / "package", exclusive=True).path
    random = np.random.default_rng(0)
    for i in range(9):
        folder = tmp_path / "photos" / "test" / ("red", "green", "blue")[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    command = ["evaluate", str(package), str(tmp_path / "photos"), "--report"]
    for inside in (package / "report.html", package / "pages" / "report.html"):
        assert main([*command, str(inside)]) == 2
        assert "whose seal it would break" in capsys.readouterr().err
    open_package(package)
    page = tmp_path / "report.html"
    page.write_text("the older page")

    def refuse(self: Files, old: Path, new: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Files, "rename", refuse)
        assert main([*command, str(page)]) == 1
    assert "report.html could not be written: Input/output error" in capsys.readouterr().err
    assert page.read_text() == "the older page"
    assert main([*command, str(page)]) == 0
    assert page.read_text().startswith("<!")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "report.html", "run"]
