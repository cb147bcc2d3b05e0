"""The contract of a runtime: open a graph, run arrays. Keepers: inference/runtimes/*."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from saccade.errors import SaccadeError
from saccade.types import Array, TensorSpec

INPUT = "image"
"""The one input of a sealed graph: uint8 [N, H, W, 3]."""


class OpenGraph(ABC):
    """A graph in memory. run is safe to call from several threads; inputs and outputs have a free batch axis."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs that belong to the caller alone. Raises InferenceError: inference_failed, not_ready after close."""

    def run_until(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        """As run, and given up at this moment of time.monotonic, with deadline_exceeded, where the graph can do that."""
        return self.run(arrays)

    def fault(self) -> SaccadeError | None:
        """Why no run would succeed now; None as long as one may."""
        return None

    @abstractmethod
    def close(self) -> None: ...


class Runtime(ABC):
    """name: as in manifests. suffixes: of the graph files it opens."""

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        """threads: of each run; None takes all cores. Raises PackageError(onnx_invalid) when the file is no graph this
        runtime can open, InferenceError(not_found) for a device that is not here."""

    @abstractmethod
    def version(self) -> str:
        """Of the library, for certificates."""
