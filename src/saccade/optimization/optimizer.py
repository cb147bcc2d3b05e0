"""The contract of an optimizer: from a sealed graph to candidates that might be faster. Keepers:
optimization/optimizers/*."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saccade.errors import SaccadeError, first_line
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
    """A candidate that cannot be had here, and why, in one line."""

    name: str
    reason: str


class Optimizer(ABC):
    """name: of its library."""

    name: str

    @abstractmethod
    def candidates(self, graph: Path, given: Array, folder: Path, distance: Distance) -> Iterator[Candidate | Unfit]:
        """graph: the sealed one, ONNX. given: what its one input takes, [N, ...], to be calibrated on: uint8 pictures
        [N, H, W, 3] of a graph of ours. folder: where files may be left. distance: of two answers of the graph itself.

        Each is made by `attempt`, so that one that cannot be made keeps no other from being tried.
        """


def attempt(name: str, make: Callable[[], Candidate | Unfit]) -> Candidate | Unfit:
    """What `make` makes, or why it could not."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - a library raises what it likes, and other candidates are still to come
        return Unfit(name, reason(error))


def reason(error: Exception) -> str:
    """Why something failed, in one line: an error of ours as it is, one of another hand by its
    kind and its first line."""
    if isinstance(error, SaccadeError):
        return " ".join(str(error).split())
    kind, said = type(error).__name__, first_line(error).strip()
    return said if said == kind else f"{kind}: {said}"
