"""A dataset as the house sees it: samples by split, the class ledger, and where both came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saccade.types import Labels, Sample


@dataclass(frozen=True)
class Ignored:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Fault:
    """What a reader found wrong in one annotation. id: a finding of the doctor; where: file and line or key.

    What cannot be used is left out by the reader, never silently: every fault is counted and named by the doctor.
    """

    id: str
    where: str
    text: str


@dataclass(frozen=True)
class Dataset:
    """splits: "train", "val", "test" (those that exist), or the single key "all" when nothing was split yet.

    fields: annotation fields every sample has. origin: the folder or file that was read; never written to.
    seed: what the made splits were drawn with, None when all came with the data. faults: what was wrong in annotations.
    unheld: sentences on what the files say and the annotations do not hold, so that no copy has it.
    """

    format: str
    origin: Path
    labels: Labels
    splits: Mapping[str, tuple[Sample, ...]]
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    seed: int | None = None
    faults: tuple[Fault, ...] = ()
    unheld: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(s) for s in self.splits.values())

    def __iter__(self) -> Iterator[Sample]:
        for samples in self.splits.values():
            yield from samples

    @property
    def fields(self) -> frozenset[str]:
        found: frozenset[str] | None = None
        for sample in self:
            names = frozenset(sample.annotation)
            found = names if found is None else found & names
        return found or frozenset()
