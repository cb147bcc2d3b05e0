"""CSV with a column of pictures and one or many labels: one name, several by ; or |, or one 0/1 column per class.

With columns of corners, or of a corner and sizes, a row is one box, and a picture has as many rows as boxes.
"""

import csv
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from saccade.data import boxes, folder
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import ORDER, measured
from saccade.data.format import MOST_CLASSES, Evidence, Format
from saccade.data.formats.csv.pictures import Pictures, safe_tail
from saccade.data.formats.csv.sides import Sides, are_shares, find_sides, is_blank, numbers_of
from saccade.data.formats.csv.table import (
    GROUP,
    IMAGE,
    LABEL,
    SEVERAL,
    SPLIT,
    Columns,
    Row,
    file_of,
    find_columns,
    is_number,
    read_table,
    refuse_gaps,
    split_of,
)
from saccade.data.frames import Frame, frames
from saccade.errors import DataError
from saccade.types import Labels, Sample, names_text

BACKGROUND = frozenset({"", "background", "negative"})


class Csv(Format):
    name = "csv"
    holds = ("classes", "boxes", "box_classes")
    keeps = frozenset({"groups"})

    def recognises(self, root: Path) -> Evidence | None:
        file = file_of(root)
        if file is None:
            return None
        try:
            header, rows = read_table(file)
        except DataError:
            # A table that cannot be read is this format's business only when it was named itself.
            return Evidence(self.name, (f"{file.name}, which does not parse",)) if root.is_file() else None
        columns = find_columns(header, rows)
        sides = find_sides(header)
        if columns is None or (columns.label is None and not columns.hot and sides is None):
            return None
        if sides is not None:
            told = ", ".join(header[i] for i in sides.columns)
            facts = (f"{file.name} with {len(rows)} rows", f"images in {header[columns.image]}", f"boxes in {told}")
            return Evidence(self.name, facts)
        kind = (
            f"label column {header[columns.label]}" if columns.label is not None else f"{len(columns.hot)} 0/1 columns"
        )
        return Evidence(self.name, (f"{file.name} with {len(rows)} rows", f"images in {header[columns.image]}", kind))

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        file = file_of(root)
        if file is None:
            raise DataError(f"{root} holds no CSV file, or several", hint="name the file itself")
        header, rows = read_table(file)
        columns = find_columns(header, rows)
        if columns is None:
            raise DataError(f"{file.name} needs a column of pictures ({', '.join(IMAGE)}), got {', '.join(header)}")
        if (sides := find_sides(header)) is not None:
            return self._read_boxes(root, file, header, rows, columns, sides, images or file.parent)
        if columns.label is None and not columns.hot:
            raise DataError(
                f"{file.name} needs a label column ({', '.join(LABEL)}) or 0/1 columns, got {', '.join(header)}"
            )
        notes: list[str] = []
        faults: list[Fault] = []
        if columns.label is None:
            refuse_gaps(file, header, rows, columns)
        several, names, exclusive = _classes(header, rows, columns, notes)
        _refuse_many(file, names)
        ids = {n: k for k, n in enumerate(names)}
        keys = [r.cells[columns.image].strip() for r in rows]
        paths = Pictures(images or file.parent, keys).find(file, rows, notes, faults)
        told = [tuple(sorted(ids[n] for n in found)) for found in several]
        parts = [split_of(file, r, columns.split) for r in rows]
        homes = _homes(zip(zip(keys, told, strict=True), parts, strict=True))
        made: dict[str, list[Sample]] = defaultdict(list)
        ignored: list[Ignored] = []
        first: dict[str, tuple[int, ...]] = {}
        for row, key, classes, split, path in zip(rows, keys, told, parts, paths, strict=True):
            if path is None:
                continue
            if exclusive and not classes:
                ignored.append(Ignored(f"{key} (line {row.line})", folder.NO_LABEL))
                continue
            if (home := homes[key, classes]) != split:
                where = f"{file.name} line {row.line}"
                faults.append(Fault("in_two_splits", where, f"{key} is in {home} as well, and stays there"))
                continue
            if first.get(key) == classes:
                ignored.append(Ignored(f"{key} (line {row.line})", "the same row again"))
                continue
            # The same picture with another label stays, under a key of its own: the doctor judges contradictions.
            unique = key if key not in first else f"{key}@line {row.line}"
            first.setdefault(key, classes)
            group = row.cells[columns.group].strip() or None if columns.group is not None else None
            made[split].append(Sample(unique, path, {"classes": np.array(classes, np.int64)}, group))
        splits = {s: tuple(made[s]) for s in ORDER if s in made}
        ledger = Labels(tuple(names), exclusive=exclusive)
        unheld = _unread(header, {columns.image, columns.label, columns.split, columns.group, *columns.hot})
        return Dataset(self.name, root, ledger, splits, tuple(ignored), tuple(notes), None, tuple(faults), unheld)

    def _read_boxes(
        self, root: Path, file: Path, header: list[str], rows: list[Row], columns: Columns, sides: Sides, base: Path
    ) -> Dataset:
        """A row is a box; one without label and place says that its picture is background."""
        notes: list[str] = []
        faults: list[Fault] = []
        labels = [r.cells[columns.label].strip() if columns.label is not None else "object" for r in rows]
        names = _ordered([n for n in dict.fromkeys(labels) if n.lower() not in BACKGROUND])
        if not names:
            raise DataError(f"{file.name} holds no row with a label and a box")
        _refuse_many(file, names)
        ids = {n: k for k, n in enumerate(names)}
        wanted = [r.cells[columns.image].strip() for r in rows]
        several = zip(rows, labels, Pictures(base, wanted).find_some(file, rows, notes, faults), strict=True)
        there = [(row, label, picture) for row, label, picture in several if picture is not None]
        places = [numbers_of(file, row, sides, faults) for row, _, _ in there]
        pictures = [picture for _, _, picture in there]
        parts = [split_of(file, row, columns.split) for row, _, _ in there]
        homes = _homes(zip(pictures, parts, strict=True))
        shares = are_shares([p for p in places if p is not None], sides, notes)
        sizes = dict(zip(dict.fromkeys(pictures), frames(list(dict.fromkeys(pictures))), strict=True))
        found: dict[Path, list[Box]] = {p: [] for p in pictures}
        written: list[tuple[tuple[float, ...], Frame | None]] = []
        first: dict[Path, tuple[str, str | None]] = {}
        parted: set[tuple[Path, str]] = set()
        for (row, label, picture), place, split in zip(there, places, parts, strict=True):
            where, size, home = f"{file.name} line {row.line}", sizes[picture], homes[picture]
            group = row.cells[columns.group].strip() or None if columns.group is not None else None
            first.setdefault(picture, (row.cells[columns.image].strip(), group))
            if split != home and (picture, split) not in parted:
                parted.add((picture, split))
                told = f"its picture is in {home} as well, and stays there with all its boxes"
                faults.append(Fault("in_two_splits", where, told))
            if place is None or label.lower() in BACKGROUND:
                if place is not None:
                    faults.append(Fault("bad_box", where, "a box without a label"))
                elif label.lower() not in BACKGROUND and is_blank(row, sides):
                    faults.append(Fault("bad_box", where, f"a label {label!r} without a box"))
                continue
            if shares and size is not None:
                place = tuple(v * s for v, s in zip(place, (size.width, size.height) * 2, strict=True))
            if sides.sizes:
                written.append((place, size))
                place = (place[0], place[1], place[0] + place[2], place[1] + place[3])
            if not (shares and size is None):
                found[picture].append(Box((place[0], place[1], place[2], place[3]), ids[label], where))
        if odd := boxes.swapped(written):
            told = f"{odd} of {len(written)} boxes fit their picture as corners, but not as x, y, width, height"
            faults.append(Fault("corners_as_sizes", file.name, told))
        pairs = []
        for picture, drawn in found.items():
            key, group = first[picture]
            if drawn:
                boxes.framed((0, 0), sizes[picture], key, faults)
            record = boxes.annotation(drawn, sizes[picture], faults)
            pairs.append((homes[picture], Sample(key, picture, record, group)))
        ledger = Labels(tuple(names), exclusive=False)
        splits = folder.by_split(pairs, notes)
        unheld = _unread(header, {columns.image, columns.label, columns.split, columns.group, *sides.columns})
        return Dataset(self.name, root, ledger, splits, (), tuple(notes), None, tuple(faults), unheld)

    def write(self, dataset: Dataset, root: Path) -> None:
        if "boxes" in dataset.fields:
            return _write_boxes(dataset, root)
        names, plain = dataset.labels.names, dataset.labels.exclusive
        taken = {*IMAGE, *LABEL, *SPLIT, *GROUP}
        wrong = [n for n in names if n != n.strip() or (plain and (";" in n or "|" in n))]
        wrong += [] if plain else [n for n in names if n.lower() in taken]
        if wrong:
            raise DataError(f"class names {wrong} cannot stand in a CSV", hint="rename them")
        if not plain and len(names) < 2:
            raise DataError("0/1 columns need at least two classes")
        folder.new(root)
        grouped = any(s.group is not None for s in dataset)
        with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            split_column = set(dataset.splits) != {"all"}
            writer.writerow(
                ["image", *(["split"] if split_column else []), *(["group"] if grouped else [])]
                + (["label"] if plain else list(names))
            )
            for split, samples in dataset.splits.items():
                for sample in samples:
                    tail = sample.key.partition("@line ")[0]
                    target = folder.put(sample, root / "images", safe_tail(tail))
                    held = {int(c) for c in sample.annotation["classes"]}
                    writer.writerow(
                        [target.relative_to(root).as_posix(), *([split] if split_column else [])]
                        + ([sample.group or ""] if grouped else [])
                        + ([names[min(held)]] if plain else [int(k in held) for k in range(len(names))])
                    )


