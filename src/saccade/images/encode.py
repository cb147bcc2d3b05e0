"""Pixels to PNG, JPEG or a data URI."""

import base64
import io

import cv2
import numpy as np
from PIL import Image as pillow

from saccade.errors import ImageError
from saccade.types import Array


def to_png(pixels: Array) -> bytes:
    """uint8 [H, W] or [H, W, 3] RGB to PNG. Raises ImageError for other arrays."""
    return _encode(".png", pixels, [])


def to_palette_png(ids_HW: Array, colours_256x3: Array) -> bytes:
    """uint8 [H, W] to a PNG that holds these values and shows them in these RGB colours."""
    picture = pillow.fromarray(ids_HW)
    picture.putpalette(colours_256x3.tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def to_jpeg(pixels: Array, quality: int = 90) -> bytes:
    """uint8 [H, W] or [H, W, 3] RGB to JPEG; quality 1..100."""
    return _encode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def data_uri(encoded: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"


def _encode(suffix: str, pixels: Array, options: list[int]) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ImageError(f"pixels must be uint8 [H, W] or [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(suffix, bgr, options)
    if not done:
        raise ImageError("the picture could not be encoded; this is a bug")
    return bytes(buffer)
