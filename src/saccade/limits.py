"""Every limit in one place: id, default, error code. Errors, docs and tests are made from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """What a picture may be before a pixel is decoded.

    B1 formats allowed by content; B2 max_pixels, max_side; B4 max_scans of a progressive JPEG; B5 max_frames.
    """

    formats: tuple[str, ...] = ("jpeg", "png", "webp")
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_scans: int = 100
    max_bytes: int = 64 * 1024 * 1024


IMAGE_LIMITS = ImageLimits()