def _unread(header: list[str], read: Collection[int | None]) -> tuple[str, ...]:
    """What is to be told of the columns that no annotation holds. read: positions of the others."""
    spare = [name or "one without a name" for i, name in enumerate(header) if i not in read]
    return (f"{len(spare)} columns are not read: {names_text(spare, 8)}",) if spare else ()


def _refuse_many(file: Path, names: Sequence[str]) -> None:
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{file.name} has {len(names):,} different labels, expected at most {MOST_CLASSES:,} classes",
            hint="a class is a name that many pictures share: put a measured number or an id into another column",
        )


def _homes(parts: Iterable[tuple[Hashable, str]]) -> dict[Hashable, str]:
    """Of each thing that stands in several splits the one where it stays."""
    homes: dict[Hashable, str] = {}
    for thing, split in parts:
        homes[thing] = measured(split, homes.get(thing, split))
    return homes


def _classes(
    header: list[str], rows: list[Row], columns: Columns, notes: list[str]
) -> tuple[list[list[str]], list[str], bool]:
    """Class names of each row, the ledger, and whether each row has one class."""
    if columns.label is None:
        names = [header[i] for i in columns.hot]
        several = [[header[i] for i in columns.hot if float(r.cells[i]) == 1] for r in rows]
        if all(len(found) == 1 for found in several):
            notes.append("every row has exactly one 1; 0/1 columns are read as classes that may hold together")
        return several, names, False
    several = [_split_cell(r.cells[columns.label]) for r in rows]
    exclusive = header[columns.label].lower() not in SEVERAL and all(len(found) <= 1 for found in several)
    return several, _ordered(list({n: None for found in several for n in found})), exclusive


