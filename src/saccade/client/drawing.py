"""An answer drawn on its picture, by the fields that are there."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from saccade.errors import UsageError
from saccade.images import decode, encode, masks
from saccade.images import draw as pens
from saccade.types import Array, Image

BARS = 5
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def draw(answer: Mapping[str, Any], image: Path | str | bytes | Array | None, size: int | None) -> Image:
    """As Answer.draw."""
    if answer.get("predictions") is None and answer.get("mask") is None:
        raise UsageError(
            "the answer has nothing that can be drawn", hint="ask a model with classes, and for its mask as png"
        )
    plain, zoom = _pixels(image, answer, size)
    if answer.get("mask") is not None:
        ids = cv2.resize(mask(answer), (plain.shape[1], plain.shape[0]), interpolation=cv2.INTER_NEAREST)
        return pens.mask(plain, ids, _names(answer.get("classes", [])))
    rows = answer["predictions"]
    scores = np.array([_real(row["score"]) for row in rows], np.float32)
    if not rows or "box" not in rows[0]:
        return pens.bars(plain, [row["label"] for row in rows[:BARS]], np.nan_to_num(scores[:BARS]).tolist())
    boxes = np.array([[_real(row["box"][side]) for side in _SIDES] for row in rows], np.float32) * zoom
    return pens.boxes(plain, boxes, _names(rows), scores, np.array([row["class_id"] for row in rows], np.int64))


def data_uri(answer: Mapping[str, Any], image: Path | str | bytes | Array | None, size: int | None) -> str:
    """As Answer.data_uri."""
    return encode.data_uri(encode.to_jpeg(draw(answer, image, size)), "image/jpeg")


def mask(answer: Mapping[str, Any]) -> Array:
    """As Answer.mask_pixels."""
    told = answer.get("mask") or {}
    try:
        if told.get("encoding") == "png":
            return decode.decode(base64.b64decode(told["data"], validate=True))[:, :, 0]
        if told.get("encoding") == "rle":
            height, width = (int(side) for side in told["size"])
            ids = np.full((height, width), masks.VOID, np.uint8)
            for class_id, counts in told["counts"].items():
                ids[masks.from_rle(counts, height, width)] = int(class_id)
            return ids
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UsageError(f"the mask of this answer cannot be read: {error!r}", hint="ask for mask=png") from error
    raise UsageError("the answer has no mask as pixels", hint="ask for mask=png or mask=rle")


def confidence(answer: Mapping[str, Any]) -> Array:
    """As Answer.confidence_pixels."""
    told = answer.get("confidence")
    if told is None:
        raise UsageError(
            "the answer does not tell how sure its pixels are",
            hint="ask with confidence=True a model that was trained with confidence = true",
        )
    try:
        return decode.decode(base64.b64decode(told["data"], validate=True))[:, :, 0]
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UsageError(f"the confidence of this answer cannot be read: {error!r}", hint="ask again") from error


def _pixels(
    image: Path | str | bytes | Array | None, answer: Mapping[str, Any], size: int | None
) -> tuple[Image, float]:
    """The picture, its longer side at most `size` px, and its scale. A JPEG is decoded no larger than it must be."""
    if image is None:
        raise UsageError("the answer does not know its picture", hint="give it: answer.draw(image)")
    if isinstance(image, np.ndarray):
        decoded = decode.decode(image)
        height, width = decoded.shape[:2]
    else:
        data = decode.read(Path(image) if isinstance(image, str) else image)
        header = decode.inspect(data)
        width, height = header.width, header.height
        fit = max(width, height) // size if size else 1
        decoded = decode.pixels(data, header, max(step for step in (1, 2, 4, 8) if step <= max(1, fit)))
    said, came = answer.get("image") or {}, {"width": width, "height": height}
    if said and said != came:
        raise UsageError(
            f"the answer is about a picture of {said['width']}x{said['height']} px, this one has {width}x{height}",
            hint="give the picture that was asked about",
        )
    zoom = min(1.0, (size or np.inf) / max(width, height))
    shown = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    if decoded.shape[1::-1] == shown:
        return decoded, zoom
    return np.asarray(cv2.resize(decoded, shown, interpolation=cv2.INTER_AREA), np.uint8), zoom


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """Names by class id, as far as the answer tells them."""
    known = {int(row["class_id"]): str(row["label"]) for row in rows}
    return [known.get(k, str(k)) for k in range(max(known, default=-1) + 1)]


def _real(value: Any) -> float:
    return float("nan") if value is None else float(value)
