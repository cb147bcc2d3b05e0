"""CSV with a column of pictures and one or many labels: one name, several by ; or |, or one 0/1 column per class."""

import csv
from pathlib import Path

import numpy as np

from saccade.data.dataset import Dataset
from saccade.data.format import Evidence, Format
from saccade.data.formats.image_folder import SPLITS, SUFFIXES, put
from saccade.errors import DataError, StorageError
from saccade.types import Labels, Sample, names_text

IMAGE = ("filename", "file_name", "image", "path", "file", "id", "image_id")
LABEL = ("label", "labels", "class", "class_name", "target", "category", "tags")
SPLIT = ("split", "set", "subset")
BOXES = frozenset({"xmin", "x_min", "x1", "ymax"})
MOST_BYTES = 256 * 1024 * 1024


class Csv(Format):
    name = "csv"

    def recognises(self, root: Path) -> Evidence | None:
        file = _file(root)
        if file is None:
            return None
        try:
            header, rows, _ = _table(file)
        except DataError:
            return None
        columns = {c.lower() for c in header}
        if not columns & set(IMAGE) or columns & BOXES or not rows:
            return None
        if not (columns & set(LABEL) or _one_hot(header, rows)):
            return None
        return Evidence(self.name, (f"{file.name} with {len(rows)} rows and columns {', '.join(header[:6])}",))

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        file = _file(root)
        if file is None:
            raise DataError(f"{root} holds no CSV file")
        header, rows, first = _table(file)
        lower = [c.lower() for c in header]
        image = next((lower.index(c) for c in IMAGE if c in lower), None)
        if image is None:
            raise DataError(f"{file.name} needs a column of pictures: {', '.join(IMAGE)}; got {', '.join(header)}")
        label = next((lower.index(c) for c in LABEL if c in lower), None)
        split = next((lower.index(c) for c in SPLIT if c in lower), None)
        hot = _one_hot(header, rows) if label is None else []
        if label is None and not hot:
            raise DataError(f"{file.name} needs a label column: {', '.join(LABEL)}, or one 0/1 column per class")
        several = [
            _names(row[label]) if label is not None else [header[i] for i in hot if _is_one(row[i])] for row in rows
        ]
        exclusive = not hot and all(len(n) == 1 for n in several)
        names = [header[i] for i in hot] if hot else sorted({n for row in several for n in row}, key=str.encode)
        base = images or file.parent
        stems = _stems(base) if any(not Path(r[image]).suffix for r in rows) else {}
        made: dict[str, list[Sample]] = {}
        missing: list[str] = []
        for i, (row, found) in enumerate(zip(rows, several, strict=True)):
            path = _picture(base, row[image].strip(), stems)
            if path is None:
                missing.append(f"line {first + i}: {row[image]}")
                continue
            cell = "" if split is None else row[split].strip().lower()
            where = "all" if split is None else SPLITS.get(cell, "")
            if not where:
                raise DataError(f"{file.name} line {first + i}: split is train, val or test, got {cell!r}")
            classes = np.array(sorted(names.index(n) for n in found), np.int64)
            made.setdefault(where, []).append(Sample(row[image].strip(), path, {"classes": classes}))
        if missing:
            raise DataError(
                f"{file.name} names {len(missing)} pictures that are not there: {names_text(missing, 3)}",
                hint="give their folder with --images",
            )
        order = [s for s in ("all", "train", "val", "test") if s in made]
        labels = Labels(tuple(names), exclusive=exclusive)
        return Dataset(self.name, root, labels, {s: tuple(made[s]) for s in order})

    def write(self, dataset: Dataset, root: Path) -> None:
        if root.exists():
            raise StorageError(f"{root} is already there", hint="name a new folder")
        folder = root / "images"
        folder.mkdir(parents=True)
        with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            plain = dataset.labels.exclusive
            names = dataset.labels.names
            writer.writerow(["image", "split", *(["label"] if plain else names)])
            for split, samples in dataset.splits.items():
                for i, sample in enumerate(samples):
                    target = put(sample, folder, i)
                    held = {int(c) for c in sample.annotation["classes"]}
                    cells = [names[min(held)]] if plain else [int(k in held) for k in range(len(names))]
                    writer.writerow([f"images/{target.name}", "train" if split == "all" else split, *cells])


def _file(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".csv", ".tsv") else None
    if not root.is_dir():
        return None
    found = sorted(root.glob("*.csv")) + sorted(root.glob("*.tsv"))
    # Beside class folders a CSV is information about them, not the labels.
    beside = [p for p in root.iterdir() if p.is_dir() and p.name.lower() in SPLITS]
    return found[0] if len(found) == 1 and not beside else None


def _table(file: Path) -> tuple[list[str], list[list[str]], int]:
    """Header, rows that are not blank, and the line number of the first row. Raises DataError naming the line."""
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{file.name} is larger than {MOST_BYTES // 2**20} MiB")
    try:
        text = file.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        delimiter = max((",", ";", "\t", "|"), key=head.count)
        lines = [r for r in csv.reader(text.splitlines(), delimiter=delimiter) if any(c.strip() for c in r)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file.name} is no readable CSV: {error}", hint="save it as UTF-8") from error
    if len(lines) < 2:
        raise DataError(f"{file.name} has no rows under its header")
    header = [c.strip() for c in lines[0]]
    for i, row in enumerate(lines[1:]):
        if len(row) != len(header):
            raise DataError(f"{file.name} line {i + 2}: {len(row)} cells under {len(header)} columns")
    return header, lines[1:], 2


def _one_hot(header: list[str], rows: list[list[str]]) -> list[int]:
    """Columns that hold nothing but 0 and 1, when there are at least two."""
    taken = set(IMAGE) | set(SPLIT)
    columns = [
        i for i, c in enumerate(header)
        if c.lower() not in taken and all(r[i].strip() in ("0", "1", "0.0", "1.0") for r in rows)
    ]  # fmt: skip
    return columns if len(columns) >= 2 else []


def _is_one(cell: str) -> bool:
    return cell.strip() in ("1", "1.0")


def _names(cell: str) -> list[str]:
    for mark in (";", "|"):
        cell = cell.replace(mark, "\n")
    return list(dict.fromkeys(n.strip() for n in cell.split("\n") if n.strip()))


def _stems(base: Path) -> dict[str, Path]:
    return {p.stem: p for p in base.rglob("*") if p.suffix.lower() in SUFFIXES}


def _picture(base: Path, name: str, stems: dict[str, Path]) -> Path | None:
    path = base / name
    if path.is_file():
        return path
    return stems.get(name)


FORMAT = Csv()
