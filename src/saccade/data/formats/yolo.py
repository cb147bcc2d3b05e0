"""YOLO text: a line an object, class and box as shares of the picture; a data.yaml, or darknet's lists, name the rest.

The labels of a picture are found by turning the last /images/ of its path into /labels/, else beside it. A picture
without a text file is background. Paths in data.yaml are followed only below the folder of the data.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from saccade.data import boxes, folder, outlines
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import SPLITS
from saccade.data.format import Evidence, Format
from saccade.data.frames import Frame, frames
from saccade.data.outlines import Outline
from saccade.data.pictures import Pictures
from saccade.errors import DataError
from saccade.types import Labels, Sample, names_text

YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES = ("obj.names", "classes.txt", "data/obj.names")
MOST_BYTES = 1024 * 1024
MOST_LIST_BYTES = 64 * 1024 * 1024
"""Of a list of pictures: a line each."""
MOST_LINES = 10_000
"""Of one picture."""
MOST_CLASSES = 100_000
OVER = 1.5
"""A share above it is no rounding: the numbers are pixels."""
NO_SPLIT = "in no list of a split"


@dataclass(frozen=True)
class Plan:
    """What a data.yaml or darknet's files say. splits: split to the entries as written; points: numbers of a pose."""

    file: Path
    names: dict[int, str]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str = ""
    points: int = 0


@dataclass
class Beyond:
    """What label files say that a box does not hold. drawn: outlines; posed: how many objects have keypoints."""

    drawn: list[Outline] = field(default_factory=list)
    posed: int = 0

    def told(self) -> tuple[str, ...]:
        outlined = f"{len(self.drawn):,} outlines are read as the boxes around them"
        posed = f"the keypoints of {self.posed:,} objects are not read"
        return tuple(text for text, count in ((outlined, len(self.drawn)), (posed, self.posed)) if count)


class Yolo(Format):
    name = "yolo"
    holds = ("boxes", "box_classes")
    asked = ("train", "val")

    def recognises(self, root: Path) -> Evidence | None:
        file = _marker(root)
        if file is None:
            return None
        top = file.parent if root.is_file() else root
        count = sum(1 for _ in _texts(top))
        if file.name in NAMES and not count:
            return None
        return Evidence(self.name, (f"{file.name}", f"{count} label files"), 2)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        file = _marker(root)
        if file is None:
            raise DataError(f"{root} holds no data.yaml, obj.names or classes.txt", hint="name the folder of data.yaml")
        top = file.parent if root.is_file() else root
        faults: list[Fault] = []
        notes: list[str] = []
        plan = _plan(file, top)
        pictures = Pictures(images or top)
        chosen, ignored = _chosen(plan, pictures, top, faults, notes)
        ids = {original: k for k, original in enumerate(plan.names)}
        sizes = frames([pictures.paths[key] for key in chosen])
        pairs = []
        used: set[Path] = set()
        bare = 0
        beyond = Beyond()
        for (key, split), size in zip(chosen.items(), sizes, strict=True):
            text = _label_file(pictures.base, key)
            used.add(text)
            bare += not text.is_file()
            name = folder.name(text, pictures.base)
            raw = _objects(text, name, ids, plan, size, faults, beyond) if text.is_file() else []
            if raw:
                boxes.framed((0, 0), size, key, faults)
            pairs.append((split, Sample(key, pictures.paths[key], boxes.annotation(raw, size, faults))))
        faults += outlines.faults(beyond.drawn)
        if bare:
            notes.append(f"{bare} pictures have no label file and are background")
        left = {i.path for i in ignored}
        spare = {_label_file(pictures.base, key) for key in left if key in pictures.paths}
        for text in _texts(pictures.base):
            if text not in used and text not in spare:
                faults.append(Fault("missing_image", folder.name(text, pictures.base), "there is no picture beside it"))
        splits = folder.by_split(pairs, notes)
        if not splits:
            raise DataError(f"{root} names no picture that is there", hint="see train, val and test in data.yaml")
        if list(plan.names) != list(range(len(plan.names))):
            notes.append(f"class ids {names_text([str(k) for k in plan.names], 4)} became 0 to {len(ids) - 1}")
        labels = Labels(tuple(plan.names.values()), tuple(plan.names), exclusive=False)
        unheld = beyond.told()
        return Dataset(self.name, root, labels, splits, tuple(ignored), tuple(notes), None, tuple(faults), unheld)

    def write(self, dataset: Dataset, root: Path) -> None:
        folder.new(root)
        written = {}
        for split, samples in dataset.splits.items():
            part = "" if split == "all" else split
            (root / "labels" / part).mkdir(parents=True, exist_ok=True)
            places = []
            taken: set[str] = set()
            for sample in samples:
                name = folder.free(folder.tail(sample.key), taken)
                target = folder.put(sample, root / "images" / part, name)
                places.append((sample, target))
            sizes = frames([t for _, t in places])
            for (sample, target), size in zip(places, sizes, strict=True):
                if size is None:
                    raise DataError(f"{sample.key} cannot be read, and boxes are written as shares of its size")
                below = target.relative_to(root / "images").with_suffix(".txt")
                (root / "labels" / below).write_text(_lines(sample, size), encoding="utf-8")
            written["train" if split == "all" else split] = f"images/{part}" if part else "images"
        # Without a path others take the folder of this file; a dot they look for in a folder of their settings.
        record = {**written, "names": dict(enumerate(dataset.labels.names))}
        (root / "data.yaml").write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _marker(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".yaml", ".yml") else None
    if not root.is_dir():
        return None
    found = next((root / n for n in (*YAMLS, *NAMES) if (root / n).is_file()), None)
    if found is None or found.suffix != ".txt":
        return found
    # A list of names beside masks is theirs.
    return found if any((root / n).is_dir() for n in ("labels", *SPLITS)) or next(_texts(root), None) else None


