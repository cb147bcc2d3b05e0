"""The files of a COCO dataset, each with its split, and the ledger they agree on."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath
from typing import Any

from saccade import process
from saccade.data import folder
from saccade.data.folder import SPLITS
from saccade.data.formats.coco.fields import is_id
from saccade.errors import DataError
from saccade.types import names_text

MOST_BYTES = 1024 * 1024 * 1024
LARGE_BYTES = 256 * 1024 * 1024
"""A file above it is read only when the memory for it is free."""
COPIES = 10
"""How many times its own bytes a file takes in memory once it is read."""
MOST_ANNOTATIONS = 2_000_000
KEYS = ("images", "annotations", "categories")
WORDS = re.compile(r"(?:^|[^a-z])(train|training|validation|valid|val|test)(?=$|[^a-z])")


@dataclass(frozen=True)
class Page:
    """One JSON file. key: its path in errors; split: what its name or folder says, "all" when nothing; info, licenses:
    as it gives them, None when it does not."""

    file: Path
    key: str
    split: str
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    info: Any = None
    licenses: Any = None


def files(root: Path) -> list[Path]:
    """JSON files with the three keys: the one named, or those in the root, annotations/ and the split folders."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" and _speaks(root) else []
    if not root.is_dir():
        return []
    places = [root, root / "annotations", *(f for f in folder.folders(root) if f.name.lower() in SPLITS)]
    found = []
    for place in places:
        here = sorted(place.glob("*.json")) if place.is_dir() else []
        instances = [f for f in here if f.name.startswith("instances_")]
        found += [f for f in instances or here if _speaks(f)]
    return found


def _speaks(file: Path) -> bool:
    """True when the text holds the three keys; a file too large to read is taken by its name,
    and refused on reading."""
    size = file.stat().st_size
    if size > MOST_BYTES:
        return "coco" in file.name or file.name.startswith("instances_")
    if not size:
        return False
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        return all(data.find(f'"{key}"'.encode()) >= 0 for key in KEYS)


def read_pages(root: Path) -> list[Page]:
    """Every file, each with its split. Raises DataError naming file and line or key."""
    found = files(root)
    if not found:
        raise DataError(
            f"{root} holds no JSON with {', '.join(KEYS)}", hint="expected instances_*.json or _annotations.coco.json"
        )
    pages = []
    for file in found:
        key = file.name if root.is_file() else folder.name(file, root)
        record = parse(file, key)
        parts = []
        for name in KEYS:
            part = record.get(name)
            if not isinstance(part, list):
                raise DataError(f"{key}: {name} is {type(part).__name__}, expected a list")
            parts.append(part)
        if len(parts[1]) > MOST_ANNOTATIONS:
            raise DataError(f"{key} holds {len(parts[1]):,} annotations, limit {MOST_ANNOTATIONS:,}")
        word = WORDS.search(re.sub(r"\d+", " ", PurePosixPath(key).stem.lower()))
        split = SPLITS[word[1]] if word else folder.split_of(PurePosixPath(key))
        rest = record.get("info"), record.get("licenses")
        pages.append(Page(file, key, split, parts[0], parts[1], parts[2], *rest))
    return pages


def parse(file: Path, key: str) -> dict[str, Any]:
    """A JSON object of bounded size and depth. Raises DataError naming file and line."""
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{key} is {size:,} bytes, limit {MOST_BYTES:,}", hint="split it")
    free = process.free_memory() if size > LARGE_BYTES else None
    if free is not None and free < COPIES * size:
        raise DataError(
            f"{key} is {size:,} bytes, which take {COPIES * size:,} bytes of memory to read, and {free:,} are free",
            hint="close other programs, or split it",
        )
    try:
        record = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{key} line {error.lineno} is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise DataError(f"{key} is nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{key} is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{key} holds a {type(record).__name__}, expected an object with {', '.join(KEYS)}")
    return record


def categories(pages: Sequence[Page], notes: list[str]) -> tuple[dict[int, str], dict[int, int]]:
    """Original id to name in ledger order, and original id to ledger id. Files must agree on what an id means, and no
    two ids may have one name."""
    names: dict[int, str] = {}
    places: dict[int, str] = {}
    groups: set[str] = set()
    for page in pages:
        for i, entry in enumerate(page.categories):
            where = f"{page.key} categories[{i}]"
            if not isinstance(entry, Mapping) or not is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
                raise DataError(f"{where} needs a whole number id and a name, got {str(entry)[:80]}")
            id, name = int(entry["id"]), " ".join(entry["name"].split())
            if not name:
                raise DataError(f"{where} has an empty name")
            if names.setdefault(id, name) != name:
                raise DataError(
                    f"{where}: id {id} is {name!r} here and {names[id]!r} before", hint="give each class one id"
                )
            places.setdefault(id, where)
            if isinstance(entry.get("supercategory"), str):
                groups.add(" ".join(entry["supercategory"].split()))
    used = Counter(
        a.get("category_id")
        for p in pages
        for a in p.annotations
        if isinstance(a, Mapping) and is_id(a.get("category_id"))
    )
    # Roboflow lists the name of the project as category 0, which the others call their supercategory.
    if 0 in names and not used[0] and names[0] in groups and len(names) > 1:
        notes.append(f"category 0 {names[0]!r} is the group of the others and is left out")
        del names[0]
    ordered = dict(sorted(names.items()))
    if not ordered:
        raise DataError(f"{pages[0].key} lists no category")
    first: dict[str, int] = {}
    for id, name in ordered.items():
        if (other := first.setdefault(name, id)) != id:
            raise DataError(
                f"{places[id]}: id {id} is {name!r}, and so is id {other} in {places[other]}",
                hint="rename one, or give both one id",
            )
    if list(ordered) != list(range(len(ordered))):
        notes.append(f"category ids {names_text([str(k) for k in ordered], 4)} became 0 to {len(ordered) - 1}")
    return ordered, {id: k for k, id in enumerate(ordered)}
