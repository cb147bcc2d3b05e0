"""Arrays: one .npz with {train,val,test}_images and *_labels, or a folder of IDX files (LeCun's MNIST layout)."""

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np

from saccade.data.dataset import Dataset
from saccade.data.format import Evidence, Format
from saccade.errors import DataError, StorageError
from saccade.types import Array, Labels, Sample

SPLITS = ("train", "val", "test")
IDX_NAMES = {"train": ("train",), "test": ("t10k", "test"), "val": ("val",)}
MOST_VALUES = 2**31


class Arrays(Format):
    name = "arrays"

    def recognises(self, root: Path) -> Evidence | None:
        if root.is_file() and root.suffix == ".npz":
            names = _names(root)
            found = [s for s in SPLITS if f"{s}_images" in names and f"{s}_labels" in names]
            return Evidence(self.name, (f"{root.name} with {', '.join(found)} images and labels",)) if found else None
        if root.is_dir():
            found = [s for s in SPLITS if _idx_pair(root, s)]
            return Evidence(self.name, (f"IDX files for {', '.join(found)}",)) if found else None
        return None

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        arrays = _read_npz(root) if root.is_file() else _read_idx_folder(root)
        found = [s for s in SPLITS if f"{s}_images" in arrays]
        if not found:
            raise DataError(f"{root} holds no train_images and train_labels")
        count = 1 + max(int(arrays[f"{s}_labels"].max(initial=0)) for s in found)
        names = [str(n) for n in arrays["class_names"]] if "class_names" in arrays else [str(i) for i in range(count)]
        if len(names) < count:
            raise DataError(f"labels go up to {count - 1}, class_names has {len(names)} names")
        splits = {}
        for split in found:
            pictures, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
            _check(root, split, pictures, labels)
            splits[split] = tuple(
                Sample(f"{split}_images[{i}]", picture, {"classes": np.array([label], np.int64)})
                for i, (picture, label) in enumerate(zip(pictures, labels, strict=True))
            )
        return Dataset(self.name, root, Labels(tuple(names)), splits)

    def write(self, dataset: Dataset, root: Path) -> None:
        if root.exists():
            raise StorageError(f"{root} is already there", hint="name a new file")
        record: dict[str, Array] = {"class_names": np.array(dataset.labels.names)}
        for split, samples in dataset.splits.items():
            name = "train" if split == "all" else split
            record[f"{name}_images"] = np.stack([_pixels(s) for s in samples])
            record[f"{name}_labels"] = np.array([int(s.annotation["classes"][0]) for s in samples], np.int64)
        np.savez_compressed(root, allow_pickle=False, **record)


def _pixels(sample: Sample) -> Array:
    if not isinstance(sample.image, np.ndarray):
        raise DataError(f"{sample.key} is a file, not an array", hint="write it as image folder or CSV")
    return sample.image


def _check(root: Path, split: str, pictures: Array, labels: Array) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] != 3):
        raise DataError(
            f"{root}: {split}_images must be uint8 [N, H, W] or [N, H, W, 3], got {pictures.dtype} "
            f"{list(pictures.shape)}",
            hint="scale to 0..255 and convert to uint8",
        )
    if not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(pictures) or labels.min(initial=0) < 0:
        raise DataError(
            f"{root}: {split}_labels must be {len(pictures)} integers from 0, got {labels.dtype} {labels.shape}"
        )


def _names(file: Path) -> set[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {Path(n).stem for n in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return set()


def _read_npz(file: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(i.file_size for i in archive.infolist()) > MOST_VALUES:
                raise DataError(f"{file} unpacks to more than 2 GiB", hint="write the pictures as files")
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{file} is no readable .npz: {error}", hint="save it with numpy.savez") from error


def _idx_pair(root: Path, split: str) -> tuple[Path, Path] | None:
    for prefix in IDX_NAMES[split]:
        pictures = sorted(root.glob(f"{prefix}-images*idx3-ubyte*"))
        labels = sorted(root.glob(f"{prefix}-labels*idx1-ubyte*"))
        if pictures and labels:
            return pictures[0], labels[0]
    return None


def _read_idx_folder(root: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for split in SPLITS:
        if pair := _idx_pair(root, split):
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = _read_idx(pair[0], 3), _read_idx(pair[1], 1)
    return arrays


def _read_idx(file: Path, rank: int) -> Array:
    """uint8 [N, H, W] or [N]; the file says its own sizes, which are checked before anything is allocated."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4 + 4 * rank)
            zero, kind, dims = struct.unpack(">HBB", head[:4])
            shape = struct.unpack(f">{rank}I", head[4:])
            values = int(np.prod([int(d) for d in shape], dtype=object))
            if zero or kind != 8 or dims != rank or values > MOST_VALUES:
                raise DataError(f"{file.name} is no IDX file of uint8 with {rank} axes")
            data = stream.read(values + 1)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"{file.name} is no readable IDX file: {error}") from error
    if len(data) != values:
        raise DataError(f"{file.name} says {shape}, which is {values} bytes, and holds {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


FORMAT = Arrays()
