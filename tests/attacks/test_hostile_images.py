"""Images made to hurt: each ends in a picture or a typed error, soon, and within little memory."""

import contextlib
import io
import struct
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image as pillow

from saccade.errors import ImageError
from saccade.images.decode import decode, inspect
from saccade.images.preprocess import PreprocessSpec, load

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, *, bits: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return PNG + head + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def saved(format: str, **options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    pillow.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


JPEG, PROGRESSIVE = saved("jpeg", quality=90), saved("jpeg", progressive=True)
START = JPEG.index(b"\xff\xda")
LENGTH = int.from_bytes(JPEG[START + 2 : START + 4], "big")


def webp(width: int, height: int) -> bytes:
    body = bytes([0x2F]) + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + b"\0" * 9
    part = b"WEBPVP8L" + len(body).to_bytes(4, "little") + body
    return b"RIFF" + len(part).to_bytes(4, "little") + part


def animated(frames: int) -> bytes:
    part = b"WEBPVP8X" + (10).to_bytes(4, "little") + b"\2" + b"\0" * 9
    part += (b"ANMF" + (16).to_bytes(4, "little") + b"\0" * 16) * frames
    return b"RIFF" + len(part).to_bytes(4, "little") + part


def attacks() -> Iterator[tuple[str, bytes, str]]:
    """name, bytes, the code it must end in."""
    flat = b"\0" * (20_000 // 8 + 1) * 20_000
    yield "400 MP in a small 1-bit PNG", png(20_000, 20_000, flat, bits=1, colour=0), "image_too_many_pixels"
    yield "a PNG of 2^31 columns", png(2**31 - 1, 2**31 - 1, b""), "image_too_many_pixels"
    yield "a PNG without columns", png(0, 5, b""), "image_undecodable"
    yield "a webp of 16384 a side", webp(16_384, 16_384), "image_too_many_pixels"
    yield "a webp of nothing", webp(64, 64), "image_undecodable"
    yield "an animation of 10,000 frames", animated(10_000), "image_too_complex"
    yield (
        "an APNG of 10,000 frames",
        png(8, 8, b"\0" * 200, extra=chunk(b"acTL", b"\0\0\x27\x10" + b"\0" * 4)),
        ("image_too_complex"),
    )
    yield "100,000 text chunks", png(8, 8, b"\0" * 200, extra=chunk(b"tEXt", b"a\0b") * 100_000), "image_too_complex"
    yield (
        "an endless run of empty IDAT",
        PNG + png(8, 8, b"")[8:33] + chunk(b"IDAT", b"") * 500_000,
        ("image_too_complex"),
    )
    yield "PNG rows that end early", png(64, 64, b"\0" * 300), "image_undecodable"
    yield (
        "PNG rows that are not deflate",
        PNG + png(8, 8, b"")[8:33] + chunk(b"IDAT", b"garbage") + chunk(b"IEND", b""),
        "image_undecodable",
    )
    yield (
        "a text chunk that inflates to 100 MB",
        png(8, 8, b"\0" * 200, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000_000, 9))),
        "image_undecodable",
    )
    scan = JPEG[START : START + 2 + LENGTH]
    yield "5,000 scans that libjpeg does not read", JPEG[:-2] + scan * 5_000 + b"\xff\xd9", "image_too_complex"
    frame = JPEG.index(b"\xff\xc0")
    # The first scan holds one component, so libjpeg reads all that follow.
    parts = bytes((0xFF, 0xDA, 0, 8, 1, JPEG[frame + 10], 0, 0, 63, 0))
    yield (
        "5,000 scans behind one of one component",
        JPEG[:START] + parts + scan * 5_000 + b"\xff\xd9",
        "image_too_complex",
    )
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    yield "5,000 scans", PROGRESSIVE[:-2] + last * 5_000 + b"\xff\xd9", "image_too_complex"
    sized = bytearray(PROGRESSIVE)
    at = sized.index(b"\xff\xc2")
    sized[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)
    end = PROGRESSIVE.rindex(b"\xff\xda")
    yield "few scans of many pixels", bytes(sized[:-2]) + PROGRESSIVE[end:-2] * 30 + b"\xff\xd9", "image_too_complex"
    sized[at + 5 : at + 9] = struct.pack(">HH", 65_535, 65_535)
    yield "a JPEG of 4 GP", bytes(sized), "image_too_many_pixels"
    yield "17 MB of comments", JPEG[:2] + (b"\xff\xfe\xff\xff" + b"x" * 65_533) * 260 + JPEG[2:], "image_too_complex"
    notes = (b"\xff\xfe\xff\xff" + b"x" * 65_533) * 250
    yield "16 MB of comments behind the pixels", JPEG[:-2] + notes + b"\xff\xd9", "image_too_complex"
    yield "a JPEG of fill bytes", b"\xff\xd8" + b"\xff" * 4_000_000, "image_undecodable"
    yield "a JPEG of start marks", b"\xff\xd8\xff\xd8" * 100_000, "image_undecodable"
    yield "a segment longer than the file", JPEG[:2] + b"\xff\xe0\xff\xff" + JPEG[2:], "image_undecodable"
    yield "EXIF that points nowhere", JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff" + JPEG[2:], ""
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n", "image_format_unsupported"
    yield "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_format_unsupported"
    yield "a GIF that is also JavaScript", b"GIF89a/*" + b"\0" * 20 + b"*/=1;", "image_format_unsupported"
    yield "a TIFF", b"II*\x00\x08\x00\x00\x00", "image_format_unsupported"
    yield "nothing at all", b"", "image_format_unsupported"
    yield "a zip after a JPEG", JPEG + b"PK\x03\x04" + b"\xff\xda" * 50, ""


