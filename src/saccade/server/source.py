"""Which packages are served: folders as named, or what a home's registry holds; followed as it changes."""

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from saccade.errors import InferenceError, RegistryError, SaccadeError
from saccade.inference.engine import Engine
from saccade.inference.shelves import Entry
from saccade.package.reader import MANIFEST, digest_of

log = logging.getLogger("saccade.server")
LAST_S = 5.0
AGAIN_S = 5.0
"""Between two tries to load a version that may be loaded later though nothing changes here."""
PASSING = ("dependency_unavailable", "storage_full", "not_enough_memory", "worker_lost", "internal")
"""Errors of what may come back by itself: a server, a disk, room on it, memory, a process that somebody ended, whatever
had no name."""


@dataclass(frozen=True)
class Wanted:
    """versions: name -> version -> package folder. aliases: name -> alias -> version. unreadable: wanted too, by name
    and version, but its folder cannot be told now."""

    versions: Mapping[str, Mapping[int, Path]] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unreadable: Mapping[tuple[str, int], SaccadeError] = field(default_factory=dict)

    def holds(self, name: str, version: int) -> bool:
        return version in self.versions.get(name, {}) or (name, version) in self.unreadable


class Source(Protocol):
    """revision changes whenever wanted would answer otherwise, but for what is unreadable. It is cheap, and so is
    names."""

    def revision(self) -> Hashable: ...
    def names(self) -> Sequence[str]: ...
    def wanted(self) -> Wanted: ...


class Folders:
    """Package folders as given; each is version 1 of the name it is given under. What `saccade optimize` puts in the
    place of one is followed."""

    def __init__(self, packages: Mapping[str, Path]) -> None:
        self._packages = dict(packages)

    def revision(self) -> Hashable:
        return tuple(_stamp(path / MANIFEST) for path in self._packages.values())

    def names(self) -> Sequence[str]:
        return list(self._packages)

    def wanted(self) -> Wanted:
        return Wanted({name: {1: path} for name, path in self._packages.items()})


