"""One door for every picture: format by content, limits before pixels, the same pixels on every path."""

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.errors import ImageError
from saccade.images import header
from saccade.images.decode import decode, from_base64, inspect, turn
from saccade.images.preprocess import PreprocessSpec, load, reduction
from saccade.limits import ImageLimits
from saccade.types import Array


def photo(width: int, height: int, seed: int = 0) -> Array:
    """A smooth picture with an asymmetric corner, so that turns and mirrors show."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (4, 5, 3), np.uint8)
    pixels = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    pixels[: height // 4, : width // 3] = (250, 20, 20)
    return pixels


def encoded(pixels: Array, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_every_default_format_decodes_by_content(format: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.txt"
    file.write_bytes(encoded(photo(60, 40), format))
    assert inspect(file).format == format.lower()
    assert decode(file).shape == (40, 60, 3)


def test_other_formats_need_an_explicit_option() -> None:
    data = encoded(photo(8, 8), "BMP")
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.code == "image_format_unsupported"
    assert decode(data, limits=ImageLimits(formats=("bmp",))).shape == (8, 8, 3)


def test_a_jpeg_says_the_same_whatever_stands_behind_its_end() -> None:
    plain, cut = encoded(photo(90, 70), "JPEG"), encoded(photo(90, 70), "JPEG")[:-2]
    kinds = [plain, encoded(photo(90, 70), "JPEG", progressive=True), encoded(photo(90, 70)[:, :, 0], "JPEG")]
    kinds += [encoded(photo(90, 70), "JPEG", restart_marker_blocks=2), plain + plain]
    for data in kinds:
        assert inspect(data) == inspect(data + b"\0")
    assert [inspect(data).scans for data in kinds[:4]] == [1, 10, 1, 1]
    with pytest.raises(ImageError, match="ends before"):
        inspect(cut)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_next_marker_is_where_an_expression_alone_finds_it(given_data: st.DataObject) -> None:
    """Whatever the bytes, and wherever the parts end that are looked through at once."""
    byte = st.sampled_from(
        [b"\xff", b"\xff", b"\x00", b"\x00", b"\xd0", b"\xd7", b"\xd9", b"\xda", b"a", b"\xff\x00" * 20]
    )
    data = b"".join(given_data.draw(st.lists(byte, max_size=60)))
    at = given_data.draw(st.integers(0, len(data)))
    expected = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]").search(data, at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header, "_PART", given_data.draw(st.integers(1, 40)))
        if expected is None:
            with pytest.raises(ImageError, match="ends before"):
                header._marker(data, at)
        else:
            assert header._marker(data, at) == expected.start()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("behind", [b"", b"\0"])
def test_exif_behind_the_pixels_of_a_jpeg_turns_nothing(progressive: bool, behind: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(90, 70), "JPEG", progressive=progressive)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif.tobytes()) + 2) + exif.tobytes()
    late = data[:-2] + segment + b"\xff\xd9" + behind
    assert inspect(data[:2] + segment + data[2:]).orientation == 6
    assert inspect(late).orientation == 1
    assert Image.open(io.BytesIO(late)).getexif().get(0x0112, 1) == 1, "nor for Pillow"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(48, 32), format, exif=exif, **({"quality": 95} if format == "JPEG" else {"lossless": True}))
    header, pixels = inspect(data), decode(data)
    assert (header.height, header.width) == pixels.shape[:2]
    with Image.open(io.BytesIO(data)) as picture:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_alpha_is_laid_on_white_and_16_bit_keeps_its_high_byte() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    assert decode(encoded(clear, "PNG")).min() == 255
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8012, np.uint16)).save(deep, "PNG")
    assert set(decode(deep.getvalue()).ravel().tolist()) == {0x80}


def test_cmyk_grey_and_palette_become_rgb() -> None:
    for mode in ("CMYK", "L", "P"):
        buffer = io.BytesIO()
        Image.fromarray(photo(20, 20)).convert(mode).save(buffer, "JPEG" if mode != "P" else "PNG")
        assert decode(buffer.getvalue()).shape == (20, 20, 3)


def test_pixels_are_refused_from_the_header() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16000, 16000, 1, 0, 0, 0, 0))
    with pytest.raises(ImageError) as caught:
        decode(bomb + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    assert caught.value.code == "image_too_many_pixels"


@pytest.mark.parametrize(("side", "fine"), [(99, True), (100, True), (101, False)])
def test_the_side_limit_is_exact(side: int, fine: bool) -> None:
    data = encoded(photo(side, 8), "PNG")
    limits = ImageLimits(max_side=100)
    if fine:
        assert decode(data, limits=limits).shape[1] == side
    else:
        with pytest.raises(ImageError, match="100 px a side"):
            decode(data, limits=limits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_every_prefix_is_an_error_never_a_part(format: str) -> None:
    data = encoded(photo(64, 48), format)
    for end in range(0, len(data) - 16, max(1, len(data) // 60)):
        with pytest.raises(ImageError):
            decode(data[:end])


@given(st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""]))
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_noise_is_a_typed_error(noise: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        decode(start + noise)


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_changed_byte_gives_pixels_or_a_typed_error(place: int, value: int) -> None:
    for format in ("JPEG", "PNG", "WEBP"):
        data = bytearray(encoded(photo(40, 30), format))
        data[place % len(data)] = value
        with contextlib.suppress(ImageError):
            assert decode(bytes(data)).dtype == np.uint8


@given(
    st.integers(8, 300), st.integers(8, 300), st.integers(4, 64), st.integers(4, 64),
    st.sampled_from(["stretch", "center_crop", "letterbox"]), st.sampled_from(["JPEG", "PNG", "WEBP"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_path_gives_the_same_bytes(w: int, h: int, tw: int, th: int, mode: str, format: str) -> None:
    import base64
    import tempfile

    data = encoded(photo(w, h), format)
    spec = PreprocessSpec(tw, th, mode=mode)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(data)
        file.flush()
        by_file, place = load(Path(file.name), spec)
    by_bytes, _ = load(data, spec)
    by_text, _ = load(from_base64(base64.b64encode(data).decode()), spec)
    assert by_file.tobytes() == by_bytes.tobytes() == by_text.tobytes()
    assert by_file.shape == (th, tw, 3)
    assert (place.width, place.height) == (w, h)
    if reduction(inspect(data), spec) == 1:
        by_array, _ = load(decode(data), spec)
        assert by_array.tobytes() == by_file.tobytes()


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    data = encoded(photo(1600, 1200), "JPEG", quality=95)
    small, full = PreprocessSpec(160, 120), PreprocessSpec(160, 120, dct_scale=False)
    assert reduction(inspect(data), small) == 8
    assert np.abs(load(data, small)[0].astype(int) - load(data, full)[0]).mean() < 2


def test_base64_must_be_base64() -> None:
    with pytest.raises(ImageError, match="base64"):
        from_base64("not base64!")


def test_arrays_are_checked() -> None:
    with pytest.raises(ImageError, match="uint8"):
        decode(np.zeros((4, 4, 3), np.float32))
    assert decode(np.zeros((4, 5), np.uint8)).shape == (4, 5, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("told", ["tag", "xmp"])
def test_a_tiff_is_turned_once(orientation: int, compression: str, told: str) -> None:
    """Pillow turns it while loading, so nothing is left to be turned here."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    tags = {0x0112: orientation} if told == "tag" else {700: xmp}
    data = encoded(photo(48, 32), "TIFF", compression=compression, tiffinfo=tags)
    limits = ImageLimits(formats=("tiff",))
    header, pixels = inspect(data, limits), decode(data, limits=limits)
    assert (header.height, header.width, header.orientation) == (*pixels.shape[:2], 1)
    np.testing.assert_array_equal(pixels, turn(photo(48, 32), orientation))
