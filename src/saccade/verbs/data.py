"""Verbs on labelled pictures: check and convert."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade import tasks
from saccade.data import annotation, formats
from saccade.data import check as doctor
from saccade.data import convert as conversion
from saccade.data.check import Finding, Repair
from saccade.data.convert import Conversion
from saccade.data.dataset import Dataset
from saccade.data.folder import taken
from saccade.data.format import Evidence
from saccade.errors import DataError, StorageError, UsageError
from saccade.images import encode


@dataclass(frozen=True)
class Health:
    """What `check` saw: the dataset, why it was read this way, and what is wrong with it. images: where its pictures
    were said to be."""

    dataset: Dataset
    evidence: Evidence
    findings: tuple[Finding, ...]
    images: Path | None = None

    def summary(self) -> str:
        """Format, classes, splits and what was left out, as printed before every training."""
        labels, splits = self.dataset.labels, self.dataset.splits
        lines = [
            f"format   {self.evidence.format:<16} {', '.join(self.evidence.facts)}",
            f"task     {' or '.join(tasks.fitting(self.dataset.fields)) or 'none fits'}",
            f"images   {len(self.dataset):<16,} {len(self.dataset.ignored)} ignored",
            f"classes  {len(labels):<16} {', '.join(labels.names[:12])}{' ...' if len(labels) > 12 else ''}",
            "splits   " + ", ".join(f"{name} {len(samples):,}" for name, samples in splits.items()),
        ]
        if counted := self.amounts():
            total = sum(counted.values())
            most = sorted(counted, key=lambda n: -counted[n])[:12]
            if "mask" in self.dataset.fields:
                shown = ", ".join(f"{n} {100 * counted[n] / max(1, total):.1f} %" for n in most)
                lines.insert(4, f"pixels   {total:<16,} {shown}")
            else:
                lines.insert(4, f"boxes    {total:<16,} {', '.join(f'{n} {counted[n]:,}' for n in most)}")
        return "\n".join([*lines, *(f"note     {note}" for note in (*self.dataset.notes, *self.dataset.unheld))])

    def amounts(self) -> dict[str, int]:
        """Boxes or pixels of each class; empty for labels of whole images. Masks that cannot be read count nothing."""
        if not self.dataset.fields & {"boxes", "mask"}:
            return {}
        total = np.zeros(len(self.dataset.labels), np.int64)
        for sample in self.dataset:
            with contextlib.suppress(DataError, OSError):
                total += annotation.amounts(sample.annotation, len(total))
        return dict(zip(self.dataset.labels.names, total.tolist(), strict=True))

    def draw(self, file: Path) -> None:
        """Writes a contact sheet of nine annotated pictures as PNG. Raises StorageError when the file is there."""
        if file.exists():
            raise StorageError(
                f"{file} is already there, and nothing is overwritten", hint="name a new file", code="already_exists"
            )
        file.write_bytes(encode.to_png(doctor.sheet(self.dataset)))

    def fix(self, out: Path | None) -> Repair:
        """Writes a corrected copy into the new folder `out`; gives what was left out or renamed, and what of the data
        the copy does not hold. Raises UsageError without a folder, or for one inside the data, StorageError for one
        that is there."""
        target = copied_to(out, self.dataset.origin, self.images)
        refuse_found(target, self.dataset, self.images, copy=True)
        return doctor.fix(self.dataset, target)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.evidence.format,
            "evidence": list(self.evidence.facts),
            "images": len(self.dataset),
            "classes": list(self.dataset.labels.names),
            "amounts": self.amounts(),
            "splits": {name: len(samples) for name, samples in self.dataset.splits.items()},
            "ignored": [{"path": i.path, "reason": i.reason} for i in self.dataset.ignored],
            "findings": [f.to_json() for f in self.findings],
        }


def copied_to(out: Path | None, data: Path, images: Path | None = None) -> Path:
    """Where a copy of the data may go. Raises UsageError for nowhere, or for a place inside the data or `images`;
    StorageError for one that is there."""
    if out is None:
        raise UsageError("--fix needs --out NEW_FOLDER", hint="the data itself is never changed")
    refuse_inside(out, data, images)
    if out.exists() or out.is_symlink():
        raise taken(out)
    return out


def refuse_inside(place: Path, data: Path, images: Path | None) -> None:
    """Raises UsageError for a place inside the data, or the folder their pictures were said to be in. The folder that a
    file lies in is left to refuse_found."""
    beside = None if data.is_dir() else data.parent.resolve()
    folders = [data.resolve(), *([] if images is None else [images.resolve()])]
    if any(place.resolve().is_relative_to(folder) for folder in folders if folder != beside):
        raise _inside(place)


def refuse_found(place: Path, dataset: Dataset, images: Path | None, *, copy: bool) -> None:
    """Raises UsageError for a place where data that are one file would find what is written there when that file is
    read again: in the folders of its pictures, and for a copy of these anywhere beside it.

    images: where its pictures were said to be; if that is not beside it, it looks nowhere else. Beside a table that
    names every picture by its path anything may lie: it looks for no others.
    """
    found = [(sample.key, sample.image) for sample in dataset if isinstance(sample.image, Path)]
    beside = images or dataset.origin.parent
    home = beside.resolve()
    if dataset.origin.is_dir() or home != dataset.origin.parent.resolve() or not found:
        return
    holders = {parent.resolve() for parent in {file.parent for _, file in found}}
    theirs = {home / h.relative_to(home).parts[0] if h != home and h.is_relative_to(home) else h for h in holders}
    if dataset.format == "csv" and all(beside / key.partition("@line ")[0] == file for key, file in found):
        theirs.discard(home)
    elif copy:
        theirs.add(home)
    if any(place.resolve().is_relative_to(folder) for folder in theirs):
        raise _inside(place)


def _inside(place: Path) -> UsageError:
    return UsageError(
        f"{place} would lie inside the data, which are never written to", hint="name a folder elsewhere with --out"
    )


def check(
    data: Path | str,
    *,
    format: str | None = None,
    images: Path | None = None,
    full: bool = False,
    size: int = doctor.INPUT_PX,
) -> Health:
    """Reads a dataset and says what is wrong with it; never changes it. Raises DataError when it cannot be read.

    size: longer side in px of the network that will learn from it; boxes too small for that are told.
    """
    dataset, evidence = formats.read(Path(data), format=format, images=images)
    return Health(dataset, evidence, tuple(doctor.check(dataset, full=full, side_px=size)), images)


def convert(
    data: Path | str,
    out: Path | str,
    *,
    to: str,
    style: str | None = None,
    format: str | None = None,
    images: Path | None = None,
) -> Conversion:
    """Writes a dataset in another format into the new folder `out`, and says what that format cannot hold. style: one
    of several ways to write it, of those that have any (`Format.styles`). Raises UsageError, DataError,
    StorageError."""
    conversion.writer(to, style)  # before all of the data is read
    target = copied_to(Path(out), Path(data), images)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    refuse_found(target, dataset, images, copy=True)
    return conversion.convert(dataset, to, target, style)
