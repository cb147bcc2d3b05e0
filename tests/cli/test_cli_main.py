"""The door of the command line: help, wrong usage, suggestions."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from saccade.cli.main import COMMANDS, main
from saccade.cli.progress import Progress
from saccade.testing.packages import colors, png
from saccade.training.events import Epoch, Step


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_unknown_command_is_usage_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_no_command_is_usage() -> None:
    assert main([]) == 2


def test_help_opens_no_command_file() -> None:
    code = "import sys; from saccade.cli.main import main; main(['--help']); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--top-k", "0"], 2, "top_k is at least 1, got 0"),
        (["--threshold", "1.5"], 2, "threshold is 0 to 1, got 1.5"),
        (["--threshold", "nan"], 2, "threshold is 0 to 1, got nan"),
        (["--draw", "FILE/drawn"], 1, "FILE/drawn: Not a directory; check the path"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    options: list[str], code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(png(1, 2, 3))
    package = colors(tmp_path / "package").path
    given = [o.replace("FILE", str(file)) for o in options]
    assert main(["predict", str(package), str(file), *given]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert word.replace("FILE", str(file)) in said


class Screen(io.StringIO):
    def __init__(self, live: bool) -> None:
        super().__init__()
        self._live = live

    def isatty(self) -> bool:
        return self._live


@pytest.mark.parametrize("live", [True, False])
def test_a_run_is_told_by_a_bar_on_a_terminal_and_by_lines_elsewhere(live: bool) -> None:
    screen = Screen(live)
    progress = Progress(screen)
    progress.hear("format   image_folder")
    progress.hear(Step(3, 0, 0.25, 1.5, 0.1, 120.0, 61.0))
    progress.hear(Epoch(0, 4, 1.4, 1.3, "accuracy", 0.625, True, 0.1, 120.0, 9.0))
    progress._last = 0.0
    progress.hear(Step(5, 1, 0.5, 1.2, 0.1, 130.0, 40.0))
    progress.hear("done")
    told = screen.getvalue()
    assert told.startswith("format   image_folder\n")
    assert "epoch    0  loss 1.4000  val loss 1.3000  accuracy 0.6250 *" in told
    if live:
        assert "━━━━━━──────────────────  25 %  epoch 0  loss 1.5000  120 img/s  ETA 61 s" in told
        assert "50 %  epoch 1  loss 1.2000  accuracy 0.6250  130 img/s  ETA" in told
        assert told.endswith("\r\x1b[2Kdone\n"), "the bar gives way to a line"
    else:
        assert "━" not in told
        assert "\r" not in told
