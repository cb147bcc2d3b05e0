"""Letters for pictures: Pillow's own font, and for what it lacks the fonts of this machine.

Pillow's font knows Latin. A class called in another script is drawn with the first font found here that has all its
letters; where none has, pictures call the class by its name without accents or by its id, and whoever shows them says
which it is (`legend`).
"""

import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BROAD = (
    "notosanscjk", "sourcehan", "notosans", "wqy", "droidsansfallback", "dejavusans", "pingfang", "hiragino", "msyh",
    "yugoth", "malgun", "applesdgothic", "arialunicode", "unifont",
)  # fmt: skip
"""Beginnings of the names of fonts that have many letters; these are asked first, in this order."""
ASKED = 400
"""Fonts that are opened before a name is given up."""


def folders() -> tuple[Path, ...]:
    """Where this system keeps its fonts, the user's own first."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")
    if sys.platform == "win32":
        return home / "AppData/Local/Microsoft/Windows/Fonts", Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return data / "fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")


def font(text: str, px: int) -> Font:
    """The first font that has every letter of the text; Pillow's own where none has."""
    file = _file(_strange(text))
    return _open(file, px)


def names(given: Sequence[str]) -> tuple[str, ...]:
    """Class names as pictures can show them: as they are; where no font here has the letters without accents, as long
    as no other class reads the same then; else by id, "class 3"."""
    bare = [_bare(name) for name in given]
    count = Counter(bare)

    def shown(place: int, name: str) -> str:
        for words in (name, *([bare[place]] if count[bare[place]] == 1 else [])):
            if _file(_strange(words)) is not None:
                return words
        return f"class {place}"

    return tuple(shown(place, name) for place, name in enumerate(given))


def _bare(name: str) -> str:
    """The name without its accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


def legend(given: Sequence[str]) -> Mapping[str, str]:
    """What pictures call those classes whose names they cannot show: {"class 3": the name}."""
    return {shown: name for shown, name in zip(names(given), given, strict=True) if shown != name}


def note(given: Sequence[str]) -> str:
    """A sentence about the names that pictures cannot show; empty when they show all."""
    if not (found := legend(given)):
        return ""
    told = ", ".join(f"{shown} ({name})" for shown, name in list(found.items())[:5])
    rest = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return (
        f"no font here has all letters of {len(found)} class name{'s' if len(found) > 1 else ''}; pictures say {told}{rest}: "
        "install one that has them, such as Noto Sans CJK"
    )


def drawable(text: str, chosen: Font) -> str:
    """The text with `?` for letters that the font does not know, and no line breaks."""
    known = _own() if not isinstance(chosen, ImageFont.FreeTypeFont) else chosen
    return "".join(c if c.isprintable() and (c == " " or c.isascii() or _has(known, c)) else "?" for c in text)


OWN = Path()
"""Stands for Pillow's own font."""


def _strange(text: str) -> frozenset[str]:
    """Letters that Pillow's own font lacks."""
    return frozenset(c for c in text if c.isprintable() and not c.isascii() and not _has(_own(), c))


@cache
def _file(letters: frozenset[str]) -> Path | None:
    """A font with all these letters; None when there is none."""
    if not letters:
        return OWN
    for file in _files():
        try:
            opened = ImageFont.truetype(file, 16)
            if all(_has(opened, c) for c in letters | {"0", "a"}):
                return file
        except (OSError, ValueError):
            continue
    return None


@cache
def _files() -> tuple[Path, ...]:
    def rank(file: Path) -> tuple[int, int, str]:
        plain = file.stem.lower().replace(" ", "").replace("-", "").replace("_", "")
        broad = next((i for i, b in enumerate(BROAD) if plain.startswith(b)), len(BROAD))
        return broad, 0 if "regular" in plain or plain in BROAD else 1, str(file)

    return tuple(sorted(_walk(), key=rank)[:ASKED])


def _walk() -> Iterator[Path]:
    for folder in folders():
        for here, _, files in os.walk(folder):
            yield from (Path(here, f) for f in files if f.lower().endswith((".ttf", ".otf", ".ttc")))


@cache
def _open(file: Path | None, px: int) -> Font:
    return ImageFont.load_default(px) if file in (None, OWN) else ImageFont.truetype(file, px)


def _own() -> Font:
    return _open(OWN, 16)


def _has(chosen: Font, letter: str) -> bool:
    """True when the letter looks otherwise than what a font shows for letters it lacks."""
    shape, empty = chosen.getmask(letter), chosen.getmask("\uffff")
    return shape.size != empty.size or bytes(shape) != bytes(empty)
