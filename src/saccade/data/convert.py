"""A dataset in another format, in a new folder, with an account of what that format cannot hold.

The copy is read again and compared, so that nothing is lost without a word.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saccade.data.annotation import amounts
from saccade.data.dataset import Dataset
from saccade.data.draft import drafted
from saccade.data.format import Format
from saccade.data.formats import keepers
from saccade.errors import DataError, UsageError
from saccade.types import Annotation, Array, names_text


@dataclass(frozen=True)
class Conversion:
    """images: how many were written. lost: sentences on what the new format cannot hold, or the reader left out."""

    format: str
    out: Path
    images: int
    lost: tuple[str, ...]


def writer(to: str, style: str | None = None) -> Format:
    """Raises UsageError for an unknown format or style."""
    if to not in keepers():
        raise UsageError(f"no format {to!r}", hint=f"formats are {', '.join(keepers())}")
    return keepers()[to] if style is None else keepers()[to].styled(style)


def convert(dataset: Dataset, to: str, out: Path, style: str | None = None) -> Conversion:
    """Writes a dataset in the format `to`, in one of its styles; the copy appears whole, and read again, or not at all.

    Raises UsageError for an unknown format or style, DataError when it holds none of what the data has or a mask cannot
    be read, StorageError when `out` exists or the disk refuses.
    """
    keeper = writer(to, style)
    if not set(keeper.holds) & dataset.fields:
        raise DataError(
            f"{to} holds {keeper.holds[0]}, and the data has {', '.join(sorted(dataset.fields)) or 'no annotation'}",
            hint="formats for it are "
            + (", ".join(k.name for k in keepers().values() if set(k.holds) & dataset.fields) or "none"),
        )
    with drafted(out) as place:
        keeper.write(dataset, place)
        again = keeper.read(place)
        lost = unkept(dataset, again, keeper)
    return Conversion(to, out, len(again), lost)


def unkept(dataset: Dataset, again: Dataset, keeper: Format) -> tuple[str, ...]:
    """Sentences on what a copy does not hold. again: the copy that the keeper wrote, as it reads it.

    Masks are read from the copy when they are counted, so this comes before it moves. Raises DataError when one cannot
    be read.
    """
    return (
        *_before(dataset),
        *_unheld(dataset, keeper),
        *_renumbered(dataset, again, keeper),
        *_differences(dataset, again),
        *_lacking(again, keeper),
    )


def _before(dataset: Dataset) -> list[str]:
    """What was left out in reading, and so is not in the copy."""
    kinds = Counter(f.id for f in dataset.faults)
    told = [f"{n} x {id} when the data was read; saccade check names them" for id, n in kinds.items()]
    told += dataset.unheld
    if dataset.ignored:
        told.append(f"{len(dataset.ignored)} files were not part of the data")
    return told


def _unheld(dataset: Dataset, keeper: Format) -> list[str]:
    told = []
    for name in sorted({f for s in dataset for f in s.annotation} - set(keeper.holds)):
        marked = sum(int(np.count_nonzero(_news(s.annotation, name))) for s in dataset if name in s.annotation)
        if marked:
            told.append(f"{keeper.name} does not hold {name}, which {marked:,} values say")
    grouped = len({s.group for s in dataset if s.group is not None})
    if grouped and "groups" not in keeper.keeps:
        told.append(f"{keeper.name} does not hold groups, of which there are {grouped:,}")
    return told


def _renumbered(dataset: Dataset, again: Dataset, keeper: Format) -> list[str]:
    """Ids and colours of classes that became others in the copy. Ids that count from 0 are
    those of the ledger itself."""
    names, originals = dataset.labels.names, dataset.labels.originals
    if originals == tuple(range(len(originals))):
        return []
    now = dict(zip(again.labels.names, again.labels.originals, strict=True))
    anew = [f"{o} ({n})" for o, n in zip(originals, names, strict=True) if o != n and now.get(n, o) != o]
    return [f"{keeper.name} numbers classes anew: {names_text(anew, 3)} keep their names only"] if anew else []


def _news(annotation: Annotation, name: str) -> Array:
    """The values of a field that say more than the boxes do."""
    if name != "box_area":
        return annotation[name]
    sides = annotation["boxes"][:, 2:] - annotation["boxes"][:, :2]
    return np.asarray(~np.isclose(annotation[name], sides.prod(1), rtol=0.01))


def _differences(dataset: Dataset, again: Dataset) -> list[str]:
    """What the copy says otherwise: pictures by split, classes, amounts of each."""
    told = []
    for split in dataset.splits:
        n, m = len(dataset.splits[split]), len(again.splits.get(split, ()))
        if n != m:
            told.append(f"{split} has {n} pictures, the copy {m}")
    there = set(again.labels.names)
    if gone := [n for n in dataset.labels.names if n not in there]:
        told.append(f"{len(gone)} classes that no picture shows are not in the copy: {names_text(gone)}")
    before, after = _amounts(dataset), _amounts(again)
    for name in dataset.labels.names:
        if before[name] != after[name]:
            told.append(f"{name}: {before[name]:,} became {after[name]:,}")
    return told


def _lacking(again: Dataset, keeper: Format) -> list[str]:
    """Splits that a copy has not, and without which other tools refuse it. One that is not split is to learn from."""
    there = {"train" if split == "all" else split for split in again.splits}
    if not (gone := [split for split in keeper.asked if split not in there]):
        return []
    return [
        f"the copy has no {' and no '.join(gone)} split, without which other tools refuse {keeper.name}: put the "
        "pictures into split folders before they are converted, as saccade train makes splits for itself alone"
    ]


def _amounts(dataset: Dataset) -> Counter[str]:
    total = np.zeros(len(dataset.labels), np.int64)
    for sample in dataset:
        total += amounts(sample.annotation, len(dataset.labels))
    return Counter(dict(zip(dataset.labels.names, total.tolist(), strict=True)))