def _ordered(names: list[str]) -> list[str]:
    """As numbers when all are, else by their bytes."""
    return sorted(names, key=(lambda n: (int(n), n)) if all(map(is_number, names)) else str.encode)


def _split_cell(cell: str) -> list[str]:
    marks = cell.replace("|", ";").split(";")
    return list(dict.fromkeys(n.strip() for n in marks if n.strip()))


def _write_boxes(dataset: Dataset, root: Path) -> None:
    """labels.csv with a row a box, corners in px; background has a row without label and box."""
    names = dataset.labels.names
    if wrong := [n for n in names if n != n.strip() or n.lower() in BACKGROUND]:
        raise DataError(f"class names {wrong} cannot stand in a CSV of boxes", hint="rename them")
    folder.new(root)
    grouped = any(s.group is not None for s in dataset)
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        split_column = set(dataset.splits) != {"all"}
        head = ["image", *(["split"] if split_column else []), *(["group"] if grouped else [])]
        writer.writerow([*head, "label", "xmin", "ymin", "xmax", "ymax"])
        for split, samples in dataset.splits.items():
            for sample in samples:
                target = folder.put(sample, root / "images", safe_tail(sample.key.partition("@line ")[0]))
                start = [target.relative_to(root).as_posix(), *([split] if split_column else [])]
                start += [sample.group or ""] if grouped else []
                for corners, k in boxes.each(sample.annotation):
                    writer.writerow([*start, names[k], *(f"{v:.9g}" for v in corners)])
                if not len(sample.annotation["boxes"]):
                    writer.writerow([*start, "", "", "", "", ""])


FORMAT = Csv()
