"""One folder of images per class, in split folders or not: root/<class>/*.jpg or
root/{train,val,test}/<class>/*.jpg."""

from pathlib import Path, PurePosixPath

import numpy as np

from saccade.data import folder
from saccade.data.dataset import Dataset, Ignored
from saccade.data.folder import SPLITS
from saccade.data.format import Evidence, Format
from saccade.errors import DataError
from saccade.types import Labels, Sample

FOREIGN = {
    "Annotations": "Pascal VOC (Annotations/)",
    "ImageSets": "Pascal VOC (ImageSets/)",
    "data.yaml": "YOLO (data.yaml)",
    "obj.names": "YOLO (obj.names)",
    "_annotations.coco.json": "COCO (_annotations.coco.json)",
}
"""Marks of other layouts, whose folders are not classes."""


class ImageFolder(Format):
    name = "image_folder"

    def recognises(self, root: Path) -> Evidence | None:
        if not root.is_dir() or foreign(root):
            return None
        splits = _split_folders(root)
        roots = list(splits.values()) or [root]
        classes = {c.name for r in roots for c in folder.folders(r) if folder.holds_image(c)}
        # One folder beside a table holds the pictures that the table is about.
        tables = any(p.suffix.lower() in (".csv", ".tsv") for p in root.iterdir())
        if not classes or (len(classes) == 1 and not splits and tables):
            return None
        facts = [f"{len(classes)} class folder{'s' if len(classes) > 1 else ''} with images"]
        if splits:
            facts.append(f"splits from {', '.join(p.name for p in splits.values())}")
        return Evidence(self.name, tuple(facts))

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        if images is not None:
            raise DataError("--images goes with a CSV; class folders hold their images", hint="leave --images away")
        if not root.is_dir():
            raise DataError(f"{root} is no folder", hint="expected root/<class>/*.jpg")
        splits = _split_folders(root)
        ignored: list[Ignored] = []
        files: dict[str, dict[str, list[Path]]] = {}
        for split, parent in (splits or {"all": root}).items():
            files[split] = {}
            for found in folder.folders(parent):
                pictures = list(folder.walk(found, ignored, root))
                if pictures:
                    files[split][found.name] = pictures
                elif found.name not in SPLITS:
                    ignored.append(Ignored(folder.name(found, root) + "/", "folder without images"))
        # Byte order, as torchvision sorts, so that ids agree with what people already have.
        names = sorted({c for found in files.values() for c in found}, key=str.encode)
        if not names:
            raise DataError(f"{root} holds no class folder with images", hint="expected root/<class>/*.jpg")
        _refuse_wrapping(root, names, splits)
        made = {
            split: tuple(
                Sample(folder.name(file, root), file, {"classes": np.array([k], np.int64)})
                for k, c in enumerate(names)
                for file in found.get(c, ())
            )
            for split, found in files.items()
        }
        return Dataset(
            self.name,
            root,
            Labels(tuple(names)),
            {split: samples for split, samples in made.items() if samples},
            (*ignored, *_loose(root, splits)),
        )

    def write(self, dataset: Dataset, root: Path) -> None:
        if not dataset.labels.exclusive:
            raise DataError("a class folder holds one class an image, here are several", hint="write CSV instead")
        for name in dataset.labels.names:
            if "/" in name or "\\" in name or "\0" in name or folder.is_hidden(name) or name.lower() in SPLITS:
                raise DataError(f"class {name!r} cannot be the name of a class folder", hint="write CSV instead")
        folder.new(root)
        for split, samples in dataset.splits.items():
            for sample in samples:
                name = dataset.labels.names[int(sample.annotation["classes"][0])]
                prefix = name if split == "all" else f"{split}/{name}"
                folder.put(sample, root / prefix, _tail(sample.key, name))


def foreign(root: Path) -> str | None:
    """The layout a mark in the folder speaks for, when it is none of class folders."""
    for mark, meaning in FOREIGN.items():
        if (root / mark).exists():
            return meaning
    if (root / "images").is_dir():
        for beside in ("labels", "masks", "annotations"):
            if (root / beside).is_dir():
                return f"{beside}/ beside images/"
    if next(root.glob("*_annotations.coco.json"), None) or next(root.glob("instances_*.json"), None):
        return "COCO (JSON beside the images)"
    return None


def _tail(key: str, name: str) -> str:
    """What follows the class folder in a key; the whole name of a key that has none."""
    parts = PurePosixPath(key).parts
    for depth in (0, 1):
        if len(parts) > depth + 1 and parts[depth] == name and (depth == 0 or parts[0].lower() in SPLITS):
            return "/".join(parts[depth + 1 :])
    return parts[-1]


def _split_folders(root: Path) -> dict[str, Path]:
    """Split name to folder, in the order train, val, test; a folder named so must hold class folders with images.

    Raises DataError when two folders claim one split.
    """
    found: dict[str, Path] = {}
    for candidate in folder.folders(root):
        split = SPLITS.get(candidate.name.lower())
        if split is None or not any(folder.holds_image(c) for c in folder.folders(candidate)):
            continue
        if split in found:
            raise DataError(f"{found[split].name} and {candidate.name} both say {split}", hint="keep one of them")
        found[split] = candidate
    return {s: found[s] for s in ("train", "val", "test") if s in found}


def _refuse_wrapping(root: Path, names: list[str], splits: dict[str, Path]) -> None:
    """One folder that holds the class folders, as an unpacked archive does, is not one class."""
    if len(names) > 1 or splits:
        return
    inner = root / names[0]
    below = [f for f in folder.folders(inner) if folder.holds_image(f)]
    if len(below) > 1 and not any(p.is_file() and folder.is_image(p.name) for p in inner.iterdir()):
        raise DataError(
            f"{root} holds one folder, {names[0]}, and that one holds {len(below)} folders of images",
            hint=f"name {inner} instead",
        )


def _loose(root: Path, splits: dict[str, Path]) -> list[Ignored]:
    """What lies beside the class folders."""
    left = []
    for place in dict.fromkeys((root, *splits.values())):
        for path in sorted(place.iterdir(), key=lambda p: p.name.encode("utf-8", "backslashreplace")):
            if path.is_dir():
                if folder.is_hidden(path.name):
                    left.append(Ignored(folder.name(path, root) + "/", folder.HIDDEN))
                elif place == root and splits and path not in splits.values():
                    left.append(Ignored(folder.name(path, root) + "/", "no split folder with classes"))
            else:
                hidden = folder.is_hidden(path.name)
                left.append(Ignored(folder.name(path, root), folder.HIDDEN if hidden else folder.OUTSIDE))
    return left


FORMAT = ImageFolder()
