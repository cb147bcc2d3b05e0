"""Which mask belongs to which picture: by marked names, by folders, by lists of splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from saccade.data import folder
from saccade.data.dataset import Fault, Ignored
from saccade.data.folder import KEEP_FIRST, SPLITS
from saccade.errors import DataError

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
LISTS = "ImageSets/Segmentation"
OVERLAP = 0.9
"""Share of masks that have a picture of the same stem, from which two folders are taken as parallel."""


@dataclass(frozen=True)
class Pair:
    picture: PurePosixPath
    mask: PurePosixPath


@dataclass(frozen=True)
class Layout:
    """What lies where: pairs, and the phrase that says how they were found. alone: pictures without a mask; orphans:
    masks without a picture; spare: every other image, so that none is left out without a word.
    """

    pairs: tuple[Pair, ...]
    fact: str
    kind: str
    alone: tuple[PurePosixPath, ...] = ()
    orphans: tuple[PurePosixPath, ...] = ()
    spare: tuple[PurePosixPath, ...] = ()


def find_layout(root: Path, ignored: list[Ignored]) -> Layout | None:
    every = [PurePosixPath(p.relative_to(root).as_posix()) for p in folder.walk(root, ignored, root)]
    found = _beside(every) or _parallel(every) or _any_trees(every)
    return None if found is None else replace(found, spare=_spare(every, found))


def _spare(every: Sequence[PurePosixPath], layout: Layout) -> tuple[PurePosixPath, ...]:
    placed = {path for pair in layout.pairs for path in (pair.picture, pair.mask)}
    placed.update(layout.alone, layout.orphans)
    return tuple(path for path in every if path not in placed)


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
    alone = tuple(p for p in every if not p.stem.endswith("_mask") and p not in used)
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


def split_lists(root: Path, layout: Layout, faults: list[Fault]) -> tuple[dict[str, str], list[str]]:
    """Stem to split, from ImageSets/Segmentation or from train.txt, val.txt, test.txt beside folders of no split.

    Entries that are neither a picture nor a mask are told.
    """
    place = root / LISTS
    files = [p for p in sorted(place.glob("*.txt")) if p.stem in SPLITS]
    if not files and not any(f.name.lower() in SPLITS for f in folder.folders(root)):
        files = [p for p in sorted(root.glob("*.txt")) if p.stem in SPLITS]
    pairs = {p.stem for pair in layout.pairs for p in (pair.picture, pair.mask)}
    known = pairs | {p.stem for p in (*layout.alone, *layout.orphans)}
    found: dict[str, str] = {}
    for file in sorted(files, key=lambda p: KEEP_FIRST.index(SPLITS[p.stem])):
        split = SPLITS[file.stem]
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{folder.name(file, root)} is not UTF-8") from error
        for number, line in enumerate(lines, 1):
            # Lists of other machines hold absolute paths, and the mask behind the picture: only the name counts.
            name = PurePosixPath(line.split()[0].replace("\\", "/")).name if line.split() else ""
            stem = PurePosixPath(name).stem if folder.is_image(name) and name not in known else name
            where = f"{folder.name(file, root)} line {number}"
            if stem and stem not in found and stem not in known:
                faults.append(Fault("missing_image", where, f"{stem} is neither a picture nor a mask"))
            if stem and found.setdefault(stem, split) != split:
                faults.append(Fault("in_two_splits", where, f"{stem} is in {found[stem]} already, and stays there"))
    told = (
        [f"splits from {folder.name(files[0].parent, root) if files[0].parent != root else '.'}/*.txt"] if files else []
    )
    return found, told
