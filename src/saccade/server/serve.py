"""Serves packages over HTTP until told to stop: the verb behind `saccade serve` and `saccade.serve`."""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saccade import process
from saccade.errors import ServerError, UsageError
from saccade.images import decode, floors
from saccade.package import reader
from saccade.server import logs, siblings
from saccade.server.app import App
from saccade.server.build import build, make_engine
from saccade.server.control import Control, Together
from saccade.server.keys import Keys
from saccade.server.quiet import Quiet
from saccade.server.settings import Settings
from saccade.server.source import AGAIN_S, Both, Folders, Follower, Source
from saccade.server.state import State

log = logging.getLogger("saccade.server")


def serve(packages: Sequence[str | Path] = (), *, settings_file: Path | None = None, **given: Any) -> int:
    """Blocks until SIGTERM or Ctrl-C; returns 0 after a clean drain.

    packages: folders, or `name[@alias]` in the home; none serves the whole home and follows it. given: fields of
    Settings (host, port, home, insecure...). Raises UsageError, ServerError(insecure_listen), PackageError.
    """
    process.tune_memory(process.SERVING)
    settings = Settings.gather(given, file=settings_file)
    keys = Keys(settings.home)
    check_listen(settings, keys)
    if settings.admin_port:
        check_listen(settings.for_admin(), keys)
    check_floors(settings)
    if settings.processes > 1:
        logs.begin(settings.log_format)
        _check_ports(settings)
        source_of(packages, settings.home)  # what is wrong with them is told once, here
        return siblings.run(packages, settings)
    return run(settings, source_of(packages, settings.home), keys)


def check_listen(settings: Settings, keys: Keys) -> None:
    """Raises ServerError(insecure_listen) when strangers could connect and no key was ever made."""
    if not settings.loopback and not settings.insecure and not keys.any():
        raise ServerError(
            f"listening on {settings.host} needs an API key, and {settings.home} has none",
            hint="saccade keys make NAME, or --insecure to let everyone in",
            code="insecure_listen",
        )
    if not settings.loopback and not settings.insecure and settings.tls_cert is None:
        raise ServerError(
            f"API keys would travel in clear text to {settings.host}",
            hint="give tls_cert and tls_key, or --insecure behind a proxy that speaks TLS",
            code="insecure_listen",
        )


def check_floors(settings: Settings) -> None:
    """Raises UsageError under strict for what is said in a warning otherwise: decoders with known holes, and an
    operator's addresses on a listener that strangers reach."""
    faults = floors.below()
    if not settings.loopback and not settings.admin_port:
        faults.append("/metrics and what loads models share the listener of strangers; admin_port gives them their own")
    if settings.strict and faults:
        raise UsageError("; ".join(faults), hint="mend it, or serve without --strict")
    if faults:
        logs.begin(settings.log_format)
    for fault in faults:
        log.warning("%s", fault)


def source_of(packages: Sequence[str | Path], home: Path) -> Source:
    """Folders are served under the name in their manifest; anything else is looked up in the home's registry."""
    folders: dict[str, Path] = {}
    names: list[str] = []
    for given in packages:
        if Path(given).is_dir():
            name = reader.open_package(Path(given)).manifest.name
            if name in folders:
                raise UsageError(f"two packages are named {name!r}", hint="push them and serve the home")
            folders[name] = Path(given)
        elif isinstance(given, Path) or os.sep in given:
            raise UsageError(f"no package at {given}", hint="give the folder that holds manifest.json")
        else:
            names.append(given)
    sources: list[Source] = [Folders(folders)] if folders else []
    if names or not packages:
        from saccade.registry.registry import existing_home  # it opens a database: only when it is asked for
        from saccade.server.home import Home

        if names:
            existing_home(home)  # what is named must be there; a home without models may wait for its first
        sources.append(Home(home, names))
    return sources[0] if len(sources) == 1 else Both(sources)


