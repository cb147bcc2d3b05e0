"""What makes two pictures the same: content hash, and a perceptual hash for near duplicates."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from saccade.errors import ImageError
from saccade.images.preprocess import PreprocessSpec, load
from saccade.types import Sample

NEAR = 6
"""Bits that may differ between near duplicates."""

_SPEC = PreprocessSpec(32, 32, interpolation="area")


def content_hash(sample: Sample) -> str:
    """SHA-256 (hex) of the file, or of the pixels and their shape."""
    if isinstance(sample.image, Path):
        with sample.image.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if isinstance(sample.image, bytes):
        return hashlib.sha256(sample.image).hexdigest()
    return hashlib.sha256(repr(sample.image.shape).encode() + sample.image.tobytes()).hexdigest()


def content_hashes(samples: Sequence[Sample]) -> list[str]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(content_hash, samples))


def perceptual_hash(sample: Sample) -> int | None:
    """64 bits: signs of the 8x8 lowest DCT coefficients of the 32x32 grey picture against their median (pHash).

    None for a picture that cannot be decoded, or is so even that its bits would be noise.
    """
    try:
        pixels, _ = load(sample.image, _SPEC)
    except ImageError:
        return None
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low = cv2.dct(grey)[:8, :8].ravel()
    if float(np.abs(low[1:]).max()) < 8:
        return None
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def perceptual_hashes(samples: Sequence[Sample]) -> list[int | None]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(perceptual_hash, samples))


def near_pairs(hashes: Sequence[int | None], distance: int = NEAR) -> list[tuple[int, int]]:
    """Index pairs whose hashes differ in at most `distance` bits.

    The 64 bits are cut into distance + 1 bands: two hashes that near agree in at least one whole band.
    """
    bands = distance + 1
    edges = [round(64 * k / bands) for k in range(bands + 1)]
    pairs: set[tuple[int, int]] = set()
    for start, end in pairwise(edges):
        buckets: dict[int, list[int]] = defaultdict(list)
        mask = (1 << (end - start)) - 1
        for i, h in enumerate(hashes):
            if h is not None:
                buckets[(h >> start) & mask].append(i)
        for members in buckets.values():
            if len(members) < 2:
                continue
            values = np.array([hashes[i] for i in members], np.uint64)
            for a in range(len(members) - 1):
                apart = np.bitwise_count(values[a + 1 :] ^ values[a])
                pairs.update((members[a], members[a + 1 + int(b)]) for b in np.flatnonzero(apart <= distance))
    return sorted(pairs)
