"""Two packages on the same images: how far apart, and could it be luck?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log
from pathlib import Path
from statistics import median

import numpy as np

from saccade.data.dataset import Dataset
from saccade.errors import DataError, PackageError
from saccade.evaluation.evaluate import aligned, evaluate_model
from saccade.evaluation.slices import holm
from saccade.evaluation.words import words
from saccade.images import decode
from saccade.inference.model import Model
from saccade.tasks import statistics
from saccade.types import Array, Labels, Sample, Scorecard, names_text

TIMED = 24
"""Images on which the speed is taken."""


@dataclass(frozen=True)
class Difference:
    """First minus second on one metric, with its paired 95 % bootstrap interval.

    p: exact McNemar, only for metrics that are 0 or 1 on every image. won, lost: images only the first, only the
    second got right.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    p: float | None = None
    won: int = 0
    lost: int = 0
    higher_is_better: bool = True

    @property
    def value(self) -> float:
        return self.first - self.second

    @property
    def significant(self) -> bool:
        """At 5 %: by McNemar where it applies, else when the interval leaves out 0."""
        return self.p < 0.05 if self.p is not None else not self.low <= 0 <= self.high

    @property
    def second_is_worse(self) -> bool:
        return self.significant and (self.value > 0) == self.higher_is_better


@dataclass(frozen=True)
class ClassDifference:
    """The main metric on the images of one class. p is corrected for the number of classes (Holm 1979)."""

    label: str
    n: int
    difference: Difference


@dataclass(frozen=True)
class Side:
    """One of the two packages. latency_ms: median of one image at a time; graph_bytes: size of its graph file."""

    name: str
    card: Scorecard
    latency_ms: float
    graph_bytes: int
    parameters: int | None


@dataclass(frozen=True)
class Comparison:
    """differences: one per shared per-sample metric, the main one first; sentence: what to make of it; notes: what is
    to be known of the images, such as which were left out."""

    n: int
    differences: tuple[Difference, ...]
    sentence: str
    classes: tuple[ClassDifference, ...] = ()
    sides: tuple[Side, ...] = ()
    notes: tuple[str, ...] = ()


def compare(first: Scorecard, second: Scorecard) -> Comparison:
    """Pairs two cards image by image. Raises DataError unless both scored the same images with a shared metric."""
    shared, order = _paired(first, second)
    better = {n.name: n.higher_is_better for n in first.numbers}
    found = tuple(
        replace(
            _difference(m, np.asarray(first.per_sample[m]), np.asarray(second.per_sample[m])[order]),
            higher_is_better=better.get(m, True),
        )
        for m in shared
    )
    return Comparison(len(order), found, _sentence(found[0], len(order)))


def compare_packages(first: Path | str, second: Path | str, dataset: Dataset, split: str) -> Comparison:
    """Evaluates both on one split, then compares; also by class, in speed and in size.

    Raises PackageError when the two are not made for the same task and classes, DataError when the data does not fit.
    """
    with Model.open(first) as one, Model.open(second) as other:
        _same_kind(one, other)
        cards = evaluate_model(one, dataset, split), evaluate_model(other, dataset, split)
        samples = aligned(dataset, split, one.labels)
        paces = pace((one, other), samples)
        sides = tuple(_side(m, c, p) for m, c, p in zip((one, other), cards, paces, strict=True))
        return replace(compare(*cards), classes=by_class(*cards, samples, one.labels), sides=sides)


def by_class(
    first: Scorecard, second: Scorecard, samples: Sequence[Sample], labels: Labels
) -> tuple[ClassDifference, ...]:
    """The main metric on the images that hold each class, be it as their own, as a box or in a mask."""
    shared, order = _paired(first, second)
    a, b = np.asarray(first.per_sample[shared[0]]), np.asarray(second.per_sample[shared[0]])[order]
    held: Mapping[str, Array] = {s.key: _classes_in(s) for s in samples}
    found = []
    for class_id, label in enumerate(labels.names):
        member = np.array([class_id in held[key] for key in first.keys])
        if member.any():
            found.append(ClassDifference(label, int(member.sum()), _difference(shared[0], a[member], b[member])))
    known = [f for f in found if f.difference.p is not None]
    corrected = dict(zip((f.label for f in known), holm([f.difference.p or 0.0 for f in known]), strict=True))
    return tuple(replace(f, difference=replace(f.difference, p=corrected.get(f.label))) for f in found)


