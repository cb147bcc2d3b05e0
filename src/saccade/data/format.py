"""The contract of a dataset layout: recognise, read, write. Keepers: data/formats/*."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from saccade.data.dataset import Dataset
from saccade.errors import UsageError

MOST_CLASSES = 10_000
"""Of a table or of arrays, whose classes are whatever values stand there: iNaturalist 2021 has as many. More are
measured numbers or ids, and the doctor would keep a count of every class for every picture."""


@dataclass(frozen=True)
class Evidence:
    """What was seen that speaks for a format. facts: short phrases with counts, to print.

    rank: what is asked first wins: 2 marker files, 3 a parallel tree of pictures and masks, 4 class folders, tables.
    """

    format: str
    facts: tuple[str, ...]
    rank: int = 4


class Format(ABC):
    """name: its word on the command line. holds: annotation fields that `write` keeps, of which it needs the first.

    keeps: of what a dataset has besides, what stays: "groups" of pictures, "originals" (whole numbers of classes, as
    far as its files can hold them). styles: ways of writing that it reads alike, the usual one first. asked: splits
    without which other tools refuse what it writes.
    """

    name: str
    holds: tuple[str, ...] = ("classes",)
    keeps: frozenset[str] = frozenset()
    styles: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def styled(self, style: str) -> "Format":
        """A keeper that writes in one of `styles`. Raises UsageError for any other word."""
        known = f"styles of {self.name} are {', '.join(self.styles)}" if self.styles else "leave --style away"
        raise UsageError(f"{self.name} has no style {style!r}", hint=known)

    @abstractmethod
    def recognises(self, root: Path) -> Evidence | None:
        """Looks at names and headers only. None means: not mine."""

    @abstractmethod
    def read(self, root: Path, images: Path | None = None) -> Dataset:
        """Raises DataError naming file and line."""

    @abstractmethod
    def write(self, dataset: Dataset, root: Path) -> None:
        """Writes into a new folder only."""