def _texts(top: Path) -> Iterator[Path]:
    """Label files: texts in a folder called labels, or beside a picture of their stem."""
    for path in folder.walk(top, [], top, lambda name: name.lower().endswith(".txt")):
        inside = "labels" in path.relative_to(top).parts[:-1] and path.name != "classes.txt"
        if inside or any(path.with_suffix(s).is_file() for s in (".jpg", ".jpeg", ".png", ".JPG", ".bmp", ".webp")):
            yield path


def _text(file: Path, name: str, most: int = MOST_BYTES) -> str:
    if file.stat().st_size > most:
        raise DataError(f"{name} is {file.stat().st_size:,} bytes, limit {most:,}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text") from error


def _plan(file: Path, top: Path) -> Plan:
    if file.suffix.lower() not in (".yaml", ".yml"):
        return Plan(file, _named(file.name, _text(file, file.name).strip().splitlines()), _darknet(top))
    record = _yaml(file)
    names = _named(file.name, record.get("names"))
    count = record.get("nc")
    if count is not None and count != len(names):
        raise DataError(f"{file.name}: nc is {count}, and names holds {len(names)}", hint="make them agree")
    splits = {}
    for word in ("train", "val", "valid", "test"):
        value = record.get(word)
        several = value if isinstance(value, list) else [value] if value not in (None, "") else []
        if not all(isinstance(v, str) for v in several):
            raise DataError(f"{file.name}: {word} is {str(value)[:60]!r}, expected a path or a list of paths")
        if several:
            splits[SPLITS[word]] = tuple(several)
    shape = record.get("kpt_shape")
    points = (
        shape[0] * shape[1]
        if isinstance(shape, list) and len(shape) == 2 and all(isinstance(v, int) for v in shape)
        else 0
    )
    base = record.get("path")
    return Plan(file, names, splits, base if isinstance(base, str) else "", points)


def _yaml(file: Path) -> dict[str, Any]:
    """Plain values only; aliases, which can grow without end, are refused. Raises DataError naming the line."""
    text = _text(file, file.name)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise DataError(f"{file.name} line {event.start_mark.line + 1} refers to an anchor, which is not read")
        record = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{file.name}{line} is no YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{file.name} is no YAML: {str(error)[:200]}") from error
    if not isinstance(record, dict):
        raise DataError(f"{file.name} holds no keys, expected names, train and val")
    return record


