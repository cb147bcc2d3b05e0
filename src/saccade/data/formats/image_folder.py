"""One folder of images per class, in split folders or not: root/<class>/*.jpg or root/{train,val,test}/<class>/*.jpg."""

import shutil
from pathlib import Path

import numpy as np

from saccade.data.dataset import Dataset, Ignored
from saccade.data.format import Evidence, Format
from saccade.errors import DataError, StorageError
from saccade.images import encode
from saccade.types import Array, Labels, Sample

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolder(Format):
    name = "image_folder"

    def recognises(self, root: Path) -> Evidence | None:
        if not root.is_dir():
            return None
        splits = _split_folders(root)
        roots = list(splits.values()) or [root]
        classes = {c.name for r in roots for c in _class_folders(r) if _holds_image(c)}
        if not classes:
            return None
        facts = [f"{len(classes)} class folders with images"]
        if splits:
            facts.append(f"splits from {', '.join(p.name for p in splits.values())}")
        return Evidence(self.name, tuple(facts))

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        splits = _split_folders(root)
        roots = splits or {"all": root}
        folders = {split: _class_folders(r) for split, r in roots.items()}
        # Byte order, as torchvision sorts, so that ids agree with what people already have.
        names = sorted({c.name for found in folders.values() for c in found if _holds_image(c)}, key=str.encode)
        if not names:
            raise DataError(f"{root} holds no class folder with images", hint="expected root/<class>/*.jpg")
        ignored: list[Ignored] = []
        made: dict[str, tuple[Sample, ...]] = {}
        for split, found in folders.items():
            samples: list[Sample] = []
            for folder in found:
                for file in sorted(folder.rglob("*"), key=lambda p: p.as_posix().encode()):
                    if file.is_dir():
                        continue
                    key = file.relative_to(root).as_posix()
                    if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
                        ignored.append(Ignored(key, "no image by its name"))
                        continue
                    classes = np.array([names.index(folder.name)], np.int64)
                    samples.append(Sample(key, file, {"classes": classes}))
            if samples:
                made[split] = tuple(samples)
        loose = [p for r in {root, *roots.values()} for p in r.iterdir() if p.is_file()]
        ignored += [Ignored(p.relative_to(root).as_posix(), "lies outside the class folders") for p in sorted(loose)]
        return Dataset(self.name, root, Labels(tuple(names)), made, tuple(ignored))

    def write(self, dataset: Dataset, root: Path) -> None:
        _new_folder(root)
        for split, samples in dataset.splits.items():
            for i, sample in enumerate(samples):
                classes = sample.annotation["classes"]
                if len(classes) != 1:
                    raise DataError(f"{sample.key}: a class folder holds exactly one class", hint="write CSV instead")
                folder = root / ("" if split == "all" else split) / dataset.labels.names[int(classes[0])]
                folder.mkdir(parents=True, exist_ok=True)
                put(sample, folder, i)


def put(sample: Sample, folder: Path, i: int) -> Path:
    """Copies a file as it is; arrays become PNG. Returns where it went."""
    if isinstance(sample.image, Path):
        target = folder / f"{sample.image.stem}{sample.image.suffix}"
        if target.exists():
            target = folder / f"{sample.image.stem}-{i}{sample.image.suffix}"
        shutil.copyfile(sample.image, target)
        return target
    target = folder / f"{i:06d}.png"
    if isinstance(sample.image, bytes):
        target.write_bytes(sample.image)
    else:
        target.write_bytes(encode.to_png(_plain(sample.image)))
    return target


def _plain(pixels: Array) -> Array:
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _new_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        raise StorageError(f"{root} is already there", hint="name a new folder") from None


def _split_folders(root: Path) -> dict[str, Path]:
    """Split name to folder, in the order train, val, test. Raises DataError when two folders claim one split."""
    found: dict[str, Path] = {}
    for folder in _class_folders(root):
        split = SPLITS.get(folder.name.lower())
        if split is None:
            continue
        if split in found:
            raise DataError(f"{found[split].name} and {folder.name} both say {split}", hint="keep one of them")
        found[split] = folder
    if "train" not in found:
        return {}
    return {s: found[s] for s in ("train", "val", "test") if s in found}


def _class_folders(root: Path) -> list[Path]:
    return sorted(
        (p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))), key=lambda p: p.name.encode()
    )


def _holds_image(folder: Path) -> bool:
    return any(p.suffix.lower() in SUFFIXES and not p.name.startswith(".") for p in folder.rglob("*"))


FORMAT = ImageFolder()
