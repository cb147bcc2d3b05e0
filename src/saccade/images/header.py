"""What a file says of itself, read without decoding a pixel and checked against the limits.

JPEG, PNG and WebP are walked here, marker by marker, because their libraries allocate or decode while opening; formats
allowed by explicit option (gif, bmp, tiff) are opened by Pillow, which reads them lazily. A walk ends at the format's
own end mark: a file that stops before it is an error, for libjpeg would fill the rest with grey.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image as pillow
from PIL import UnidentifiedImageError

from saccade.errors import ImageError
from saccade.limits import ImageLimits

PILLOW_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError, EOFError,
    OverflowError, NotImplementedError, MemoryError, RuntimeError, AssertionError, UserWarning, struct.error,
    pillow.DecompressionBombError, pillow.DecompressionBombWarning, UnidentifiedImageError, zlib.error,
)  # fmt: skip
"""What Pillow is known to raise on damaged or malicious files; wider than its documentation says."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PART = 1 << 17
"""Bytes of a JPEG's data that are looked through at once: they stay in the caches meanwhile."""
_ORIENTATION = 0x0112
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class Header:
    """What a file says of itself. width, height: upright, in px. orientation: EXIF 1..8, how decoded rows are still to
    be turned. components: stored channels. scans: of a JPEG, of which each visits its pixels again."""

    format: str
    width: int
    height: int
    orientation: int = 1
    components: int = 3
    bits: int = 8
    frames: int = 1
    scans: int = 1

    @property
    def turned(self) -> bool:
        """True when the stored rows are the upright columns."""
        return self.orientation >= 5


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


def parse(data: bytes, limits: ImageLimits) -> Header:
    """The header of encoded bytes, within the limits.

    Raises ImageError: image_format_unsupported, image_too_many_pixels, image_too_complex, image_undecodable.
    """
    name = sniff(data)
    if name is None or name not in limits.formats:
        raise ImageError(
            f"expected {', '.join(limits.formats)}, got {name or 'something else'}",
            hint="convert the picture to JPEG or PNG",
            code="image_format_unsupported",
        )
    read = {"jpeg": _jpeg, "png": _png, "webp": _webp}.get(name)
    found = read(data, limits) if read else _lazily(data, name, limits)
    check_size(found.width, found.height, limits)
    if found.frames > limits.max_frames:
        raise ImageError(
            f"the picture is an animation of {found.frames} frames, limit {limits.max_frames}",
            hint="send the frame you mean as a still picture",
            code="image_too_complex",
            details={"max_frames": limits.max_frames},
        )
    return found


def check_size(width: int, height: int, limits: ImageLimits) -> None:
    """Raises ImageError image_too_many_pixels beyond max_pixels or max_side; image_undecodable without pixels."""
    if width <= 0 or height <= 0:
        raise ImageError(f"the image is {width}x{height} px", hint="send a picture with pixels")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise ImageError(
            f"image is {width}x{height} px ({width * height / 1e6:.1f} MP), limit {limits.max_pixels / 1e6:.0f} MP and "
            f"{limits.max_side} px a side",
            hint="raise max_pixels or max_side, or send a smaller image",
            code="image_too_many_pixels",
            details={"max_pixels": limits.max_pixels, "max_side": limits.max_side},
        )


def damaged() -> ImageError:
    return ImageError("the image is damaged or not what its first bytes say", hint="open it and save it again")


def _cut() -> ImageError:
    return ImageError("the file ends before its picture does", hint="send the whole file")


def _check_metadata(size: int, limits: ImageLimits) -> None:
    if size > limits.max_metadata_bytes:
        raise ImageError(
            f"the picture carries more than {limits.max_metadata_bytes} bytes of metadata",
            hint="save it without embedded text, profiles and previews",
            code="image_too_complex",
            details={"max_metadata_bytes": limits.max_metadata_bytes},
        )


def _jpeg(data: bytes, limits: ImageLimits) -> Header:
    """Markers of ITU-T T.81 B.1.1, from SOI to EOI. What follows EOI (second pictures of phones) is not looked at."""
    at, end, orientation, scans, metadata = 2, len(data), 1, 0, 0
    bits = height = width = components = 0
    while True:
        if at + 1 >= end or data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            # Compressed data, fill bytes or debris: libjpeg skips to the next marker, so do we.
            at = _marker(data, at)
        marker = data[at + 1]
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 2 + length > end or at + 4 > end:
            raise _cut()
        if length < 2:
            raise damaged()
        if marker in _FRAMES and not width:
            if length < 8:
                raise damaged()
            bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            check_size(width, height, limits)
        elif marker == 0xDA:
            scans += 1
            _check_scans(scans, width * height, limits)
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            metadata += length + 2
            _check_metadata(metadata, limits)
            # Behind a scan other readers do not look for it either.
            early = marker == 0xE1 and orientation == 1 and not scans
            if early and data.startswith(b"Exif\x00\x00", at + 4, at + 2 + length):
                orientation = orientation_of(data[at + 10 : at + 2 + length])
        at += 2 + length
    if not scans or not width:
        raise damaged()
    return _upright("jpeg", width, height, orientation, components, bits, scans=scans)


