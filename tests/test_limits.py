"""Every limit holds at -1 and 0 and refuses at +1, with the code its row names."""

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image as pillow
from PIL.PngImagePlugin import PngInfo

from saccade.errors import ImageError
from saccade.images import masks
from saccade.images.decode import decode, inspect
from saccade.inference import tiles
from saccade.limits import (
    ANSWER_LIMITS,
    CALLER_LIMITS,
    GRPC_LIMITS,
    IMAGE_LIMITS,
    LIMITS,
    MEMORY_LIMITS,
    AnswerLimits,
    CallerLimits,
    GrpcLimits,
    ImageLimits,
    MemoryLimits,
    find,
)
from saccade.server.settings import Settings
from saccade.wire import schema


def saved(picture: pillow.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


PICTURE = pillow.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8))
PROGRESSIVE = saved(PICTURE, "jpeg", progressive=True)
SCANS = PROGRESSIVE.count(b"\xff\xda")
TEXT = PngInfo()
TEXT.add_text("note", "x" * 600)
NOTED = saved(PICTURE, "png", pnginfo=TEXT)
NOTE = 12 + len("note") + 1 + 600 + 12  # the chunk, and the frame of the one IDAT chunk
MOVING = saved(PICTURE, "webp", save_all=True, append_images=[PICTURE.rotate(90), PICTURE.rotate(180)])
DATA = saved(PICTURE, "png")


@pytest.mark.parametrize(
    ("name", "at", "data"),
    [
        ("max_pixels", 32 * 40, DATA),
        ("max_side", 40, DATA),
        ("max_side", 40, PROGRESSIVE),
        ("max_pixels", 32 * 40, saved(PICTURE, "webp")),
        ("max_scans", SCANS, PROGRESSIVE),
        ("max_scan_pixels", SCANS * 32 * 40, PROGRESSIVE),
        ("max_frames", 3, MOVING),
        ("max_metadata_bytes", NOTE, NOTED),
        ("max_bytes", len(DATA), DATA),
    ],
)
def test_image_limits_are_exact(name: str, at: int, data: bytes) -> None:
    for limit in (at + 1, at):
        assert decode(data, limits=replace(IMAGE_LIMITS, **{name: limit})).shape == (32, 40, 3)
    with pytest.raises(ImageError) as caught:
        inspect(data, replace(IMAGE_LIMITS, **{name: at - 1}))
    assert caught.value.code == find(name).code


def test_an_array_is_held_to_the_same_size() -> None:
    pixels = np.asarray(PICTURE)
    assert decode(pixels, limits=replace(IMAGE_LIMITS, max_pixels=1280)).shape == (32, 40, 3)
    with pytest.raises(ImageError) as caught:
        decode(pixels, limits=replace(IMAGE_LIMITS, max_pixels=1279))
    assert caught.value.details["max_pixels"] == 1279


def test_every_image_limit_has_its_row() -> None:
    rows = {limit.name: limit for limit in LIMITS}
    for field in fields(ImageLimits):
        assert rows[field.name].default == getattr(IMAGE_LIMITS, field.name)
        assert rows[field.name].id.startswith("B")
    assert len(rows) == len(LIMITS), "a name stands for one limit"
    with pytest.raises(KeyError):
        find("nothing")


def test_every_limit_of_memory_has_its_row() -> None:
    for field in fields(MemoryLimits):
        assert (find(field.name).default, find(field.name).id) == (getattr(MEMORY_LIMITS, field.name), "I4")


def test_every_limit_of_a_caller_has_its_row() -> None:
    for field in fields(CallerLimits):
        assert find(field.name).default == getattr(CALLER_LIMITS, field.name)
        assert find(field.name).code == "too_many_bad_images"


def test_every_limit_of_an_answer_has_its_row() -> None:
    for field in fields(AnswerLimits):
        assert find(field.name).default == getattr(ANSWER_LIMITS, field.name)
    assert (find("max_mask_edges").default, find("max_mask_corners").default) == (masks.MAX_EDGES, masks.MAX_CORNERS)
    assert find("max_tiles").default == tiles.MOST


def test_a_message_is_held_to_the_fields_of_the_table() -> None:
    assert find("max_grpc_fields").default == schema.MAX_FIELDS  # rooms of one floor do not import each other
    for field in fields(GrpcLimits):
        assert find(field.name).default == getattr(GRPC_LIMITS, field.name)


def test_the_server_starts_with_the_limits_of_the_table() -> None:
    settings = Settings()
    for ours, theirs in {
        "head_s": settings.head_s,
        "max_head_bytes": settings.head_bytes,
        "max_head_fields": settings.head_fields,
        "max_line": settings.line_bytes,
        "max_body_bytes": settings.body_bytes,
        "max_images": settings.max_images,
        "deadline_s": settings.deadline_s,
        "deadline_cap_s": settings.deadline_cap_s,
        "max_wait_s": settings.max_wait_s,
    }.items():
        assert find(ours).default == theirs
