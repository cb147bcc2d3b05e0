"""The contract of a protocol, plain requests and responses, and each error as an HTTP status (only here).

A handler takes a Call and gives a Reply, so ASGI, Flask and Django can mount the same ones.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine

STATUSES: dict[str, int] = {
    "malformed_http": 400,
    "malformed_json": 400,
    "malformed_multipart": 400,
    "bad_host": 400,
    "unknown_field": 400,
    "invalid_value": 400,
    "tensor_shape_mismatch": 400,
    "batch_too_large": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "url_fetch_disabled": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "payload_too_large": 413,
    "tensor_too_large": 413,
    "uri_too_long": 414,
    "content_encoding_unsupported": 415,
    "image_format_unsupported": 415,
    "range_not_satisfiable": 416,
    "image_too_many_pixels": 422,
    "image_too_complex": 422,
    "mask_too_complex": 422,
    "image_decode_timeout": 422,
    "image_undecodable": 422,
    "rate_limited": 429,
    "concurrency_limited": 429,
    "headers_too_large": 431,
    "inference_failed": 500,
    "internal": 500,
    "not_implemented": 501,
    "overloaded": 503,
    "not_ready": 503,
    "draining": 503,
    "dependency_unavailable": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
}
TITLES: dict[str, str] = {
    "malformed_http": "The request breaks the rules of HTTP",
    "malformed_json": "The body is not the JSON that is allowed here",
    "malformed_multipart": "The body is not the multipart form that is allowed here",
    "bad_host": "The Host header is not one of this server's names",
    "unknown_field": "A field or parameter is unknown or appears twice",
    "invalid_value": "A parameter has a value outside its range",
    "tensor_shape_mismatch": "A tensor has another shape than the model takes",
    "batch_too_large": "Too many images in one request, or none",
    "unauthenticated": "An API key is needed",
    "forbidden": "The key does not allow this",
    "url_fetch_disabled": "Images by URL are not fetched",
    "not_found": "There is no such thing here",
    "method_not_allowed": "This path takes another method",
    "not_acceptable": "The answer has no form that the request accepts",
    "request_timeout": "The request came too slowly",
    "payload_too_large": "The body is too large",
    "tensor_too_large": "A tensor is too large",
    "uri_too_long": "The address is too long",
    "content_encoding_unsupported": "Compressed bodies are refused",
    "image_format_unsupported": "The body is not an image of an allowed format",
    "range_not_satisfiable": "Ranges are not served",
    "image_too_many_pixels": "The image has too many pixels",
    "image_too_complex": "The image is too complex to decode",
    "mask_too_complex": "The mask has too many edges to be written in this form",
    "image_decode_timeout": "The image took too long to decode",
    "image_undecodable": "The image is damaged",
    "rate_limited": "Too many requests",
    "concurrency_limited": "Too many requests at once",
    "headers_too_large": "The head of the request is too large",
    "inference_failed": "The model failed on this image",
    "internal": "Something went wrong here; the server's log knows more",
    "not_implemented": "This is not implemented",
    "overloaded": "The server has more work than it can do in time",
    "not_ready": "The model is not ready",
    "draining": "The server is shutting down",
    "dependency_unavailable": "Something this server needs is away",
    "deadline_exceeded": "The answer would have come too late",
    "storage_full": "The disk is full",
}


def status(code: str) -> int:
    """The HTTP status of an error code; a code that no table knows is a bug, thus 500."""
    return STATUSES.get(code, 500)


def problem(error: SaccadeError, request_id: str) -> dict[str, Any]:
    """An error as RFC 9457 problem+json. Only a typed refusal speaks in its own words; a 500 is bland."""
    number = status(error.code)
    code = error.code if error.code in STATUSES else "internal"
    body: dict[str, Any] = {
        "type": f"/docs/errors#{code}",
        "title": TITLES[code],
        "status": number,
        "code": code,
        "detail": TITLES[code] if number == 500 else str(error),
        "request_id": request_id,
    }
    body.update({k: v for k, v in error.details.items() if k not in body and isinstance(v, str | int | float)})
    if number in (429, 503):
        body.setdefault("retry_after_s", random.randint(1, 5))
    return body


@dataclass
class Call:
    """One HTTP request, read as far as its head. headers: lower-case names. query: in the order sent."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    query: list[tuple[str, str]]
    body: AsyncIterator[bytes]
    request_id: str
    deadline_s: float = 10.0
    left: "Callable[[], Awaitable[None]] | None" = None
    """Returns when the caller has gone away."""

    async def read(self) -> bytes:
        """The whole body; the transport has counted it. Raises ServerError payload_too_large or request_timeout."""
        parts = [part async for part in self.body]
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass
class Reply:
    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """pattern: a path whose `{name}` segments become parameters; a last `{name:path}` takes the rest.

    max_bytes: of the body, 0 refuses one. open: answered without an API key (probes, pages without data).
    """

    method: str
    pattern: str
    handler: Handler
    max_bytes: int = 0
    open: bool = False


class Protocol(ABC):
    name: str

    @abstractmethod
    def routes(self, engine: Engine) -> list[Route]: ...


def single(query: list[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """A query whose names are known and appear once. Raises ServerError(unknown_field)."""
    found: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            raise ServerError(
                "the query has a parameter that is unknown here",
                hint=f"known: {', '.join(known) or 'none'}",
                code="unknown_field",
            )
        if name in found:
            raise ServerError(f"the parameter {name!r} came twice", hint="send it once", code="unknown_field")
        found[name] = value
    return found
