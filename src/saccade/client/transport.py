"""How requests travel: over HTTP/1.1 with the standard library, on connections that are kept and used again."""

import http.client
import os
import ssl
import threading
import time
from typing import Protocol
from urllib.parse import urlsplit

from saccade.client.messages import Reply, Request
from saccade.errors import ServerError, UsageError

MAX_ANSWER = 64 * 1024 * 1024
_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


class Transport(Protocol):
    """Carries a request to a server and brings back what it said, whatever the status. Safe from several threads."""

    def send(self, request: Request, timeout_s: float) -> Reply:
        """Raises ServerError: unreachable, answer_timeout, unexpected_answer."""

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same, awaited."""

    async def send(self, request: Request, timeout_s: float) -> Reply: ...

    async def close(self) -> None: ...


def connect(url: str) -> Transport:
    """The carrier to an address. Raises UsageError for one that is none, or whose library is missing."""
    if not url.startswith(("grpc://", "grpcs://")):
        return Http(url)
    from saccade.client.grpc import Grpc  # grpc is loaded only for those who ask over it

    return Grpc(url)


class Http:
    """url: http or https, host, port, optional path before every target. Redirects are not followed, proxies not used.

    keep: how many idle connections stay open. context: TLS settings; the default checks the server's certificate.
    """

    def __init__(self, url: str, *, keep: int = 16, context: ssl.SSLContext | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{url!r} is no address: {error}", hint="http://127.0.0.1:8000") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in url:
            raise UsageError(
                f"a server's address is http(s)://host:port or grpc(s)://host:port, got {url!r}",
                hint="http://127.0.0.1:8000",
            )
        self._host, self._port, self._tls = parts.hostname, port, parts.scheme == "https"
        self._base = parts.path.rstrip("/")
        self._context = context
        self._keep = keep
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def send(self, request: Request, timeout_s: float) -> Reply:
        until = time.monotonic() + timeout_s
        if self._pid != os.getpid():
            # Forked: the parent goes on with its connections, and a thread of his may have held the lock.
            self._idle, self._lock, self._pid = [], threading.Lock(), os.getpid()
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._ask(connection, request, until)
            except _CLOSED:
                # The server closed a kept connection. Every request here may be sent twice: none changes anything.
                pass
            except (OSError, http.client.HTTPException) as error:
                raise _told(error) from error
        try:
            return self._ask(self._connect(), request, until)
        except (OSError, http.client.HTTPException) as error:
            raise _told(error) from error

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            context = self._context or ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, context=context)
        return http.client.HTTPConnection(self._host, self._port)

    def _ask(self, connection: http.client.HTTPConnection, request: Request, until: float) -> Reply:
        try:
            _wait_at_most(connection, until)
            try:
                connection.request(
                    request.method, self._base + request.target, request.body or None, dict(request.headers)
                )
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses on the head closes before it has read the body; its refusal is waiting.
                if connection.sock is None:
                    raise
            _wait_at_most(connection, until)
            response = connection.getresponse()
            parts, size = [], 0
            while part := response.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    raise ServerError(f"the answer is above {MAX_ANSWER} bytes", code="unexpected_answer")
                _wait_at_most(connection, until)
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            response.close()  # read1 leaves an ended response open, and the connection busy
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, b"".join(parts))
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if connection.sock is not None and len(self._idle) < self._keep:
                self._idle.append(connection)
                return reply
        connection.close()
        return reply


def _wait_at_most(connection: http.client.HTTPConnection, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _told(error: OSError | http.client.HTTPException) -> ServerError:
    if isinstance(error, TimeoutError):
        return ServerError(
            "the server did not answer in time", hint="raise timeout_s, or ask again later", code="answer_timeout"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerError(
            f"the server's certificate is not trusted: {error.verify_message}",
            hint="give a transport with an SSL context that knows its authority",
            code="unreachable",
        )
    if isinstance(error, OSError):
        return ServerError(
            f"the server cannot be reached: {error.strerror or type(error).__name__}",
            hint="check that it runs, its address and port",
            code="unreachable",
        )
    return ServerError(f"what came is not HTTP: {type(error).__name__}", code="unexpected_answer")