def _named(where: str, names: Any) -> dict[int, str]:
    """Original id to name, ascending."""
    if isinstance(names, list):
        found: dict[Any, Any] = dict(enumerate(names))
    elif isinstance(names, dict):
        found = names
    else:
        raise DataError(f"{where}: names is {str(names)[:60]!r}, expected a list or a map of ids to names")
    if not found or len(found) > MOST_CLASSES:
        raise DataError(f"{where}: names holds {len(found)} classes, expected 1 to {MOST_CLASSES:,}")
    clean: dict[int, str] = {}
    first: dict[str, int] = {}
    for id, name in found.items():
        if not isinstance(id, int) or isinstance(id, bool) or id < 0:
            raise DataError(f"{where}: class id {str(id)[:40]!r} is no whole number from 0")
        if not isinstance(name, str | int | float | bool) or not str(name).strip():
            raise DataError(f"{where}: the name of class {id} is {str(name)[:40]!r}")
        clean[id] = " ".join(str(name).split())
        if (other := first.setdefault(clean[id], id)) != id:
            raise DataError(
                f"{where}: names {other} and {id} are both {clean[id]!r}", hint="rename one, or give both one id"
            )
    return dict(sorted(clean.items()))


def _darknet(top: Path) -> dict[str, tuple[str, ...]]:
    """Lists named in obj.data, or lying in the folder."""
    found: dict[str, tuple[str, ...]] = {}
    for data in (top / "obj.data", top / "data" / "obj.data"):
        if data.is_file():
            for line in _text(data, data.name).splitlines():
                key, _, value = (p.strip() for p in line.partition("="))
                if SPLITS.get(key) and value:
                    found[SPLITS[key]] = (value,)
    if found:
        return found
    for word in ("train", "val", "valid", "test"):
        for place in (top, top / "data"):
            if (place / f"{word}.txt").is_file():
                found[SPLITS[word]] = (folder.name(place / f"{word}.txt", top),)
    return found


def _chosen(
    plan: Plan, pictures: Pictures, top: Path, faults: list[Fault], notes: list[str]
) -> tuple[dict[str, str], list[Ignored]]:
    """Key to split of every picture that is used, and what is not."""
    splits = {s: v for s, v in plan.splits.items() if v}
    if not splits:
        return {key: folder.split_of(PurePosixPath(key)) for key in pictures.paths}, _unread(plan, pictures)
    if len(splits) > 1 and len(set(splits.values())) == 1:
        notes.append(f"{' and '.join(splits)} of {plan.file.name} are the same, and are read as one")
        splits = {"train": next(iter(splits.values()))}
    alone = set(splits) == {"train"} and all(folder.split_of(PurePosixPath(e) / "x") == "all" for e in splits["train"])
    found: dict[str, str] = {}
    for split in ("test", "val", "train"):
        for entry in splits.get(split, ()):
            for key, where in _entry(entry, plan, pictures, top, faults):
                name = "all" if alone else split
                if found.setdefault(key, name) != name:
                    faults.append(Fault("in_two_splits", where, f"{key} is in {found[key]} already, and stays there"))
    ordered = {key: found[key] for key in pictures.paths if key in found}
    left = [Ignored(key, NO_SPLIT) for key in pictures.paths if key not in found]
    return ordered, [*_unread(plan, pictures), *left]


def _unread(plan: Plan, pictures: Pictures) -> list[Ignored]:
    """What the walk left out, without the texts, which are labels and lists, and the file that names the classes."""
    return [i for i in pictures.ignored if i.path != plan.file.name and not i.path.endswith(".txt")]


def _entry(entry: str, plan: Plan, pictures: Pictures, top: Path, faults: list[Fault]) -> Iterable[tuple[str, str]]:
    """Keys of the pictures below a folder, or in a list, of data.yaml, each with the place that names it."""
    where = f"{plan.file.name}: {entry}"
    target = _below(entry, plan, top)
    if target is None:
        faults.append(Fault("path_outside", where, "no such path below the folder of the data"))
        return
    if target.is_dir():
        prefix = Path(os.path.relpath(target, pictures.base)).as_posix()
        for key in pictures.paths:
            if prefix == "." or PurePosixPath(key).is_relative_to(prefix):
                yield key, where
        return
    for number, line in enumerate(_text(target, target.name, MOST_LIST_BYTES).splitlines(), 1):
        text = line.strip().replace("\\", "/").removeprefix("./")
        if not text:
            continue
        place = f"{folder.name(target, _plain(top))} line {number}"
        try:
            yield _tailed(text, pictures), place
        except LookupError as error:
            faults.append(Fault("missing_image", place, str(error)))


