"""Arrays: one .npz with {train,val,test}_images and *_labels, or a folder of IDX files (LeCun's MNIST layout)."""

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from saccade.data.dataset import Dataset, Ignored
from saccade.data.folder import NO_IMAGE, new
from saccade.data.format import MOST_CLASSES, Evidence, Format
from saccade.errors import DataError, StorageError
from saccade.types import Array, Labels, Sample

SPLITS = ("train", "val", "test")
PARTS = ("all", *SPLITS)
IDX_NAMES = {"train": ("train",), "test": ("t10k", "test"), "val": ("val",), "all": ("all",)}
MOST_BYTES = 2**31
"""What the arrays of one dataset may unpack to."""


class Arrays(Format):
    name = "arrays"

    def recognises(self, root: Path) -> Evidence | None:
        if root.is_dir():
            found = [s for s in PARTS if _idx_pair(root, s)]
            if found:
                return Evidence(self.name, (f"IDX files for {', '.join(found)}",))
        file = _npz(root)
        if file is None:
            return None
        names = _members(file)
        found = [s for s in PARTS if f"{s}_images" in names and f"{s}_labels" in names]
        if found:
            return Evidence(self.name, (f"{file.name} with {', '.join(found)} images and labels",))
        return Evidence(self.name, (f"{file.name}",)) if root.is_file() else None

    def read(self, root: Path, images: Path | None = None) -> Dataset:
        if images is not None:
            raise DataError("--images goes with a CSV; arrays hold their pictures", hint="leave --images away")
        file = _npz(root)
        idx = root.is_dir() and any(_idx_pair(root, s) for s in PARTS)
        if file is None and not idx:
            raise DataError(f"{root} holds no .npz and no IDX files, or several .npz", hint="name the file itself")
        arrays = _read_idx_folder(root) if idx or file is None else _read_npz(file)
        found = [s for s in PARTS if f"{s}_images" in arrays]
        if not found:
            raise DataError(
                f"{root} holds no train_images and train_labels, but {', '.join(sorted(arrays)) or 'nothing'}",
                hint="name the arrays {train,val,test}_images and {train,val,test}_labels",
            )
        pictures: dict[str, Array] = {}
        labels: dict[str, Array] = {}
        for split in found:
            if f"{split}_labels" not in arrays:
                raise DataError(f"{root} holds {split}_images without {split}_labels")
            pictures[split], labels[split] = _check(split, arrays[f"{split}_images"], arrays[f"{split}_labels"])
        ranks = {v.ndim for v in labels.values()}
        if len(ranks) > 1:
            raise DataError(f"{root} mixes labels of one class and of several")
        exclusive = ranks == {1}
        ledger = Labels(_class_names(arrays, labels, exclusive), exclusive=exclusive)
        splits = {
            split: tuple(
                Sample(f"{split}_images[{i}]", picture, {"classes": _ids(label)})
                for i, (picture, label) in enumerate(zip(pictures[split], labels[split], strict=True))
            )
            for split in found
        }
        beside = sorted(p.name for p in root.iterdir() if p.is_file()) if root.is_dir() else []
        read = [p.name for s in PARTS for p in (_idx_pair(root, s) or ())] if idx else [file.name if file else ""]
        ignored = tuple(Ignored(n, NO_IMAGE) for n in beside if n not in read)
        return Dataset(self.name, root, ledger, {s: v for s, v in splits.items() if v}, ignored)

    def write(self, dataset: Dataset, root: Path) -> None:
        """Into the .npz named, or into arrays.npz of a new folder."""
        record: dict[str, Array] = {"class_names": np.array(dataset.labels.names, np.str_)}
        for split, samples in dataset.splits.items():
            pictures = [_pixels(s) for s in samples]
            if len({p.shape for p in pictures}) > 1:
                raise DataError("arrays hold pictures of one size, here are several", hint="write image folder or CSV")
            record[f"{split}_images"] = np.stack(pictures)
            record[f"{split}_labels"] = _targets(samples, dataset.labels)
        if root.suffix == ".npz":
            if root.exists():
                raise StorageError(f"{root} is already there, and nothing is overwritten", code="already_exists")
            file = root
        else:
            file = new(root) / "arrays.npz"
        np.savez_compressed(file, allow_pickle=False, **record)


def _ids(label: Array) -> Array:
    return np.flatnonzero(label).astype(np.int64) if label.ndim else np.array([label], np.int64)


def _targets(samples: tuple[Sample, ...], ledger: Labels) -> Array:
    if ledger.exclusive:
        return np.array([int(s.annotation["classes"][0]) for s in samples], np.int64)
    hot = np.zeros((len(samples), len(ledger)), np.uint8)
    for row, sample in zip(hot, samples, strict=True):
        row[sample.annotation["classes"]] = 1
    return hot


def _class_names(arrays: dict[str, Array], labels: dict[str, Array], exclusive: bool) -> tuple[str, ...]:
    count = max((int(v.max(initial=-1)) + 1 if exclusive else v.shape[1]) for v in labels.values())
    given = arrays.get("class_names")
    most = count if given is None else max(count, given.size)
    if most > MOST_CLASSES:
        raise DataError(
            f"labels and class_names speak of {most:,} classes, expected at most {MOST_CLASSES:,}",
            hint="leave out the classes that no picture has",
        )
    if given is None:
        return tuple(str(i) for i in range(count))
    names = tuple(str(n) for n in given.reshape(-1))
    if len(names) < count or (not exclusive and len(names) != count):
        raise DataError(f"labels speak of {count} classes, class_names has {len(names)} names")
    return names


