"""Images decoded once, packed as uint8 and kept; annotations stacked beside them. The same for every engine."""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.errors import DataError, SaccadeError, StorageError
from saccade.images.decode import inspect
from saccade.images.geometry import boxes_to_input, mask_to_input
from saccade.images.masks import VOID
from saccade.images.preprocess import PreprocessSpec, load, placement
from saccade.process import cores
from saccade.tasks.task import Task
from saccade.training.recipe import Recipe
from saccade.types import Array, Labels, Sample

GEOMETRY = frozenset({"boxes", "mask"})
"""Targets that lie over the picture and move with it: x_min y_min x_max y_max in px, and class ids [H, W]."""
CACHE_BYTES = 20 << 30
"""Packed images kept on disk in all; the least recently used go first."""
DAY_S = 86_400


def targets_of(samples: Sequence[Sample], labels: Labels, task: Task, spec: PreprocessSpec) -> dict[str, Array]:
    """Encoded annotations stacked, first axis N; `boxes` and `mask` lie over the network's input. Raises DataError."""

    def one(sample: Sample) -> dict[str, Array]:
        encoded = task.encode(sample, labels)
        if GEOMETRY.isdisjoint(encoded):
            return encoded
        place = placement(*_size(sample), spec)
        if "boxes" in encoded:
            encoded["boxes"] = boxes_to_input(encoded["boxes"], place)
        if "mask" in encoded:
            encoded["mask"] = mask_to_input(encoded["mask"], place, spec.width, spec.height, VOID)
        return encoded

    def put(place: int) -> dict[str, Array]:
        """Lays what has one shape for all in its row, and gives what has not."""
        row = one(samples[place])
        for name, array in alike.items():
            array[place] = row.pop(name)
        return row

    # Masks are as many bytes as pixels: a list of them beside the whole would be held twice.
    shaped = {k: np.asarray(v) for k, v in one(samples[0]).items()}
    alike = {k: np.empty((len(samples), *v.shape), v.dtype) for k, v in shaped.items() if k not in task.padding}
    with ThreadPoolExecutor(cores()) as pool:
        rows = list(pool.map(put, range(len(samples))))
    return {k: alike[k] if k in alike else _stacked([row[k] for row in rows], task.padding[k]) for k in shaped}


def _stacked(rows: Sequence[Array], fill: float) -> Array:
    """One array of all rows, whose first axes may differ; `fill` stands behind the shorter ones."""
    most = max(len(r) for r in rows)
    out = np.full((len(rows), most, *rows[0].shape[1:]), fill, rows[0].dtype)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out


def mixed(*numbers: int) -> int:
    """One 62-bit seed from several numbers; neighbours give unrelated ones."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 2


def sizes(samples: Sequence[Sample], most: int = 256) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Upright widths and heights of evenly drawn samples, from headers alone."""
    step = max(1, len(samples) // most)
    found = [_size(s) for s in samples[::step]]
    return tuple(w for w, _ in found), tuple(h for _, h in found)


def _size(sample: Sample) -> tuple[int, int]:
    if isinstance(sample.image, np.ndarray):
        return int(sample.image.shape[1]), int(sample.image.shape[0])
    header = inspect(sample.image)
    return header.width, header.height


def images_of(samples: Sequence[Sample], spec: PreprocessSpec, recipe: Recipe) -> Array:
    """uint8 [N, H, W, 3] through the house's one preprocessing, or found packed already. Raises DataError,
    StorageError."""
    shape = (len(samples), spec.height, spec.width, 3)
    if recipe.cache == "none":
        packed = np.empty(shape, np.uint8)
        _decode(samples, spec, packed)
        return packed
    folder = cache_folder(recipe)
    file = folder / f"{_key(samples, spec)}.u8"
    if not file.exists():
        half = file.with_suffix(f".{os.getpid()}.half")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            reserve(half, math.prod(shape))
            target = np.memmap(half, np.uint8, "r+", shape=shape)
            _decode(samples, spec, target)
            target.flush()
            half.replace(file)
        except OSError as error:
            cure = "name another folder with --set cache=FOLDER, or keep them in memory: cache=none"
            what = f"the packed images ({math.prod(shape) / 1e6:.0f} MB) cannot be kept in {folder}"
            raise StorageError.of(error, what, room=f"free some space, {cure}", hint=cure) from error
        finally:
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)
        _evict(folder, keep=file)
    os.utime(file)
    # Copy-on-write: nothing is ever written, but torch warns about memory it may not write to.
    return np.memmap(file, np.uint8, "c", shape=shape)


def reserve(file: Path, size: int) -> None:
    """A file of that size whose room is really there: writing to a map on a full disk would end the process
    (SIGBUS)."""
    with file.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)


def cache_folder(recipe: Recipe) -> Path:
    if recipe.cache != "auto":
        return Path(recipe.cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saccade" / "packed"


def _decode(samples: Sequence[Sample], spec: PreprocessSpec, into: Array) -> None:
    def one(place: int) -> None:
        try:
            into[place] = load(samples[place].image, spec)[0]
        except SaccadeError as error:
            raise DataError(
                f"{samples[place].key} cannot be used: {error.message}", hint="run `saccade check` on the data"
            ) from error

    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(one, range(len(samples))):
            pass


def _key(samples: Sequence[Sample], spec: PreprocessSpec) -> str:
    """By content, never by name or date: the same pictures at the same size are decoded once on this machine."""
    digest = hashlib.sha256(json.dumps([1, spec.to_json()], sort_keys=True).encode())
    for piece in _contents(samples):
        digest.update(hashlib.sha256(piece).digest())
    return digest.hexdigest()


def _contents(samples: Sequence[Sample]) -> Iterator[bytes]:
    for sample in samples:
        image = sample.image
        if isinstance(image, np.ndarray):
            yield repr((image.shape, image.dtype.str)).encode() + image.tobytes()
        elif isinstance(image, bytes):
            yield image
        else:
            try:
                yield Path(image).read_bytes()
            except OSError as error:
                raise DataError(f"{sample.key} cannot be read: {error.strerror}", hint="run `saccade check`") from error


def _evict(folder: Path, keep: Path) -> None:
    """The oldest go until the rest has room, and what a killed run left half packed a day ago."""
    for half in folder.glob("*.half"):
        with contextlib.suppress(OSError):
            if time.time() - half.stat().st_mtime > DAY_S:
                half.unlink()
    files = sorted((f for f in folder.glob("*.u8") if f != keep), key=lambda f: f.stat().st_mtime, reverse=True)
    room = CACHE_BYTES - keep.stat().st_size
    for file in files:
        room -= file.stat().st_size
        if room < 0:
            file.unlink(missing_ok=True)
