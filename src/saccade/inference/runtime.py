"""The contract of a runtime: open a graph, run arrays. Keepers: inference/runtimes/*."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from saccade.errors import SaccadeError
from saccade.types import Array, TensorSpec

INPUT = "image"
"""The one input of a sealed graph: uint8 [N, H, W, 3]."""


@dataclass(frozen=True)
class Health:
    """Of a graph in processes of its own: how many live, of how many; how many were lost so far, and why the last one.

    resident: bytes of all of them now; peak: most bytes of one so far.
    """

    live: int
    wanted: int
    lost: int = 0
    trouble: str = ""
    resident: int = 0
    peak: int = 0
    processes: list[int] = field(default_factory=list)


class OpenGraph(ABC):
    """A graph in memory. run is safe to call from several threads; inputs and outputs have a free batch axis.

    One that lives in another process overrides what stands below `close`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    near = True
    """It runs in this process, on the thread that asks."""
    steady = False
    """How long a run takes depends on nothing but shapes (steady.py)."""

    @abstractmethod
    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs that belong to the caller alone. Raises InferenceError: inference_failed, not_ready after close."""

    def run_until(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        """As run, and given up at this moment of time.monotonic, with deadline_exceeded, where
        the graph can do that."""
        return self.run(arrays)

    def fault(self) -> SaccadeError | None:
        """Why no run would succeed now; None as long as one may."""
        return None

    @abstractmethod
    def close(self) -> None: ...

    def stack(self, rows: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
        """Rows of one shape as arrays with a batch axis, for one call of `run`, which must follow."""
        if len(rows) == 1:
            return {name: value[None] for name, value in rows[0].items()}
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def wait(self, timeout_s: float) -> bool:
        """Blocks until a run could begin at once; False when the time was over. Raises the fault."""
        return True

    def settle(self) -> None:  # noqa: B027 - a graph in this process never gave way
        """Told when it goes into service, after an opening that may have given way to others."""

    def health(self) -> Health | None:
        """None for a graph in this process."""
        return None


class Runtime(ABC):
    """name: as in manifests. suffixes: of the graph files it opens."""

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        """threads: of each run; None takes all cores. Raises PackageError(onnx_invalid) when the file is no graph this
        runtime can open, InferenceError(not_found) for a device that is not here."""

    def open_wide(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        """As open, to run one row at a time with nothing beside it; what that allows is the runtime's to know."""
        return self.open(graph, device, threads)

    @abstractmethod
    def version(self) -> str:
        """Of the library, for certificates."""
