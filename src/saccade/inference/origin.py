"""The contract of an origin: a model file from elsewhere, made ready to be sealed. Keepers: inference/origins/*."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saccade.errors import UsageError
from saccade.types import TensorSpec

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Told:
    """What the caller said of a file that it does not say itself. signature: which of several;
    inputs: name, type, shape."""

    signature: str | None = None
    inputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True)
class Ready:
    """runtime: which opens it; graph: the file it opens, below the folder whose every file is sealed.

    last: by output, the operator that makes it, where the file says so ("" for one passed through). notes: what
    was changed, in sentences. strange: operators of families that the runtime may not know. name: of the model,
    where it is told beside the file's. labels: a file of names that lies with it. most: rows the graph may be
    given at once, 0 for any number.
    """

    runtime: str
    graph: str
    last: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    name: str = ""
    labels: Path | None = None
    most: int = 0


class Origin(ABC):
    """title: what its files are called. needs: library to the extra that brings it. takes: which
    fields of Told it reads."""

    title: str
    needs: Mapping[str, str]
    takes: tuple[str, ...] = ()

    @abstractmethod
    def recognises(self, file: Path) -> bool:
        """By name and first bytes; nothing is loaded."""

    @abstractmethod
    def read(self, file: Path, folder: Path, told: Told) -> Ready:
        """Writes what is to be sealed into an empty folder, under names that a package allows; the file stays as it is.

        Raises UsageError for what must be said, PackageError (onnx_invalid, package_format_forbidden) for a file that
        is damaged, is of another kind, or would run code of its own.
        """


def spec_of(text: str) -> TensorSpec:
    """ "image:float32:N,3,224,224": name, NumPy's type, sides, a free first one written N. Raises UsageError."""
    name, _, rest = text.partition(":")
    dtype, _, shape = rest.partition(":")
    sides = shape.split(",")
    whole = sides[1:] if sides[0] == "N" else sides
    if not name or dtype not in DTYPES or not shape or not all(s.isascii() and s.isdigit() and int(s) for s in whole):
        raise UsageError(
            f"an input is NAME:TYPE:SHAPE, got {text!r}",
            hint="for example x:float32:N,3,224,224, with N for any number of rows",
        )
    return TensorSpec(name, dtype, tuple(None if side == "N" else int(side) for side in sides))