def _pixels(sample: Sample) -> Array:
    if not isinstance(sample.image, np.ndarray):
        raise DataError(f"{sample.key} is a file, not an array", hint="write it as image folder or CSV")
    return sample.image


def _check(split: str, pictures: Array, labels: Array) -> tuple[Array, Array]:
    """uint8 [N, H, W] or [N, H, W, 3], and int64 [N] or 0/1 [N, C]."""
    if pictures.ndim == 4 and pictures.shape[3] == 1:
        pictures = pictures[:, :, :, 0]
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] != 3):
        raise DataError(
            f"{split}_images must be uint8 [N, H, W] or [N, H, W, 3], got {pictures.dtype} {list(pictures.shape)}",
            hint="scale to 0..255, convert to uint8, put the colour axis last",
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_
    # A single number has no length: how many axes there are is asked first.
    if not whole or labels.ndim not in (1, 2) or len(labels) != len(pictures) or labels.min(initial=0) < 0:
        raise DataError(
            f"{split}_labels must be {len(pictures)} whole numbers from 0, or one 0/1 column per class, got "
            f"{labels.dtype} {list(labels.shape)}"
        )
    most = 2 if labels.ndim == 2 else MOST_CLASSES
    if labels.max(initial=0) >= most:
        raise DataError(
            f"{split}_labels go up to {int(labels.max()):,}, expected less than {most:,}",
            hint="write 0 or 1 for each class" if most == 2 else "number the classes from 0, without holes",
        )
    return pictures, labels.astype(np.int64)


def _npz(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() == ".npz" else None
    found = sorted(root.glob("*.npz")) if root.is_dir() else []
    return found[0] if len(found) == 1 else None


def _members(file: Path) -> set[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {n.removesuffix(".npy") for n in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return set()


def _read_npz(file: Path) -> dict[str, Array]:
    """The arrays named after splits, and class_names; sizes are checked from the headers before any is allocated."""
    wanted = {f"{s}_{part}" for s in PARTS for part in ("images", "labels")} | {"class_names"}
    total = 0
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name not in wanted:
                    continue
                with archive.open(info) as stream:
                    version = np.lib.format.read_magic(stream)
                    shape, fortran, dtype = (
                        np.lib.format.read_array_header_1_0(stream)
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0(stream)
                    )
                    if dtype.hasobject:
                        raise DataError(f"{file.name}: {name} holds Python objects", hint="save plain numbers or text")
                    # A side below 0 would pass every limit, and read(-1) unpacks all there is.
                    if min(shape, default=0) < 0:
                        raise DataError(
                            f"{file.name}: {name} says {list(shape)}, expected sides from 0",
                            hint="save it with numpy.savez",
                        )
                    size = math.prod(shape) * dtype.itemsize
                    total += size
                    if total > MOST_BYTES or size > info.file_size:
                        raise DataError(
                            f"{file.name}: {name} says {list(shape)} {dtype}, limit {MOST_BYTES // 2**20} MiB in all "
                            f"and {info.file_size} bytes stored",
                            hint="write the pictures as files",
                        )
                    # A bytearray, because pictures that cannot be written to displease some learning libraries.
                    data = bytearray(stream.read(size))
                if len(data) != size:
                    raise DataError(f"{file.name}: {name} ends after {len(data)} of {size} bytes")
                values = np.frombuffer(data, dtype)
                arrays[name] = values.reshape(shape, order="F" if fortran else "C")
    except (
        zipfile.BadZipFile, zlib.error, OSError, ValueError, TypeError, EOFError, NotImplementedError, RuntimeError,
        OverflowError,
    ) as error:  # fmt: skip
        raise DataError(f"{file.name} is no readable .npz: {error}", hint="save it with numpy.savez") from error
    return arrays


def _idx_pair(root: Path, split: str) -> tuple[Path, Path] | None:
    for prefix in IDX_NAMES[split]:
        pictures = sorted(root.glob(f"{prefix}-images*idx3-ubyte*"))
        labels = sorted(root.glob(f"{prefix}-labels*idx1-ubyte*"))
        if pictures and labels:
            return pictures[0], labels[0]
    return None


def _read_idx_folder(root: Path) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    room = MOST_BYTES
    for split in PARTS:
        for part, rank, file in zip(("images", "labels"), (3, 1), _idx_pair(root, split) or (), strict=False):
            arrays[f"{split}_{part}"] = _read_idx(file, rank, room)
            room -= arrays[f"{split}_{part}"].nbytes
    return arrays


def _read_idx(file: Path, rank: int, room: int) -> Array:
    """uint8 [N, H, W] or [N]; the file says its own sizes, and not a byte more is unpacked. room: bytes it may take."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4 + 4 * rank)
            zero, kind, axes = struct.unpack(">HBB", head[:4])
            shape = struct.unpack(f">{rank}I", head[4:])
            size = math.prod(shape)
            if zero or kind != 8 or axes != rank:
                raise DataError(f"{file.name} is no IDX file of uint8 with {rank} axes")
            if size > room:
                raise DataError(
                    f"{file.name} says {list(shape)}, limit {MOST_BYTES // 2**20} MiB in all files together",
                    hint="write the pictures as files",
                )
            if file.suffix != ".gz" and file.stat().st_size != len(head) + size:
                raise DataError(f"{file.name} says {size} bytes, and holds {file.stat().st_size - len(head)}")
            data = bytearray(stream.read(size + 1))
        if len(data) != size:
            raise DataError(f"{file.name} says {size} bytes, and holds {'more' if len(data) > size else len(data)}")
        return np.frombuffer(data, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{file.name} is no readable IDX file: {error}") from error


FORMAT = Arrays()
