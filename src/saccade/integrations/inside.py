"""A saccade server without a socket: a transport whose other end is an engine of this very process.

The engine has threads, and threads do not survive a fork. So it is opened when it is first asked, in the process that
asks: after a web server has forked its workers, in each of them.
"""

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from saccade.client import messages
from saccade.errors import InferenceError, SaccadeError, ServerError, UsageError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.limits import BODY_LIMITS, QUEUE_LIMITS
from saccade.package import reader
from saccade.protocols import routes
from saccade.protocols.native.http import Native
from saccade.protocols.native.messages import prediction_id
from saccade.protocols.protocol import Call, Reply, Route, as_problem
from saccade.registry.registry import Registry, existing_home

log = logging.getLogger("saccade.integrations")
LATE_S = 2.0
"""How long a handler may outlast its deadline: a graph that has begun cannot be stopped."""
AGAIN_S = 5.0
"""A package that could not be opened is tried again after this time, not by every request."""
TEXT = ("content-type", "text/plain; charset=utf-8")


@dataclass(frozen=True)
class Settings:
    """threads: cores that one batch may use; a web server has several workers, so one unless asked. home: of names.

    max_bytes of a body, max_images of a request. max_wait_s: refuse a picture that would wait longer.
    """

    home: Path | None = None
    threads: int | None = 1
    variant: str | None = None
    max_bytes: int = BODY_LIMITS.max_bytes
    max_images: int = BODY_LIMITS.max_images
    max_wait_s: float = QUEUE_LIMITS.max_wait_s


class _House:
    """What a process has open: an engine, the native protocol's routes over it, and the loop their handlers run in."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        self.engine = engine
        own = [Route("GET", path, _probe, open=True) for path in ("/livez", "/readyz")]
        self.table = routes.Table([*Native(max_bytes).routes(engine), *own])
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="handlers", daemon=True)
        self.thread.start()

    def close(self, drain_s: float) -> None:
        self.engine.close(drain_s)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _probe(call: Call) -> Reply:
    return Reply(200, b"ready\n", [TEXT])


class Inside:
    """packages: folders, or `name[@alias]` in the home, opened once a process and not followed.
    Safe from several threads."""

    def __init__(self, packages: Sequence[str | Path], settings: Settings | None = None) -> None:
        if not packages:
            raise UsageError("at least one package was expected, none came", hint="give its folder, or name@alias")
        self._packages = tuple(packages)
        self._settings = settings or Settings()
        self._house: _House | None = None
        self._lock = threading.Lock()
        self._failed: tuple[float, SaccadeError] | None = None
        self._left: list[_House] = []
        _all.add(self)

    def open(self) -> None:
        """Opens the packages in this process, unless they are. Raises what a package or the registry raises."""
        self._opened()

    def send(self, request: messages.Request, timeout_s: float) -> messages.Reply:
        """The native protocol's reply, whatever its status."""
        headers = request.headers
        fresh = routes.request_id(headers, prediction_id())
        try:
            reply = self._answered(self._opened(), request, timeout_s, fresh)
        except SaccadeError as error:
            reply = as_problem(error, fresh)
            if "allow" in error.details:
                reply.headers.append(("allow", str(error.details["allow"])))
            if reply.status == 500:
                log.error("request %s failed", fresh, exc_info=error)
        except Exception:
            log.exception("request %s failed", fresh)
            reply = as_problem(ServerError("", code="internal"), fresh)
        return messages.Reply(reply.status, {**dict(reply.headers), "x-request-id": fresh}, reply.body)

    def close(self, drain_s: float = 30.0) -> None:
        """Finishes accepted requests and frees the models; the next request opens them again."""
        with self._lock:
            house, self._house = self._house, None
        if house is not None:
            house.close(drain_s)

    def _answered(self, house: _House, request: messages.Request, timeout_s: float, id: str) -> Reply:
        path, _, query = request.target.partition("?")
        route, parameters = house.table.find(path, request.method)
        routes.check_encoding(request.headers)
        if len(request.body) > route.max_bytes:
            raise routes.too_large(route.max_bytes)
        given_s = min(timeout_s, QUEUE_LIMITS.deadline_cap_s)
        call = Call(
            method=request.method,
            path=path,
            parameters={name: unquote(text) for name, text in parameters.items()},
            headers=request.headers,
            query=routes.query(query.encode()),
            body=_stream(request.body),
            request_id=id,
            deadline_s=routes.deadline_s(request.headers, given_s, given_s),
            urgent=routes.urgent(request.headers),
        )
        asked = asyncio.run_coroutine_threadsafe(_handled(route, call), house.loop)
        try:
            return asked.result(given_s + LATE_S)
        except TimeoutError:
            asked.cancel()
            raise InferenceError("the model did not answer in time", code="deadline_exceeded") from None

    def _opened(self) -> _House:
        with self._lock:
            if self._house is None:
                if self._failed is not None and time.monotonic() < self._failed[0]:
                    raise self._failed[1]
                try:
                    self._house = self._load()
                except SaccadeError as error:
                    self._failed = time.monotonic() + AGAIN_S, error
                    raise
            return self._house

    def _load(self) -> _House:
        began, s = time.monotonic(), self._settings
        options = Options(variant=s.variant, threads=s.threads, max_wait_s=s.max_wait_s)
        engine = Engine(options, max_images=s.max_images, max_deadline_s=QUEUE_LIMITS.deadline_cap_s)
        try:
            for package in self._packages:
                name, version, path, alias = self._found(package)
                if version in engine.versions(name):
                    raise UsageError(f"two packages are named {name!r}", hint="push them under names of their own")
                engine.load(path, name, version)
                if alias:
                    engine.set_aliases(name, {**engine.aliases(name), alias: version})
        except BaseException:
            engine.close(0)
            raise
        took = time.monotonic() - began
        log.info(
            "process %d opened %s in %.2f s, %d MB resident",
            os.getpid(),
            ", ".join(engine.names()),
            took,
            resident_mb(),
        )
        return _House(engine, s.max_bytes)

    def _found(self, package: str | Path) -> tuple[str, int, Path, str]:
        """Name, version, folder and alias ("" for none)."""
        if Path(package).is_dir():
            return reader.open_package(Path(package)).manifest.name, 1, Path(package), ""
        if isinstance(package, Path) or os.sep in package:
            raise UsageError(f"no package at {package}", hint="give the folder that holds manifest.json")
        name, version, path = Registry(existing_home(self._settings.home)).resolve(package)
        return name, version, path, package.partition("@")[2]

    def _forget(self) -> None:
        """In a child: what the parent had open has no threads here, so its end would be waited for in vain."""
        if self._house is not None:
            self._left.append(self._house)
        self._house, self._failed, self._lock = None, None, threading.Lock()


_all: "weakref.WeakSet[Inside]" = weakref.WeakSet()


def _forget_all() -> None:
    for inside in list(_all):
        inside._forget()


os.register_at_fork(after_in_child=_forget_all)


async def _handled(route: Route, call: Call) -> Reply:
    return await route.handler(call)


async def _stream(body: bytes) -> AsyncIterator[bytes]:
    yield body


def resident_mb() -> int:
    """Memory of this process in MB as the kernel counts it; 0 where it does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
