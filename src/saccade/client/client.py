"""Client and AsyncClient: the same questions, one waits and one is awaited. Both lean on messages.py."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self, overload

from saccade.client import messages
from saccade.client.messages import Answer, MaskForm, Picture, Reply, Request
from saccade.client.transport import AsyncTransport, Http, Transport
from saccade.errors import UsageError

RETRIES = 2
TIMEOUT_S = 30.0
Options = dict[str, Any]
"""What the query asks for; None is left to the server."""


class _Settings:
    """What both clients remember. retries: how often a 503 that names a Retry-After is asked again, in timeout_s."""

    def __init__(self, key: str | None, timeout_s: float, retries: int) -> None:
        self._head = {"accept": "application/json", "user-agent": "saccade-client"}
        if key is not None:
            if not key.isascii() or not key.isprintable():
                raise UsageError("an API key has printable ASCII characters only")
            self._head["authorization"] = f"Bearer {key}"
        self._timeout_s = messages.check_seconds("timeout_s", timeout_s)
        self._retries = retries

    def _dressed(self, request: Request) -> Request:
        return Request(request.method, request.target, {**self._head, **request.headers}, request.body)

    def _pause(self, reply: Reply, tries: int, until: float) -> float | None:
        """Seconds before the next try; None when this reply is the answer."""
        wait = messages.retry_after(reply)
        if wait is None or tries >= self._retries or time.monotonic() + wait >= until:
            return None
        return wait


class Client(_Settings):
    """A saccade server, asked over HTTP. A context manager; safe from several threads.

    key: API key. timeout_s: for a whole call, tries included. transport: instead of HTTP to `url`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(key, timeout_s, retries)
        self._transport = transport or Http(url)

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        model: str,
        image: Picture,
        *,
        version: int | None = ...,
        top_k: int | None = ...,
        threshold: float | None = ...,
        mask: MaskForm | None = ...,
        tile: bool = ...,
    ) -> Answer: ...
    @overload
    def predict(
        self,
        model: str,
        image: Sequence[Picture],
        *,
        version: int | None = ...,
        top_k: int | None = ...,
        threshold: float | None = ...,
        mask: MaskForm | None = ...,
        tile: bool = ...,
    ) -> list[Answer]: ...
    def predict(
        self,
        model: str,
        image: Picture | Sequence[Picture],
        *,
        version: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        mask: MaskForm | None = None,
        tile: bool = False,
    ) -> Any:
        """Asks `name` or `name@alias` about a picture: a file, bytes, or uint8 pixels; a list gives a list.

        threshold: instead of the model's own, by class. mask: how a mask is written, "png" by default. tile: a
        picture larger than the network is asked in overlapping tiles. In a list, a picture that cannot be used gives {"error": ...} in its place. Raises SaccadeError with the server's code.
        """
        request = _asked(
            model, image, version, Options(top_k=top_k, threshold=threshold, mask=mask, tile="true" if tile else None)
        )
        return messages.answer(self._send(request), _count(image))

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = messages.read(self._send(messages.models()))["models"]
        return found

    def model(self, name: str) -> dict[str, Any]:
        """Versions, aliases, labels, input and metrics. Raises InferenceError(not_found)."""
        found: dict[str, Any] = messages.read(self._send(messages.model(name)))
        return found

    def ready(self) -> bool:
        """Whether the server takes requests now. Raises ServerError when it cannot be reached."""
        return self._once(messages.ready()).status == 200

    def health(self) -> dict[str, bool]:
        """{"live": ..., "ready": ...}. Raises ServerError when it cannot be reached."""
        return {"live": self._once(messages.live()).status == 200, "ready": self.ready()}

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _once(self, request: Request) -> Reply:
        return self._transport.send(self._dressed(request), self._timeout_s)

    def _send(self, request: Request) -> Reply:
        until, tries, request = time.monotonic() + self._timeout_s, 0, self._dressed(request)
        while True:
            reply = self._transport.send(request, until - time.monotonic())
            wait = self._pause(reply, tries, until)
            if wait is None:
                return reply
            time.sleep(wait)
            tries += 1


class AsyncClient(_Settings):
    """As Client, awaited. An asynchronous context manager.

    The HTTP of the standard library runs in threads; a cancelled call stops waiting at once, its thread ends by
    timeout_s at the latest.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        transport: AsyncTransport | None = None,
    ) -> None:
        super().__init__(key, timeout_s, retries)
        self._transport = transport or _Threads(Http(url))

    @overload
    async def predict(  # type: ignore[overload-overlap]
        self,
        model: str,
        image: Picture,
        *,
        version: int | None = ...,
        top_k: int | None = ...,
        threshold: float | None = ...,
        mask: MaskForm | None = ...,
        tile: bool = ...,
    ) -> Answer: ...
    @overload
    async def predict(
        self,
        model: str,
        image: Sequence[Picture],
        *,
        version: int | None = ...,
        top_k: int | None = ...,
        threshold: float | None = ...,
        mask: MaskForm | None = ...,
        tile: bool = ...,
    ) -> list[Answer]: ...
    async def predict(
        self,
        model: str,
        image: Picture | Sequence[Picture],
        *,
        version: int | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        mask: MaskForm | None = None,
        tile: bool = False,
    ) -> Any:
        """As Client.predict."""
        wishes = Options(top_k=top_k, threshold=threshold, mask=mask, tile="true" if tile else None)
        request = await asyncio.to_thread(_asked, model, image, version, wishes)
        return messages.answer(await self._send(request), _count(image))

    async def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = messages.read(await self._send(messages.models()))["models"]
        return found

    async def model(self, name: str) -> dict[str, Any]:
        """As Client.model."""
        found: dict[str, Any] = messages.read(await self._send(messages.model(name)))
        return found

    async def ready(self) -> bool:
        """As Client.ready."""
        return (await self._once(messages.ready())).status == 200

    async def health(self) -> dict[str, bool]:
        """As Client.health."""
        return {"live": (await self._once(messages.live())).status == 200, "ready": await self.ready()}

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _once(self, request: Request) -> Reply:
        return await self._transport.send(self._dressed(request), self._timeout_s)

    async def _send(self, request: Request) -> Reply:
        until, tries, request = time.monotonic() + self._timeout_s, 0, self._dressed(request)
        while True:
            reply = await self._transport.send(request, until - time.monotonic())
            wait = self._pause(reply, tries, until)
            if wait is None:
                return reply
            await asyncio.sleep(wait)
            tries += 1


class _Threads:
    """A transport that waits, made one that is awaited."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: Request, timeout_s: float) -> Reply:
        return await asyncio.to_thread(self._transport.send, request, timeout_s)

    async def close(self) -> None:
        self._transport.close()


def _asked(model: str, image: Picture | Sequence[Picture], version: int | None, options: Options) -> Request:
    if isinstance(image, list | tuple):
        if not image:
            raise UsageError("predict expects at least one picture, an empty list came")
        return messages.predict(model, [messages.encoded(i) for i in image], version, options)
    return messages.predict(model, messages.encoded(image), version, options)  # type: ignore[arg-type]


def _count(image: Picture | Sequence[Picture]) -> int | None:
    return len(image) if isinstance(image, list | tuple) else None
