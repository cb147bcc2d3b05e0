"""The contract of an optimizer: from a sealed graph to candidates that might be faster. Keepers: optimization/optimizers/*."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.types import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Graph inputs [N, ...] to graph outputs [N, ...]."""

Distance = Callable[[Mapping[str, Array], Mapping[str, Array]], float]
"""How far two answers to the same pictures lie apart, as the task measures it."""


@dataclass(frozen=True)
class Candidate:
    """A graph that might serve. files: what it consists of, in one folder; graph: the one that runtime opens.

    made: how, for the certificate.
    """

    name: str
    runtime: str
    graph: Path
    files: tuple[Path, ...]
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unfit:
    """A candidate that cannot be had here, and why."""

    name: str
    reason: str


class Optimizer(ABC):
    """name: of its library."""

    name: str

    @abstractmethod
    def candidates(
        self, graph: Path, images_NHWC: Array, folder: Path, distance: Distance
    ) -> Iterator[Candidate | Unfit]:
        """graph: the sealed one, ONNX. images_NHWC: uint8, what it is calibrated on. folder: where files may be left."""