CASES = list(attacks())


@pytest.mark.parametrize(("data", "code"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_attack_ends_soon_in_its_code(data: bytes, code: str) -> None:
    began = time.perf_counter()
    if code:
        with pytest.raises(ImageError) as caught:
            load(data, PreprocessSpec(64, 64))
        assert caught.value.code == code
    else:
        assert load(data, PreprocessSpec(64, 64))[0].shape == (64, 64, 3)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("data", [c[1] for c in CASES if c[2] == "image_too_many_pixels"])
def test_too_many_pixels_are_refused_before_a_pixel(data: bytes) -> None:
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(ImageError):
            inspect(data)
        best = min(best, time.perf_counter() - began)
    assert best < 0.005


@pytest.mark.parametrize("format", ["jpeg", "progressive", "png", "webp", "lossless", "interlaced"])
def test_no_prefix_is_taken_for_a_picture(format: str) -> None:
    data = {
        "jpeg": JPEG,
        "progressive": PROGRESSIVE,
        "png": saved("png"),
        "webp": saved("webp"),
        "lossless": saved("webp", lossless=True),
        "interlaced": interlaced(),
    }[format]
    assert decode(data).shape[2] == 3
    step = max(1, len(data) // 150)
    ends = {*range(0, len(data), step), *range(max(0, len(data) - 24), len(data))}
    for end in sorted(ends):
        with pytest.raises(ImageError):
            decode(data[:end])


def interlaced() -> bytes:
    """Adam7, 5 x 3 px: columns and rows of the passes that are not empty, by hand."""
    sizes = {1: (1, 1), 2: (1, 1), 4: (1, 1), 5: (3, 1), 6: (2, 2), 7: (5, 1)}
    rows = b"".join((b"\0" + b"\x64" * 3 * columns) * count for columns, count in sizes.values())
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 3, 8, 2, 0, 0, 1))
    return PNG + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_interlaced_rows_are_counted() -> None:
    assert (decode(interlaced()) == 100).all()


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, saved("png"), saved("webp"), saved("webp", lossless=True)])
def test_changed_bytes_never_escape(data: bytes) -> None:
    rng = np.random.default_rng(11)
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            broken[at] = rng.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert load(bytes(broken), PreprocessSpec(32, 32))[0].shape == (32, 32, 3)