class Both:
    """Several sources as one."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def revision(self) -> Hashable:
        return tuple(source.revision() for source in self._sources)

    def names(self) -> Sequence[str]:
        return [name for source in self._sources for name in source.names()]

    def wanted(self) -> Wanted:
        versions: dict[str, Mapping[int, Path]] = {}
        aliases: dict[str, Mapping[str, int]] = {}
        unreadable: dict[tuple[str, int], SaccadeError] = {}
        for source in self._sources:
            one = source.wanted()
            versions.update(one.versions)
            aliases.update(one.aliases)
            unreadable.update(one.unreadable)
        return Wanted(versions, aliases, unreadable)


class Follower:
    """Keeps an engine at what a source wants: new versions are loaded beside, checked, flipped to; old ones drained."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        poll_s: float = 0.5,
        finish_s: float = 30.0,
        drain_s: float | None = None,
    ) -> None:
        """finish_s: at the end. drain_s: what a version that is replaced gets, None as much: as long as an accepted
        request may last, or it would be cut off by a swap."""
        self._engine = engine
        self._source = source
        self._poll_s = poll_s
        self._finish_s = finish_s
        self._drain_s = finish_s if drain_s is None else max(drain_s, finish_s)
        self._seen: Hashable = object()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._stepping = threading.Lock()
        self._away: set[str] = set()
        self._again = math.inf

    def names(self) -> list[str]:
        """Models that the source has, loaded or not."""
        return sorted(set(self._source.names()))

    def load(self, name: str) -> None:
        """Brings a model back that was unloaded, or tries anew one that failed. Raises SaccadeError when it cannot."""
        if name not in self._source.names():
            raise RegistryError("no such model is in what is served here", hint="push it first", code="not_found")
        with self._stepping:
            self._away.discard(name)
            self._seen = object()
            failures = self._step()
        if not any(entry.loaded for entry in self._engine.versions(name).values()):
            own = [error for failed, error in failures if failed == name]
            raise own[0] if own else InferenceError("the model is not loaded", hint="ask again", code="not_ready")

    def unload(self, name: str) -> None:
        """Takes a model out of service, all its versions, until it is loaded again; accepted requests are finished."""
        if name not in self._engine.names():
            raise RegistryError("no such model is loaded", code="not_found")
        with self._stepping:
            self._away.add(name)
            self._seen = object()
            self._step()

    def step(self) -> list[SaccadeError]:
        """One look; returns what could not be loaded. A version that fails leaves those in service untouched."""
        with self._stepping:
            return [error for _, error in self._step()]

    def _step(self) -> list[tuple[str, SaccadeError]]:
        """Names of models, and why a version of theirs is not served."""
        revision = self._source.revision()
        if revision == self._seen and time.monotonic() < self._again:
            return []
        whole = self._source.wanted()
        wanted = Wanted(
            {n: v for n, v in whole.versions.items() if n not in self._away},
            whole.aliases,
            {key: error for key, error in whole.unreadable.items() if key[0] not in self._away},
        )
        failures = [(name, error) for (name, _), error in wanted.unreadable.items()]
        for name, versions in wanted.versions.items():
            held = self._engine.versions(name)
            for version, path in sorted(versions.items(), reverse=True):
                there = version in held and held[version].loaded
                if there and not _exchanged(held[version], path):
                    continue
                try:
                    if there:
                        entry = self._engine.exchange(path, name, version, drain_s=self._drain_s)
                    else:
                        entry = self._engine.load(path, name, version)
                    log.info("%s version %d is ready after %.2f s", name, version, entry.load_s)
                except Exception as error:  # noqa: BLE001 - no memory, no thread, a plug-in's own: others must be served
                    log.error("%s version %d is not served: %s", name, version, error)
                    failures.append((name, error if isinstance(error, SaccadeError) else _broken(error)))
                # Whoever asks for an alias meanwhile is told to wait for its version, and not that there is none.
                self._engine.set_aliases(name, self._usable(name, wanted.aliases.get(name, {})))
            self._engine.set_aliases(name, self._usable(name, wanted.aliases.get(name, {})))
        for name in self._engine.names():
            for version in self._engine.versions(name):
                if not wanted.holds(name, version) and self._replaced(name, version, wanted):
                    self._engine.unload(name, version, drain_s=self._drain_s)
                    log.info("%s version %d is unloaded", name, version)
        self._seen = revision
        # No revision tells that memory is free again or a server is back, so who waits for that is tried again unasked.
        waits = any(error.code in PASSING for _, error in failures)
        self._again = time.monotonic() + AGAIN_S if waits else math.inf
        return failures

    def _usable(self, name: str, aliases: Mapping[str, int]) -> dict[str, int]:
        """An alias moves only to a version that is ready; else it stays where it was."""
        held, before = self._engine.versions(name), self._engine.aliases(name)
        moved = {}
        for alias, version in aliases.items():
            ready = version in held and held[version].loaded
            moved[alias] = version if ready else before.get(alias, version)
        return moved

    def _replaced(self, name: str, version: int, wanted: Wanted) -> bool:
        """A version goes when nothing points at it and, if its name is still wanted, others answer for it: whoever
        names no version gets the newest, so that one stays until the newest that is wanted can answer."""
        if name not in wanted.versions:
            return True
        if version in self._engine.aliases(name).values():
            return False
        loaded = {v for v, entry in self._engine.versions(name).items() if entry.loaded}
        if not loaded - {version}:
            return False
        newest = max([*wanted.versions[name], *(v for n, v in wanted.unreadable if n == name)], default=0)
        return newest in loaded or version < max(loaded)

    def start(self, on_error: Callable[[Exception], None] | None = None) -> None:
        def loop() -> None:
            while not self._stop.wait(self._poll_s):
                try:
                    self.step()
                except Exception as error:  # noqa: BLE001 - whatever it is, what comes later must still be followed
                    # A lost registry never fails the models that are loaded (LIMITS I3).
                    log.error("what is to be served cannot be told: %s", error)
                    if on_error is not None:
                        on_error(error)

        self._thread = threading.Thread(target=loop, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for the step under way, but not for ever: it may load or drain what never ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._finish_s + LAST_S)


def _stamp(file: Path) -> Hashable:
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size


def _exchanged(entry: Entry, path: Path) -> bool:
    """Whether another package stands where a loaded one was opened; False while none can be read there."""
    try:
        return entry.model is not None and digest_of(path) != entry.model.digest
    except OSError:
        return False


def _broken(error: Exception) -> SaccadeError:
    typed = InferenceError("the version cannot be loaded; the log says why", hint="ask again later", code="internal")
    typed.__cause__ = error
    return typed
