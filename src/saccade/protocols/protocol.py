"""The contract of a protocol, plain requests and responses, and each error as HTTP and gRPC status (only here).

A handler takes a Call and gives a Reply, so ASGI, Flask and Django can mount the same ones.
"""

import asyncio
import contextlib
import json
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saccade.errors import InferenceError, SaccadeError, ServerError, StorageError
from saccade.inference.brief import BRIEF_S, LONE_S
from saccade.inference.engine import Engine
from saccade.inference.promise import Promise
from saccade.inference.request import Answer, Request
from saccade.protocols.method import Method

STATUSES: dict[str, int] = {
    "malformed_http": 400,
    "malformed_json": 400,
    "malformed_multipart": 400,
    "malformed_protobuf": 400,
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
    "too_many_bad_images": 429,
    "headers_too_large": 431,
    "inference_failed": 500,
    "internal": 500,
    "not_implemented": 501,
    "overloaded": 503,
    "not_ready": 503,
    "worker_lost": 503,
    "not_enough_memory": 503,
    "draining": 503,
    "dependency_unavailable": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
}
TITLES: dict[str, str] = {
    "malformed_http": "The request breaks the rules of HTTP",
    "malformed_json": "The body is not the JSON that is allowed here",
    "malformed_multipart": "The body is not the multipart form that is allowed here",
    "malformed_protobuf": "The message is not the protobuf that is expected here",
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
    "too_many_bad_images": "Too many pictures of this key could not be read",
    "headers_too_large": "The head of the request is too large",
    "inference_failed": "The model failed on this image",
    "internal": "Something went wrong here; the server's log knows more",
    "not_implemented": "This is not implemented",
    "overloaded": "The server has more work than it can take on now",
    "not_ready": "The model is not ready",
    "worker_lost": "The process that ran the model was lost",
    "not_enough_memory": "There is not enough memory to load the model",
    "draining": "The server is shutting down",
    "dependency_unavailable": "Something this server needs is away",
    "deadline_exceeded": "The answer would have come too late",
    "storage_full": "The disk is full",
}


GRPC_STATUSES: dict[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    507: "RESOURCE_EXHAUSTED",
}
"""HTTP status to gRPC status; every other is INVALID_ARGUMENT."""
TIMEOUT = "x-request-timeout-ms"
"""The header in which a caller says for how long he listens."""
SCOPES = ("open", "use", "control")
"""What a route asks for: nothing; any key; a key that may also change what is served."""


def status(code: str) -> int:
    """The HTTP status of an error code; a code that no table knows is a bug, thus 500."""
    return STATUSES.get(code, 500)


def grpc_status(code: str) -> str:
    """The name of the gRPC status of an error code."""
    return GRPC_STATUSES.get(status(code), "INVALID_ARGUMENT")


def said(error: SaccadeError) -> str:
    """What a stranger is told in words: a typed refusal in its own, the title alone of a 500 and of what a disk or a
    database said, for that names folders."""
    if status(error.code) == 500 or isinstance(error, StorageError):
        return TITLES[error.code if error.code in TITLES else "internal"]
    return str(error)


def problem(error: SaccadeError, request_id: str) -> dict[str, Any]:
    """An error as RFC 9457 problem+json. Only a typed refusal speaks in its own words; a 500 is bland."""
    number = status(error.code)
    code = error.code if error.code in STATUSES else "internal"
    body: dict[str, Any] = {
        "type": f"/docs/errors#{code}",
        "title": TITLES[code],
        "status": number,
        "code": code,
        "detail": said(error),
        "request_id": request_id,
    }
    body.update({k: v for k, v in error.details.items() if k not in body and isinstance(v, str | int | float)})
    if number in (429, 503):
        body.setdefault("retry_after_s", random.randint(1, 5))
    return body


