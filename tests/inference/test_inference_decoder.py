"""Pictures in confined processes: the same pixels, the same errors, and one that takes too long or kills costs itself
only."""

import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade import confine
from saccade.errors import ImageError, InferenceError, SaccadeError, UsageError
from saccade.images import decode, preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.inference import stages
from saccade.inference.engine import Engine
from saccade.inference.intake import Intake
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.workers.decoder import Decoder
from saccade.testing import engines
from saccade.testing.packages import colors, masks, png

try:
    confine.check()
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(seconds=20)
    decoder.begin()
    yield decoder
    decoder.close()


def pictures() -> dict[str, bytes]:
    """One of each way through decoding."""
    dice = np.random.default_rng(0)
    pixels = Image.fromarray(dice.integers(0, 255, (90, 130, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {
        "jpeg": pixels,
        "grey": pixels.convert("L"),
        "cmyk": pixels.convert("CMYK"),
        "progressive": pixels,
        "turned": pixels,
        "png": pixels,
        "alpha": pixels.convert("RGBA"),
        "palette": pixels.convert("P"),
        "16 bit": Image.fromarray(dice.integers(0, 65535, (40, 50)).astype(np.uint16)),
        "webp": pixels,
    }
    found = {}
    for name, picture in made.items():
        file = io.BytesIO()
        kind = "PNG" if name in ("png", "alpha", "palette", "16 bit") else "WEBP" if name == "webp" else "JPEG"
        more = {"progressive": True} if name == "progressive" else {"exif": turned} if name == "turned" else {}
        picture.save(file, kind, **more)
        found[name] = file.getvalue()
    return found


@pytest.mark.parametrize("spec", [PreprocessSpec(64, 48), PreprocessSpec(200, 200, "letterbox"), PreprocessSpec(8, 8)])
@pytest.mark.parametrize("name", pictures())
def test_pixels_and_their_place_are_the_same_byte_for_byte(decoder: Decoder, name: str, spec: PreprocessSpec) -> None:
    data = pictures()[name]
    header = decode.inspect(data)
    theirs, there = decoder.load(data, header, spec)
    ours, here = preprocess.load(data, spec)
    assert np.array_equal(theirs, ours)
    assert there == here
    assert np.array_equal(decoder.pixels(data, header), decode.decode(data))


@pytest.mark.parametrize("name", pictures())
def test_cut_and_spoiled_pictures_have_the_same_errors(decoder: Decoder, name: str) -> None:
    whole, spec = pictures()[name], PreprocessSpec(64, 48)
    dice = np.random.default_rng(1)
    for _ in range(12):
        spoiled = bytearray(whole)
        for place in dice.integers(20, len(whole), 8):
            spoiled[place] = dice.integers(0, 256)
        for data in (bytes(spoiled), whole[: int(dice.integers(30, len(whole)))]):
            try:
                header = decode.inspect(data)
            except ImageError:
                continue

            def outcome(load: object, data: bytes = data, header: decode.Header = header) -> object:
                try:
                    return load(data, header, spec)[0].tobytes()  # type: ignore[operator]
                except ImageError as error:
                    return error.code, error.message

            assert outcome(decoder.load) == outcome(preprocess.load_inspected)


def test_the_processes_have_nothing_to_lose(decoder: Decoder) -> None:
    decoder.load(png(1, 2, 3), decode.inspect(png(1, 2, 3)), PreprocessSpec(8, 8))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{decoder.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    held = {file.name: str(file.readlink()) for file in Path(f"/proc/{decoder.pid}/fd").iterdir()}
    kinds = {name: link.partition(":")[0] for name, link in held.items() if name != "2"}
    assert set(kinds.values()) <= {"/dev/null", "socket", "/memfd"}, "its line, two regions, and what maps them"
    assert len(kinds) <= 9
    assert status["Threads"] == "1"


def test_one_that_takes_too_long_is_ended_and_the_next_is_decoded() -> None:
    decoder, data, spec = Decoder(seconds=0.5), png(1, 2, 3), PreprocessSpec(8, 8)
    try:
        decoder.load(data, decode.inspect(data), spec)
        former = decoder.pid
        os.kill(former, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ImageError) as caught:
            decoder.load(data, decode.inspect(data), spec)
        assert caught.value.code == "image_decode_timeout"
        assert time.monotonic() - began < 5
        assert not Path(f"/proc/{former}").exists()
        assert decoder.load(data, decode.inspect(data), spec)[0].shape == (8, 8, 3)
        for how, code in ((signal.SIGSEGV, "image_undecodable"), (signal.SIGKILL, "worker_lost")):
            os.kill(decoder.pid, how)
            with pytest.raises(SaccadeError) as lost:
                decoder.load(data, decode.inspect(data), spec)
            assert lost.value.code == code
            assert decoder.load(data, decode.inspect(data), spec)[0].shape == (8, 8, 3)
    finally:
        decoder.close()


def test_an_engine_keeps_its_contract(tmp_path: Path) -> None:
    engines.check(lambda: Engine(Options(max_wait_s=None), decode_isolation="process"), tmp_path)


def test_no_picture_is_decoded_in_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a picture was decoded here")

    engine = Engine(Options(), decode_isolation="process")
    engine.load(colors(tmp_path / "package").path, "colors")
    engine.load(masks(tmp_path / "masks", side=64).path, "masks")
    monkeypatch.setattr(stages.preprocess, "load_inspected", never)
    monkeypatch.setattr(stages.decode, "pixels", never)
    try:
        picture = png(200, 0, 0, 100, 100)
        answer = engine.ask(Request("colors", (picture,)), here_s=1.0).result(30)
        assert engines.red(answer.results[0]) == 200
        answer = engine.ask(Request("masks", (picture,), tile=True), here_s=1.0).result(30)
        assert (answer.results[0].mask == 1).all()  # type: ignore[union-attr]
    finally:
        engine.close()
    gone = time.monotonic() + 10
    while any(thread.name.startswith("decode-") for thread in threading.enumerate()):
        assert time.monotonic() < gone
        time.sleep(0.01)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"arrays": [["image", "uint8", [8, 8, 3], 1 << 40]], "placement": [8, 8, 1, 1, 0, 0]},
        {"arrays": [["image", "uint8", [4, 4, 3], 0]], "placement": [8, 8, 1, 1, 0, 0]},
        {"arrays": [["image", "int8", [8, 8, 3], 0]], "placement": [8, 8, 1, 1, 0, 0]},
        {"arrays": [["image", "uint8", [8, 8, 3], 0]], "placement": [8, 8]},
        {"arrays": [["image", "uint8", [8, 8, 3], 0]], "placement": [8, 8, "1", 1, 0, 0]},
        {"arrays": [["image", "uint8", [8, 8, 3], 0]], "placement": [32_766, 32_766, 1, 1, 0, 0]},
        {"arrays": [["image", "uint8", [8, 8, 3], 0]], "placement": [40, 30, float("nan"), 1, 0, 0]},
        {"arrays": [["image", "uint8", [8, 8, 3], 0]], "placement": [40, 30, 0, 1, 0, 0]},
        ValueError("no message"),
    ],
)
def test_what_a_decoder_answers_is_read_with_suspicion(monkeypatch: pytest.MonkeyPatch, reply: object) -> None:
    """A process that was taken over may say anything; it is ended, and nobody waits for it."""
    decoder, data, spec = Decoder(), png(1, 2, 3), PreprocessSpec(8, 8)
    try:
        decoder.load(data, decode.inspect(data), spec)
        former = decoder.pid

        def said(*_: object, **__: object) -> object:
            if isinstance(reply, Exception):
                raise reply
            return reply, []

        with monkeypatch.context() as patch:
            patch.setattr("saccade.inference.workers.decoder.frames.receive", said)
            with pytest.raises(ImageError, match="no decoder says"):
                decoder.load(data, decode.inspect(data), spec)
        assert decoder.pid != former
        assert decoder.load(data, decode.inspect(data), spec)[0].shape == (8, 8, 3)
    finally:
        decoder.close()


def test_starts_that_fail_leave_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("saccade.inference.workers.decoder.subprocess.Popen", refused)
    decoder, data = Decoder(), png(1, 2, 3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(InferenceError, match="temporarily unavailable"):
            decoder.load(data, decode.inspect(data), PreprocessSpec(8, 8))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_where_it_cannot_be_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    confine.check.cache_clear()
    monkeypatch.setattr(confine, "_landlock_version", lambda: -1)
    with pytest.raises(UsageError, match="Landlock"):
        Intake(1, isolation="process")


def test_the_memory_of_a_large_picture_is_given_back_once_no_other_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saccade.inference.intake.QUIET_S", 0.2)
    monkeypatch.setattr("saccade.inference.workers.region.KEPT", 1 << 20)
    engine = Engine(Options(), decode_threads=1, decode_isolation="process")
    engine.load(masks(tmp_path / "masks", side=64).path, "masks")

    def held() -> int:
        """Bytes of memory without a name that are behind descriptors of this process."""
        total = 0
        for file in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                total += file.stat().st_blocks * 512 if "memfd:saccade" in str(file.readlink()) else 0
        return total

    try:
        for _ in range(2):
            asked = Request("masks", (png(200, 0, 0, 1200, 900),), tile=True)
            answer = engine.submit(asked).result(30)
            assert (answer.results[0].mask == 1).all()  # type: ignore[union-attr]
            end = time.monotonic() + 10
            while held() > 3 << 20:
                assert time.monotonic() < end, f"{held()} bytes are held"
                time.sleep(0.05)
    finally:
        engine.close()
