"""A corrected copy in a new folder: the user's own files are never changed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from saccade.data.check.files import promised
from saccade.data.check.scan import Seen, scan
from saccade.data.convert import unkept
from saccade.data.dataset import Dataset, Ignored
from saccade.data.draft import drafted
from saccade.data.folder import KEEP_FIRST
from saccade.data.formats import keepers
from saccade.errors import DataError
from saccade.images import decode
from saccade.types import Sample


@dataclass(frozen=True)
class Repair:
    """changes: what was left out or renamed, and why. lost: sentences on what the copy does not hold besides, as of a
    conversion: it is written anew, from what was read."""

    changes: tuple[Ignored, ...]
    lost: tuple[str, ...]


def fix(dataset: Dataset, out: Path) -> Repair:
    """Writes a copy without damaged images, contradictions and exact duplicates, extensions corrected.

    The copy appears whole, and read again, or not at all. Raises StorageError when `out` exists or the disk refuses,
    DataError when nothing would be left.
    """
    changes: list[Ignored] = []
    kept = _kept(scan(dataset, full=True), changes)
    splits = {
        split: tuple(_renamed(s, changes) for s in samples if s.key in kept[split])
        for split, samples in dataset.splits.items()
    }
    splits = {split: samples for split, samples in splits.items() if samples}
    if not splits:
        raise DataError("no image of the dataset can be used", hint="see what `saccade check` says about them")
    mended, keeper = replace(dataset, splits=splits), keepers()[dataset.format]
    with drafted(out) as place:
        keeper.write(mended, place)
        lost = unkept(mended, keeper.read(place), keeper)
    return Repair(tuple(changes), lost)


def _kept(seen: Sequence[Seen], changes: list[Ignored]) -> dict[str, set[str]]:
    """Keys by split that stay in the copy."""
    kept: dict[str, set[str]] = defaultdict(set)
    same: dict[str, list[Seen]] = defaultdict(list)
    for s in sorted(seen, key=lambda s: KEEP_FIRST.index(s.split)):
        if (error := s.error or s.wrong) is not None:
            changes.append(Ignored(s.key, f"left out: {error.message}"))
        else:
            same[s.digest].append(s)
    for group in same.values():
        if len({s.told for s in group}) > 1:
            changes += [Ignored(s.key, "left out: the same image has another label elsewhere") for s in group]
            continue
        kept[group[0].split].add(group[0].key)
        changes += [Ignored(s.key, f"left out: the same image as {group[0].key}") for s in group[1:]]
    return kept


def _renamed(sample: Sample, changes: list[Ignored]) -> Sample:
    if not isinstance(sample.image, Path):
        return sample
    data = decode.read(sample.image)
    real = decode.inspect(data).format
    if promised(sample.image.name, real):
        return sample
    suffix = ".jpg" if real == "jpeg" else f".{real}"
    stem, line, number = sample.key.partition("@line ")
    key = PurePosixPath(stem).with_suffix(suffix).as_posix() + line + number
    changes.append(Ignored(sample.key, f"renamed to {PurePosixPath(key).name}: it is {real}"))
    return replace(sample, key=key, image=data)
