"""Folders of images: walked in byte order with a reason for all that is left out, and written without overwriting."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from saccade.data.dataset import Ignored
from saccade.errors import DataError, StorageError
from saccade.images import encode
from saccade.types import Sample

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ORDER = ("all", "train", "val", "test")
KEEP_FIRST = ("test", "val", "train", "all")
"""Of several splits that name one picture, where it stays: what was measured on stays measured on."""

HIDDEN = "hidden or made by the system"
NO_IMAGE = "no image by its name"
LINK_LOOP = "a link that leads back into its own folder"
DEAD_LINK = "a link to nothing"
NOT_TEXT = "its name is not UTF-8"
NO_LABEL = "has no label"
OUTSIDE = "lies outside the class folders"
_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


def is_image(name: str) -> bool:
    """By its name alone, and only names that can be written in JSON."""
    return Path(name).suffix.lower() in SUFFIXES and not is_hidden(name) and _is_text(name)


def is_hidden(name: str) -> bool:
    return name.startswith((".", "__")) or name.lower() in _SYSTEM


def walk(folder: Path, ignored: list[Ignored], root: Path, wanted: Callable[[str], bool] = is_image) -> Iterator[Path]:
    """Every image (or file whose name is `wanted`) below a folder, byte order, links followed but never in a circle.

    What is left out is added to `ignored`, named relative to `root`.
    """
    yield from _walk(folder, ignored, root, (folder.resolve(),), wanted)


def _walk(
    folder: Path, ignored: list[Ignored], root: Path, above: tuple[Path, ...], wanted: Callable[[str], bool]
) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda e: os.fsencode(e.name))
    for entry in ordered:
        path = Path(entry.path)
        reason = _reason(entry, wanted)
        if reason is None and entry.is_dir():
            real = path.resolve() if entry.is_symlink() else above[-1] / entry.name
            if real not in above:
                yield from _walk(path, ignored, root, (*above, real), wanted)
                continue
            reason = LINK_LOOP
        if reason is None:
            yield path
        else:
            ignored.append(Ignored(name(path, root), reason))


def _reason(entry: os.DirEntry[str], wanted: Callable[[str], bool]) -> str | None:
    if not _is_text(entry.name):
        return NOT_TEXT
    if is_hidden(entry.name):
        return HIDDEN
    try:
        entry.stat()
    except FileNotFoundError:
        return DEAD_LINK
    except OSError:
        # A link that points at itself: the system gives up with ELOOP.
        return LINK_LOOP
    return None if entry.is_dir() or wanted(entry.name) else NO_IMAGE


def name(path: Path, root: Path) -> str:
    """Relative to root, posix style; bytes that are no UTF-8 are shown as escapes."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


def holds_image(folder: Path) -> bool:
    return next(walk(folder, [], folder), None) is not None


def folders(root: Path) -> list[Path]:
    """Folders straight below, byte order, without those that the system made."""
    found = [p for p in root.iterdir() if p.is_dir() and not is_hidden(p.name) and _is_text(p.name)]
    return sorted(found, key=lambda p: p.name.encode())


def new(folder: Path) -> Path:
    """Makes a folder. Raises StorageError when it is already there."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise taken(folder) from None
    return folder


def taken(place: Path) -> StorageError:
    return StorageError(
        f"{place} is already there, and nothing is overwritten", hint="name a new folder", code="already_exists"
    )


def put(sample: Sample, folder: Path, tail: str) -> Path:
    """Writes a sample below a folder as `tail`: encoded images as they are, arrays as PNG. Returns where it went.

    A name that is taken gets a number; a tail that would leave the folder is a DataError.
    """
    if any(part in ("..", "/", "") for part in PurePosixPath(tail).parts) or not PurePosixPath(tail).parts:
        raise DataError(f"{sample.key} cannot be written under the name {tail!r}", hint="rename it")
    wanted = folder / tail
    if isinstance(sample.image, Path) and wanted.suffix.lower() not in SUFFIXES:
        wanted = wanted.with_name(wanted.name + sample.image.suffix)  # tables may name pictures without their ending
    if isinstance(sample.image, np.ndarray):
        wanted = wanted.with_name(f"{wanted.name}.png") if wanted.suffix.lower() != ".png" else wanted
    target, i = wanted, 1
    while target.exists():
        i += 1
        target = wanted.with_name(f"{wanted.stem}-{i}{wanted.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sample.image, Path):
        shutil.copyfile(sample.image, target)
    elif isinstance(sample.image, bytes):
        target.write_bytes(sample.image)
    else:
        pixels = sample.image
        grey = pixels.ndim == 3 and pixels.shape[2] == 1
        target.write_bytes(encode.to_png(pixels[:, :, 0] if grey else pixels))
    return target


def tail(key: str) -> str:
    """A key without the folders that say its split or that it is a picture, as one name."""
    parts = [p for p in PurePosixPath(key.partition("@line ")[0]).parts if p not in ("..", "/", ".")]
    while len(parts) > 1 and (parts[0].lower() in SPLITS or parts[0].lower() in ("images", "jpegimages")):
        parts = parts[1:]
    return "_".join(parts) or "image"


def free(name: str, taken: set[str]) -> str:
    """A file name whose stem no other has, where annotations know pictures by their stems; it becomes taken."""
    path = PurePosixPath(name)
    stem, i = path.stem, 1
    while stem.casefold() in taken:
        i += 1
        stem = f"{path.stem}-{i}"
    taken.add(stem.casefold())
    return f"{stem}{path.suffix}"


def split_of(path: PurePosixPath) -> str:
    """The split a relative path speaks for by one of its folders, outermost first; "all" when none does."""
    return next((SPLITS[p.lower()] for p in path.parts[:-1] if p.lower() in SPLITS), "all")


def measured(*splits: str) -> str:
    """Of the splits that name one picture, the one where it stays."""
    return min(splits, key=KEEP_FIRST.index)


def by_split(pairs: Iterable[tuple[str, Sample]], notes: list[str]) -> dict[str, tuple[Sample, ...]]:
    """Samples under their splits, in the order of the house. Pictures of no split beside others are to learn from, and
    a note says so."""
    made: dict[str, list[Sample]] = {}
    for split, sample in pairs:
        made.setdefault(split, []).append(sample)
    if "all" in made and len(made) > 1:
        loose = made.pop("all")
        made["train"] = [*made.get("train", ()), *loose]
        notes.append(f"{len(loose):,} pictures outside the folders of splits are read as train, such as {loose[0].key}")
    return {s: tuple(made[s]) for s in ORDER if s in made}


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
