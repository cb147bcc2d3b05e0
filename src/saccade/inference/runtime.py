"""The contract of a runtime: open a graph, run arrays. Keepers: inference/runtimes/*."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from saccade.types import Array, TensorSpec


class OpenGraph(ABC):
    """A graph in memory. run is safe to call from several threads."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @abstractmethod
    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]: ...

    @abstractmethod
    def close(self) -> None: ...


class Runtime(ABC):
    name: str

    @abstractmethod
    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        """Raises PackageError(onnx_invalid) when the file is no graph this runtime can open."""
