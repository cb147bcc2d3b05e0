"""The gRPC listener: the protocols' methods with the keys, limits and deadlines that HTTP has,
in the same event loop."""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from saccade.errors import SaccadeError, ServerError
from saccade.limits import GRPC_LIMITS
from saccade.protocols import routes as heads
from saccade.protocols.method import Invocation, Method
from saccade.protocols.native.messages import prediction_id
from saccade.protocols.protocol import SCOPES, STATUSES, grpc_status, said, status
from saccade.server.app import App, guarded
from saccade.server.health import Health
from saccade.server.http.one import IDLE_S
from saccade.server.reflection import Reflection
from saccade.server.settings import Settings
from saccade.wire import schema

log = logging.getLogger("saccade.server")
REFUSING_S = 0.5


class Grpc:
    """The listener of an application's protocols. methods: everything that can be called."""

    def __init__(self, app: App) -> None:
        self._app = app
        spoken = [method for protocol in app.protocols for method in protocol.methods(app.engine)]
        if app.settings.admin_port:
            spoken = [method for method in spoken if method.needs != "control"]  # an operator asks his own listener
        services = sorted({method.path.split("/")[1] for method in spoken})
        shown = Reflection([*services, "grpc.health.v1.Health"]).methods() if app.settings.grpc_reflection else []
        self.methods = [*spoken, *Health(app.state, services).methods(), *shown]
        for method in self.methods:
            if method.needs not in SCOPES:
                raise ServerError(f"{method.path} says {method.needs!r}, one of {SCOPES} was expected")
        self._handlers = _Handlers(app, self.methods)
        self._server: Any = None

    async def start(self) -> int:
        """Listens; returns the port. Raises ServerError(port_taken)."""
        settings = self._app.settings
        self._server = grpc.aio.server(
            handlers=[self._handlers],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.connections,
        )
        host = "127.0.0.1" if settings.host == "localhost" else settings.host
        address = f"[{host}]:{settings.grpc_port}" if ":" in host else f"{host}:{settings.grpc_port}"
        try:
            if settings.tls_cert is None or settings.tls_key is None:
                port = self._server.add_insecure_port(address)
            else:
                pair = Pair(settings.tls_cert, settings.tls_key)
                held = grpc.dynamic_ssl_server_credentials(pair.read(), pair.renewed)
                port = self._server.add_secure_port(address, held)
        except RuntimeError:
            raise ServerError(
                f"port {settings.grpc_port} on {settings.host} cannot be had for gRPC",
                hint="stop the other server or give --grpc-port",
                code="port_taken",
            ) from None
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        """Refuses new calls, ends idle streams, finishes what is under way, for finish_s at most."""
        if self._server is not None:
            # A call that comes while grpc itself stops is cancelled without a word, so those who go on asking
            # are refused for a moment first.
            self._handlers.closing.set()
            await asyncio.sleep(REFUSING_S)
            await self._handlers.finish(self._app.settings.finish_s)
            await self._server.stop(None)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(settings.processes > 1)),
        ("grpc.max_receive_message_length", settings.body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", GRPC_LIMITS.max_grpc_metadata_bytes),
        ("grpc.absolute_max_metadata_size", 2 * GRPC_LIMITS.max_grpc_metadata_bytes),
        ("grpc.max_concurrent_streams", GRPC_LIMITS.max_grpc_streams),
        ("grpc.max_allowed_incoming_connections", settings.connections),
        ("grpc.max_connection_idle_ms", int(IDLE_S * 1000)),
        ("grpc.max_connection_age_ms", int(GRPC_LIMITS.grpc_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(GRPC_LIMITS.grpc_grace_s * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(GRPC_LIMITS.min_ping_s * 1000)),
        ("grpc.server_handshake_timeout_ms", int(settings.head_s * 1000)),
        # A compressed message is measured before it is unpacked, so a small one could fill the memory.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]


class Pair:
    """A certificate and its key in files, read again for the next connection once they were
    changed and fit each other."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._stamps: list[tuple[int, int]] = []

    def read(self) -> Any:
        """As grpc wants them. Raises OSError, ssl.SSLError when they cannot be read or do not fit."""
        stamps = self._look()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key)
        found = grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._cert.read_bytes())])
        self._stamps = stamps
        return found

    def renewed(self) -> Any:
        """The pair when it was changed and can be used, else None: the one before stays."""
        try:
            return self.read() if self._look() != self._stamps else None
        except (OSError, ssl.SSLError) as error:
            log.warning("the certificate was changed and cannot be used, the one before it stays: %s", error)
            return None

    def _look(self) -> list[tuple[int, int]]:
        return [(stat.st_mtime_ns, stat.st_ino) for stat in (self._cert.stat(), self._key.stat())]


class _Handlers(grpc.GenericRpcHandler):
    """Admits a call by its head alone, before its message is read, then carries it to its method.

    closing: once set, new calls are refused and streams end when what they asked is answered.
    """

    def __init__(self, app: App, methods: Sequence[Method]) -> None:
        self._app = app
        self._methods = {method.path: method for method in methods}
        self._under_way: set[Invocation] = set()
        self.closing = asyncio.Event()
        self._idle = asyncio.Event()

    async def finish(self, within_s: float) -> None:
        if self._under_way:
            try:
                async with asyncio.timeout(within_s):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("%d gRPC calls are cut off", len(self._under_way))

    def service(self, details: Any) -> Any:
        method = self._methods.get(details.method)
        if method is None:
            return None
        head: dict[str, str] = {}
        call = Invocation(
            prediction_id(), self._app.settings.deadline_s, closing=self.closing.is_set, hold=self._app.held.share
        )
        try:
            if self.closing.is_set():
                raise ServerError("the server is shutting down", code="draining")
            for name, value in details.invocation_metadata:
                if name in head and name in ("authorization", "x-api-key"):
                    raise ServerError(f"the metadata {name} came twice", code="malformed_http")
                head[name] = value
            call.request_id = heads.request_id(head, call.request_id)
            if method.needs != "open" and guarded(self._app.settings, self._app.keys):
                own = head.get("x-api-key")
                given = head.get("authorization") or (f"Bearer {own}" if own else "")
                call.caller = self._app.keys.admit(given, method.needs).id
                call.admit = partial(self._app.offenders.admit, call.caller)
                if method.pictures and not method.streams:
                    call.admit()
            call.urgent = heads.urgent(head)
        except SaccadeError as error:
            return grpc.stream_stream_rpc_method_handler(self._refusing(method, call, error))
        # Also where one message is asked for: only of a stream may this house say how long its first one may take.
        return grpc.stream_stream_rpc_method_handler(
            self._streaming(method, call) if method.streams else self._single(method, call)
        )

    def _single(self, method: Method, call: Invocation) -> Callable[[Any, Any], Awaitable[None]]:
        async def answer(requests: AsyncIterator[bytes], context: Any) -> None:
            async def once() -> None:
                data = await self._first(requests)
                with self._app.held.share(len(data)), self._company(method):
                    reply = await method.handler(call, schema.read(method.request, data))  # type: ignore[misc]
                await context.write(reply.SerializeToString())

            await self._guarded(method, call, context, once)

        return answer

    def _streaming(self, method: Method, call: Invocation) -> Callable[[Any, Any], Awaitable[None]]:
        async def answer(requests: AsyncIterator[bytes], context: Any) -> None:
            async def messages() -> AsyncIterator[Any]:
                yield schema.read(method.request, await self._first(requests))
                async for data in self._until_closing(requests):
                    yield schema.read(method.request, data)

            async def all_of_them() -> None:
                # Closed at once when the caller leaves, or what it holds would wait for the garbage collector.
                stream: Any = method.handler(call, messages())
                with self._company(method):
                    async with contextlib.aclosing(stream) as replies:
                        async for reply in replies:
                            await context.write(reply.SerializeToString())

            await self._guarded(method, call, context, all_of_them)

        return answer

    def _company(self, method: Method) -> contextlib.AbstractContextManager[None]:
        return self._app.company.asking(None) if method.pictures else contextlib.nullcontext()

    async def _first(self, requests: AsyncIterator[bytes]) -> bytes:
        """The first message, in the time a body has. Raises ServerError: request_timeout,
        malformed_protobuf for none."""
        allowed_s = self._app.settings.body_s
        try:
            async with asyncio.timeout(allowed_s):
                data = await anext(requests, None)
        except TimeoutError:
            raise ServerError(f"no message came within {allowed_s:g} s", code="request_timeout") from None
        if data is None:
            raise ServerError("the call ended without a message", hint="send one", code="malformed_protobuf")
        return data

    async def _until_closing(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((coming, closing), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return
                data = coming.result()
                if data is None:
                    return
                yield data
        finally:
            closing.cancel()

    def _refusing(self, method: Method, call: Invocation, error: SaccadeError) -> Callable[[Any, Any], Awaitable[None]]:
        async def answer(_: Any, context: Any) -> None:
            async def refuse() -> None:
                raise error

            await self._guarded(method, call, context, refuse)

        return answer

    async def _guarded(
        self, method: Method, call: Invocation, context: Any, work: Callable[[], Awaitable[None]]
    ) -> None:
        """The rim: what a caller is told of an error, and what is counted."""
        failed: SaccadeError
        left = context.time_remaining()
        if left is not None:
            call.deadline_s, call.ends = self._app.settings.deadline_cap_s, time.monotonic() + left
        self._under_way.add(call)
        try:
            await work()
        except SaccadeError as error:
            failed = error
            if status(error.code) == 500:
                log.error("request %s failed", call.request_id, exc_info=error)
        except asyncio.CancelledError:
            self._app.metrics.called(method.path, "CANCELLED", "")
            raise
        except Exception:  # nothing may end the process, and a stranger gets a bland sentence
            log.exception("request %s failed", call.request_id)
            failed = ServerError("", code="internal")
        else:
            self._app.metrics.called(method.path, "OK", "")
            context.set_trailing_metadata((("x-request-id", call.request_id), *call.told))
            return
        finally:
            self._under_way.discard(call)
            if self.closing.is_set() and not self._under_way:
                self._idle.set()
        code = failed.code if failed.code in STATUSES else "internal"
        name = grpc_status(code)
        self._app.metrics.called(method.path, name, code)
        told = [("x-request-id", call.request_id), ("x-error-code", code)]
        if status(code) in (429, 503):
            told.append(("retry-after", str(failed.details.get("retry_after_s") or random.randint(1, 5))))
        await context.abort(grpc.StatusCode[name], said(failed), tuple(told))
