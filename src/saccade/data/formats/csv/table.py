"""A table as text: its file, its rows with their lines, and which column holds what."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.data import folder
from saccade.data.folder import SPLITS
from saccade.errors import DataError

IMAGE = ("filename", "file_name", "image", "path", "file", "id", "image_id", "image_path")
LABEL = ("label", "labels", "class", "class_name", "target", "category", "tags")
SEVERAL = frozenset({"labels", "tags"})
SPLIT = ("split", "set", "subset")
GROUP = ("group", "group_id", "patient", "patient_id", "subject", "scene", "video")
NAMES = ("split.csv", "splits.csv", "manifest.csv", "_classes.csv")
"""Beside class folders these inform about them; they are not a second set of labels."""
YES, NO, UNSURE = frozenset({"1", "1.0"}), frozenset({"0", "0.0"}), frozenset({"", "-1", "-1.0", "nan", "NaN"})
HOT = YES | NO
MOST_BYTES = 256 * 1024 * 1024
MOST_DIGITS = 18
"""Of what is ordered and matched as a number; Python refuses to read thousands."""


@dataclass(frozen=True)
class Row:
    line: int
    cells: list[str]


@dataclass(frozen=True)
class Columns:
    """Positions of what a header holds; hot: the 0/1 columns, one per class, used when there is no label column."""

    image: int
    label: int | None
    split: int | None
    group: int | None
    hot: tuple[int, ...]


def file_of(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".tsv") else None
    if not root.is_dir():
        return None
    classes = any(folder.holds_image(f) for f in folder.folders(root))
    found = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".csv", ".tsv") and not p.name.startswith(".")]
    if classes:
        found = [p for p in found if p.name.lower() not in NAMES]
    return found[0] if len(found) == 1 else None


def read_table(file: Path) -> tuple[list[str], list[Row]]:
    """Header and rows that are not blank. Raises DataError naming the line."""
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{file.name} is {file.stat().st_size} bytes, limit {MOST_BYTES}", hint="split it")
    data = file.read_bytes()
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{file.name} line {line} is not UTF-8", hint="save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows: list[Row] = []
    end = 0
    try:
        for cells in reader:
            if any(c.strip() for c in cells):
                rows.append(Row(end + 1, cells))
            end = reader.line_num
    except csv.Error as error:
        raise DataError(f"{file.name} line {reader.line_num}: {error}", hint="check its quotes") from error
    if len(rows) < 2:
        raise DataError(f"{file.name} has no rows under its header")
    header = [c.strip() for c in rows[0].cells]
    for row in rows[1:]:
        if len(row.cells) != len(header):
            raise DataError(f"{file.name} line {row.line}: {len(row.cells)} cells under {len(header)} columns")
    lower = [c.lower() for c in header]
    if doubled := sorted(c for c, times in Counter(lower).items() if times > 1):
        raise DataError(f"{file.name} has columns of the same name: {', '.join(doubled)}", hint="rename them")
    return header, rows[1:]


def _delimiter(text: str) -> str:
    """The mark that gives the header a column of pictures and most columns; a comma when none does."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    best, most = ",", 1
    for mark in (",", ";", "\t", "|"):
        try:
            cells = next(csv.reader([head], delimiter=mark), [])
        except csv.Error:  # a field beyond the limit, which reading the table tells with its line
            continue
        if len(cells) > most and {c.strip().lower() for c in cells} & set(IMAGE):
            best, most = mark, len(cells)
    return best


def find_columns(header: list[str], rows: list[Row]) -> Columns | None:
    lower = [c.lower() for c in header]

    def place(words: Sequence[str]) -> int | None:
        return next((lower.index(w) for w in words if w in lower), None)

    image, label, split, group = place(IMAGE), place(LABEL), place(SPLIT), place(GROUP)
    if image is None:
        return None
    hot = [
        i for i in range(len(header))
        if i not in (image, split, group) and all(r.cells[i].strip() in HOT for r in rows)
    ] if label is None else []  # fmt: skip
    return Columns(image, label, split, group, tuple(hot) if len(hot) >= 2 else ())


def refuse_gaps(file: Path, header: list[str], rows: list[Row], columns: Columns) -> None:
    """Raises DataError for a column beside the 0/1 columns that would be one but for blanks or -1: its class would be
    lost without a word."""
    for i, name in enumerate(header):
        if i in (columns.image, columns.split, columns.group, *columns.hot):
            continue
        cells = [r.cells[i].strip() for r in rows]
        odd = next((k for k, c in enumerate(cells) if c in UNSURE), None)
        if odd is not None and set(cells) & YES and set(cells) <= {*YES, *NO, *UNSURE}:
            raise DataError(
                f"{file.name} line {rows[odd].line}: {name} is {cells[odd] or 'blank'} there and 0 or 1 elsewhere",
                hint="write 0 or 1 in every row, or take the column out",
            )


def is_number(text: str) -> bool:
    return len(text) <= MOST_DIGITS and text.isascii() and text.isdigit()


def split_of(file: Path, row: Row, column: int | None) -> str:
    if column is None:
        return "all"
    split = SPLITS.get(row.cells[column].strip().lower())
    if split is None:
        raise DataError(f"{file.name} line {row.line}: split is train, val or test, got {row.cells[column]!r}")
    return split
