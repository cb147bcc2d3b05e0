"""A graph that another server runs: where it is, and what holds for it whatever that server speaks."""

import ipaddress
import json
import logging
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Self

import numpy as np

from saccade.errors import InferenceError, PackageError, UsageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.types import Array, TensorSpec

log = logging.getLogger("saccade.inference")

SCHEMES = {"triton": "triton", "tfs": "tf_serving"}
"""What an address begins with, to the runtime that speaks it; `+tls` after it asks for an encrypted connection."""
ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FORM = "triton://HOST:PORT/MODEL[/versions/N] or tfs://HOST:PORT/MODEL[/versions/N]"
MAX_BYTES = 4096
RUN_S = 60.0
"""How long a run may take when nobody says."""
LOOK_S, AGAIN_S, ALIVE_S = 2.0, 0.5, 2.0
"""Between two looks whether the server is there; the same while it is away; how long a look may take."""


@dataclass(frozen=True)
class Remote:
    """address: host:port. version: a number as text, or empty for the one that the server chooses."""

    address: str
    model: str
    version: str = ""
    tls: bool = False

    def __post_init__(self) -> None:
        fit = ADDRESS.fullmatch(self.address) and int(self.address.rpartition(":")[2]) < 65_536
        number = not self.version or (self.version.isascii() and self.version.isdigit() and len(self.version) < 10)
        if not fit or not MODEL.fullmatch(self.model) or not number:
            raise UsageError(f"{self.address}/{self.model} names no model of a server", hint=FORM)

    @property
    def loopback(self) -> bool:
        """True when what is sent stays on this machine."""
        host = self.address.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def read(cls, file: Path) -> "Remote":
        """Raises PackageError(onnx_invalid)."""
        try:
            if file.stat().st_size > MAX_BYTES:
                raise ValueError("it is too long")
            record = json.loads(file.read_bytes())
            kinds = {f.name: type(getattr(cls("a:1", "a"), f.name)) for f in fields(cls)}
            if not isinstance(record, dict) or {k: type(v) for k, v in record.items()} != kinds:
                raise ValueError(f"it holds {', '.join(kinds)}")
            return cls(**record)
        except (OSError, ValueError, RecursionError, UsageError) as error:
            raise PackageError("the graph is no address of a model server", code="onnx_invalid") from error


def parse(url: str) -> tuple[str, Remote]:
    """An address as FORM says: the runtime's name, and where the graph is. Raises UsageError."""
    scheme, sign, rest = url.partition("://")
    name, plus, tls = scheme.partition("+")
    address, _, path = rest.partition("/")
    parts = path.split("/")
    fit = len(parts) in (1, 3) and parts[1:2] in ([], ["versions"])
    if not sign or name not in SCHEMES or (plus and tls != "tls") or not fit:
        raise UsageError(f"{url!r} names no model of a server", hint=FORM)
    return SCHEMES[name], Remote(address, parts[0], parts[2] if len(parts) == 3 else "", bool(plus))


def is_remote(text: str) -> bool:
    return text.partition("://")[0].partition("+")[0] in SCHEMES and "://" in text


def away() -> InferenceError:
    """What a stranger is told: who the server is stays in the log."""
    return InferenceError(
        "the server that runs this model is away", hint="ask again later", code="dependency_unavailable"
    )


class RemoteRuntime(Runtime):
    """Opens graphs that are elsewhere; a keeper says by `graph` how to speak to them, over gRPC."""

    suffixes = (".json",)
    graph: Callable[[Remote], "RemoteGraph"]

    def version(self) -> str:
        return metadata.version("grpcio")

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        if device not in ("cpu", "cuda"):
            raise InferenceError(
                f"there is no device {device!r}", hint="where it runs, its server says", code="not_found"
            )
        opened = type(self).graph(Remote.read(graph))
        try:
            return opened.learn().begin()
        except BaseException:
            opened.close()
            raise


class RemoteGraph(OpenGraph):
    """most: rows the server takes at once, 0 for any number; more are asked in turn.

    A thread of its own looks whether the server is there, so that `fault` knows before a caller has to find out.
    """

    near = False

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.most = 0
        self._fault: InferenceError | None = None
        self._closed = threading.Event()
        self._looker = threading.Thread(target=self._look, name=f"look-{remote.model}", daemon=True)

    @abstractmethod
    def learn(self) -> Self:
        """Asks the server what goes in and what comes out. Raises InferenceError, PackageError."""

    @abstractmethod
    def ask(self, arrays: Mapping[str, Array], until: float) -> dict[str, Array]:
        """One call; sent again only when it was certainly never sent. until: of time.monotonic. Raises
        InferenceError."""

    @abstractmethod
    def alive(self, until: float) -> None:
        """Raises InferenceError when the server could not run this model now."""

    def begin(self) -> "RemoteGraph":
        """Begins to look whether the server is there."""
        self._looker.start()
        return self

    def fault(self) -> InferenceError | None:
        return self._fault

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return self.run_until(arrays, time.monotonic() + RUN_S)

    def run_until(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        rows = len(next(iter(arrays.values())))
        step = self.most or max(1, rows)
        parts = [
            self._once({name: value[start : start + step] for name, value in arrays.items()}, deadline)
            for start in range(0, rows, step)
        ]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

    def _once(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        if self._closed.is_set():
            raise InferenceError("the graph is closed", code="not_ready")
        if deadline <= time.monotonic():
            raise InferenceError("the deadline passed before the run", code="deadline_exceeded")
        try:
            found = self.ask(arrays, deadline)
        except InferenceError as error:
            if error.code == "dependency_unavailable":
                self._set(error)
            raise
        rows = len(next(iter(arrays.values())))
        return {spec.name: _fitting(spec, found.get(spec.name), rows) for spec in self.outputs}

    def close(self) -> None:
        self._closed.set()
        if self._looker.is_alive():
            self._looker.join()

    def _look(self) -> None:
        while not self._closed.wait(AGAIN_S if self._fault else LOOK_S):
            try:
                self.alive(time.monotonic() + ALIVE_S)
            except InferenceError as error:
                # Its own code would be every caller's answer: late or broken, though nobody's picture was asked.
                fault = away()
                fault.__cause__ = error.__cause__ if error.code == fault.code else error
                self._set(fault)
            else:
                self._set(None)

    def _set(self, fault: InferenceError | None) -> None:
        if fault and not self._fault:
            causes, cause = "", fault.__cause__
            while cause:
                causes, cause = f"{causes}: {cause}", cause.__cause__
            log.warning("%s: %s cannot be asked%s", self.remote.model, self.remote.address, causes)
        elif self._fault and not fault:
            log.info("%s: %s answers again", self.remote.model, self.remote.address)
        self._fault = fault


def _fitting(spec: TensorSpec, value: Array | None, rows: int) -> Array:
    shape = (rows, *spec.shape[1:])
    fits = value is not None and value.dtype == spec.dtype and value.ndim == len(shape)
    if value is None or not fits or any(e not in (None, g) for e, g in zip(shape, value.shape, strict=True)):
        came = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
        raise InferenceError(f"the server that runs this model answered {came} for {spec.name!r}")
    return value
