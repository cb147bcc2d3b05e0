"""Masks: one PNG a picture, of indices, palette, colours or 0 and 255; beside the picture or in a parallel folder.

Layouts: NAME.jpg with NAME_mask.png (Roboflow), images/ with masks/ and its many names, VOC's SegmentationClass,
CamVid's train/ with trainannot/, Cityscapes, and any two parallel trees of equal stems.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from saccade.data import folder, masks
from saccade.data.dataset import Dataset, Fault, Ignored
from saccade.data.folder import SPLITS
from saccade.data.format import Evidence, Format
from saccade.data.masks import IGNORED, MOST_CLASSES, MaskFile, Table
from saccade.errors import DataError
from saccade.images import encode
from saccade.types import Labels, Sample, names_text

MASK_FOLDERS = frozenset({
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "segmentationclass",
    "segmentationclasspng", "gtfine", "gtcoarse", "gt", "segmentations", "png",
})  # fmt: skip
MASK_TAILS = ("annot", "_labels", "_label", "_masks", "_mask", "_gt", "_annotations")
"""What follows a picture folder's name in that of its masks: train and trainannot."""
MASK_STEMS = (
    "_gtFine_labelTrainIds", "_gtFine_labelIds", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation",
    "_annotation", "_gt", "_L", "_P",
)  # fmt: skip
PICTURE_STEMS = ("_leftImg8bit", "_image", "_img", "_sat")
CLASS_FILES = (
    "_classes.csv", "class_dict.csv", "classes.csv", "label_colors.txt", "labelmap.txt", "class_names.txt",
    "classes.txt", "codes.txt",
)  # fmt: skip
VOID = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "__ignore__"})
LISTS = "ImageSets/Segmentation"
OVERLAP = 0.9
"""Share of masks that have a picture of the same stem, from which two folders are taken as parallel."""
CAMVID = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
NO_MASK = "picture without a mask"
NO_PICTURE = "mask without a picture"
NO_SPLIT = "in no list of a split"


@dataclass(frozen=True)
class Pair:
    picture: PurePosixPath
    mask: PurePosixPath


@dataclass(frozen=True)
class Layout:
    """What lies where: pairs, what has no partner, and the phrase that says how they were found."""

    pairs: tuple[Pair, ...]
    fact: str
    kind: str
    alone: tuple[PurePosixPath, ...] = ()
    orphans: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True)
class Classes:
    """A class file: names in the order of ids, and the stored value or colour of each; void: values to ignore."""

    names: tuple[str, ...]
    stored: tuple[int, ...]
    coloured: bool = False
    void: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def table(self) -> Table:
        ids = {value: i for i, value in enumerate(self.stored)} | dict.fromkeys(self.void, IGNORED)
        return Table(ids, self.coloured)

    def labels(self) -> Labels:
        originals = tuple(f"#{v:06x}" if self.coloured else v for v in self.stored)
        return Labels(self.names, originals, exclusive=False)


