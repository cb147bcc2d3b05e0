"""One event is one line that can be read back, whatever an outsider put into it."""

import json
import logging
import random

import pytest

from saccade.errors import UsageError
from saccade.server.logs import MAX_CHARS, Json, Text
from saccade.server.settings import Settings


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("saccade.server", logging.ERROR, "file", 1, message, values, trace)


def hostile() -> list[str]:
    dice = random.Random(3)
    pieces = [
        "\n",
        "\r",
        "\0",
        "\x1b[31m",
        "\u2028",
        "\x85",
        '"',
        "\\",
        "{",
        "%s",
        "\ud800",
        "é",
        "\U0001f5d1",
        "a" * 50,
    ]
    return ["".join(dice.choices(pieces, k=dice.randint(1, 20))) for _ in range(500)] + ["x" * 100_000]


@pytest.mark.parametrize("text", hostile()[:20] + hostile()[-1:], ids=range(21))
def test_text_stays_on_its_line(text: str) -> None:
    line = Text().format(record("name %s here", text))
    assert len(line.splitlines()) == 1
    assert len(line) < 10 * MAX_CHARS
    assert all(c.isprintable() for c in line)


def test_every_json_line_reads_back() -> None:
    for text in hostile():
        line = Json().format(record("name %s here", text))
        assert len(line.splitlines()) == 1
        fields = json.loads(line)
        assert fields["level"] == "ERROR"
        assert len(fields["message"]) < 10 * MAX_CHARS


def test_a_trace_is_kept_and_never_at_the_start_of_a_line() -> None:
    try:
        raise ValueError("a\n2026-01-01 INFO forged")
    except ValueError as error:
        failed = record("failed", error=error)
    assert "forged" in json.loads(Json().format(failed))["trace"]
    assert all(line.startswith("  ") for line in Text().format(failed).splitlines()[1:])


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="text or json"):
        Settings(log_format="xml")
