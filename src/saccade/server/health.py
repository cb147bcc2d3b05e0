"""grpc.health.v1: whether requests should come, for each service and for the whole server, as /readyz says it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.protocols.method import Invocation, Method, Once, Stream
from saccade.server.state import State
from saccade.wire import schema

SERVICE = "grpc.health.v1.Health"
LOOK_S = 0.2
"""Between two looks of one who watches."""
MAX_WATCHERS = 64
"""Watching asks for no key, and must not take every place that callers have."""


class Health:
    """services: names that may be asked about, beside the empty one of the whole server."""

    def __init__(self, state: State, services: Sequence[str]) -> None:
        self._state = state
        self._services = ("", SERVICE, *services)
        self._watchers = 0
        self._response = schema.message("grpc.health.v1.HealthCheckResponse")

    def methods(self) -> list[Method]:
        handlers: dict[str, Once | Stream] = {"Check": self.check, "List": self.list, "Watch": self.watch}
        return [
            Method(rpc.path, rpc.request, rpc.reply, handlers[name], rpc.streams, "open")
            for name, rpc in schema.service(SERVICE).items()
        ]

    def _now(self, service: str) -> Any:
        if service not in self._services:
            return self._response(status="SERVICE_UNKNOWN")
        try:
            self._state.check()
        except SaccadeError:
            return self._response(status="NOT_SERVING")
        return self._response(status="SERVING")

    async def check(self, call: Invocation, request: Any) -> Any:
        if request.service not in self._services:
            raise ServerError("there is no such service here", code="not_found")
        return self._now(request.service)

    async def list(self, call: Invocation, request: Any) -> Any:
        found = schema.message("grpc.health.v1.HealthListResponse")()
        for service in self._services:
            found.statuses[service].CopyFrom(self._now(service))
        return found

    async def watch(self, call: Invocation, requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """The state now, then whenever it changes, until the caller leaves."""
        if self._watchers >= MAX_WATCHERS:
            raise ServerError(f"{MAX_WATCHERS} watch already", hint="ask Check instead", code="concurrency_limited")
        self._watchers += 1
        try:
            async for request in requests:
                before = None
                while not call.closing():
                    now = self._now(request.service)
                    if now != before:
                        yield now
                    before = now
                    await asyncio.sleep(LOOK_S)
        finally:
            self._watchers -= 1
