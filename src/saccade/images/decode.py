"""Bytes to upright RGB pixels, behind one door: OpenCV for plain JPEG, Pillow for everything that asks for care.

The header is read and checked against the limits before a pixel is decoded. Content decides the format, never a name.
Defined once, for every path: EXIF orientation is applied; alpha is laid on white; 16-bit keeps its high byte; grey and
palette become RGB; CMYK is converted by Pillow (Adobe's inversion honoured); of an animation the first frame counts;
embedded colour profiles are not applied, in training as in serving.
"""

import base64
import binascii
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as pillow
from PIL import ImageOps, UnidentifiedImageError

from saccade.errors import ImageError
from saccade.limits import IMAGE_LIMITS, ImageLimits
from saccade.types import Array, Image

_PILLOW_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError, EOFError,
    OverflowError, NotImplementedError, MemoryError, RuntimeError, struct.error, pillow.DecompressionBombError,
    pillow.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow is known to raise on damaged or malicious files; wider than its documentation says."""

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Header:
    """What a file says of itself. width, height: upright, in px. orientation: EXIF 1..8. components: colour channels."""

    format: str
    width: int
    height: int
    orientation: int = 1
    components: int = 3
    bits: int = 8
    frames: int = 1

    @property
    def turned(self) -> bool:
        """True when the stored rows are the upright columns."""
        return self.orientation >= 5


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
    return _inspect(read(source, limits), limits)


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
    header = _inspect(data, limits)
    if header.format == "jpeg" and header.components in (1, 3) and header.bits == 8:
        return _turn(_decode_jpeg(data, reduce), header.orientation)
    return _decode_careful(data, header)


def _decode_jpeg(data: bytes, reduce: int) -> Image:
    flag = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduce]
    try:
        # OpenCV must not turn the picture: the orientation is applied once, below, for every decoder.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _damaged() from error
    if pixels is None:
        raise _damaged()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_careful(data: bytes, header: Header) -> Image:
    try:
        with pillow.open(io.BytesIO(data), formats=[header.format.upper()]) as picture:
            picture.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(picture)), np.uint8)
    except _PILLOW_FAULTS as error:
        raise _damaged() from error


def _to_rgb(picture: pillow.Image) -> pillow.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)
        grey = np.clip(values, 0, 65535).astype(np.uint32) >> 8
        return pillow.fromarray(grey.astype(np.uint8)).convert("RGB")
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
    _check_size(pixels.shape[1], pixels.shape[0], limits)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return np.array(_to_rgb(pillow.fromarray(pixels)), np.uint8)
    return np.ascontiguousarray(pixels)


def _turn(pixels: Image, orientation: int) -> Image:
    """EXIF orientation 1..8 made upright (Exif 2.32, tag 0x0112)."""
    if orientation == 1:
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _inspect(data: bytes, limits: ImageLimits) -> Header:
    format = sniff(data)
    if format is None or format not in limits.formats:
        raise ImageError(
            f"expected {', '.join(limits.formats)}, got {format or 'something else'}",
            hint="convert the picture to JPEG or PNG",
            code="image_format_unsupported",
        )
    header = _jpeg_header(data, limits) if format == "jpeg" else _careful_header(data, format, limits)
    _check_size(header.width, header.height, limits)
    return header


def sniff(data: bytes) -> str | None:
    """The format by its first bytes, lower case, None when unknown."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    for start, name in ((b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\x00", "tiff"), (b"MM\x00*", "tiff")):
        if data.startswith(start):
            return name
    return None


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width <= 0 or height <= 0:
        raise ImageError(f"the image is {width}x{height} px", hint="send a picture with pixels")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise ImageError(
            f"image is {width}x{height} px, limit {limits.max_pixels / 1e6:.0f} MP and {limits.max_side} px a side",
            hint="raise max_pixels or send a smaller image",
            code="image_too_many_pixels",
            details={"max_pixels": limits.max_pixels, "max_side": limits.max_side},
        )


def _jpeg_header(data: bytes, limits: ImageLimits) -> Header:
    """Walks the markers (ITU T.81 B.1.1): frame size, orientation, scans, and a true end of image."""
    at, orientation, frame = 2, 1, None
    size = len(data)
    while at + 4 <= size and frame is None:
        if data[at] != 0xFF:
            raise _damaged()
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xD9, 0xDA) or length < 2:
            break
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\x00\x00" and orientation == 1:
            orientation = _orientation(body[6:])
        if marker in _FRAME_MARKERS and len(body) >= 6:
            frame = (body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5])
        at += 2 + length
    if frame is None:
        raise _damaged()
    bits, height, width, components = frame
    scans = data.count(b"\xff\xda", at)
    if scans > limits.max_scans:
        raise ImageError(
            f"the JPEG has {scans} scans, limit {limits.max_scans}", hint="save it again", code="image_too_complex"
        )
    # libjpeg fills what is missing with grey; a file without its end marker is refused instead.
    if scans == 0 or data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ImageError("the JPEG ends before its picture does", hint="send the whole file")
    if orientation >= 5:
        width, height = height, width
    return Header("jpeg", width, height, orientation, components, bits)


def _orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1 when anything is odd."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack(order + "I", tiff[4:8])
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack(order + "H", tiff[start : start + 2])
    for i in range(min(count, 512)):
        entry = tiff[start + 2 + 12 * i : start + 14 + 12 * i]
        if len(entry) < 12:
            return 1
        tag, kind, _, value = struct.unpack(order + "HHIH", entry[:10])
        if tag == 0x0112 and kind == 3:
            return value if 1 <= value <= 8 else 1
    return 1


def _careful_header(data: bytes, format: str, limits: ImageLimits) -> Header:
    if format == "png":
        # The size is checked before Pillow reads a single chunk.
        if len(data) < 33 or data[12:16] != b"IHDR":
            raise _damaged()
        width, height, bits = *struct.unpack(">II", data[16:24]), data[24]
        _check_size(width, height, limits)
    try:
        with pillow.open(io.BytesIO(data), formats=[format.upper()]) as picture:
            width, height = picture.size
            orientation = int(picture.getexif().get(0x0112, 1))
            bits = 16 if picture.mode.startswith("I") else 8
            frames = int(getattr(picture, "n_frames", 1))
            bands = len(picture.getbands())
    except (*_PILLOW_FAULTS, UnidentifiedImageError) as error:
        raise _damaged() from error
    orientation = orientation if 1 <= orientation <= 8 else 1
    if orientation >= 5:
        width, height = height, width
    return Header(format, width, height, orientation, bands, bits, frames)


def _damaged() -> ImageError:
    return ImageError("the image is damaged or not what its first bytes say", hint="open it and save it again")


def _too_large(size: int, limits: ImageLimits) -> ImageError:
    return ImageError(
        f"the image file is {size / 1e6:.1f} MB, limit {limits.max_bytes / 1e6:.0f} MB",
        hint="send a smaller file",
        code="image_too_complex",
    )
