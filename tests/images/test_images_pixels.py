"""The same pixels everywhere: entry paths, orientations, and each oddity of a format defined once."""

import base64
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as pillow

from saccade.errors import ImageError
from saccade.images.decode import decode, from_base64, inspect
from saccade.images.encode import to_jpeg, to_png
from saccade.images.preprocess import PreprocessSpec, load
from saccade.limits import IMAGE_LIMITS


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), np.uint8)
    return np.array(pillow.fromarray(small).resize((width, height), pillow.Resampling.BICUBIC), np.uint8)


def saved(picture: pillow.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(grey: np.ndarray, extra: bytes = b"") -> bytes:
    height, width = grey.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    target=st.integers(8, 64),
    mode=st.sampled_from(["stretch", "center_crop", "letterbox"]),
    kind=st.sampled_from(["mean4", "area", "bilinear", "bicubic"]),
    format=st.sampled_from(["jpeg", "png", "webp"]),
    color=st.sampled_from(["rgb", "bgr"]),
)
def test_every_entry_path_gives_the_same_bytes(
    tmp_path: Path, width: int, height: int, target: int, mode: str, kind: str, format: str, color: str
) -> None:
    data = saved(pillow.fromarray(photo(width, height)), format)
    file = tmp_path / "picture.bin"
    file.write_bytes(data)
    spec = PreprocessSpec(target, target + 3, mode=mode, interpolation=kind, color=color)  # type: ignore[arg-type]
    first, place = load(file, spec)
    for source in (data, from_base64(base64.b64encode(data).decode())):
        again, where = load(source, spec)
        assert np.array_equal(first, again)
        assert where == place
    plain = replace(spec, dct_scale=False)
    from_array, where = load(decode(data), plain)
    from_bytes, place = load(data, plain)
    assert np.array_equal(from_array, from_bytes)
    assert where == place
    assert first.shape == (target + 3, target, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_exactly_once(format: str, orientation: int) -> None:
    picture = pillow.fromarray(photo(96, 64))
    exif = pillow.Exif()
    exif[0x0112] = orientation
    turned = saved(picture, format, exif=exif, **({"lossless": True} if format == "webp" else {}))
    plain = decode(saved(picture, format, **({"lossless": True} if format == "webp" else {})))
    steps = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    upright = steps[orientation](plain)
    assert np.array_equal(decode(turned), upright)
    header = inspect(turned)
    assert (header.height, header.width) == upright.shape[:2]
    assert header.orientation == orientation
    assert header.turned == (orientation >= 5)


def test_scaled_decoding_turns_too() -> None:
    exif = pillow.Exif()
    exif[0x0112] = 6
    data = saved(pillow.fromarray(photo(640, 320)), "jpeg", exif=exif)
    pixels, place = load(data, PreprocessSpec(32, 64))
    assert pixels.shape == (64, 32, 3)
    assert (place.width, place.height) == (320, 640)
    full, _ = load(data, PreprocessSpec(32, 64, dct_scale=False))
    assert np.abs(pixels.astype(int) - full).mean() < 12  # another low-pass of fine noise; turned wrongly it is 60


def test_alpha_is_laid_on_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, 2:] = (10, 20, 30, 255)
    for data in (saved(pillow.fromarray(pixels), "png"), saved(pillow.fromarray(pixels), "webp", lossless=True)):
        out = decode(data)
        assert out[0, 0].tolist() == [255, 255, 255]
        assert out[0, 3].tolist() == [10, 20, 30]
    assert decode(pixels)[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_keep_their_high_byte() -> None:
    grey = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    assert decode(png16(grey))[:, :, 0].tolist() == [[0, 0, 1], [128, 255, 255]]
    clear = decode(png16(grey, chunk(b"tRNS", struct.pack(">H", 0))))
    assert clear[0, 0].tolist() == [255, 255, 255]
    assert inspect(png16(grey)).bits == 16


def test_palette_grey_and_one_bit_become_rgb() -> None:
    base = pillow.fromarray(photo(40, 30))
    for mode in ("P", "L", "1", "LA"):
        picture = base.convert(mode)
        expected = np.array(picture.convert("RGB"))
        assert np.array_equal(decode(saved(picture, "png")), expected)
    grey = saved(base.convert("L"), "jpeg")
    out = decode(grey)
    assert np.array_equal(out[:, :, 0], out[:, :, 2])
    assert inspect(grey).components == 1


def test_cmyk_jpeg_looks_like_its_rgb() -> None:
    base = pillow.fromarray(photo(64, 48))
    data = saved(base.convert("CMYK"), "jpeg", quality=95)
    assert inspect(data).components == 4
    assert np.abs(decode(data).astype(int) - np.array(base)).mean() < 6


def test_progressive_jpeg_equals_pillow_within_rounding() -> None:
    data = saved(pillow.fromarray(photo(200, 150)), "jpeg", progressive=True, quality=90)
    with pillow.open(io.BytesIO(data)) as picture:
        expected = np.array(picture.convert("RGB")).astype(int)
    # Both are libjpeg-turbo; builds may differ by a unit in their inverse DCT and upsampling.
    assert np.abs(decode(data) - expected).max() <= 3


def test_content_decides_never_the_name(tmp_path: Path) -> None:
    file = tmp_path / "lies.png"
    file.write_bytes(to_jpeg(photo(32, 32)))
    assert inspect(file).format == "jpeg"
    assert decode(file).shape == (32, 32, 3)


def test_other_formats_need_an_explicit_option() -> None:
    picture = pillow.fromarray(photo(20, 10))
    for name in ("gif", "bmp", "tiff"):
        data = saved(picture, name)
        with pytest.raises(ImageError) as caught:
            decode(data)
        assert caught.value.code == "image_format_unsupported"
        allowed = replace(IMAGE_LIMITS, formats=(name,))
        assert decode(data, limits=allowed).shape == (10, 20, 3)
        if name != "gif":
            assert np.array_equal(decode(data, limits=allowed), np.array(picture))


def test_arrays_are_checked_and_never_shared() -> None:
    with pytest.raises(ImageError, match="uint8"):
        decode(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ImageError):
        decode(np.zeros((0, 4, 3), np.uint8))
    mine = photo(16, 16)
    out, _ = load(mine, PreprocessSpec(16, 16))
    out[:] = 0
    assert mine.any()


@pytest.mark.parametrize("text", ["%%%", "abc", "a b c d"])
def test_bad_base64_is_an_image_error(text: str) -> None:
    with pytest.raises(ImageError, match="base64"):
        from_base64(text)


def test_missing_file_says_so_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode(tmp_path / "nothing.jpg")
    assert str(tmp_path) not in str(caught.value)


def test_encode_round_trip() -> None:
    pixels = photo(33, 21)
    assert np.array_equal(decode(to_png(pixels)), pixels)
    with pytest.raises(ImageError):
        to_png(pixels.astype(np.int32))
