"""One request and its answer, between a connection and the application: ASGI's receive and send over it."""

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
EXCHANGE = "saccade.exchange"
"""Where a scope holds its exchange, for what ASGI has no word for: hearing of the caller's leaving without a task that
waits for it, which costs as much as an empty graph, and taking what came without a timer that ends the wait for it."""
HELD = 256 * 1024
"""Bytes of a body that wait for the application before its connection is read no further."""


class Exchange:
    """scope: as ASGI 3 has it. answer: told status, headers and body, once. took: told of bytes the application took.
    connection: that carries nothing else meanwhile, None where it may.

    The connection feeds it and tells it of the end; the application runs beside, as a task.
    """

    def __init__(
        self,
        scope: Message,
        answer: Callable[["Exchange", int, Headers, bytes], None],
        took: Callable[["Exchange", int], None],
        connection: object | None = None,
    ) -> None:
        self.scope = scope
        scope[EXCHANGE] = self
        self.held = 0
        """Bytes that came and were not taken yet."""
        self.whole = False
        """All of the body came."""
        self.lost = False
        """Nobody is there any more, or what came was no body."""
        self.answered = self.done = False
        """An answer was given; the application has returned."""
        self.keeps = True
        """The connection may carry another after it."""
        self._answer = answer
        self._took = took
        self.connection = connection
        self._parts: deque[bytes] = deque()
        self._told = False
        self._waiting: asyncio.Future[None] | None = None
        self._gone: Callable[[], None] | None = None
        self._status = 500
        self._headers: Headers = []
        self._body: list[bytes] = []

    # From the connection

    def feed(self, part: bytes) -> None:
        self._parts.append(part)
        self.held += len(part)
        self._wake()

    def end(self) -> None:
        self.whole = True
        self._wake()

    def lose(self) -> None:
        self.lost = True
        self._wake()
        if (gone := self._gone) is not None:
            self._gone = None
            gone()

    def finish(self) -> None:
        """The application has returned."""
        self.done = True
        self.scope.pop(EXCHANGE, None)  # a circle, which would hold what was answered until it is collected

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # To the application

    def watch(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Calls back once nobody is there any more, at once where nobody is; gives what ends that. One at a time."""
        self._gone = gone
        if self.lost:
            self.lose()
        return self._unwatch

    def _unwatch(self) -> None:
        self._gone = None

    async def receive(self) -> Message:
        """The next of the body; after its end, or when the caller has left, http.disconnect."""
        while (message := self.at_hand()) is None:
            self._took(self, 0)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return message

    def at_hand(self) -> Message | None:
        """What `receive` would give at once; None where it would wait."""
        if not (self._parts or self.lost or (self.whole and not self._told)):
            return None
        if self.lost and not (self.whole and not self._told):
            return {"type": "http.disconnect"}
        body = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.held = 0
        self._told = self.whole
        self._took(self, len(body))
        return {"type": "http.request", "body": body, "more_body": not self.whole}

    async def send(self, message: Message) -> None:
        """The answer goes out whole, in one write, once its last part is there."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
            return
        if self.answered:
            return
        self._body.append(message.get("body", b""))
        if not message.get("more_body", False):
            self.answered = True
            self._answer(self, self._status, self._headers, b"".join(self._body))
