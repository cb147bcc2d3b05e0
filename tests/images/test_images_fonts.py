"""Names in scripts that Pillow's font lacks: drawn with a font of the machine, else called by their id and told."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from saccade import tasks
from saccade.cli import predict
from saccade.images import draw, fonts
from saccade.types import Labels, Prediction

NAMES = ("cell", "犬", "köttur", "犬猫")


def true_type(letters: str) -> bytes:
    """A font that draws every letter given, and all of ASCII, as its own rectangle."""
    places = sorted({*range(0x21, 0x7F), *(ord(c) for c in letters)})

    def glyph(width: int, height: int) -> bytes:
        corners = [(0, 0), (0, height), (width, height), (width, 0)]
        steps = [tuple(b - a for a, b in zip(p, q, strict=True)) for p, q in zip([(0, 0), *corners[:-1]], corners)]  # noqa: B905
        head = struct.pack(">hhhhhHH", 1, 0, 0, width, height, 3, 0)
        return head + b"\x01" * 4 + b"".join(struct.pack(">h", s[0]) for s in steps) + b"".join(
            struct.pack(">h", s[1]) for s in steps
        )  # fmt: skip

    glyphs = [glyph(150, 150), *(glyph(300 + (c % 400), 600 + (c % 150)) for c in places)]
    glyphs = [g + b"\0" * (-len(g) % 4) for g in glyphs]
    starts = np.cumsum([0, *(len(g) for g in glyphs)])
    n = len(glyphs)
    groups = b"".join(struct.pack(">LLL", c, c, i + 1) for i, c in enumerate(places))
    table = struct.pack(">HHLLL", 12, 0, 16 + len(groups), 0, len(places)) + groups
    parts = {
        b"cmap": struct.pack(">HHHHL", 0, 1, 3, 10, 12) + table,
        b"glyf": b"".join(glyphs),
        b"head": struct.pack(">LLLLHHQQhhhhHHhhh", 0x10000, 0, 0, 0x5F0F3CF5, 0, 1000, 0, 0, 0, 0, 900, 900, 0, 8, 2, 1, 0),
        b"hhea": struct.pack(">LhhhHhhhhhhhhhhhH", 0x10000, 800, -200, 0, 900, 0, 0, 900, 1, 0, 0, 0, 0, 0, 0, 0, n),
        b"hmtx": struct.pack(">Hh", 800, 0) * n,
        b"loca": b"".join(struct.pack(">L", int(s)) for s in starts),
        b"maxp": struct.pack(">LHHHHHHHHHHHHHH", 0x10000, n, 4, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    at, directory, body = 12 + 16 * len(parts), b"", b""
    for tag, data in parts.items():
        directory += tag + struct.pack(">LLL", 0, at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    return struct.pack(">LHHHH", 0x10000, len(parts), 128, 3, 0) + directory + body


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose fonts lie in this folder alone."""
    monkeypatch.setattr(fonts, "folders", lambda: (tmp_path / "none", tmp_path))
    for kept in (fonts._file, fonts._files):
        kept.cache_clear()
    yield tmp_path
    for kept in (fonts._file, fonts._files):
        kept.cache_clear()


def test_a_font_of_the_machine_lends_its_letters(machine: Path) -> None:
    (machine / "a damaged one.ttf").write_bytes(b"no font")
    (machine / "NotoSansCJK-Regular.ttf").write_bytes(true_type("ö犬猫"))
    assert fonts.names(NAMES) == NAMES
    assert not fonts.legend(NAMES)
    assert fonts.note(NAMES) == ""
    picture = np.full((500, 700, 3), 120, np.uint8)
    drawn = [draw.boxes(picture, np.array([[100, 150, 300, 350]]), [name]) for name in ("犬", "猫", "犬猫", "??")]
    assert len({d.tobytes() for d in drawn}) == 4, "every name looks otherwise"


def test_without_such_a_font_the_id_stands_there_and_is_told(machine: Path) -> None:
    (machine / "Latin.ttf").write_bytes(true_type("é"))
    assert fonts.names(NAMES) == ("cell", "class 1", "kottur", "class 3")
    assert fonts.names(("élan", "über", "uber")) == ("élan", "class 1", "uber")
    assert dict(fonts.legend(NAMES)) == {"class 1": "犬", "kottur": "köttur", "class 3": "犬猫"}
    said = fonts.note(NAMES)
    assert "pictures say class 1 (犬), kottur (köttur), class 3 (犬猫)" in said
    picture = np.full((500, 700, 3), 120, np.uint8)
    labels = Labels(NAMES, exclusive=False)
    places = Prediction(700, 500, np.array([1]), np.array([0.5], np.float32), np.array([[9, 99, 300, 300]], np.float32))
    task = tasks.find(tasks.fitting({"boxes", "box_classes"})[0])
    called = draw.boxes(picture, places.boxes, ["", "class 1"], places.scores, places.class_ids)  # type: ignore[arg-type]
    assert np.array_equal(task.draw(picture, places, labels), called)
    rows = [{"class_id": 3, "label": "犬猫"}, {"class_id": 0, "label": "cell"}]
    assert "class 3 (犬猫)" in predict._undrawn([{"predictions": rows}])
    assert predict._undrawn([{"predictions": rows[1:]}, {"error": {}}]) == ""


def test_names_that_read_alike_without_accents_are_told_apart_by_their_ids(machine: Path) -> None:
    given = ("dừa", "dứa", "dưa", "lúa", "lua", "chè")
    assert fonts.names(given) == ("class 0", "class 1", "class 2", "class 3", "lua", "che")
    assert dict(fonts.legend(given)) == {
        "class 0": "dừa", "class 1": "dứa", "class 2": "dưa", "class 3": "lúa", "che": "chè",
    }  # fmt: skip


def test_what_no_font_knows_is_a_question_mark_and_lines_never_break(machine: Path) -> None:
    font = fonts.font("a\n犬", 16)
    assert fonts.drawable("a\n犬", font) == "a??"


def test_the_folders_of_this_system_are_asked() -> None:
    assert all(isinstance(f, Path) for f in fonts.folders())
    assert len(fonts._files()) <= fonts.ASKED
