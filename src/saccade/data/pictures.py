"""Finds the picture that an annotation names: below the folder of the data, and nowhere else."""

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from saccade.data import folder
from saccade.data.dataset import Ignored

DRIVE = re.compile(r"[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")
"""How a path of Windows or an address begins; a colon elsewhere is part of a name."""


def leads_out(text: str) -> bool:
    """True for a path that is absolute, climbs, or begins as one of Windows or an address: it is not followed."""
    name = PurePosixPath(text.replace("\\", "/"))
    return name.is_absolute() or ".." in name.parts or DRIVE.match(text) is not None


class Pictures:
    """Every image below a folder, by the ends of its path. ignored: what the walk left out."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ignored: list[Ignored] = []
        self.paths = {folder.name(p, base): p for p in folder.walk(base, self.ignored, base)}
        self._names: dict[str, list[str]] = defaultdict(list)
        for key in self.paths:
            self._names[PurePosixPath(key).name].append(key)

    def find(self, text: str, near: str = "") -> str:
        """The key of the picture a text names. near: the folder of the annotation, relative; the closest wins.

        Raises LookupError, in words, when there is none, when two are as close, or when the text leads out.
        """
        name = PurePosixPath(text.replace("\\", "/"))
        if leads_out(text):
            raise LookupError(f"{text[:80]!r} leads out of the folder, which is not followed")
        fits = [k for k in self._names.get(name.name, []) if PurePosixPath(k).parts[-len(name.parts) :] == name.parts]
        if len(fits) > 1:
            exact = [k for k in fits if PurePosixPath(k) == PurePosixPath(near) / name]
            shared = [_shared(PurePosixPath(k).parts, PurePosixPath(near).parts) for k in fits]
            fits = exact or [k for k, n in zip(fits, shared, strict=True) if n == max(shared)]
        if len(fits) > 1:
            raise LookupError(f"{text[:80]!r} is {fits[0]} or {fits[1]}")
        if not fits:
            raise LookupError(f"there is no picture {text[:80]!r}")
        return fits[0]


def _shared(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