def _classes_in(sample: Sample) -> Array:
    for field in ("classes", "box_classes", "mask"):
        if field in sample.annotation:
            return np.unique(np.asarray(sample.annotation[field]))
    return np.empty(0, np.int64)


def pace(models: Sequence[Model], samples: Sequence[Sample]) -> list[float]:
    """Median milliseconds of one image at a time for each model; they take turns, so that a busy machine hits all."""
    images = [s.image if isinstance(s.image, np.ndarray) else decode.read(s.image) for s in samples[:TIMED]]
    took: list[list[float]] = [[] for _ in models]
    for turn, image in enumerate(images):
        for model, times in list(zip(models, took, strict=True))[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            model.results([image])
            times.append((time.perf_counter() - began) * 1e3)
    return [median(times) for times in took]


def _paired(first: Scorecard, second: Scorecard) -> tuple[list[str], list[int]]:
    """Shared metrics, the headline first, and where each image of the first card stands in the second."""
    if set(first.keys) != set(second.keys):
        apart = len(set(first.keys) ^ set(second.keys))
        raise DataError(
            f"the two cards differ in {apart} images", hint="evaluate both packages on the same split of the same data"
        )
    place = {key: i for i, key in enumerate(second.keys)}
    order = [place[key] for key in first.keys]
    shared = [m for m in first.per_sample if m in second.per_sample]
    if not shared or not order:
        raise DataError("the two cards share no per-image metric", hint="compare packages of one task")
    return sorted(shared, key=lambda m: m != first.headline.name), order


def _same_kind(one: Model, other: Model) -> None:
    if one.task.name != other.task.name:
        raise PackageError(
            f"the first package is made for {one.task.name}, the second for {other.task.name}",
            hint="compare packages of one task",
        )
    mine, theirs = one.labels, other.labels
    only = [n for n in mine.names if n not in theirs.names], [n for n in theirs.names if n not in mine.names]
    if only[0] or only[1]:
        parts = [f"only the {w} knows {names_text(n)}" for w, n in zip(("first", "second"), only, strict=True) if n]
        raise PackageError(
            f"the packages have different classes: {' and '.join(parts)}", hint="compare packages with the same classes"
        )
    if mine.exclusive != theirs.exclusive:
        raise PackageError(
            "one package gives exactly one class an image, the other several", hint="compare packages of one kind"
        )


def _side(model: Model, card: Scorecard, latency_ms: float) -> Side:
    manifest = model.manifest
    graph = manifest.files[manifest.graphs[model.choice.variant].file].size
    return Side(manifest.name, card, latency_ms, graph, manifest.provenance.get("parameters"))


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p: how likely a split at least this uneven is, if each discordant image were a fair coin."""
    n = won + lost
    if n == 0:
        return 1.0
    tail = sum(exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2)) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail)


def _difference(metric: str, a: Array, b: Array) -> Difference:
    low, high = statistics.mean_interval(a - b) if (a != b).any() else (0.0, 0.0)
    p, won, lost = None, 0, 0
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        won, lost = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
        p = mcnemar(won, lost)
    return Difference(metric, float(a.mean()), float(b.mean()), low, high, p, won, lost)


def _sentence(d: Difference, n: int) -> str:
    name = words(d.metric)
    if d.value == 0 and not (d.won or d.lost) and d.low == d.high == 0:
        return f"On the same {n} images both packages are equal in {name} ({d.first:.4f})."
    size = f"by {abs(d.value):.4f} (95 % interval of the difference {d.low:+.4f} to {d.high:+.4f}"
    size += f", McNemar p = {d.p:.3g})" if d.p is not None else ")"
    way = "higher than" if d.value > 0 else "lower than" if d.value < 0 else "as high as"
    verdict = "The difference is significant at 5 %." if d.significant else (
        "The difference could well be luck: it is not significant at 5 %."
    )  # fmt: skip
    return f"On the same {n} images the first package's {name} is {way} the second's, {size}. {verdict}"
