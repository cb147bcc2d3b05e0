"""The door of the command line: help, wrong usage, suggestions."""

import subprocess
import sys
from pathlib import Path

import pytest

from saccade.cli.main import COMMANDS, main
from saccade.testing.packages import colors, png


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
