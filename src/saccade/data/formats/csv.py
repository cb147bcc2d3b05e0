"""CSV with a column of pictures and one or many labels: one name, several by ; or |, or one 0/1 column per class.

With columns of corners, or of a corner and sizes, a row is one box, and a picture has as many rows as boxes.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from saccade.data import boxes, folder
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import ORDER, SPLITS
from saccade.data.format import Evidence, Format
from saccade.data.frames import Frame, frames
from saccade.errors import DataError
from saccade.types import Labels, Sample, names_text

IMAGE = ("filename", "file_name", "image", "path", "file", "id", "image_id", "image_path")
LABEL = ("label", "labels", "class", "class_name", "target", "category", "tags")
SEVERAL = frozenset({"labels", "tags"})
SPLIT = ("split", "set", "subset")
GROUP = ("group", "group_id", "patient", "patient_id", "subject", "scene", "video")
CORNERS = (("xmin", "x_min", "x1"), ("ymin", "y_min", "y1"), ("xmax", "x_max", "x2"), ("ymax", "y_max", "y2"))
SIZES = (("x", "left"), ("y", "top"), ("w", "width", "box_width"), ("h", "height", "box_height"))
LIST = "bbox"
"""A column of texts like [x, y, width, height]."""
BACKGROUND = frozenset({"", "background", "negative"})
NAMES = ("split.csv", "splits.csv", "manifest.csv", "_classes.csv")
"""Beside class folders these inform about them; they are not a second set of labels."""
MOST_BYTES = 256 * 1024 * 1024


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


@dataclass(frozen=True)
class Sides:
    """Positions of the four columns of a box, or of the one that holds all; sizes: the last two are width and height."""

    columns: tuple[int, ...]
    sizes: bool


class Csv(Format):
    name = "csv"
    holds = ("classes", "boxes", "box_classes")
    keeps = frozenset({"groups"})

    def recognises(self, root: Path) -> Evidence | None:
        file = _file(root)
        if file is None:
            return None
        try:
            header, rows = _table(file)
        except DataError:
            # A table that cannot be read is this format's business only when it was named itself.
            return Evidence(self.name, (f"{file.name}, which does not parse",)) if root.is_file() else None
        columns = _columns(header, rows)
        sides = _sides(header)
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
        file = _file(root)
        if file is None:
            raise DataError(f"{root} holds no CSV file, or several", hint="name the file itself")
        header, rows = _table(file)
        columns = _columns(header, rows)
        if columns is None:
            raise DataError(f"{file.name} needs a column of pictures ({', '.join(IMAGE)}), got {', '.join(header)}")
        if (sides := _sides(header)) is not None:
            return self._read_boxes(root, file, header, rows, columns, sides, images or file.parent)
        if columns.label is None and not columns.hot:
            raise DataError(
                f"{file.name} needs a label column ({', '.join(LABEL)}) or 0/1 columns, got {', '.join(header)}"
            )
        notes: list[str] = []
        several, names, exclusive = _classes(header, rows, columns, notes)
        paths = Pictures(images or file.parent, [r.cells[columns.image].strip() for r in rows]).find(file, rows, notes)
        made: dict[str, list[Sample]] = defaultdict(list)
        ignored: list[Ignored] = []
        first: dict[str, tuple[int, ...]] = {}
        for row, found, path in zip(rows, several, paths, strict=True):
            key = row.cells[columns.image].strip()
            split = _split(file, row, columns.split)
            classes = tuple(sorted(names.index(n) for n in found))
            if exclusive and not classes:
                ignored.append(Ignored(f"{key} (line {row.line})", folder.NO_LABEL))
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
        return Dataset(self.name, root, Labels(tuple(names), exclusive=exclusive), splits, tuple(ignored), tuple(notes))

    def _read_boxes(
        self, root: Path, file: Path, header: list[str], rows: list[Row], columns: Columns, sides: Sides, base: Path
    ) -> Dataset:
        """A row is a box; one without label and place says that its picture is background."""
        notes: list[str] = []
        faults: list[Fault] = []
        pictures = Pictures(base, [r.cells[columns.image].strip() for r in rows]).find(file, rows, notes)
        labels = [r.cells[columns.label].strip() if columns.label is not None else "object" for r in rows]
        places = [_numbers(file, r, sides, faults) for r in rows]
        names = [n for n in dict.fromkeys(labels) if n.lower() not in BACKGROUND]
        names.sort(key=(lambda n: (int(n), n)) if all(n.isascii() and n.isdigit() for n in names) else str.encode)
        if not names:
            raise DataError(f"{file.name} holds no row with a label and a box")
        shares = _are_shares([p for p in places if p is not None], sides, notes)
        sizes = dict(zip(dict.fromkeys(pictures), frames(list(dict.fromkeys(pictures))), strict=True))
        found: dict[Path, list[Box]] = {p: [] for p in pictures}
        written: list[tuple[tuple[float, ...], Frame | None]] = []
        split_of: dict[Path, tuple[str, str, str | None]] = {}
        for row, label, place, picture in zip(rows, labels, places, pictures, strict=True):
            where, size = f"{file.name} line {row.line}", sizes[picture]
            split = _split(file, row, columns.split)
            group = row.cells[columns.group].strip() or None if columns.group is not None else None
            if split_of.setdefault(picture, (split, row.cells[columns.image].strip(), group))[0] != split:
                faults.append(
                    Fault("in_two_splits", where, f"its picture is in {split_of[picture][0]} already, and stays there")
                )
            if place is None or label.lower() in BACKGROUND:
                if place is not None:
                    faults.append(Fault("bad_box", where, "a box without a label"))
                elif label.lower() not in BACKGROUND and _is_blank(row, sides):
                    faults.append(Fault("bad_box", where, f"a label {label!r} without a box"))
                continue
            if shares and size is not None:
                place = tuple(v * s for v, s in zip(place, (size.width, size.height) * 2, strict=True))
            if sides.sizes:
                written.append((place, size))
                place = (place[0], place[1], place[0] + place[2], place[1] + place[3])
            if not (shares and size is None):
                found[picture].append(Box((place[0], place[1], place[2], place[3]), names.index(label), where))
        if odd := boxes.swapped(written):
            told = f"{odd} of {len(written)} boxes fit their picture as corners, but not as x, y, width, height"
            faults.append(Fault("corners_as_sizes", file.name, told))
        pairs = []
        for picture, several in found.items():
            split, key, group = split_of[picture]
            if several:
                boxes.framed((0, 0), sizes[picture], key, faults)
            pairs.append((split, Sample(key, picture, boxes.annotation(several, sizes[picture], faults), group)))
        ledger = Labels(tuple(names), exclusive=False)
        return Dataset(self.name, root, ledger, folder.by_split(pairs), (), tuple(notes), None, tuple(faults))

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
                    target = folder.put(sample, root / "images", _safe(tail))
                    held = {int(c) for c in sample.annotation["classes"]}
                    writer.writerow(
                        [target.relative_to(root).as_posix(), *([split] if split_column else [])]
                        + ([sample.group or ""] if grouped else [])
                        + ([names[min(held)]] if plain else [int(k in held) for k in range(len(names))])
                    )


class Pictures:
    """Finds the files a table names: by path, by name without extension, by number without leading zeros."""

    def __init__(self, base: Path, wanted: Sequence[str]) -> None:
        self.base = base
        self.wanted = wanted

    def find(self, file: Path, rows: Sequence[Row], notes: list[str]) -> list[Path]:
        """Aligned with the rows. Raises DataError naming the lines of what is missing or fits two files."""
        stems: dict[str, list[Path]] | None = None
        numbers: dict[int, list[Path]] = defaultdict(list)
        found: list[Path] = []
        missing: list[str] = []
        twice: list[str] = []
        filled = 0
        for row, text in zip(rows, self.wanted, strict=True):
            path = self.base / text
            if text and path.is_file():
                found.append(path)
                continue
            fits: list[Path] = []
            if text and not folder.is_image(text):
                if stems is None:
                    stems = self._stems(numbers)
                fits = stems.get(text, [])
                if not fits and text.isascii() and text.isdigit():
                    fits = numbers.get(int(text), [])
                    filled += len(fits) == 1
            if len(fits) == 1:
                found.append(fits[0])
            elif fits:
                twice.append(f"line {row.line}: {text} is {fits[0].name} or {fits[1].name}")
            else:
                missing.append(f"line {row.line}: {text or '(empty)'}")
        if twice:
            raise DataError(
                f"{file.name} names pictures that fit two files: {names_text(twice, 3)}",
                hint="write the file names with their extension",
            )
        if missing:
            raise DataError(
                f"{file.name} names {len(missing)} of {len(rows)} pictures that are not there: {names_text(missing, 3)}",
                hint=self._advice(missing[0].partition(": ")[2], bool(found)),
            )
        if filled:
            notes.append(f"{filled} numbers were matched to file names with leading zeros")
        return found

    def _stems(self, numbers: dict[int, list[Path]]) -> dict[str, list[Path]]:
        stems: dict[str, list[Path]] = defaultdict(list)
        for path in folder.walk(self.base, [], self.base):
            stems[path.stem].append(path)
            stems[path.relative_to(self.base).with_suffix("").as_posix()].append(path)
            if path.stem.isascii() and path.stem.isdigit():
                numbers[int(path.stem)].append(path)
        return {stem: list(dict.fromkeys(paths)) for stem, paths in stems.items()}

    def _advice(self, wanted: str, others: bool) -> str:
        """others: some pictures were found, so the folder is right."""
        name = Path(wanted).name
        place = next((p for p in folder.walk(self.base, [], self.base) if name in (p.name, p.stem)), None)
        if others:
            where = f"; one of that name is {place.relative_to(self.base)}" if place else ""
            return f"bring the files back, or take the lines out{where}"
        return f"try --images {place.parent}" if place else "give the folder of the pictures with --images"


def _file(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".tsv") else None
    if not root.is_dir():
        return None
    classes = any(folder.holds_image(f) for f in folder.folders(root))
    found = [p for p in sorted(root.iterdir()) if p.suffix.lower() in (".csv", ".tsv") and not p.name.startswith(".")]
    if classes:
        found = [p for p in found if p.name.lower() not in NAMES]
    return found[0] if len(found) == 1 else None


def _table(file: Path) -> tuple[list[str], list[Row]]:
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
    if doubled := sorted({c for c in lower if lower.count(c) > 1}):
        raise DataError(f"{file.name} has columns of the same name: {', '.join(doubled)}", hint="rename them")
    return header, rows[1:]


def _delimiter(text: str) -> str:
    """The mark that gives the header a column of pictures and most columns; a comma when none does."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    best, most = ",", 1
    for mark in (",", ";", "\t", "|"):
        cells = next(csv.reader([head], delimiter=mark), [])
        if len(cells) > most and {c.strip().lower() for c in cells} & set(IMAGE):
            best, most = mark, len(cells)
    return best


