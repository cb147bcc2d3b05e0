"""Boxes in a table: where their four numbers stand, and what they say."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from saccade.data.dataset import Fault
from saccade.data.formats.csv.table import Row

CORNERS = (("xmin", "x_min", "x1"), ("ymin", "y_min", "y1"), ("xmax", "x_max", "x2"), ("ymax", "y_max", "y2"))
SIZES = (("x", "left"), ("y", "top"), ("w", "width", "box_width"), ("h", "height", "box_height"))
LIST = "bbox"
"""A column of texts like [x, y, width, height]."""


@dataclass(frozen=True)
class Sides:
    """Positions of the four columns of a box, or of the one that holds all; sizes: the last
    two are width and height."""

    columns: tuple[int, ...]
    sizes: bool


def find_sides(header: list[str]) -> Sides | None:
    """Where boxes stand: four columns of corners, one of lists, or a corner and sizes."""
    lower = [c.lower() for c in header]
    for kinds, sizes in ((CORNERS, False), (SIZES, True)):
        found = [next((lower.index(w) for w in words if w in lower), None) for words in kinds]
        if all(i is not None for i in found):
            return Sides(tuple(i for i in found if i is not None), sizes)
    return Sides((lower.index(LIST),), True) if LIST in lower else None


def is_blank(row: Row, sides: Sides) -> bool:
    return all(not row.cells[i].strip() for i in sides.columns)


def numbers_of(file: Path, row: Row, sides: Sides, faults: list[Fault]) -> tuple[float, ...] | None:
    """The four numbers of a row; None when it has none, or when they are none, which is told."""
    if is_blank(row, sides):
        return None
    cells = [row.cells[i] for i in sides.columns]
    if len(cells) == 1:
        cells = cells[0].strip().strip("[]()").replace(",", " ").split()
    try:
        values = tuple(float(c.strip()) for c in cells)
        if len(values) != 4:
            raise ValueError
    except ValueError:
        faults.append(
            Fault("bad_box", f"{file.name} line {row.line}", f"{', '.join(cells)[:60]!r}, expected four numbers")
        )
        return None
    return values


def are_shares(places: list[tuple[float, ...]], sides: Sides, notes: list[str]) -> bool:
    """True when every number lies in 0..1, as Open Images writes them."""
    values = [v for place in places for v in place if isfinite(v)]
    if not values or max(values) > 1 or min(values) < 0:
        return False
    notes.append("all coordinates lie in 0..1, and are read as shares of the picture")
    return True
