"""What the values of masks mean: class files, else the values themselves."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from saccade.data import folder, masks
from saccade.data.dataset import Fault
from saccade.data.formats.masks.known import (
    ADE20K,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_IDS,
    VOC,
    ade20k_files,
    ade20k_names,
    is_ade20k,
    is_camvid,
    is_cityscapes,
)
from saccade.data.formats.masks.layout import LISTS, Layout
from saccade.data.masks import MOST_CLASSES, Table
from saccade.errors import DataError
from saccade.images.masks import VOID
from saccade.types import Labels, names_text

CLASS_FILES = (
    "_classes.csv", "class_dict.csv", "classes.csv", "label_colors.txt", "labelmap.txt", "class_names.txt",
    "classes.txt", "codes.txt",
)  # fmt: skip
VOIDS = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "__ignore__"})


@dataclass(frozen=True)
class Classes:
    """A class file: names in the order of ids, and the stored value or colour of each; void: values to ignore."""

    names: tuple[str, ...]
    stored: tuple[int, ...]
    coloured: bool = False
    void: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def table(self) -> Table:
        ids = {value: i for i, value in enumerate(self.stored)} | dict.fromkeys(self.void, VOID)
        return Table(ids, self.coloured)

    def labels(self) -> Labels:
        originals = tuple(f"#{v:06x}" if self.coloured else v for v in self.stored)
        return Labels(self.names, originals, exclusive=False)


def class_files(root: Path, layout: Layout) -> list[Path]:
    """Class files beside or above the masks, nearest to the root first."""
    places = {root} | {root / p for pair in layout.pairs for p in pair.mask.parents}
    ordered = sorted(places, key=lambda p: (len(p.parts), p.as_posix()))
    for name in CLASS_FILES:
        if found := [p / name for p in ordered if (p / name).is_file()]:
            return found
    return []


def find_classes(root: Path, layout: Layout, faults: list[Fault]) -> Classes:
    """The ledger: from class files that agree, else from the values themselves."""
    files = class_files(root, layout)
    if not files:
        return _seen(root, layout, faults)
    read = [_class_file(f, folder.name(f, root)) for f in files]
    for file, other in zip(files[1:], read[1:], strict=True):
        if other != read[0]:
            raise DataError(
                f"{folder.name(files[0], root)} and {folder.name(file, root)} disagree on the classes",
                hint="make them equal, or keep one",
            )
    return read[0]


def _class_file(file: Path, name: str) -> Classes:
    """Raises DataError naming file and line."""
    if file.stat().st_size > 1024 * 1024:
        raise DataError(f"{name} is {file.stat().st_size:,} bytes, limit 1 MiB", hint="a class file is a short list")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8") from error
    entries: list[tuple[str, int]] = []
    coloured = False
    for line, cells in _rows(file.name, text):
        values, label, is_colour = _entry(file.name, cells, len(entries), coloured, name, line)
        coloured = coloured or is_colour
        if values is not None:
            entries.append((label, values))
    void = tuple(v for n, v in entries if n.lower() in VOIDS)
    kept = [(n, v) for n, v in entries if n.lower() not in VOIDS]
    if not kept:
        raise DataError(f"{name} names no class")
    names = [n for n, _ in kept]
    shown = [f"#{v:06x}" if coloured else str(v) for _, v in entries]
    for what, every in (("name", names), ("value", shown)):
        if twice := sorted(e for e, times in Counter(every).items() if times > 1):
            raise DataError(f"{name} gives the {what} {names_text(twice, 3)} twice", hint="keep one of them")
    if len(kept) > MOST_CLASSES:
        raise DataError(f"{name} names {len(kept)} classes, limit {MOST_CLASSES}: a mask is one byte a pixel")
    told = [f"{n} is ignored (255)" for n, _ in entries if n.lower() in VOIDS]
    return Classes(tuple(n for n, _ in kept), tuple(v for _, v in kept), coloured, void, tuple(told))


def _rows(kind: str, text: str) -> Iterator[tuple[int, list[str]]]:
    if kind.endswith(".csv"):
        reader = csv.reader(io.StringIO(text), skipinitialspace=True)
        try:
            for cells in reader:
                if any(c.strip() for c in cells):
                    yield reader.line_num, [c.strip() for c in cells]
        except csv.Error as error:
            raise DataError(f"{kind} line {reader.line_num}: {error}") from error
        return
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip() or (row.startswith("#") and kind == "labelmap.txt"):
            continue
        if kind == "labelmap.txt":
            yield line, [c.strip() for c in row.split(":")]
        elif kind == "label_colors.txt":
            yield line, row.split(None, 3)
        else:
            yield line, [row.strip().strip("'\"")]


def _entry(
    kind: str, cells: list[str], count: int, coloured: bool, name: str, line: int
) -> tuple[int | None, str, bool]:
    """The stored value, the class, and whether the value is a colour; value None for a header, which is a first line.

    count: classes before it; coloured: whether a line before it spoke of colours.
    """
    try:
        if kind == "labelmap.txt":
            return _colour(cells[1].split(",")), cells[0], True
        if kind == "label_colors.txt":
            return _colour(cells[:3]), cells[3], True
        if kind in ("class_dict.csv", "classes.csv") and len(cells) >= 4:
            if line == 1 and not cells[1].isdigit():
                return None, "", True
            if count and not coloured:
                raise ValueError
            return _colour(cells[1:4]), cells[0], True
        if kind.endswith(".csv"):
            if coloured:
                raise ValueError
            first, second = cells[0], cells[1]
            value, label = (first, second) if first.isdigit() or not second.isdigit() else (second, first)
            if not value.isdigit():
                if line == 1:
                    return None, "", False
                raise ValueError
            if int(value) > 255:
                raise ValueError
            return int(value), label, False
    except (ValueError, IndexError):
        raise DataError(f"{name} line {line}: expected a class with its value 0..255 or r,g,b, got {cells}") from None
    return count, cells[0], False


def _colour(cells: Sequence[str]) -> int:
    red, green, blue = (int(c) for c in cells)
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError
    return red << 16 | green << 8 | blue


def _is_coloured(file: Path, name: str) -> bool:
    """False for a mask that cannot be read, which is told later."""
    try:
        return masks.is_coloured(file, name)
    except DataError:
        return False


def _seen(root: Path, layout: Layout, faults: list[Fault]) -> Classes:
    """Classes from the masks alone: every value is one, unless the values are those of a known set."""
    files = [(root / p.mask, p.mask.as_posix()) for p in layout.pairs]
    coloured = any(_is_coloured(file, name) for file, name in files)
    every, errors = masks.values(files, coloured)
    if len(errors) == len(files):
        raise errors[0]
    if len(every) > (64 if coloured else MOST_CLASSES + 1):
        what = "colours" if coloured else "values"
        raise DataError(
            f"the masks of {root} hold {len(every)} {what}, too many to be classes",
            hint="give a class_dict.csv, and save masks without anti-aliasing and as PNG from the start",
        )
    if coloured:
        shown = tuple(f"#{v:06x}" for v in every)
        return Classes(shown, tuple(every), True, (), (f"no class file: the {len(every)} colours are classes",))
    used = [v for v in every if v != VOID]
    if (known := _published(root, layout, every)) is not None:
        return known
    if set(every) <= {0, VOID} and len(every) == 2:
        note = "masks hold 0 and 255: background and foreground, nothing is ignored"
        return Classes(("background", "foreground"), (0, VOID), False, (), (note,))
    if used == [0, 1]:
        return Classes(
            ("background", "foreground"), (0, 1), False, (), ("no class file: 0 is background, 1 foreground",)
        )
    if 11 in every and set(every) <= set(range(12)) and all(is_camvid(p) for p in layout.pairs):
        note = "values 0..11 beside pictures: CamVid's eleven classes, 11 is ignored"
        return Classes(CAMVID, tuple(range(11)), False, (11,), (note,))
    if (root / LISTS).is_dir() and set(used) <= set(range(21)) and 0 in used:
        note = "no class file: names of the 21 classes of VOC 2012"
        return Classes(VOC, tuple(range(21)), False, (), (note,))
    note = f"no class file: the {len(used)} values are classes" + (", 255 is ignored" if VOID in every else "")
    return Classes(tuple(str(v) for v in used), tuple(used), False, (), (note,))


def _published(root: Path, layout: Layout, every: Sequence[int]) -> Classes | None:
    """Classes of a set whose files bear its names and hold its values, and of Cityscapes one that is evaluated."""
    used = {v for v in every if v != VOID}
    if is_cityscapes(layout, "labelIds") and used <= set(range(CITYSCAPES_IDS)) and used & set(CITYSCAPES):
        void = tuple(v for v in range(CITYSCAPES_IDS) if v not in CITYSCAPES)
        note = "ids of Cityscapes: the 19 classes that are evaluated, the others are ignored"
        return Classes(tuple(CITYSCAPES.values()), tuple(CITYSCAPES), False, void, (note,))
    if is_cityscapes(layout, "labelTrainIds") and used <= set(range(len(CITYSCAPES))):
        note = "training ids of Cityscapes: names of its 19 classes"
        return Classes(tuple(CITYSCAPES.values()), tuple(range(len(CITYSCAPES))), False, (), (note,))
    # Who shifts the ids of ADE20K to count from 0 writes 255 for what is none of them.
    if is_ade20k(layout) and set(every) <= set(range(ADE20K + 1)) and any(every):
        files = ade20k_files(root, layout)
        given = ade20k_names(files[0], root) if files else {}
        stored = tuple(sorted({*given, *used} - {0}))
        told = f"names from {folder.name(files[0], root)}" if files else f"the {len(stored)} values are classes"
        note = f"masks of ADE20K: {told}, 0 is ignored"
        return Classes(tuple(given.get(v, str(v)) for v in stored), stored, False, (0,), (note,))
    return None