def _columns(header: list[str], rows: list[Row]) -> Columns | None:
    lower = [c.lower() for c in header]

    def place(words: Sequence[str]) -> int | None:
        return next((lower.index(w) for w in words if w in lower), None)

    image, label, split, group = place(IMAGE), place(LABEL), place(SPLIT), place(GROUP)
    if image is None:
        return None
    hot = [
        i for i in range(len(header))
        if i not in (image, split, group) and all(r.cells[i].strip() in ("0", "1", "0.0", "1.0") for r in rows)
    ] if label is None else []  # fmt: skip
    return Columns(image, label, split, group, tuple(hot) if len(hot) >= 2 else ())


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
    names = list({n: None for found in several for n in found})
    if all(n.isascii() and n.isdigit() for n in names):
        names.sort(key=lambda n: (int(n), n))
    else:
        names.sort(key=str.encode)
    return several, names, exclusive


def _split_cell(cell: str) -> list[str]:
    marks = cell.replace("|", ";").split(";")
    return list(dict.fromkeys(n.strip() for n in marks if n.strip()))


def _split(file: Path, row: Row, column: int | None) -> str:
    if column is None:
        return "all"
    split = SPLITS.get(row.cells[column].strip().lower())
    if split is None:
        raise DataError(f"{file.name} line {row.line}: split is train, val or test, got {row.cells[column]!r}")
    return split