def run(
    settings: Settings, source: Source, keys: Keys | None = None, *, others: siblings.Siblings | None = None
) -> int:
    """Listens at once (livez answers), loads meanwhile, is ready when the source's packages are.

    others: servers that share the port; then it loads first, for a request might come here that another could answer.
    """
    from saccade.server.http.listener import listen

    logs.begin(settings.log_format)
    if others is None:
        _check_ports(settings)
    decode.one_thread_a_picture()
    engine, state = make_engine(settings), State()
    follower = Follower(engine, source, settings.poll_s, settings.finish_s, settings.deadline_cap_s)
    control = Control(state, follower) if others is None else Together(state, follower)
    app = build(settings, engine, keys=keys, state=state, control=control)
    quiet = Quiet(lambda: app.metrics.asked)
    # What was imported stays: the collector need not look through it again and again. Before the first model comes, for
    # of one that is unloaded later nothing may stay.
    gc.collect()
    gc.freeze()
    failure: list[BaseException] = []
    # Where several load one after the other, memory may be there for the next one a moment later.
    waits = ("dependency_unavailable", "storage_full", *(("not_enough_memory",) if others is not None else ()))

    def begin() -> None:
        errors = follower.step()
        while errors and not any(e.loaded for n in engine.names() for e in engine.versions(n).values()):
            if final := [error for error in errors if error.code not in waits]:
                raise final[0]
            log.warning("nothing could be loaded yet: %s", errors[0])
            time.sleep(AGAIN_S)
            errors = follower.step()
        state.started = True
        follower.start()
        quiet.start()
        scheme = "https" if settings.tls_cert else "http"
        log.info("ready at %s://%s:%d, API pages at /docs", scheme, settings.host, settings.port)
        if settings.admin_port:
            log.info("metrics and control at %s:%d", settings.admin_host, settings.admin_port)
        if settings.grpc_port:
            log.info("gRPC at %s:%d", settings.host, settings.grpc_port)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening = asyncio.ensure_future(listen(app, settings, beside(app)))

        def load() -> None:
            try:
                begin()
            except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
                failure.append(error)
                loop.call_soon_threadsafe(listening.cancel)

        if others is None:
            threading.Thread(target=load, name="loader", daemon=True).start()
        try:
            await listening
        except asyncio.CancelledError:
            if not failure:
                raise

    if others is not None:
        begin()
        app.metrics.others = others.texts
        others.open(lambda: app.metrics.text(engine))
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main())
    if failure:
        raise failure[0]
    if others is not None:
        others.close()
    quiet.stop()
    follower.stop()
    engine.close(settings.finish_s)
    gc.unfreeze()
    log.info("stopped")
    return 0


def _loop() -> asyncio.AbstractEventLoop:
    """uvloop's, which carries a request for about half of what the standard library's costs;
    it has none for Windows."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


def beside(app: App) -> list[Any]:
    """The listeners beside HTTP that the settings ask for. Raises UsageError without the extra."""
    found: list[Any] = []
    if app.settings.admin_port:
        from saccade.server.http.listener import Listener

        admin = app.admin()
        found.append(Listener(admin, admin.settings))
    if not app.settings.grpc_port:
        return found
    try:
        from saccade.server.grpc import Grpc
    except ModuleNotFoundError as error:
        raise UsageError(
            f"gRPC needs {error.name}, which is not installed", hint="pip install 'saccade[grpc]'"
        ) from error
    return [*found, Grpc(app)]


def _check_ports(settings: Settings) -> None:
    for number in (settings.port, settings.grpc_port):
        _check_free(settings.host, number)
    if settings.admin_port:
        _check_free(settings.admin_host, settings.admin_port)


def _check_free(host: str, port: int) -> None:
    """Raises ServerError when the port is taken: the servers below would share it silently, or say it obscurely."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(
                f"port {port} on {host} cannot be had: {error.strerror}",
                hint="stop the other server or give --port or --grpc-port",
                code="port_taken",
            ) from error
