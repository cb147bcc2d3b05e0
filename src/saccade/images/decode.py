"""Bytes to upright RGB pixels, behind one door: OpenCV for plain JPEG, Pillow for everything that asks for care.

The header is read and checked against the limits before a pixel is decoded. Content decides the format, never a name.
Defined once, for every path: EXIF orientation is applied; alpha is laid on white; 16-bit keeps its high byte; grey and
palette become RGB; CMYK is converted by Pillow (Adobe's inversion honoured); animations are refused unless max_frames
allows them, then the first frame counts; embedded colour profiles are not applied, in training as in serving: photos
for the web are sRGB, and a profile is 1 to 3 ms a picture and a parser more for hostile bytes.
"""

import base64
import binascii
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as pillow

from saccade.errors import ImageError
from saccade.images import png
from saccade.images.header import PILLOW_FAULTS, check_size, damaged, parse
from saccade.images.header import Header as Header
from saccade.images.header import sniff as sniff
from saccade.limits import IMAGE_LIMITS, ImageLimits
from saccade.types import Array, Image


def one_thread_a_picture() -> None:
    """For a process that decodes many pictures at once: OpenCV works on each with the thread
    that asked, and starts none.

    On 2 cores, with two pictures at a time, that was 5 to 8 % more pictures a second.
    """
    cv2.setNumThreads(1)


def from_base64(text: str) -> bytes:
    """Raises ImageError when the text is not base64 (RFC 4648, padding required)."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("the image is not valid base64", hint="encode its bytes with RFC 4648 base64") from error


def inspect(source: Path | bytes, limits: ImageLimits = IMAGE_LIMITS) -> Header:
    """Reads the header alone and checks it against the limits.

    Raises ImageError: image_format_unsupported, image_too_many_pixels, image_too_complex, image_undecodable.
    """
    return parse(read(source, limits), limits)


def read(source: Path | bytes, limits: ImageLimits = IMAGE_LIMITS) -> bytes:
    """The encoded bytes of a picture. Raises ImageError when the file cannot be read or is too large."""
    if isinstance(source, bytes):
        data = source
    else:
        try:
            if source.stat().st_size > limits.max_bytes:
                raise _too_large(source.stat().st_size, limits)
            data = source.read_bytes()
        except OSError as error:
            raise ImageError(f"the image file cannot be read: {error.strerror}", hint="check the path") from error
    if len(data) > limits.max_bytes:
        raise _too_large(len(data), limits)
    return data


def decode(source: Path | bytes | Array, *, reduce: int = 1, limits: ImageLimits = IMAGE_LIMITS) -> Image:
    """Upright uint8 [H, W, 3] RGB pixels.

    reduce: 1, 2, 4 or 8, decodes a JPEG at that fraction of its size in the DCT domain; other formats ignore it.
    An array is uint8 [H, W], [H, W, 3] or [H, W, 4] and comes back as RGB. Raises ImageError; a truncated file is an
    error, never a partial picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    data = read(source, limits)
    return pixels(data, parse(data, limits), reduce)


def pixels(data: bytes, header: Header, reduce: int = 1) -> Image:
    """Pixels of bytes whose header `inspect` has passed; else as `decode`. Raises ImageError image_undecodable."""
    if header.format == "jpeg" and header.components in (1, 3) and header.bits == 8:
        return turn(_decode_jpeg(data, reduce), header.orientation)
    return _decode_careful(data, header)


def _decode_jpeg(data: bytes, reduce: int) -> Image:
    if reduce == 1:
        flag = cv2.IMREAD_COLOR_RGB
    else:
        flag = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}[reduce]
    try:
        # OpenCV must not turn the picture: the orientation is applied once, below, for every decoder.
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise damaged() from error
    if decoded is None:
        raise damaged()
    return np.asarray(decoded if reduce == 1 else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_careful(data: bytes, header: Header) -> Image:
    try:
        with pillow.open(io.BytesIO(data), formats=[header.format.upper()]) as picture:
            picture.load()
            # Rows that never came stay zero, so a last row that is not shows that all came (Adam7 comes out of order).
            doubtful = header.format == "png" and (data[28] or not np.asarray(picture)[-1].any())
            if doubtful and not png.complete(data):
                raise ImageError("the PNG ends before its last row", hint="send the whole file")
            stored = np.array(_to_rgb(picture), np.uint8)
    except PILLOW_FAULTS as error:
        raise damaged() from error
    return turn(stored, header.orientation)


def _to_rgb(picture: pillow.Image) -> pillow.Image:
    if picture.mode == "F":
        raise ValueError("floating point pixels have no defined white")
    if picture.mode.startswith("I"):
        values = np.clip(np.asarray(picture), 0, 65535)
        grey = (values.astype(np.uint32) >> 8).astype(np.uint8)
        if isinstance(clear := picture.info.get("transparency"), int):
            grey[values == clear] = 255
        return pillow.fromarray(grey).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = pillow.new("RGBA", clear.size, (255, 255, 255, 255))
        return pillow.alpha_composite(white, clear).convert("RGB")
    return picture.convert("RGB")


def _from_array(pixels: Array, limits: ImageLimits) -> Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"pixels must be uint8 [H, W] or [H, W, 3], got {pixels.dtype} {list(pixels.shape)}",
            hint="scale to 0..255 and convert to uint8",
        )
    check_size(pixels.shape[1], pixels.shape[0], limits)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return np.array(_to_rgb(pillow.fromarray(pixels)), np.uint8)
    return np.ascontiguousarray(pixels)


def turn(pixels: Array, orientation: int) -> Array:
    """Stored rows [H, W, ...] of an EXIF orientation 1..8 made upright (Exif 2.32, tag 0x0112)."""
    if orientation == 1:
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _too_large(size: int, limits: ImageLimits) -> ImageError:
    return ImageError(
        f"the image file is {size / 1e6:.1f} MB, limit {limits.max_bytes / 1e6:.0f} MB",
        hint="send a smaller file",
        code="image_too_complex",
    )