def _sides(header: list[str]) -> Sides | None:
    """Where boxes stand: four columns of corners, one of lists, or a corner and sizes."""
    lower = [c.lower() for c in header]
    for kinds, sizes in ((CORNERS, False), (SIZES, True)):
        found = [next((lower.index(w) for w in words if w in lower), None) for words in kinds]
        if all(i is not None for i in found):
            return Sides(tuple(i for i in found if i is not None), sizes)
    return Sides((lower.index(LIST),), True) if LIST in lower else None


def _is_blank(row: Row, sides: Sides) -> bool:
    return all(not row.cells[i].strip() for i in sides.columns)


def _numbers(file: Path, row: Row, sides: Sides, faults: list[Fault]) -> tuple[float, ...] | None:
    """The four numbers of a row; None when it has none, or when they are none, which is told."""
    if _is_blank(row, sides):
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


def _are_shares(places: list[tuple[float, ...]], sides: Sides, notes: list[str]) -> bool:
    """True when every number lies in 0..1, as Open Images writes them."""
    values = [v for place in places for v in place if isfinite(v)]
    if not values or max(values) > 1 or min(values) < 0:
        return False
    notes.append("all coordinates lie in 0..1, and are read as shares of the picture")
    return True


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
                target = folder.put(sample, root / "images", _safe(sample.key.partition("@line ")[0]))
                start = [target.relative_to(root).as_posix(), *([split] if split_column else [])]
                start += [sample.group or ""] if grouped else []
                for corners, k in boxes.each(sample.annotation):
                    writer.writerow([*start, names[k], *(f"{v:.9g}" for v in corners)])
                if not len(sample.annotation["boxes"]):
                    writer.writerow([*start, "", "", "", "", ""])


def _safe(tail: str) -> str:
    """A key as a path below a folder: what leads out of it is cut away."""
    parts = [p for p in Path(tail).parts if p not in ("..", "/", ".")]
    return "/".join(parts) or "image"


FORMAT = Csv()