def _marker(data: bytes, at: int) -> int:
    """Where the next marker stands, from `at` on. Raises ImageError where none does.

    Compressed data writes its own FF as FF 00, one in some hundred bytes: an expression alone stops at each, with the
    interpreter's lock held, 0.9 ms for a photo of 12 megapixels. So parts in which no FF stands before anything else are
    passed over first, in a third of that.
    """
    found = None
    while found is None and len(data) - at > _PART:
        part = np.frombuffer(data, np.uint8, _PART + 1, at)
        if ((part[:-1] == 0xFF) & (part[1:] != 0)).any():
            found = _MARKER.search(data, at, at + len(part))
        at += _PART
    found = found or _MARKER.search(data, at)
    if found is None:
        raise _cut()
    return found.start()


def _check_scans(scans: int, pixels: int, limits: ImageLimits) -> None:
    # Every scan of a progressive JPEG visits every pixel again: pixels times scans bound the time before it is spent.
    if scans > limits.max_scans or scans * pixels > limits.max_scan_pixels:
        raise ImageError(
            f"the JPEG has {scans} scans or more, limit {limits.max_scans} and "
            f"{limits.max_scan_pixels / 1e6:.0f} MP over all scans",
            hint="save it as a baseline JPEG",
            code="image_too_complex",
            details={"max_scans": limits.max_scans, "max_scan_pixels": limits.max_scan_pixels},
        )


def _png(data: bytes, limits: ImageLimits) -> Header:
    """Chunks of PNG (ISO/IEC 15948), from IHDR to IEND."""
    if len(data) < 33:
        raise _cut()
    if data[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise damaged()
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    check_size(width, height, limits)
    at, orientation, frames, metadata, pixels = 33, 1, 0, 0, False
    while True:
        if at + 12 > len(data):
            raise _cut()
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            raise _cut()
        if kind == b"IEND":
            break
        metadata += 12 if kind in (b"IDAT", b"fdAT", b"PLTE") else 12 + length
        _check_metadata(metadata, limits)
        if kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf" and orientation == 1:
            orientation = orientation_of(data[at + 8 : at + 8 + length])
        elif kind == b"acTL":
            again, frames = frames > 0, int.from_bytes(data[at + 8 : at + 12], "big")
            if again or length < 8 or not frames:
                raise damaged()
        at += 12 + length
    if not pixels or colour not in _CHANNELS:
        raise damaged()
    return _upright("png", width, height, orientation, _CHANNELS[colour], bits, max(1, frames))


def _webp(data: bytes, limits: ImageLimits) -> Header:
    """Chunks of the WebP container (RFC 9649)."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise _cut()
    at, orientation, frames, metadata, pixels = 12, 1, 0, 0, False
    width = height = 0
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 18]
        if at + 8 + length > end:
            raise _cut()
        if kind == b"VP8X" and len(body) == 10:
            width, height = (1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
        elif kind == b"VP8L" and len(body) >= 5:
            packed = int.from_bytes(body[1:5], "little")
            width, height = (width, height) if width else (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF))
        elif kind == b"VP8 " and len(body) == 10:
            stored = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
            width, height = (width, height) if width else stored
        elif kind == b"EXIF":
            orientation = orientation_of(data[at + 8 : at + 8 + length].removeprefix(b"Exif\x00\x00"))
        check_size(width, height, limits)
        pixels = pixels or kind in (b"VP8 ", b"VP8L", b"ANMF")
        frames += kind == b"ANMF"
        metadata += 8 if kind in (b"VP8 ", b"VP8L", b"ANMF", b"ALPH", b"VP8X") else 8 + length
        _check_metadata(metadata, limits)
        at += 8 + length + length % 2
    if not pixels:
        raise damaged()
    return _upright("webp", width, height, orientation, 3, 8, max(1, frames))


def _lazily(data: bytes, name: str, limits: ImageLimits) -> Header:
    try:
        with pillow.open(io.BytesIO(data), formats=[name.upper()]) as picture:
            check_size(*picture.size, limits)
            orientation = int(picture.getexif().get(_ORIENTATION, 1))
            bits = 16 if picture.mode.startswith("I") else 8
            frames = int(getattr(picture, "n_frames", 1))
            bands = len(picture.getbands())
            width, height = picture.size
            if name == "tiff":
                # Hazard: Pillow turns a TIFF itself while loading. Its tag has swapped the size by now, XMP has not.
                if 5 <= orientation <= 8 and _ORIENTATION not in getattr(picture, "tag_v2", {}):
                    width, height = height, width
                orientation = 1
    except PILLOW_FAULTS as error:
        raise damaged() from error
    return _upright(name, width, height, orientation, bands, bits, frames)


def _upright(
    name: str, width: int, height: int, orientation: int, parts: int, bits: int, frames: int = 1, scans: int = 1
) -> Header:
    orientation = orientation if 1 <= orientation <= 8 else 1
    if orientation >= 5:
        width, height = height, width
    return Header(name, width, height, orientation, parts, bits, frames, scans)


def orientation_of(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory (Exif 2.32); 1 when anything is odd."""
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
        if tag == _ORIENTATION and kind == 3:
            return int(value) if 1 <= value <= 8 else 1
    return 1
