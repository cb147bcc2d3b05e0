"""What makes two pictures the same: content hash, and a perceptual print for near duplicates."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
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
    """bits: 64-bit pHash, None for a picture so even that its bits would be noise. grey: float32 [1024], unit length."""

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


def near_pairs(found: Sequence[Print | None], distance: int = NEAR, alike: float = ALIKE) -> list[tuple[int, int]]:
    """Index pairs (low, high) whose hashes differ in at most `distance` bits and whose pictures correlate.

    The 64 bits are cut into distance + 1 bands: two hashes that near agree in at least one whole band, so only
    pictures that share a band are compared.
    """
    bits = [p.bits if p else None for p in found]
    edges = [round(64 * k / (distance + 1)) for k in range(distance + 2)]
    pairs: set[tuple[int, int]] = set()
    for start, end in pairwise(edges):
        buckets: dict[int, list[int]] = defaultdict(list)
        for i, value in enumerate(bits):
            if value is not None:
                buckets[(value >> start) & ((1 << (end - start)) - 1)].append(i)
        for members in buckets.values():
            values = np.array([bits[i] for i in members], np.uint64)
            for a in range(len(members) - 1):
                apart = np.bitwise_count(values[a + 1 :] ^ values[a])
                pairs.update((members[a], members[a + 1 + int(b)]) for b in np.flatnonzero(apart <= distance))
    return sorted((a, b) for a, b in pairs if _alike(found[a], found[b]) >= alike)


def _alike(a: Print | None, b: Print | None) -> float:
    return float(a.grey @ b.grey) if a and b else 0.0
