"""Asks a saccade server about pictures: Client blocks, AsyncClient awaits; one core builds requests and reads answers."""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from saccade.errors import ImageError, InferenceError, SaccadeError, ServerError, StorageError
from saccade.images.encode import to_png
from saccade.types import Array

Source = Path | str | bytes | Array
RETRIES = 2

_FAMILIES: Mapping[str, type[SaccadeError]] = {
    "image": ImageError, "inference": InferenceError, "overloaded": InferenceError, "deadline": InferenceError,
    "not": InferenceError, "draining": InferenceError, "batch": InferenceError, "storage": StorageError,
}  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request before any socket."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What came back. headers have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Carries one request to a server; a test hands in its own."""

    def send(self, ask: Ask) -> Reply: ...
    def close(self) -> None: ...


class HttpTransport:
    """One kept connection over HTTP/1.1. Raises ServerError(dependency_unavailable) when nobody answers."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError(f"a server address is http://host:port, got {url!r}")
        self._host, self._base = parts.hostname, parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def send(self, ask: Ask) -> Reply:
        # A kept connection may have been closed by the server meanwhile; a fresh one is tried once.
        for kept in ((True, False) if self._connection else (False,)):
            try:
                connection = self._connection = self._connection if kept and self._connection else self._open()
                connection.request(ask.method, self._base + ask.path, ask.body or None, dict(ask.headers))
                answer = connection.getresponse()
                body = answer.read()
                return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not kept:
                    raise ServerError(
                        f"no answer from {self._host}:{self._port}: {error}",
                        hint="is the server running?",
                        code="dependency_unavailable",
                    ) from error
        raise ServerError("no connection was tried; this is a bug")

    def _open(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Core:
    """Builds requests and reads answers; opens no socket."""

    def __init__(self, key: str | None) -> None:
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def get(self, path: str) -> Ask:
        return Ask("GET", path, self._headers)

    def predict(
        self, model: str, images: Sequence[Source], version: int | None, top_k: int | None, threshold: float | None
    ) -> Ask:
        path = f"/api/v1/models/{quote(model, safe='@')}"
        path += f"/versions/{version}/predict" if version is not None else "/predict"
        query = {k: v for k, v in (("top_k", top_k), ("threshold", threshold)) if v is not None}
        path += f"?{urlencode(query)}" if query else ""
        payloads = [encoded(i) for i in images]
        if len(payloads) == 1:
            return Ask("POST", path, {**self._headers, "Content-Type": "image/*"}, payloads[0])
        mark = "saccade-part-boundary-5e1f9c3a7d"
        while any(mark.encode() in p for p in payloads):
            mark += "x"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{i}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode() + p + b"\r\n"
            for i, p in enumerate(payloads)
        ]  # fmt: skip
        body = b"".join(parts) + f"--{mark}--\r\n".encode()
        return Ask("POST", path, {**self._headers, "Content-Type": f"multipart/form-data; boundary={mark}"}, body)

    def read(self, reply: Reply) -> Any:
        """The JSON of a good answer. Raises the error the server named."""
        try:
            record = json.loads(reply.body) if reply.body else {}
        except ValueError as error:
            raise ServerError(f"the answer ({reply.status}) is no JSON", hint="is this a saccade server?") from error
        if reply.status < 400:
            return record
        if not isinstance(record, dict):
            raise ServerError(f"the server answered {reply.status}")
        raise problem(record)

    def pause_s(self, reply: Reply, tried: int) -> float | None:
        """How long to wait before asking again; None when it is not worth it."""
        if reply.status != 503 or tried >= RETRIES or "retry-after" not in reply.headers:
            return None
        return min(float(reply.headers["retry-after"]), 5.0)


def problem(record: Mapping[str, Any]) -> SaccadeError:
    """The error behind a problem+json record."""
    code = str(record.get("code", "internal"))
    family = _FAMILIES.get(code.partition("_")[0], ServerError)
    known = {"type", "title", "status", "code", "detail"}
    details = {k: v for k, v in record.items() if k not in known}
    return family(str(record.get("detail") or record.get("title") or code), code=code, details=details)


def encoded(image: Source) -> bytes:
    """A picture's bytes; pixels become PNG. Raises ImageError."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path | str):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ImageError(f"{image} cannot be read: {error.strerror}", hint="check the path") from error
    return to_png(image)


class Client:
    """Asks a server. A context manager that keeps one connection; not for several threads at once.

    key: an API key. timeout_s: for each step on the wire. transport: replaces the connection. A refusal with 503 and
    Retry-After is asked again at most twice. Every method raises the SaccadeError that the server named.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = 60.0, transport: Transport | None = None
    ) -> None:
        self._core = Core(key)
        self._transport = transport or HttpTransport(url, timeout_s)

    def predict(
        self,
        model: str,
        images: Source | Sequence[Source],
        *,
        version: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> dict[str, Any]:
        """model: name or name@alias. One picture gives its answer, a list gives {"results": [...]}."""
        many = images if isinstance(images, list | tuple) else [images]
        if not many:
            raise ImageError("no image was given")
        answer: dict[str, Any] = self._ask(self._core.predict(model, many, version, top_k, threshold))
        return {"results": [answer]} if isinstance(images, list | tuple) and len(many) == 1 else answer

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(self._core.get("/api/v1/models"))["models"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(self._core.get(f"/api/v1/models/{quote(name, safe='@')}"))
        return found

    def ready(self) -> bool:
        """True when the server takes traffic. Raises ServerError when nobody answers."""
        return self._transport.send(self._core.get("/readyz")).status == 200

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, ask: Ask) -> Any:
        tried = 0
        while True:
            reply = self._transport.send(ask)
            pause = self._core.pause_s(reply, tried)
            if pause is None:
                return self._core.read(reply)
            time.sleep(pause)
            tried += 1


class AsyncClient:
    """The same, awaited: each call runs in a thread with a connection of its own from a small pool."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = 60.0, transport: Transport | None = None
    ) -> None:
        self._url, self._key, self._timeout_s, self._given = url, key, timeout_s, transport
        self._idle: list[Client] = []

    async def predict(self, model: str, images: Source | Sequence[Source], **wish: Any) -> dict[str, Any]:
        """As Client.predict."""
        found: dict[str, Any] = await self._call("predict", model, images, **wish)
        return found

    async def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._call("models")
        return found

    async def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("model", name)
        return found

    async def ready(self) -> bool:
        return bool(await self._call("ready"))

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, name: str, *given: Any, **named: Any) -> Any:
        client = (
            self._idle.pop()
            if self._idle
            else Client(self._url, self._key, timeout_s=self._timeout_s, transport=self._given)
        )
        try:
            return await asyncio.to_thread(getattr(client, name), *given, **named)
        finally:
            self._idle.append(client)
