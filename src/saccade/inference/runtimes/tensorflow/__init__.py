"""SavedModels on TensorFlow, each in a process of its own: heavy to load, greedy, and free to crash without us.

__init__.py    the runtime, as everybody sees it
graph.py       a graph whose process is started again when it is gone
process.py     starts the process, asks it, says how it ended
wire.py        arrays through pipes, on both sides
worker.py      the process itself, the only one that imports the library
savedmodel.py  what a SavedModel says of itself, and what it must not hold
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.inference.runtimes.tensorflow.graph import Graph
from saccade.process import cores

FILE = "saved_model.pb"
WHEELS = ("tensorflow", "tensorflow-cpu", "tensorflow_cpu")


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
        return Graph(graph.parent, device, threads or cores())


RUNTIME = _TensorFlow()
