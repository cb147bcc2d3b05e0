"""The HTTP server under the application: Granian, for its deadline on the head, HTTP/2 limits and TLS (decision 3)."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from saccade.server.app import App
from saccade.server.settings import Settings


def _server(app: App, settings: Settings) -> Any:
    server = Server(
        app,
        address="127.0.0.1" if settings.host == "localhost" else settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        websockets=False,
        backlog=2048,
        backpressure=settings.connections,
        http1_settings=HTTP1Settings(header_read_timeout=int(settings.head_s * 1000)),
        http2_settings=HTTP2Settings(
            max_concurrent_streams=100,
            max_headers_size=64 * 1024,
            initial_stream_window_size=1024 * 1024,
            keep_alive_interval=30_000,
        ),
        log_enabled=False,
        ssl_cert=settings.tls_cert,
        ssl_key=Path(settings.tls_key) if settings.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    server.workers_kill_timeout = settings.finish_s
    return server


class Beside(Protocol):
    """A listener that starts before HTTP does and stops with it."""

    async def start(self) -> int: ...
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
    server = _server(app, settings)
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            app.state.draining = True
            try:
                async with asyncio.timeout(settings.drain_s):
                    await hurry.wait()
            except TimeoutError:
                pass
            server.stop()
        await asyncio.gather(serving, *(other.stop() for other in beside))
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
