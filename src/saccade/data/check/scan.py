"""One look at every sample: header, content hash and, in the full layer, the decoded picture made small."""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from saccade.data.annotation import amounts, digest
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import SMALL
from saccade.errors import DataError, ImageError
from saccade.images import decode
from saccade.images.decode import Header
from saccade.images.preprocess import load
from saccade.types import Array, Image, Sample

THREADS = 8


@dataclass(frozen=True)
class Seen:
    """A sample and what its bytes said. error: why it cannot be used; cut: its end is missing.

    size: bytes read, in `seconds`. digest: SHA-256, "" for what cannot be read. small: uint8 [32, 32, 3], full
    layer. amounts: objects, pixels or labels of each class, int64 [C]; wrong: why the mask cannot be used; told:
    digest of the annotation.
    """

    split: str
    sample: Sample
    header: Header | None
    error: ImageError | None
    digest: str
    size: int = 0
    seconds: float = 0.0
    cut: bool = False
    small: Image | None = None
    amounts: Array | None = None
    wrong: DataError | None = None
    told: str = ""

    @property
    def key(self) -> str:
        return self.sample.key

    @property
    def classes(self) -> tuple[int, ...]:
        """Ids of the classes that are there, ascending."""
        return () if self.amounts is None else tuple(int(c) for c in np.flatnonzero(self.amounts))


def scan(dataset: Dataset, full: bool = False) -> list[Seen]:
    """Every sample of every split, in order; damage is recorded, never raised."""
    pairs = [(split, sample) for split, samples in dataset.splits.items() for sample in samples]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda pair: _whole(pair[0], pair[1], full, len(dataset.labels)), pairs))


def _whole(split: str, sample: Sample, full: bool, classes: int) -> Seen:
    seen = look(split, sample, full)
    try:
        return replace(seen, amounts=amounts(sample.annotation, classes), told=digest(sample.annotation))
    except DataError as error:
        return replace(seen, wrong=error)
    except OSError as error:
        return replace(seen, wrong=DataError(f"the mask of {sample.key} cannot be read: {error.strerror}"))


def look(split: str, sample: Sample, full: bool = False) -> Seen:
    if isinstance(sample.image, np.ndarray):
        return _look_at_pixels(split, sample, sample.image, full)
    start = time.perf_counter()
    try:
        data = decode.read(sample.image)
    except ImageError as error:
        size = _size(sample.image)
        return Seen(split, sample, None, error, "", size)
    seconds = time.perf_counter() - start
    content = hashlib.sha256(data).hexdigest()
    cut = is_cut(data)
    header: Header | None = None
    small: Image | None = None
    problem: ImageError | None = None
    try:
        header = decode.inspect(data)
        if full:
            small = load(data, SMALL)[0]
    except ImageError as error:
        problem = error
    return Seen(split, sample, header, problem, content, len(data), seconds, cut, small)


def is_cut(data: bytes) -> bool:
    """The end that the format asks for is missing: EOI, IEND, or the length that RIFF states."""
    format = decode.sniff(data)
    if format == "jpeg":
        return data.rfind(b"\xff\xd9") < max(data.rfind(b"\xff\xda"), 4)
    if format == "png":
        return b"IEND" not in data[33:]
    return format == "webp" and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _look_at_pixels(split: str, sample: Sample, pixels: Array, full: bool) -> Seen:
    content = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    header = Header("array", pixels.shape[1], pixels.shape[0])
    try:
        small = load(pixels, SMALL)[0] if full else None
    except ImageError as error:
        return Seen(split, sample, None, error, content)
    return Seen(split, sample, header, None, content, small=small)


def _size(image: Path | bytes) -> int:
    try:
        return image.stat().st_size if isinstance(image, Path) else len(image)
    except OSError:
        return 0


def usable(seen: Sequence[Seen]) -> list[Seen]:
    return [s for s in seen if s.error is None]