class Masks(Format):
    name = "masks"
    holds = ("mask",)
    keeps = frozenset({"originals"})

    def recognises(self, root: Path) -> Evidence | None:
        if not root.is_dir():
            return None
        found = _layout(root, [])
        if found is None:
            return None
        files = [folder.name(f, root) for f in _class_files(root, found)]
        facts = [found.fact, *([f"classes from {files[0]}"] if files else [])]
        return Evidence(self.name, tuple(facts), 2 if files or found.kind != "any" else 3)

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        if images is not None:
            raise DataError("--images goes with a table; masks lie beside their pictures", hint="leave --images away")
        if not root.is_dir():
            raise DataError(f"{root} is no folder", hint="name the folder that holds pictures and masks")
        ignored: list[Ignored] = []
        layout = _layout(root, ignored)
        if layout is None:
            raise DataError(
                f"{root} holds no masks beside pictures: expected NAME_mask.png beside NAME.jpg, or masks/ beside images/"
            )
        faults: list[Fault] = []
        classes = _classes(root, layout, faults)
        table = classes.table()
        lists, told = _lists(root, faults)
        pairs: list[tuple[str, Sample]] = []
        for pair in layout.pairs:
            key = pair.picture.as_posix()
            split = lists.get(pair.picture.stem, "") if lists else folder.split_of(pair.picture)
            if not split:
                ignored.append(Ignored(key, NO_SPLIT))
                continue
            record = MaskFile(root / pair.mask, pair.mask.as_posix(), root / pair.picture, table)
            pairs.append((split, Sample(key, root / pair.picture, record)))
        for path in layout.alone:
            ignored.append(Ignored(path.as_posix(), NO_MASK))
            # VOC has many pictures without masks, and lists of those that have one.
            if not lists or path.stem in lists:
                faults.append(Fault("missing_annotation", path.as_posix(), NO_MASK))
        ignored += [Ignored(p.as_posix(), NO_PICTURE) for p in layout.orphans]
        faults += [Fault("missing_image", p.as_posix(), NO_PICTURE) for p in layout.orphans]
        read = {folder.name(f, root) for f in _class_files(root, layout)}
        ignored = [i for i in ignored if i.path not in read]
        splits = folder.by_split(pairs)
        if not splits:
            raise DataError(f"{root}: no pair of picture and mask is in a list of a split", hint="see ImageSets/")
        notes = (*classes.notes, *told)
        return Dataset(self.name, root, classes.labels(), splits, tuple(ignored), notes, None, tuple(faults))

    def write(self, dataset: Dataset, root: Path) -> None:
        """images/, masks/ and _classes.csv; values are the dataset's own where they were numbers, else ledger ids."""
        names, originals = dataset.labels.names, dataset.labels.originals
        if len(names) > MOST_CLASSES:
            raise DataError(f"{len(names)} classes do not fit one byte a pixel, limit {MOST_CLASSES}")
        own = len(set(originals)) == len(names) and all(
            isinstance(o, int) and not isinstance(o, bool) and 0 <= o < IGNORED for o in originals
        )
        stored = [int(o) for o in originals] if own else list(range(len(names)))
        back = np.arange(256, dtype=np.uint8)
        back[: len(stored)] = stored
        folder.new(root)
        with (root / "_classes.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("Pixel Value", "Class"))
            writer.writerows(zip(stored, names, strict=True))
        for split, samples in dataset.splits.items():
            prefix = "" if split == "all" else split
            taken: set[str] = set()
            for sample in samples:
                target = folder.put(sample, root / "images" / prefix, folder.free(folder.tail(sample.key), taken))
                below = target.relative_to(root / "images").with_suffix(".png")
                mask = root / "masks" / below
                mask.parent.mkdir(parents=True, exist_ok=True)
                mask.write_bytes(encode.to_png(back[sample.annotation["mask"]]))


def _layout(root: Path, ignored: list[Ignored]) -> Layout | None:
    every = [PurePosixPath(p.relative_to(root).as_posix()) for p in folder.walk(root, ignored, root)]
    return _beside(every) or _parallel(every) or _any_trees(every)


def _beside(every: Sequence[PurePosixPath]) -> Layout | None:
    """NAME_mask.png in the folder of NAME.jpg."""
    stems = {p.with_suffix(""): p for p in every if not p.stem.endswith("_mask")}
    marked = [p for p in every if p.stem.endswith("_mask") and p.suffix.lower() == ".png"]
    pairs, orphans = [], []
    for mask in marked:
        picture = stems.get(mask.parent / mask.stem.removesuffix("_mask"))
        if picture is None:
            orphans.append(mask)
        else:
            pairs.append(Pair(picture, mask))
    if not pairs or len(pairs) < OVERLAP * len(marked):
        return None
    used = {p.picture for p in pairs}
    alone = tuple(p for p in stems.values() if p not in used)
    return Layout(tuple(pairs), f"{len(pairs)} NAME_mask.png beside NAME", "beside", alone, tuple(orphans))


def _parallel(every: Sequence[PurePosixPath]) -> Layout | None:
    """Folders of masks by their name, each beside the folder of pictures that differs in that one part of the path."""
    places: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in every:
        places[path.parent].append(path)
    pairs: list[Pair] = []
    alone: list[PurePosixPath] = []
    orphans: list[PurePosixPath] = []
    facts: list[str] = []
    for place, files in places.items():
        partner = _partner(place, places)
        if partner is None:
            continue
        found, left, lost = _matched(places[partner], _wanted(files))
        pairs += found
        alone += left
        orphans += lost
        facts.append(f"{place} beside {partner}")
    if not pairs or len(pairs) < OVERLAP * (len(pairs) + len(orphans)):
        return None
    fact = f"{len(pairs)} masks, {facts[0]}" + (f" and {len(facts) - 1} more" if len(facts) > 1 else "")
    return Layout(tuple(pairs), fact, "named", tuple(alone), tuple(orphans))


def _partner(place: PurePosixPath, places: Mapping[PurePosixPath, object]) -> PurePosixPath | None:
    """The folder of pictures that belongs to a folder of masks; None when this is none, or two would fit."""
    parts = place.parts
    for i, part in enumerate(parts):
        tail = next((t for t in MASK_TAILS if part.lower().endswith(t) and len(part) > len(t)), None)
        if tail is not None:
            stem = PurePosixPath(*parts[:i], part[: -len(tail)], *parts[i + 1 :])
            if stem in places:
                return stem
        if part.lower() not in MASK_FOLDERS:
            continue
        fits = [
            other for other in places
            if len(other.parts) == len(parts) and other.parts[:i] == parts[:i] and other.parts[i + 1 :] == parts[i + 1 :]
            and other.parts[i] != part and not _is_mask_folder(other.parts[i])
        ]  # fmt: skip
        bare = PurePosixPath(*parts[:i], *parts[i + 1 :])
        if len(fits) == 1:
            return fits[0]
        if not fits and bare in places:
            return bare
    return None


def _is_mask_folder(name: str) -> bool:
    return name.lower() in MASK_FOLDERS or name in ("SegmentationObject", "Annotations")


def _wanted(files: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Of Cityscapes' four files a picture the one with ids to learn from; else all."""
    for tail in ("_gtFine_labelTrainIds", "_gtFine_labelIds"):
        if chosen := [f for f in files if f.stem.endswith(tail)]:
            return chosen
    return list(files)


def _matched(
    pictures: Sequence[PurePosixPath], marks: Sequence[PurePosixPath]
) -> tuple[list[Pair], list[PurePosixPath], list[PurePosixPath]]:
    """Pairs of equal stems, pictures without a mask, masks without a picture."""
    stems = {p.stem: p for p in pictures} | {_short(p.stem, PICTURE_STEMS): p for p in pictures}
    pairs, lost = [], []
    used = set()
    for mask in marks:
        picture = stems.get(mask.stem) or stems.get(_short(mask.stem, MASK_STEMS))
        if picture is None or picture in used:
            lost.append(mask)
        else:
            used.add(picture)
            pairs.append(Pair(picture, mask))
    return pairs, [p for p in pictures if p not in used], lost


def _short(stem: str, tails: Sequence[str]) -> str:
    return next((stem.removesuffix(t) for t in tails if stem.endswith(t) and stem != t), stem)


def _any_trees(every: Sequence[PurePosixPath]) -> Layout | None:
    """Two trees of equal stems, whatever their names, when one of them is all PNG and the other is not."""
    tops: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in every:
        if len(path.parts) > 1:
            tops[path.parts[0]].append(path)
    if len(tops) != 2 or any(t.lower() in SPLITS for t in tops):
        return None
    first, second = tops.values()
    plain = [all(p.suffix.lower() == ".png" for p in side) for side in (first, second)]
    if plain[0] == plain[1]:
        return None
    pictures, marks = (second, first) if plain[0] else (first, second)
    below = {PurePosixPath(*p.parts[1:]).with_suffix(""): p for p in pictures}
    pairs = [Pair(below[s], m) for m in marks if (s := PurePosixPath(*m.parts[1:]).with_suffix("")) in below]
    if len(pairs) < 2 or len(pairs) < OVERLAP * len(marks):
        return None
    used = {p.picture for p in pairs} | {p.mask for p in pairs}
    return Layout(
        tuple(pairs),
        f"{len(pairs)} stems of {marks[0].parts[0]}/ are in {pictures[0].parts[0]}/",
        "any",
        tuple(p for p in pictures if p not in used),
        tuple(p for p in marks if p not in used),
    )


def _class_files(root: Path, layout: Layout) -> list[Path]:
    """Class files beside or above the masks, nearest to the root first."""
    places = {root} | {root / p for pair in layout.pairs for p in pair.mask.parents}
    ordered = sorted(places, key=lambda p: (len(p.parts), p.as_posix()))
    for name in CLASS_FILES:
        if found := [p / name for p in ordered if (p / name).is_file()]:
            return found
    return []


def _classes(root: Path, layout: Layout, faults: list[Fault]) -> Classes:
    """The ledger: from class files that agree, else from the values themselves."""
    files = _class_files(root, layout)
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
        values, label, is_colour = _entry(file.name, cells, len(entries), name, line)
        coloured = coloured or is_colour
        if values is not None:
            entries.append((label, values))
    void = tuple(v for n, v in entries if n.lower() in VOID)
    kept = [(n, v) for n, v in entries if n.lower() not in VOID]
    if not kept:
        raise DataError(f"{name} names no class")
    names = [n for n, _ in kept]
    shown = [f"#{v:06x}" if coloured else str(v) for _, v in entries]
    for what, every in (("name", names), ("value", shown)):
        if twice := sorted({e for e in every if every.count(e) > 1}):
            raise DataError(f"{name} gives the {what} {names_text(twice, 3)} twice", hint="keep one of them")
    if len(kept) > MOST_CLASSES:
        raise DataError(f"{name} names {len(kept)} classes, limit {MOST_CLASSES}: a mask is one byte a pixel")
    told = [f"{n} is ignored (255)" for n, _ in entries if n.lower() in VOID]
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


def _entry(kind: str, cells: list[str], count: int, name: str, line: int) -> tuple[int | None, str, bool]:
    """The stored value, the class, and whether the value is a colour; value None for a header."""
    try:
        if kind == "labelmap.txt":
            return _colour(cells[1].split(",")), cells[0], True
        if kind == "label_colors.txt":
            return _colour(cells[:3]), cells[3], True
        if kind in ("class_dict.csv", "classes.csv") and len(cells) >= 4:
            return (None, "", True) if not cells[1].isdigit() else (_colour(cells[1:4]), cells[0], True)
        if kind.endswith(".csv"):
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


def _seen(root: Path, layout: Layout, faults: list[Fault]) -> Classes:
    """Classes from the masks alone: every value is one, unless the values are those of a known set."""
    files = [(root / p.mask, p.mask.as_posix()) for p in layout.pairs]
    coloured = False
    for file, name in files:
        try:
            coloured = masks.is_coloured(file, name)
            break
        except DataError:
            continue
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
    used = [v for v in every if v != IGNORED]
    if set(every) <= {0, IGNORED} and len(every) == 2:
        note = "masks hold 0 and 255: background and foreground, nothing is ignored"
        return Classes(("background", "foreground"), (0, IGNORED), False, (), (note,))
    if used == [0, 1]:
        return Classes(
            ("background", "foreground"), (0, 1), False, (), ("no class file: 0 is background, 1 foreground",)
        )
    if set(every) <= set(range(12)) and any("annot" in p.mask.parent.name for p in layout.pairs):
        note = "values 0..11 beside pictures: CamVid's eleven classes, 11 is ignored"
        return Classes(CAMVID, tuple(range(11)), False, (11,), (note,))
    if (root / LISTS).is_dir() and set(used) <= set(range(21)) and 0 in used:
        note = "no class file: names of the 21 classes of VOC 2012"
        return Classes(VOC, tuple(range(21)), False, (), (note,))
    note = f"no class file: the {len(used)} values are classes" + (", 255 is ignored" if IGNORED in every else "")
    return Classes(tuple(str(v) for v in used), tuple(used), False, (), (note,))


def _lists(root: Path, faults: list[Fault]) -> tuple[dict[str, str], list[str]]:
    """Stem to split, from ImageSets/Segmentation or from train.txt, val.txt, test.txt beside folders of no split."""
    place = root / LISTS
    files = [p for p in sorted(place.glob("*.txt")) if p.stem in SPLITS]
    if not files and not any(f.name.lower() in SPLITS for f in folder.folders(root)):
        files = [p for p in sorted(root.glob("*.txt")) if p.stem in SPLITS]
    found: dict[str, str] = {}
    order = {"test": 0, "val": 1, "train": 2}
    for file in sorted(files, key=lambda p: order[SPLITS[p.stem]]):
        split = SPLITS[file.stem]
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{folder.name(file, root)} is not UTF-8") from error
        for number, line in enumerate(lines, 1):
            # Lists of other machines hold absolute paths, and the mask behind the picture: only the name counts.
            name = PurePosixPath(line.split()[0].replace("\\", "/")).name if line.split() else ""
            stem = PurePosixPath(name).stem if folder.is_image(name) else name
            if stem and found.setdefault(stem, split) != split:
                where = f"{folder.name(file, root)} line {number}"
                faults.append(Fault("in_two_splits", where, f"{stem} is in {found[stem]} already, and stays there"))
    told = (
        [f"splits from {folder.name(files[0].parent, root) if files[0].parent != root else '.'}/*.txt"] if files else []
    )
    return found, told


FORMAT = Masks()
