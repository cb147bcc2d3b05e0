"""A connection that speaks HTTP/1.1 (RFC 9112): requests one after the other, each answered
before the next is begun."""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

import httptools

from saccade.errors import ServerError
from saccade.server.http.exchange import HELD, Exchange, Headers, Message

if TYPE_CHECKING:
    from saccade.server.http.listener import Listener

LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
IDLE_S = 75.0
"""A connection without a request is kept this long."""
PARTING_S = 1.0
"""A connection so young may still bring its first request when the listener stops: its caller cannot know."""
LINGER_S = 2.0
"""After an answer to half a request: hanging up while its rest is on its way would cost the caller the answer."""
CHUNK_WORDS = 8
"""Bytes of sizes and line ends that there may be to each byte of a body that comes in chunks."""
WRITE_S = 30.0
"""An answer that the caller does not read for so long ends the connection."""


class One(asyncio.Protocol):
    """What `httptools` makes of the bytes becomes exchanges. Its callbacks are on_...; the loop's those of Protocol."""

    transport: asyncio.Transport

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange | ServerError] = deque()
        self._current: Exchange | None = None
        """The one that the application answers now."""
        self._read: Exchange | None = None
        """The one whose body is coming."""
        self._url, self._headers = b"", Headers()
        self._fresh, self._first = True, b""
        """Nothing but what could become the preface of HTTP/2 has come."""
        self._head = self._begun = False
        """A head is half read; it began in the bytes that came last."""
        self._head_bytes = self._body_bytes = self._other_bytes = 0
        """Of the head that is read; of the body that is read, and of what was between its parts."""
        self._since = listener.now()
        """When the connection was made, its last answer sent, or its half-read head begun."""
        self._later = self._expects = False
        """A request has begun on this connection."""
        self._unwished = b""
        """A head without its wish for another protocol."""
        self._ends = False
        """No request is read any more."""
        self._lingers = 0.0
        self._stuck = self._parting = 0.0
        self._paused = False

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        if not self._listener.welcome(self):
            self._ends = True
            error = ServerError("too many connections are open", hint="ask again later", code="overloaded")
            self._write(*self._listener.app.refusal(error), ends=True)
            self.transport.close()
            return
        secure = transport.get_extra_info("ssl_object")
        if secure is not None and secure.selected_alpn_protocol() == "h2":
            self._listener.upgrade(self)

    def data_received(self, data: bytes) -> None:
        if self._ends:
            return
        if self._fresh:
            if not self._first:
                self._since = self._listener.now()
            data = self._first = self._first + data
            if data.startswith(PREFACE):
                self._listener.upgrade(self).data_received(data)
                return
            if PREFACE.startswith(data):
                return
            self._fresh, self._first = False, b""
        self._begun = False
        reading, had = self._read, self._body_bytes
        self._parse(data)
        if self._begun:
            return
        most = self._listener.settings.head_bytes + self._listener.settings.line_bytes
        if self._head:
            self._head_bytes += len(data)
            if self._head_bytes > most:
                self._refuse(ServerError("the head is too large", code="headers_too_large"))
        elif reading is not None and reading is self._read:
            self._other_bytes += len(data) - (self._body_bytes - had)
            if self._other_bytes > most + CHUNK_WORDS * self._body_bytes:
                self._refuse(ServerError("the body is mostly what stands between its parts", code="malformed_http"))

    def _parse(self, data: bytes) -> None:
        while data and not self._ends:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as wish:
                data = self._unwished + data[wish.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self._refuse(ServerError("this is not HTTP/1.1 as RFC 9112 has it", code="malformed_http"))

    def connection_lost(self, error: Exception | None) -> None:
        self._ends = True
        self._listener.part(self)
        for exchange in (self._current, self._read, *self._queue):
            if isinstance(exchange, Exchange):
                exchange.lose()
        for waiting in self._queue:
            if isinstance(waiting, Exchange):
                waiting.finish()  # it never begins
        self._queue.clear()

    def pause_writing(self) -> None:
        """The caller reads slower than he asks: nothing more is answered, and so read, before he does."""
        self._stuck = self._listener.now()
        self._pause()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        self._next()

    def look(self, now: float) -> None:
        """Ends what has lasted too long."""
        if self.transport.is_closing():  # what was written last waits for a caller who may never read it
            self._parting = self._parting or now
            if now > self._parting + WRITE_S:
                self.transport.abort()
        elif self._lingers:
            if now > self._lingers:
                self.transport.abort()
        elif self._stuck and now > self._stuck + WRITE_S:
            self.transport.abort()
        elif self._head and now > self._since + self._listener.settings.head_s:
            self._refuse(ServerError("the head came too slowly", code="request_timeout"))
        elif self._idle:
            patience = self._listener.settings.head_s if self._fresh else IDLE_S
            if self._listener.closing:
                patience = PARTING_S if self._fresh else 0.0
            if now > self._since + patience:
                self.transport.close()

    @property
    def _idle(self) -> bool:
        return self._current is None and self._read is None and not self._queue and not self._head

    # The parser

    def on_message_begin(self) -> None:
        # Not with any byte: the line ends that may stand before a request would hold its connection for ever. Of the
        # first request the first byte counts, though it might have been one of another protocol.
        if self._later:
            self._since = self._listener.now()
        self._later = True
        self._url, self._headers, self._expects = b"", [], False
        self._head = self._begun = True
        self._head_bytes = 0

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._read is not None:
            return  # behind the body: what was checked on the way here was the head (RFC 9110 section 6.5.1)
        name = name.lower()
        if name == b"expect":
            self._expects = value.lower() == b"100-continue"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        method = self._parser.get_method()
        self._unwished = b""
        if self._parser.should_upgrade() and method != b"CONNECT":
            # RFC 9110 section 7.8: a server may take no notice. The parser would, and leave the body unread, so the head
            # is read again without the wish.
            kept = [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] != b"upgrade"]
            version = self._parser.get_http_version().encode()
            self._unwished = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self._url, version, b"".join(kept))
            return
        self._head = False
        version, scheme = self._parser.get_http_version(), "https" if self._listener.secure else "http"
        if version not in ("1.1", "1.0"):
            raise httptools.HttpParserError("HTTP/0.9 has no head")
        scope = request_scope(method.decode("ascii"), self._url, self._headers, version, scheme)
        exchange = Exchange(scope, self._answer, self._took, self)
        exchange.keeps = self._parser.should_keep_alive() and method != b"CONNECT"
        self._read = exchange
        self._body_bytes = self._other_bytes = 0
        self._enqueue(exchange)

    def on_body(self, part: bytes) -> None:
        exchange = self._read
        assert exchange is not None
        self._body_bytes += len(part)
        exchange.feed(part)
        if exchange.held > HELD:
            self._pause()

    def on_message_complete(self) -> None:
        if self._unwished:
            return
        exchange, self._read = self._read, None
        assert exchange is not None
        exchange.end()
        if not exchange.keeps:
            self._ends = True
        if exchange is not self._current and len(self._queue) > 1:
            self._pause()  # somebody sends without waiting for answers: the rest waits in his own buffers

    # The application

    def _enqueue(self, what: Exchange | ServerError) -> None:
        self._queue.append(what)
        self._next()

    def _next(self) -> None:
        """Begins what waits, unless there is something to be done or read by the caller first."""
        if self._queue and self._current is None and not self._stuck and not self.transport.is_closing():
            self._begin(self._queue.popleft())
        self._resume()

    def _pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _begin(self, what: Exchange | ServerError) -> None:
        if isinstance(what, ServerError):
            self._ends = True
            self._write(*self._listener.app.refusal(what), ends=True)
            self._end(clean=False)
            return
        self._current = what
        self._listener.run(what, self._finished)

    def _took(self, exchange: Exchange, count: int) -> None:
        if self.transport.is_closing():
            return
        if self._expects and exchange is self._read and not exchange.answered:
            self._expects = False
            self.transport.write(CONTINUE)
        self._resume()

    def _resume(self) -> None:
        if self._paused and not self._ends and not self._stuck and len(self._queue) <= 1:
            self._paused = False
            self.transport.resume_reading()

    def _answer(self, exchange: Exchange, status: int, headers: Headers, body: bytes) -> None:
        if self._listener.closing or (b"connection", b"close") in headers:
            exchange.keeps = False
        if exchange.keeps and exchange.scope["http_version"] == "1.0":
            headers = [*headers, (b"connection", b"keep-alive")]
        self._write(status, headers, body, ends=not exchange.keeps)

    def _write(self, status: int, headers: Headers, body: bytes, *, ends: bool) -> None:
        if self.transport.is_closing():
            return
        parts = [LINES[status], b"date: ", self._listener.date(), b"\r\n"]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        if ends and (b"connection", b"close") not in headers:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        self.transport.write(b"".join(parts))

    def _finished(self, exchange: Exchange) -> None:
        """The application is done with it, whether or not all of its body came."""
        self._current = None
        if self.transport.is_closing():
            return
        if not exchange.answered:
            self.transport.abort()  # it was told to end: a half answer would be worse than none
            return
        if not (exchange.keeps and exchange.whole):
            self._ends = True
            self._queue.clear()
            self._end(clean=exchange.whole)
            return
        self._since = self._listener.now()
        self._next()

    def _refuse(self, error: ServerError) -> None:
        """What came is no request, so nothing after it is one."""
        self._ends, self._head = True, False
        reading, self._read = self._read, None
        if reading is not None:
            reading.keeps = False
            reading.lose()
        else:
            self._enqueue(error)

    def _end(self, *, clean: bool) -> None:
        """clean: all that the caller sent was read."""
        if self._lingers or self.transport.is_closing():
            return
        if clean or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingers = self._listener.now() + LINGER_S
        self.transport.write_eof()
        if self._paused:
            self._paused = False
            self.transport.resume_reading()


def request_scope(method: str, target: bytes, headers: Headers, version: str, scheme: str) -> Message:
    """ASGI's record of a request's head. target: in any form of RFC 9112 section 3.2."""
    if not target.startswith(b"/"):
        _, found, rest = target.partition(b"://")
        if found:  # absolute: the path follows the authority
            target = b"/" + rest.partition(b"/")[2]
    raw, _, query = target.partition(b"?")
    path = unquote_to_bytes(raw) if b"%" in raw else raw
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": scheme,
        "path": path.decode("utf-8", "replace"),
        "raw_path": raw,
        "query_string": query,
        "headers": headers,
    }