def _tailed(text: str, pictures: Pictures) -> str:
    """Lists hold paths of other machines: the longest end of the path that is a picture here."""
    parts = [p for p in PurePosixPath(text).parts if p not in ("/", "..", ".")]
    for start in range(len(parts)):
        if (key := "/".join(parts[start:])) in pictures.paths:
            return key
    return pictures.find(parts[-1] if parts else text)


def _below(entry: str, plan: Plan, top: Path) -> Path | None:
    """An entry as a path below the data: under `path`, under the file, or with leading ../ cut as Roboflow needs."""
    bare = PurePosixPath(*[p for p in PurePosixPath(entry.replace("\\", "/")).parts if p not in ("..", "/", ".")])
    # Written paths may not lead out of the data; links that the user made may. `path` may be that of another machine.
    inside = _plain(top)
    for candidate in (top / plan.base / entry, plan.file.parent / entry, top / bare):
        plain = _plain(candidate)
        if plain.is_relative_to(inside) and plain.exists():
            return plain
    return None


def _plain(path: Path) -> Path:
    """From the root of the disk, without . and .., so that paths typed in several ways can be compared."""
    return Path(os.path.normpath(path.absolute()))


def _label_file(base: Path, key: str) -> Path:
    parts = list(PurePosixPath(key).parts)
    places = [i for i, p in enumerate(parts[:-1]) if p == "images"]
    if places:
        parts[places[-1]] = "labels"
        text = (base / PurePosixPath(*parts)).with_suffix(".txt")
        beside = (base / key).with_suffix(".txt")
        return text if text.is_file() or not beside.is_file() else beside
    return (base / key).with_suffix(".txt")


def _objects(
    file: Path,
    name: str,
    ids: Mapping[int, int],
    plan: Plan,
    size: Frame | None,
    faults: list[Fault],
    beyond: Beyond,
) -> list[Box]:
    """The boxes of a label file in px; polygons give their bounds. What boxes do not hold is added to `beyond`.
    Nothing when the picture has no size."""
    try:
        lines = _text(file, name).splitlines()
    except (DataError, OSError) as error:
        faults.append(Fault("bad_annotation", name, str(error)))
        return []
    if len(lines) > MOST_LINES:
        faults.append(Fault("bad_annotation", name, f"{len(lines):,} lines, limit {MOST_LINES:,}"))
        return []
    found = []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        where = f"{name} line {number}"
        try:
            values = [float(c) for c in cells]
            corners = _shares(values[1:], plan.points)
        except ValueError as error:
            faults.append(
                Fault(
                    "bad_box",
                    where,
                    str(error) if "could not" not in str(error) else f"{line[:60]!r} are not all numbers",
                )
            )
            continue
        if not values[0].is_integer() or int(values[0]) not in ids:
            faults.append(Fault("unknown_class", where, f"class {cells[0][:40]} is not in {plan.file.name}"))
            continue
        if any(isfinite(v) and v > OVER for v in corners):
            faults.append(Fault("pixel_coordinates", where, f"{line[:60]!r}, expected shares of 0 to 1"))
            continue
        if size is not None:
            left, top, right, bottom = corners
            scaled = (left * size.width, top * size.height, right * size.width, bottom * size.height)
            found.append(Box(scaled, ids[int(values[0])], where))
            if _is_pose(values[1:], plan.points):
                beyond.posed += 1
            elif len(values) >= 7:
                shares = np.array(values[1:]).reshape(-1, 2)
                beyond.drawn.append(Outline(where, (shares * (size.width, size.height),)))
    return found


def _shares(values: list[float], points: int) -> tuple[float, float, float, float]:
    """x_min y_min x_max y_max as shares. Raises ValueError when the numbers are neither a box nor a polygon."""
    if len(values) == 4 or _is_pose(values, points):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    raise ValueError(f"{len(values) + 1} numbers, expected 5 for a box, or a class and three points or more")


def _is_pose(values: list[float], points: int) -> bool:
    """True for a box with the points of a pose behind it."""
    return points > 0 and len(values) == 4 + points


def _lines(sample: Sample, size: Frame) -> str:
    wide, high = float(size.width), float(size.height)
    lines = [
        f"{k} {(left + right) / 2 / wide:.12g} {(top + bottom) / 2 / high:.12g} {(right - left) / wide:.12g} {(bottom - top) / high:.12g}"
        for (left, top, right, bottom), k in boxes.each(sample.annotation)
    ]
    return "".join(f"{line}\n" for line in lines)


FORMAT = Yolo()
