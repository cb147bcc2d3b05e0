"""What makes two pictures the same: content hash, and a perceptual print for near duplicates."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from saccade.errors import ImageError
from saccade.images.preprocess import PreprocessSpec, load
from saccade.types import Array, Sample

NEAR = 6
"""Bits of the perceptual hash that may differ between near duplicates."""

ALIKE = 0.95
"""Correlation of the 32x32 grey pictures that near duplicates reach. The hash alone calls different pictures of one
scene the same: of 198 such pairs in 2,062 hand signs on white walls, 197 were different pictures."""

COMPARED = 1 << 20
"""Pairs of hashes that are looked at together."""

SMALL = PreprocessSpec(32, 32, interpolation="area")
"""How a picture is shrunk before it is compared with others."""


def content_hash(sample: Sample) -> str:
    """SHA-256 (hex) of the file, or of the pixels and their shape. Raises OSError when the file is gone."""
    if isinstance(sample.image, Path):
        state = sample.image.stat()
        return _file_hash(sample.image, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if isinstance(sample.image, bytes):
        return hashlib.sha256(sample.image).hexdigest()
    return hashlib.sha256(repr(sample.image.shape).encode() + sample.image.tobytes()).hexdigest()


# Doctor, splits and lock ask one after the other; a file is read again only when its size or times changed.
@lru_cache(maxsize=1 << 17)
def _file_hash(file: Path, size: int, changed_ns: int, status_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hashes(samples: Sequence[Sample]) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(content_hash, samples))


@dataclass(frozen=True)
class Print:
    """bits: 64-bit pHash, None for a picture so even that its bits would be noise. grey:
    float32 [1024], unit length."""

    bits: int | None
    grey: Array


def perceptual(small_HW3: Array) -> Print:
    """The print of a 32x32 picture: signs of the 8x8 lowest DCT coefficients against their median (pHash)."""
    grey = cv2.cvtColor(small_HW3, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low = cv2.dct(grey)[:8, :8].ravel()
    flat = grey.ravel() - grey.mean()
    unit = flat / (float(np.linalg.norm(flat)) + 1e-6)
    if float(np.abs(low[1:]).max()) < 8:
        return Print(None, unit)
    bits = low > np.median(low[1:])
    return Print(int.from_bytes(np.packbits(bits).tobytes(), "big"), unit)


def perceptual_print(sample: Sample) -> Print | None:
    """None for a picture that cannot be decoded."""
    try:
        return perceptual(load(sample.image, SMALL)[0])
    except ImageError:
        return None


def prints(samples: Sequence[Sample]) -> list[Print | None]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(perceptual_print, samples))


def near_pairs(
    found: Sequence[Print | None], distance: int = NEAR, alike: float = ALIKE, most: int = 0
) -> list[tuple[int, int]]:
    """Index pairs (low, high) whose hashes differ in at most `distance` bits and whose pictures correlate.

    Of `most` pairs every one is given, of more only those that join pictures which no pair before joined: of ten
    thousand frames of a fixed camera each is like each, and their fifty million pairs say no more than ten thousand do.

    The 64 bits are cut into distance + 1 bands: two hashes that near agree in at least one whole band, so only
    pictures that share a band are compared.
    """
    known = [(i, p.bits, p.grey) for i, p in enumerate(found) if p is not None and p.bits is not None]
    if len(known) < 2:
        return []
    places = [i for i, _, _ in known]
    bits, greys = np.array([b for _, b, _ in known], np.uint64), np.stack([g for _, _, g in known])
    edges = [round(64 * k / (distance + 1)) for k in range(distance + 2)]
    bands = [np.uint64(((1 << (end - start)) - 1) << start) for start, end in pairwise(edges)]
    joined = _Joined(len(known))
    pairs: list[tuple[int, int]] = []
    for number, band in enumerate(bands):
        for row, others in _close(bits, band, bands[:number], distance):
            if len(pairs) >= most:
                others = others[joined.root[others] != joined.root[row]]
            if not len(others):
                continue
            for other in others[greys[others] @ greys[row] >= alike].tolist():
                if joined.join(row, other) or len(pairs) < most:
                    pairs.append((places[row], places[other]))
    return sorted(pairs)


def _close(bits_N: Array, band: np.uint64, before: Sequence[np.uint64], distance: int) -> Iterator[tuple[int, Array]]:
    """Each picture with those after it that agree with it in this band, in none of those before, and are near."""
    part = bits_N & band
    order = np.argsort(part, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        step = max(1, COMPARED // len(members))
        for start in range(0, len(members) - 1, step):
            rows = members[start : start + step]
            apart = bits_N[rows][:, None] ^ bits_N[members][None]
            near = np.bitwise_count(apart) <= distance
            for other in before:
                near &= (apart & other) != 0
            near &= np.arange(len(members))[None] > (start + np.arange(len(rows)))[:, None]
            for k in np.flatnonzero(near.any(1)).tolist():
                yield int(rows[k]), members[near[k]]


class _Joined:
    """Which pictures are already in one group. root: int64 [N], the same number for all of a group."""

    def __init__(self, count: int) -> None:
        self.root = np.arange(count)
        self._members: dict[int, list[int]] = {i: [i] for i in range(count)}

    def join(self, a: int, b: int) -> bool:
        """False when they are in one group already."""
        one, other = int(self.root[a]), int(self.root[b])
        if one == other:
            return False
        if len(self._members[one]) < len(self._members[other]):
            one, other = other, one
        moved = self._members.pop(other)
        self.root[moved] = one
        self._members[one] += moved
        return True
