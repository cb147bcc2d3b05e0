"""Models by name and version, and the aliases of each: what is there, and which version is meant."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from saccade.errors import InferenceError, SaccadeError
from saccade.inference.model import Model


@dataclass(frozen=True)
class Entry:
    """One version as the engine holds it. model is there while ready, away or unloading; error says why it failed.

    away: loaded and checked, but what runs its graph, another server or a process of its own, cannot be asked now.
    """

    name: str
    version: int
    path: Path
    state: str
    model: Model | None = None
    error: SaccadeError | None = None
    load_s: float = 0.0

    @property
    def loaded(self) -> bool:
        return self.state in ("ready", "away")

    def now(self) -> "Entry":
        """The entry as it is at this moment: away when its model cannot be asked."""
        fault = self.model.fault() if self.model is not None and self.state == "ready" else None
        return replace(self, state="away", error=fault) if fault else self


@dataclass
class _Shelf:
    versions: dict[int, Entry] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)


class Shelves:
    """Thread-safe. Loads, closes and runs nothing."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.RLock()
        self._closed = False

    # Changing

    def begin(self, entry: Entry) -> Entry | None:
        """Takes a place for a version that is to be loaded; the one that is there if it is loading or ready. Raises
        InferenceError: not_ready while it is being unloaded, draining once closed."""
        with self._lock:
            if self._closed:
                raise closing()
            shelf = self._shelves.setdefault(entry.name, _Shelf())
            held = shelf.versions.get(entry.version)
            if held is not None and held.state == "unloading":
                raise InferenceError("the version is being unloaded", hint="ask again", code="not_ready")
            if held is not None and held.state in ("loading", "ready"):
                return held
            shelf.versions[entry.version] = entry
            return None

    def put(self, before: Entry, entry: Entry) -> bool:
        """In the place of the one before, which may have been taken away meanwhile: then nothing is put, and it is
        False."""
        with self._lock:
            shelf = self._shelves.get(entry.name)
            if shelf is None or shelf.versions.get(entry.version) is not before:
                return False
            shelf.versions[entry.version] = entry
            return True

    def leave(self, name: str, version: int) -> Entry:
        """The version as it is from now on: found no longer, if it has a model. Raises InferenceError(not_found)."""
        with self._lock:
            shelf = self._shelves.get(name)
            entry = shelf.versions.get(version) if shelf else None
            if entry is None:
                raise InferenceError("no such model version is loaded", code="not_found")
            going = replace(entry, state="unloading") if entry.model is not None else entry
            self.put(entry, going)
            return going

    def remove(self, going: Entry) -> None:
        """Takes what `leave` gave away, unless another unloading did, and one that came since stands there."""
        with self._lock:
            shelf = self._shelves.get(going.name)
            if shelf is None:
                return
            if shelf.versions.get(going.version) is going:
                del shelf.versions[going.version]
            if not shelf.versions:
                del self._shelves[going.name]

    def set_aliases(self, name: str, aliases: Mapping[str, int]) -> None:
        """All at once. An alias may point at a version that is not loaded yet."""
        with self._lock:
            if name in self._shelves:
                self._shelves[name].aliases = dict(aliases)

    def close(self) -> None:
        """From now on nothing begins."""
        with self._lock:
            self._closed = True

    # Looking

    @property
    def closed(self) -> bool:
        return self._closed

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._shelves)

    def versions(self, name: str) -> dict[int, Entry]:
        with self._lock:
            shelf = self._shelves.get(name)
            return {v: e.now() for v, e in sorted(shelf.versions.items())} if shelf else {}

    def aliases(self, name: str) -> dict[str, int]:
        with self._lock:
            shelf = self._shelves.get(name)
            return dict(shelf.aliases) if shelf else {}

    def find(self, model: str, version: int | None = None) -> Entry:
        """A ready version: the one asked for, else the alias's, else the newest ready.

        Raises InferenceError: not_found, or not_ready when it is known but cannot answer now.
        """
        name, _, alias = model.partition("@")
        with self._lock:
            shelf = self._shelves.get(name)
            if shelf is None:
                raise InferenceError("no such model", hint="GET /api/v1/models lists them", code="not_found")
            if version is None and alias:
                version = shelf.aliases.get(alias)
                if version is None and any(e.state == "loading" for e in shelf.versions.values()):
                    # Aliases are set when the first version is there.
                    raise InferenceError("the model is being loaded", hint="ask again later", code="not_ready")
                if version is None:
                    raise InferenceError("the model has no such alias", code="not_found")
                if version not in shelf.versions:
                    raise InferenceError("the alias's version is not loaded", hint="ask again later", code="not_ready")
            if version is not None:
                entry = shelf.versions.get(version)
                if entry is None:
                    raise InferenceError("the model has no such version", code="not_found")
                entry = entry.now()
                if entry.state == "away" and entry.error is not None:
                    raise entry.error
                if entry.state != "ready":
                    raise InferenceError(f"the version is {entry.state}", hint="ask again later", code="not_ready")
                return entry
            held = [e.now() for e in shelf.versions.values()]
        ready = [e for e in held if e.state == "ready"]
        faults = [e.error for e in held if e.state == "away" and e.error is not None]
        if not ready and faults:
            raise faults[-1]
        if not ready:
            raise InferenceError("no version of this model is ready", hint="ask again later", code="not_ready")
        return max(ready, key=lambda e: e.version)


def closing() -> InferenceError:
    return InferenceError("the engine is closing", hint="ask again later", code="draining")
