"""Who takes part in a row: the bare loop, our server, a peer. Each can be asked a picture and put under load."""

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import packages
from benchmarks.serving.host import Host
from benchmarks.serving.peers import Body, Peer, Way, as_form
from saccade.package import reader

WARM_S = 1.0
QUIET = {"SACCADE_DRAIN_S": "0", "SACCADE_INSECURE": "true", "SACCADE_MAX_WAIT_S": "60", "SACCADE_DEADLINE_S": "60"}
"""Stopping is not what is measured, and the peers queue without a bound: so does our server here."""
Figures = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """What is asked: a picture, by how many callers at once. several: pictures in one request, of our server alone."""

    name: str
    picture: bytes
    at_once: int
    several: int = 1


class Entrant(ABC):
    """name: in tables. how: its configuration in words."""

    name: str
    how: str

    @abstractmethod
    def ready(self) -> "contextlib.AbstractContextManager[Asked]":
        """Raises RuntimeError with the reason when it cannot take part."""


class Asked(ABC):
    """An entrant at work."""

    @abstractmethod
    def load(self, load: Load, seconds: float) -> Figures:
        """What came of so many seconds of it."""

    def answer(self, picture: bytes) -> list[tuple[int, float]] | None:
        """The best classes and their scores, best first; None for a graph that names none."""
        return None


@dataclass(frozen=True)
class Loop(Entrant):
    package: Path
    variant: str = "default"
    name: str = "bare loop"
    how: str = "decode, preprocess, run; a thread a core, no server"

    @contextlib.contextmanager
    def ready(self) -> Iterator[Asked]:
        yield _Looping(self)


@dataclass(frozen=True)
class _Looping(Asked):
    loop: Loop

    def load(self, load: Load, seconds: float) -> Figures:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(load.picture)
            words = [str(self.loop.package), self.loop.variant, file.name, str(load.at_once), str(seconds)]
            return _told("benchmarks.serving.loop", words)

    def answer(self, picture: bytes) -> list[tuple[int, float]] | None:
        from saccade.inference.model import Model, Options

        with Model.open(self.loop.package, options=Options(variant=self.loop.variant)) as model:
            scores = model.outputs([picture]).get("scores")
            if scores is None or "boxes" in {spec.name for spec in model.output_specs}:
                return None
            best = scores[0].argsort()[::-1][:5]
            return [(int(i), float(scores[0][i])) for i in best]


@dataclass(frozen=True)
class Ours(Entrant):
    """packages: what is served, none serves a home; the first is asked, or the one named `model`. variant: None takes
    what a server takes unasked."""

    packages: tuple[Path, ...]
    variant: str | None = None
    name: str = "saccade"
    how: str = "saccade serve PACKAGE"
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    model: str = ""

    @contextlib.contextmanager
    def ready(self) -> Iterator[Asked]:
        model = self.model or reader.open_package(self.packages[0]).manifest.name
        command = [sys.executable, "-m", "saccade", "serve", *map(str, self.packages), "--port", "{port}"]
        command += [*(["--variant", self.variant] if self.variant else []), *self.options]
        with tempfile.TemporaryDirectory() as space:
            tuned = packages.home(self.packages[0]) if self.packages else Path(space)
            environ = {**QUIET, "SACCADE_HOME": str(tuned if tuned.is_dir() else space), **self.environ}
            with Host(command, "/readyz", environ) as host:
                yield _Served(host, lambda picture, n: _ours(f"/api/v1/models/{model}/predict", picture, n), json.loads)


def _ours(path: str, picture: bytes, several: int) -> Body:
    if several == 1:
        return Body(path, "image/jpeg", picture)
    one = as_form(path, picture)
    part = one.data.removesuffix(b"--b--\r\n")
    return Body(path, one.kind, part * several + b"--b--\r\n")


@dataclass(frozen=True)
class Theirs(Entrant):
    peer: Peer
    way: Way
    graph: Path
    label: str = ""

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.label or self.peer.name

    @property
    def how(self) -> str:  # type: ignore[override]
        return self.way.name

    @contextlib.contextmanager
    def ready(self) -> Iterator[Asked]:
        with tempfile.TemporaryDirectory() as folder:
            host = self.peer.host(self.way, self.graph, Path(folder))
            with host:
                yield _Served(host, lambda picture, _: self.peer.body(self.way.path, picture), self.peer.read)


@dataclass(frozen=True)
class _Served(Asked):
    host: Host
    body: Callable[[bytes, int], Body]
    read: Callable[[bytes], dict]

    def load(self, load: Load, seconds: float) -> Figures:
        """What the client measured after a second of warming. Raises RuntimeError when nothing was answered."""
        target = self.body(load.picture, load.several).at(self.host.port)
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(target.request)
            words = [str(self.host.port), file.name, str(load.at_once)]
            _told("benchmarks.serving.client", [*words, str(WARM_S)])
            before = self.host.cpu_s()
            found = _told("benchmarks.serving.client", [*words, str(seconds)])
            cpu = self.host.cpu_s() - before
        if not found["answered"]:
            raise RuntimeError(f"nothing was answered with 200 ({found['errors']} errors): {self.host.said()}")
        found["per_s"] *= load.several
        found["cpu_ms"] = 1e3 * cpu / (found["answered"] * load.several)
        return {**found, "memory_mb": self.host.memory_mb()}

    def answer(self, picture: bytes) -> list[tuple[int, float]] | None:
        body = self.body(picture, 1)
        connection = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=30)
        try:
            connection.request("POST", body.path, body.data, {"Content-Type": body.kind, **body.headers})
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        if reply.status != 200:
            raise RuntimeError(f"it answered {reply.status}: {data[:200]!r} {self.host.said()}")
        found = self.read(data).get("predictions")
        if found is None or any("box" in one for one in found):
            return None
        return [(one["class_id"], one["score"]) for one in found]


def _told(module: str, words: list[str]) -> Figures:
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return dict(json.loads(done.stdout))
