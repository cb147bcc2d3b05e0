"""COCO JSON: images, annotations and categories in one file a split; boxes as x, y, width, height from the top left.

Category ids may have holes and begin anywhere: the ledger counts from 0 in their order and keeps them as originals.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from saccade.data import boxes, folder, outlines, rle, scale
from saccade.data.boxes import Box
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import KEEP_FIRST, SPLITS
from saccade.data.format import Evidence, Format
from saccade.data.frames import Frame, frame, frames
from saccade.data.numbers import numbers
from saccade.data.outlines import Outline
from saccade.data.pictures import Pictures
from saccade.data.scale import Stated
from saccade.errors import DataError
from saccade.types import Labels, Sample, names_text

MOST_BYTES = 256 * 1024 * 1024
MOST_ANNOTATIONS = 2_000_000
KEYS = ("images", "annotations", "categories")
WORDS = re.compile(r"(?:^|[^a-z])(train|training|validation|valid|val|test)(?=$|[^a-z])")
EXTRAS = ("box_crowd", "box_area")
NOT_LISTED = "picture that no file lists"
Shapes = Callable[[Sample, int, Sequence[int], int], list[dict[str, Any]]]
"""A sample, its image id, the ids of the classes, the first free annotation id."""


@dataclass(frozen=True)
class Page:
    """One JSON file. key: its path in errors; split: what its name or folder says, "all" when nothing."""

    file: Path
    key: str
    split: str
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    info: Any = None


@dataclass(frozen=True)
class Picture:
    """An image entry that has its file. shapes: its annotations, each with the key that errors name."""

    page: Page
    key: str
    where: str
    stated: tuple[float, float]
    shapes: tuple[tuple[str, Mapping[str, Any]], ...]


class Coco(Format):
    name = "coco"
    holds = ("boxes", "box_classes", "box_crowd", "box_area")
    keeps = frozenset({"originals"})

    def recognises(self, root: Path) -> Evidence | None:
        found = files(root)
        if not found:
            return None
        shown = names_text([f.name if root.is_file() else folder.name(f, root) for f in found], 3)
        return Evidence(self.name, (f"{shown} with {', '.join(KEYS)}",), 2)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        faults: list[Fault] = []
        notes: list[str] = []
        pages = read_pages(root)
        pictures = Pictures(images or (root.parent if root.is_file() else root))
        names, ids = categories(pages, notes)
        labels = Labels(tuple(names.values()), tuple(names), exclusive=False)
        unheld: list[str] = []
        found = entries(pages, pictures, faults, unheld)
        sizes = frames([pictures.paths[p.key] for p in found])
        extras = [e for e, key in zip(EXTRAS, ("iscrowd", "area"), strict=True) if _any(pages, key)]
        written: list[tuple[tuple[float, ...], Frame | None]] = []
        pairs = []
        faults += outlines.faults([o for p in found for where, shape in p.shapes for o in outlined(where, shape)])
        for picture, size in zip(found, sizes, strict=True):
            raw = [
                b
                for where, shape in picture.shapes
                if (b := _box(where, shape, ids, picture, size, faults)) is not None
            ]
            written += [
                ((b.corners[0], b.corners[1], b.corners[2] - b.corners[0], b.corners[3] - b.corners[1]), size)
                for b in raw
            ]
            if boxes.framed(picture.stated, size, picture.where, faults) and size is not None:
                raw = [Box(boxes.upright(b.corners, size), b.class_id, b.where, b.crowd, area=b.area) for b in raw]
            record = boxes.annotation(raw, size, faults, extras)
            pairs.append((picture.page.split, Sample(picture.key, pictures.paths[picture.key], record)))
        faults += scale.scaled([Stated(p.where, p.stated, size) for p, size in zip(found, sizes, strict=True)])
        if odd := boxes.swapped(written):
            told = f"{odd} of {len(written)} boxes fit their picture as corners, but not as x, y, width, height"
            faults.append(Fault("corners_as_sizes", pages[0].key, told))
        ignored = unlisted(pictures, found, pages, faults, root)
        if shaped := sum(bool(shape.get("segmentation")) for p in found for _, shape in p.shapes):
            unheld.append(f"the outlines of {shaped:,} objects are read as their boxes; --format coco_masks reads them")
        return Dataset(
            self.name,
            root,
            labels,
            folder.by_split(pairs, notes),
            tuple(ignored),
            tuple(notes),
            None,
            tuple(faults),
            tuple(unheld),
        )

    def write(self, dataset: Dataset, root: Path) -> None:
        """A folder a split with its pictures and _annotations.coco.json, as Roboflow lays it out."""
        write_pages(dataset, root, _shapes)


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
    """True when the text holds the three keys; a file too large to read is taken by its name, and refused on reading."""
    if file.stat().st_size > MOST_BYTES:
        return "coco" in file.name or file.name.startswith("instances_")
    data = file.read_bytes()
    return all(f'"{key}"'.encode() in data for key in KEYS)


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
        pages.append(Page(file, key, split, parts[0], parts[1], parts[2], record.get("info")))
    return pages


def parse(file: Path, key: str) -> dict[str, Any]:
    """A JSON object of bounded size and depth. Raises DataError naming file and line."""
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{key} is {file.stat().st_size:,} bytes, limit {MOST_BYTES:,}", hint="split it")
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
    """Original id to name in ledger order, and original id to ledger id. Files must agree on what an id means, and no two
    ids may have one name."""
    names: dict[int, str] = {}
    places: dict[int, str] = {}
    groups: set[str] = set()
    for page in pages:
        for i, entry in enumerate(page.categories):
            where = f"{page.key} categories[{i}]"
            if not isinstance(entry, Mapping) or not _is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
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
        if isinstance(a, Mapping) and _is_id(a.get("category_id"))
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


def entries(pages: Sequence[Page], pictures: Pictures, faults: list[Fault], unheld: list[str]) -> list[Picture]:
    """Images that have their file, with the annotations that are theirs, in the order of the files.

    One that stands in two files stays where it is measured on. unheld: gets a sentence on the annotations so left out.
    """
    found: list[Picture] = []
    seen: dict[str, str] = {}
    spare = 0
    for page in sorted(pages, key=lambda p: KEEP_FIRST.index(p.split)):
        shapes: dict[int, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        taken: set[Any] = set()
        known = {int(e["id"]) for e in page.images if isinstance(e, Mapping) and _is_id(e.get("id"))}
        for i, shape in enumerate(page.annotations):
            where = f"{page.key} annotations[{i}]"
            if not isinstance(shape, Mapping) or not _is_id(shape.get("image_id")):
                faults.append(Fault("bad_box", where, "expected an object with a whole number image_id"))
                continue
            if int(shape["image_id"]) not in known:
                faults.append(Fault("missing_image", where, f"image_id {shape['image_id']} is no image"))
                continue
            if _is_id(shape.get("id")) and shape["id"] in taken:
                faults.append(Fault("same_id", where, f"id {shape['id']} was given before"))
            taken.add(shape.get("id") if _is_id(shape.get("id")) else None)
            shapes[int(shape["image_id"])].append((where, shape))
        ids: set[int] = set()
        for i, entry in enumerate(page.images):
            where = f"{page.key} images[{i}]"
            if (
                not isinstance(entry, Mapping)
                or not _is_id(entry.get("id"))
                or not isinstance(entry.get("file_name"), str)
            ):
                faults.append(Fault("bad_annotation", where, "expected a whole number id and a file_name"))
                continue
            if int(entry["id"]) in ids:
                faults.append(Fault("same_id", where, f"id {entry['id']} was given before, and this image is left out"))
                continue
            ids.add(int(entry["id"]))
            near = PurePosixPath(page.key).parent.as_posix() if page.split == "all" else _near(page)
            try:
                key = pictures.find(entry["file_name"], near)
            except LookupError as error:
                text = str(error)
                faults.append(Fault("path_outside" if "leads out" in text else "missing_image", where, text))
                continue
            if key in seen:
                left = len(shapes[int(entry["id"])])
                spare += left
                told = f"{key} is in {seen[key]} as well, and stays there; its {left:,} annotations here are left out"
                faults.append(Fault("in_two_splits", where, told))
                continue
            seen[key] = page.key
            stated = (_number(entry.get("width")), _number(entry.get("height")))
            found.append(Picture(page, key, where, stated, tuple(shapes[int(entry["id"])])))
    if spare:
        unheld.append(f"{spare:,} annotations of pictures that stand in two files are left out, those of the second")
    order = {page.key: i for i, page in enumerate(pages)}
    return sorted(found, key=lambda p: order[p.page.key])


def _near(page: Page) -> str:
    """Where the pictures of a file most likely are: its own folder, or that of the split it names (instances_val2017)."""
    parent = PurePosixPath(page.key).parent
    if parent.name == "annotations":
        return (parent.parent / PurePosixPath(page.key).stem.removeprefix("instances_")).as_posix()
    return parent.as_posix()


def unlisted(
    pictures: Pictures, found: Sequence[Picture], pages: Sequence[Page], faults: list[Fault], root: Path
) -> list[Ignored]:
    """What lies in the folder and in no file; listed pictures that were left out for a fault were told already."""
    used = {p.key for p in found}
    listed = {
        PurePosixPath(e["file_name"]).name
        for p in pages for e in p.images if isinstance(e, Mapping) and isinstance(e.get("file_name"), str)
    }  # fmt: skip
    left = [k for k in pictures.paths if k not in used]
    faults += [Fault("missing_annotation", k, NOT_LISTED) for k in left if PurePosixPath(k).name not in listed]
    read = {p.key for p in pages}
    return [*(i for i in pictures.ignored if i.path not in read), *(Ignored(k, NOT_LISTED) for k in left)]


def canvas(stated: tuple[float, float], size: Frame | None) -> tuple[int, int]:
    """Width and height that run lengths must have: as stated where the picture has them, either way up, else its own."""
    written = (int(stated[0]), int(stated[1]))
    if size is None or written in ((size.width, size.height), size.stored):
        return written
    return size.width, size.height


def runs(segmentation: Any, width: int, height: int) -> list[int] | None:
    """Runs of an RLE, packed or not; None for polygons. Raises ValueError."""
    if not isinstance(segmentation, Mapping):
        return None
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [height, width]:
        raise ValueError(f"an RLE of size {str(size)[:40]}, expected [{height}, {width}]")
    if isinstance(counts, str):
        return rle.unpack(counts)
    if isinstance(counts, list) and all(_is_id(c) for c in counts):
        return [int(c) for c in counts]
    raise ValueError("an RLE whose counts are neither a text nor a list of whole numbers")


def polygons(segmentation: Any) -> list[list[float]]:
    """Parts of a shape, each x, y, x, y, ... Raises ValueError."""
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("neither a bbox nor a segmentation")
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    for part in parts:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2 or not all(_is_number(v) for v in part):
            raise ValueError("a polygon with fewer than three points, or of other things than numbers")
    return [[float(v) for v in part] for part in parts]


def outlined(where: str, shape: Mapping[str, Any]) -> list[Outline]:
    """The polygons of an annotation beside its box; nothing for run lengths, or where they cannot be read."""
    if not isinstance(shape.get("segmentation"), list):
        return []
    try:
        parts = [np.array(part).reshape(-1, 2) for part in polygons(shape["segmentation"])]
    except ValueError:
        return []
    box = shape.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        return [Outline(where, tuple(parts))]
    left, top, width, height = (float(v) for v in box)
    return [Outline(where, tuple(parts), (left, top, left + width, top + height))]


def _box(
    where: str,
    shape: Mapping[str, Any],
    ids: Mapping[int, int],
    picture: Picture,
    size: Frame | None,
    faults: list[Fault],
) -> Box | None:
    category = shape.get("category_id")
    if not _is_id(category) or category not in ids:
        faults.append(Fault("unknown_class", where, f"category_id {str(category)[:40]} is no category"))
        return None
    try:
        left, top, width, height = _bounds(shape, picture, size)
    except ValueError as error:
        faults.append(Fault("bad_box", where, str(error)))
        return None
    area = shape.get("area")
    return Box(
        (left, top, left + width, top + height),
        ids[int(category)],
        where,
        crowd=shape.get("iscrowd") == 1,
        area=float(area) if _is_number(area) and 0 <= area < 1e14 else None,
    )


def _bounds(shape: Mapping[str, Any], picture: Picture, size: Frame | None) -> tuple[float, float, float, float]:
    """x, y, width, height: as given, else the bounds of the segmentation."""
    given = shape.get("bbox")
    if given is None or given == []:
        width, height = canvas(picture.stated, size)
        lengths = runs(shape.get("segmentation"), width, height)
        if lengths is not None:
            return rle.bounds(lengths, width, height)
        points = np.array([v for part in polygons(shape.get("segmentation")) for v in part]).reshape(-1, 2)
        left, top = points.min(0)
        return float(left), float(top), float(points[:, 0].max() - left), float(points[:, 1].max() - top)
    if not isinstance(given, list) or len(given) != 4 or not all(_is_number(v) for v in given):
        raise ValueError(f"bbox is {str(given)[:60]}, expected four numbers")
    return float(given[0]), float(given[1]), float(given[2]), float(given[3])


def write_pages(dataset: Dataset, root: Path, shapes: Shapes, **info: Any) -> None:
    """A folder a split. shapes: the annotations of a sample. Classes keep the numbers they had; without any they count
    from 1."""
    names = dataset.labels.names
    ids = numbers(dataset.labels) or list(range(1, len(names) + 1))
    folder.new(root)
    for split, samples in dataset.splits.items():
        place = root if split == "all" else root / split
        place.mkdir(exist_ok=True)
        record: dict[str, Any] = {"info": info, "images": [], "annotations": []}
        for i, sample in enumerate(samples, 1):
            target = folder.put(sample, place, folder.tail(sample.key))
            size = frame(target)
            record["images"].append({
                "id": i, "file_name": target.relative_to(place).as_posix(),
                "width": size.width if size else 0, "height": size.height if size else 0,
            })  # fmt: skip
            record["annotations"] += shapes(sample, i, ids, len(record["annotations"]) + 1)
        record["categories"] = [{"id": k, "name": n} for k, n in zip(ids, names, strict=True)]
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        (place / "_annotations.coco.json").write_text(text, encoding="utf-8")


def _shapes(sample: Sample, image: int, ids: Sequence[int], first: int) -> list[dict[str, Any]]:
    crowd = boxes.flags(sample.annotation, "box_crowd")
    areas = sample.annotation["box_area"].tolist() if "box_area" in sample.annotation else None
    made = []
    for i, ((left, top, right, bottom), class_id) in enumerate(boxes.each(sample.annotation)):
        width, height = right - left, bottom - top
        made.append({
            "id": first + i, "image_id": image, "category_id": ids[class_id], "bbox": [left, top, width, height],
            "area": width * height if areas is None else areas[i], "iscrowd": int(crowd[i]), "segmentation": [],
        })  # fmt: skip
    return made


def _any(pages: Sequence[Page], key: str) -> bool:
    """True when an annotation says something by a key: a crowd, or an area of its own."""
    return any(isinstance(a, Mapping) and a.get(key) not in (None, 0) for p in pages for a in p.annotations)


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    """True for NaN and infinity as well, which JSON of Python holds: they are told as places that are none."""
    return isinstance(value, float) or (_is_id(value) and abs(value) < 1e300)


def _number(value: Any) -> float:
    return float(value) if _is_id(value) and 0 < value < 1e9 else 0.0


FORMAT = Coco()
