"""What the client says and what it understands: builds requests, reads answers. Opens no socket."""

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from saccade.client.answer import Answer, Picture, Readable, is_open
from saccade.errors import (
    ImageError,
    InferenceError,
    PackageError,
    SaccadeError,
    ServerError,
    StorageError,
    UsageError,
)

MaskForm = Literal["png", "rle", "polygons", "none"]


FAMILIES: dict[str, type[SaccadeError]] = {
    "image_": ImageError,
    "mask_too_complex": ImageError,
    "inference_failed": InferenceError,
    "overloaded": InferenceError,
    "deadline_exceeded": InferenceError,
    "not_ready": InferenceError,
    "draining": InferenceError,
    "not_found": InferenceError,
    "batch_too_large": InferenceError,
    "tensor_shape_mismatch": InferenceError,
    "storage_full": StorageError,
    "dependency_unavailable": StorageError,
    "package_": PackageError,
    "digest_mismatch": PackageError,
    "golden_mismatch": PackageError,
}
"""Codes, or their beginnings, by the class that bears them; any other code is a ServerError."""


@dataclass(frozen=True)
class Request:
    """target: path and query. headers: lower-case names. pictures: what the body holds, for a carrier of no forms."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pictures: Sequence[bytes] = ()


@dataclass(frozen=True)
class Reply:
    """headers: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def models() -> Request:
    return Request("GET", "/api/v1/models")


def model(name: str) -> Request:
    return Request("GET", f"/api/v1/models/{_segment(name)}")


def ready() -> Request:
    return Request("GET", "/readyz")


def live() -> Request:
    return Request("GET", "/livez")


def predict(name: str, images: Sequence[bytes] | bytes, version: int | None, options: Mapping[str, Any]) -> Request:
    """One picture as it is, several as a form. options that are None are left to the server."""
    given = {k: v for k, v in options.items() if v is not None}
    middle = "" if version is None else f"/versions/{version:d}"
    target = f"/api/v1/models/{_segment(name)}{middle}/predict" + (f"?{urlencode(given)}" if given else "")
    if isinstance(images, bytes):
        return Request("POST", target, {"content-type": "application/octet-stream"}, images, (images,))
    kind, body = form(images)
    return Request("POST", target, {"content-type": kind}, body, tuple(images))


def form(images: Sequence[bytes]) -> tuple[str, bytes]:
    """Content type and body of a form that holds these pictures."""
    boundary = secrets.token_hex(24)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'.encode()
    body = b"".join(part for image in images for part in (head, image, b"\r\n")) + f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def encoded(image: Picture | Readable) -> bytes:
    """The bytes to send. Raises ImageError for a file that cannot be read and pixels that are none, UsageError for what
    gives no bytes."""
    if isinstance(image, bytes):
        return image
    if is_open(image):
        data = image.read()
        if not isinstance(data, bytes | bytearray | memoryview):
            raise UsageError(
                f"the read() of a picture gave {type(data).__name__}, expected bytes",
                hint="open files in binary; await what an asynchronous upload reads, and give its bytes",
            )
        return bytes(data)
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ImageError(f"{image} cannot be read: {error.strerror}", hint="check the path") from error
    from saccade.images import encode  # OpenCV is loaded only for those who send arrays

    return encode.to_png(image)  # type: ignore[arg-type]


def read(reply: Reply) -> Any:
    """The JSON of an answer. Raises the error that a refusal tells of."""
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= reply.status < 300 and kind == "application/json":
        record = _json(reply)
        if record is not None:
            return record
    if kind == "application/problem+json":
        record = _json(reply)
        if isinstance(record, dict):
            raise problem(record, reply.status)
    raise ServerError(
        f"an answer of a saccade server was expected, {reply.status} {kind or 'without a type'} came",
        hint="check the address, and what stands between",
        code="unexpected_answer",
        details={"status": reply.status},
    )


def record(reply: Reply) -> dict[str, Any]:
    """As read, of an answer that is an object."""
    found = read(reply)
    if not isinstance(found, dict):
        raise ServerError("the answer is no JSON object", hint="check the address", code="unexpected_answer")
    return found


def answers(reply: Reply, count: int) -> list[Answer]:
    """What is said of `count` pictures that went as a form: of each its answer, or {"error": ...} alone."""
    try:
        record = read(reply)
    except SaccadeError as error:
        # A form with a single picture is answered like that picture: its own failure is not the call's.
        if count == 1 and own(error):
            return [failed(error)]
        raise
    found = record.get("results") if isinstance(record, dict) else None
    if count == 1 and isinstance(record, dict) and found is None:
        return [Answer(record)]
    if isinstance(found, list) and len(found) == count:
        return [Answer(one) for one in found]
    raise ServerError("the answer holds another number of results than pictures sent", code="unexpected_answer")


def own(error: SaccadeError) -> bool:
    """Whether a refusal is about the picture, not the call: another picture may well be answered."""
    return error.code.startswith("image_") or error.code in ("mask_too_complex", "payload_too_large")


def failed(error: SaccadeError) -> Answer:
    """The answer in place of a picture that cannot be used."""
    return Answer({"error": {"code": error.code, "detail": error.message, **error.details}})


def problem(record: Mapping[str, Any], status: int) -> SaccadeError:
    """The typed error of a problem+json object (RFC 9457): its code, and in details its numbers."""
    code = str(record.get("code", "internal"))
    family = next((c for start, c in FAMILIES.items() if code == start or code.startswith(start)), ServerError)
    detail = str(record.get("detail") or record.get("title") or f"the server answered {status}")
    known = ("type", "title", "detail", "code")
    return family(detail, code=code, details={"status": status, **{k: v for k, v in record.items() if k not in known}})


def retry_after(reply: Reply, now: float) -> float | None:
    """Seconds of a Retry-After (RFC 9110, 10.2.3), given as such or as a date; None where there is none.

    now: seconds since the epoch.
    """
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _json(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _segment(name: str) -> str:
    if not name or name in (".", ".."):
        raise UsageError(f"a model is called name or name@alias, got {name!r}")
    return quote(name, safe="@")


def check_seconds(name: str, value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{name} is a number of seconds above 0, got {value}")
    return value
