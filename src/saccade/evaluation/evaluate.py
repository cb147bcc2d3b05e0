"""Runs a sealed package over a split of a dataset: the very thing that will be served."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from saccade.data.dataset import Dataset
from saccade.errors import DataError, SaccadeError
from saccade.images import decode
from saccade.inference.model import Model
from saccade.types import Annotation, Array, Labels, Sample, Scorecard, Table, names_text

AT_ONCE = 256
"""Pictures whose answers are held at once."""
PIXELS = 256_000_000
"""Of these pictures in all, where an answer is as large as its picture."""
UNREADABLE = "Unreadable images"


def evaluate_model(model: Model, dataset: Dataset, split: str) -> Scorecard:
    """Scores an open package on dataset.splits[split].

    Images that cannot be read are left out of every number, counted and named in the table "Unreadable images". Raises
    DataError when split, ledger or annotations do not fit.
    """
    samples = aligned(dataset, split, model.labels)
    missing = sorted(set(model.task.needs) - dataset.fields)
    if missing:
        raise DataError(f"{model.task.name} needs {missing} on every sample; the dataset has {sorted(dataset.fields)}")
    scorer = model.task.scorer(model.labels)
    scorer.thresholds = model.manifest.thresholds
    unreadable: list[tuple[str, str, str]] = []
    for part in _parts(samples, "mask" in model.task.needs):
        for sample, result in zip(part, model.results([s.image for s in part]), strict=True):
            if isinstance(result, SaccadeError):
                unreadable.append(_named(sample, result))
            else:
                scorer.add(result, sample)
    if len(unreadable) == len(samples):
        raise DataError(f"none of {len(samples)} images of split {split!r} can be read: {unreadable[0][2]}")
    card = scorer.card(split)
    if not unreadable:
        return card
    table = Table(UNREADABLE, ("image", "code", "why"), tuple(unreadable), "Left out of every number on this page.")
    return replace(card, tables=(*card.tables, table))


def _parts(samples: Sequence[Sample], large: bool) -> Iterator[list[Sample]]:
    """The samples, as many at a time as are asked at once. large: their pixels count too."""
    part: list[Sample] = []
    room = PIXELS
    for sample in samples:
        size = _pixels(sample) if large else 0
        if part and (len(part) == AT_ONCE or size > room):
            yield part
            part, room = [], PIXELS
        part.append(sample)
        room -= size
    if part:
        yield part


def _pixels(sample: Sample) -> int:
    """Of its picture; of one whose header cannot be read as many as there may be."""
    if isinstance(sample.image, np.ndarray):
        return int(sample.image.shape[0] * sample.image.shape[1])
    try:
        header = decode.inspect(sample.image)
    except SaccadeError:
        return PIXELS
    return header.width * header.height


def aligned(dataset: Dataset, split: str, labels: Labels) -> tuple[Sample, ...]:
    """The samples of a split with class ids of the package's ledger; classes are matched by name.

    Raises DataError when the split is missing or empty, or the dataset has a class that the package does not know.
    Where several classes may hold at once, a class of the package may be missing: formats list what occurs.
    """
    samples = dataset.splits.get(split, ())
    if not samples:
        have = ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items())
        raise DataError(f"the dataset has no images in split {split!r}; it has {have or 'none'}", hint="use --split")
    theirs = dataset.labels
    strange = [n for n in theirs.names if n not in labels.names]
    absent = [n for n in labels.names if n not in theirs.names] if theirs.exclusive else []
    if strange or absent:
        parts = [f"{names_text(strange)} unknown to the package"] if strange else []
        parts += [f"{names_text(absent)} missing from the dataset"] if absent else []
        raise DataError(
            f"class names differ: {'; '.join(parts)}", hint="evaluate on data with the classes the package was made for"
        )
    if theirs.exclusive != labels.exclusive:
        kinds = {True: "exactly one class an image", False: "several classes an image"}
        raise DataError(f"the package answers {kinds[labels.exclusive]}, the dataset has {kinds[theirs.exclusive]}")
    if theirs.names == labels.names:
        return samples
    place = np.array([labels.id(n) for n in theirs.names], np.int64)
    return tuple(replace(s, annotation=_Moved(s.annotation, place)) for s in samples)


class _Moved(Mapping[str, Array]):
    """An annotation whose class ids are those of another ledger; a field is read only when it is asked for.

    place: int64 [C], the new id of every old one. A mask's values beyond the ledger (ignored pixels) stay.
    """

    def __init__(self, annotation: Annotation, place: Array) -> None:
        self._annotation, self._place = annotation, place

    def __getitem__(self, name: str) -> Array:
        value = self._annotation[name]
        if name in ("classes", "box_classes"):
            return np.asarray(self._place[np.asarray(value, np.int64)])
        if name == "mask":
            table = np.arange(256, dtype=np.uint8)
            table[: len(self._place)] = self._place
            return np.asarray(table[value])
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._annotation)

    def __len__(self) -> int:
        return len(self._annotation)


def _named(sample: Sample, error: SaccadeError) -> tuple[str, str, str]:
    return sample.key, error.code, error.message


def pick(samples: Sequence[Sample], keys: Sequence[str]) -> list[Sample]:
    """Samples by key, in the order of keys. Raises KeyError for a key that is not there."""
    by_key = {s.key: s for s in samples}
    return [by_key[k] for k in keys]
