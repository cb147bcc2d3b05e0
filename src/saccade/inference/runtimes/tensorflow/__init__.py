"""SavedModels on TensorFlow, each in a process of its own: heavy to load, greedy, and free to crash without us.

__init__.py    the runtime, as everybody sees it
process.py     starts the process, asks it, starts it again when it is gone
wire.py        arrays through pipes, on both sides
worker.py      the process itself, the only one that imports the library
savedmodel.py  what a SavedModel says of itself, and what it must not hold
"""

import threading
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.inference.runtimes.tensorflow.process import Process
from saccade.process import cores
from saccade.types import Array, TensorSpec

FILE = "saved_model.pb"
WHEELS = ("tensorflow", "tensorflow-cpu", "tensorflow_cpu")
PAUSE_S = 5.0
"""Between two starts: a graph that crashes on everything must not keep the machine busy with importing."""


class _Graph(OpenGraph):
    near = False

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        self._how = (folder, device, threads, max(1, cores() // threads))
        self._process: Process | None = Process(*self._how)
        self._started = time.monotonic()
        self._lock = threading.Lock()
        facts = self._process.facts
        self.inputs = tuple(TensorSpec(n, d, tuple(s)) for n, d, s in facts["inputs"])
        self.outputs = tuple(TensorSpec(n, d, tuple(s)) for n, d, s in facts["outputs"])

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        lacking = [spec.name for spec in self.inputs if spec.name not in arrays]
        if lacking:
            raise InferenceError(f"the graph takes {lacking[0]!r}, which did not come")
        return self._living().ask({spec.name: arrays[spec.name] for spec in self.inputs})

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _living(self) -> Process:
        with self._lock:
            if self._process is None:
                raise InferenceError("the graph is closed", code="not_ready")
            if not self._process.alive:
                self._restart(self._process)
            return self._process

    def _restart(self, dead: Process) -> None:
        if time.monotonic() < self._started + PAUSE_S:
            raise InferenceError(
                "the process of the graph ended and is not started again yet", hint="ask again", code="not_ready"
            )
        dead.close()
        self._started = time.monotonic()
        try:
            self._process = Process(*self._how)
        except PackageError as error:
            raise InferenceError("the process of the graph does not start again", code="not_ready") from error


class _TensorFlow(Runtime):
    name = "tensorflow"
    suffixes = (".pb",)

    def version(self) -> str:
        for wheel in WHEELS:
            try:
                return version(wheel)
            except PackageNotFoundError:
                continue
        return "0 (unknown)"

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        """graph: the saved_model.pb of a SavedModel; weights lie beside it."""
        if device not in ("cpu", "cuda"):
            raise InferenceError(
                f"TensorFlow here has no device {device!r}", hint="use cpu, or another runtime", code="not_found"
            )
        if graph.name != FILE or not graph.is_file():
            raise PackageError(f"a SavedModel is a folder with a {FILE}, this is none", code="onnx_invalid")
        return _Graph(graph.parent, device, threads or cores())


RUNTIME = _TensorFlow()
