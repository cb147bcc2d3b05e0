"""Listens, and keeps every connection within its time: our own, for what a request costs and what
it may do (decision 19)."""

import asyncio
import contextlib
import email.utils
import logging
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from saccade.errors import ServerError, UsageError
from saccade.server.app import App
from saccade.server.http.exchange import Exchange
from saccade.server.http.one import One
from saccade.server.http.two import Two
from saccade.server.settings import Settings

log = logging.getLogger("saccade.server")
LOOK_S = 0.25
BACKLOG = 2048
SPARE_FILES = 256
ACCEPTED = ("h2", "http/1.1")


class Listener:
    """An application at an address. start, then stop; connections ask it for the time and tell it of themselves."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.secure = settings.tls_cert is not None
        self.closing = False
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._connections: set[One | Two] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._second, self._date = 0, b""
        self._context: ssl.SSLContext | None = None
        self._stamps: list[tuple[int, int]] = []
        self._warned: list[tuple[int, int]] = []

    async def start(self) -> None:
        """Raises ServerError(port_taken), UsageError for a certificate that cannot be used."""
        s = self.settings
        if self.secure:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.set_alpn_protocols(ACCEPTED)
            self._load_certificate()
        try:
            self._server = await self._loop.create_server(
                lambda: One(self),
                "127.0.0.1" if s.host == "localhost" else s.host,
                s.port,
                backlog=BACKLOG,
                ssl=self._context,
                ssl_handshake_timeout=s.head_s if self.secure else None,
                reuse_port=True if s.processes > 1 else None,
            )
        except OSError as error:
            raise ServerError(
                f"port {s.port} on {s.host} cannot be had: {error.strerror}",
                hint="stop the other server or give --port",
                code="port_taken",
            ) from error
        self._look()
        _allow_files(s.connections * (1 + bool(s.grpc_port) + bool(s.admin_port)))

    @property
    def port(self) -> int:
        """Where it listens; asked for 0, it is one that was free."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Accepts nothing more and finishes what is under way, for finish_s at most."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        end = self.now() + self.settings.finish_s
        while self._connections and self.now() < end:
            for connection in list(self._connections):
                connection.look(self.now())
            await asyncio.sleep(0.01)
        if self._looking is not None:
            self._looking.cancel()
        for connection in list(self._connections):
            connection.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # For connections

    def welcome(self, connection: One) -> bool:
        """False when there are as many as there may be."""
        if len(self._connections) >= self.settings.connections:
            return False
        self._connections.add(connection)
        return True

    def part(self, connection: One | Two) -> None:
        self._connections.discard(connection)

    def upgrade(self, connection: One) -> Two:
        """Another protocol for a connection that asked for it with its first bytes."""
        two = Two(self, connection.transport)
        connection.transport.set_protocol(two)
        self._connections.discard(connection)
        self._connections.add(two)
        return two

    def run(self, exchange: Exchange, finished: Callable[[Exchange], None]) -> None:
        """Has the application answer; finished is called once it returns."""

        async def answer() -> None:
            try:
                await self.app(exchange.scope, exchange.receive, exchange.send)
            except Exception:  # the application's own rim let it through: its connection ends, nothing else
                log.exception("a request failed beyond the application")
            finally:
                exchange.finish()
                finished(exchange)

        task = self._loop.create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def date(self) -> bytes:
        """Now, as RFC 9110 section 5.6.7 writes it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, email.utils.formatdate(second, usegmt=True).encode()
        return self._date

    def _look(self) -> None:
        self._looking = self._loop.call_later(LOOK_S, self._look)
        now = self.now()
        for connection in list(self._connections):
            try:
                connection.look(now)
            except Exception:
                log.exception("a connection could not be looked after")
                connection.transport.abort()
        if self._context is not None:
            self._load_certificate()

    def _load_certificate(self) -> None:
        """Again when a file was changed: a renewed certificate counts for the next connection.

        Hazard: a pair that does not fit spoils the context it is loaded into, and the two files are never written at
        once. So a pair is tried on another context, until it fits.
        """
        cert, key, first = self.settings.tls_cert, self.settings.tls_key, not self._stamps
        assert self._context is not None
        assert cert is not None
        assert key is not None
        stamps: list[tuple[int, int]] = []
        try:
            stamps = [(stat.st_mtime_ns, stat.st_ino) for stat in (cert.stat(), key.stat())]
            if stamps == self._stamps:
                return
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
            self._context.load_cert_chain(cert, key)
            self._stamps = stamps
        except (OSError, ssl.SSLError) as error:
            if first:
                raise UsageError(
                    f"{cert} and {key} are no certificate and its key",
                    hint="tls_cert and tls_key name PEM files that belong together",
                ) from error
            if stamps != self._warned:
                log.warning("the certificate was changed and cannot be used, the one before it stays: %s", error)
                self._warned = stamps


def _allow_files(connections: int) -> None:
    """Descriptors for as many connections as are allowed, as far as this process may ask for them."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Beside(Protocol):
    """A listener that starts before HTTP does and stops with it."""

    async def start(self) -> int | None: ...
    async def stop(self) -> None: ...


async def listen(app: App, settings: Settings, beside: Sequence[Beside] = ()) -> None:
    """Serves until SIGTERM or SIGINT. SIGTERM: not ready, serve on, stop accepting, finish; SIGINT skips serving on."""
    for other in beside:
        await other.start()
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        hurry.set()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    listener = Listener(app, settings)
    try:
        await listener.start()
        await stop.wait()
        app.state.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_s):
                await hurry.wait()
        await asyncio.gather(listener.stop(), *(other.stop() for other in beside))
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