Leave = Callable[[Callable[[], None]], Callable[[], object]]
"""Calls back, in the event loop, once the caller has left; gives what ends the watch."""


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
    left: "Leave | None" = None
    """How to hear that the caller has gone away."""
    caller: str | None = None
    """The id of the key, whose requests share one turn among those that wait; None makes every
    request its own caller."""
    urgent: bool | None = None
    """What X-Priority asked for: interactive goes first, batch gives way; None leaves it to the number of images."""
    alone: Callable[[], bool] = bool
    """Whether nobody else asks now, so that the thread that hears all callers may be held up by this one."""
    data: bytes | None = None
    """The whole body, where it came together with the head: nothing is saved by refusing before it is read."""
    came: float = field(default_factory=time.monotonic)

    async def read(self) -> bytes:
        """The whole body; the transport has counted it. From a deadline that the caller set goes what its coming took:
        he waits since he began to send. Raises ServerError payload_too_large or request_timeout."""
        if self.data is not None:
            data, self.data = self.data, None
            return data
        parts = [part async for part in self.body]
        now = time.monotonic()
        if TIMEOUT in self.headers:
            self.deadline_s, self.came = max(0.0, self.deadline_s - (now - self.came)), now
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

    max_bytes: of the body, 0 refuses one. open: answered without an API key (probes, pages without data). scope: what a
    key must allow, see SCOPES. any_case: the pattern's own letters match in either case. key: the header in which this
    dialect's clients send a bare key, beside Authorization.
    """

    method: str
    pattern: str
    handler: Handler
    max_bytes: int = 0
    open: bool = False
    scope: str = "use"
    any_case: bool = False
    key: str = ""

    @property
    def needs(self) -> str:
        """One of SCOPES."""
        return "open" if self.open else self.scope


class Control:
    """What a protocol may ask of the house besides the engine. This one is always ready and cannot load."""

    def ready(self) -> None:
        """Raises ServerError(not_ready or draining) when no request should come."""

    def names(self) -> Sequence[str]:
        """Models that could be loaded, loaded or not."""
        return ()

    def load(self, name: str) -> None:
        """Blocks until the model answers. Raises SaccadeError when it cannot."""
        raise ServerError(
            "models cannot be loaded here", hint="push it to the home that is served", code="not_implemented"
        )

    def unload(self, name: str) -> None:
        """Blocks until accepted requests are answered and the model is gone."""
        raise ServerError("models cannot be unloaded here", hint="serve a home", code="not_implemented")


class Protocol(ABC):
    """prefixes: addresses whose refusals, even of unknown paths, are in this dialect's words."""

    name: str
    prefixes: tuple[str, ...] = ()

    @abstractmethod
    def routes(self, engine: Engine) -> list[Route]: ...

    def methods(self, engine: Engine) -> list[Method]:
        """What is spoken over gRPC; most dialects say nothing there."""
        return []

    def refuse(self, error: SaccadeError, request_id: str) -> Reply:
        """An error as this dialect says it: problem+json unless it says otherwise."""
        return as_problem(error, request_id)


_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def as_problem(error: SaccadeError, request_id: str) -> Reply:
    """An error as the native API says it."""
    body = problem(error, request_id)
    if body["status"] == 405:
        body.pop("allow", None)
    headers = [("content-type", "application/problem+json")]
    if "retry_after_s" in body:
        headers.append(("retry-after", str(body["retry_after_s"])))
    return Reply(body["status"], _WRITE(body).encode(), headers)


async def asked(engine: Engine, request: Request, left: Leave | None, alone: Callable[[], bool] = bool) -> Answer:
    """The engine's answer, unless the caller leaves first or its time is over. alone: as of a Call. Raises what the engine
    raises."""
    within_s = min(request.deadline_s, engine.max_deadline_s)
    return await settled(engine.ask(request, here_s=LONE_S if alone() else BRIEF_S), left, within_s)


LATE_S = 0.25
"""So long after its deadline an answer that is at work may still come; rows that wait are answered on time."""


async def settled(promise: "Promise[Answer]", left: Leave | None, within_s: float = math.inf) -> Answer:
    """The answer, unless the caller leaves first: then the work is dropped. Raises what the promise raises, and
    InferenceError(deadline_exceeded) where a graph is at work on it for longer than within_s: it goes on by itself."""
    if promise.done():
        return promise.result()
    loop = asyncio.get_running_loop()
    asked, gone = loop.create_future(), False

    def wake() -> None:
        if not asked.done():
            asked.set_result(None)

    def leave() -> None:
        nonlocal gone
        gone = True
        wake()

    def answered(_: "Promise[Answer]") -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(wake)

    promise.add_done_callback(answered)
    timer = loop.call_later(within_s + LATE_S, wake) if within_s < math.inf else None
    stay = left(leave) if left is not None else None
    try:
        await asked
        if gone:
            raise InferenceError("the caller left", code="deadline_exceeded")
        if not promise.done():
            raise InferenceError(
                "the deadline passed while the model was at work", hint="allow more time", code="deadline_exceeded"
            )
        return promise.result()
    finally:
        if timer is not None:
            timer.cancel()
        if stay is not None:
            stay()
        promise.cancel()  # nothing happens to one that is done


STAGES = ("decode", "queue", "infer", "post")


def marks(answer: Answer) -> list[tuple[str, str]]:
    """Headers that every answer of a model carries: which version it was, its digest, the time of each stage in ms, and
    with the queue how many rows shared the run and why no more."""
    told = {stage: f"{stage};dur={answer.timings[stage]:.1f}" for stage in STAGES if stage in answer.timings}
    if answer.batch and "queue" in told:
        told["queue"] += f', batch;desc="{answer.batch}: {answer.why}"'
    timing = ", ".join(told.values())
    return [
        ("x-model-version", str(answer.version)),
        ("x-model-digest", answer.digest),
        ("server-timing", timing),
    ]


def version_number(text: str | None) -> int | None:
    """A version as addresses and messages write it: digits, or nothing. Raises InferenceError(not_found)."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InferenceError("a version is a whole number from 1", code="not_found")
    return int(text)


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
