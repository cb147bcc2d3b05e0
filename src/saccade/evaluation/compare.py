"""Two packages on the same images: how far apart, and could it be luck?"""

from dataclasses import dataclass
from math import exp, lgamma, log
from pathlib import Path

import numpy as np

from saccade.data.dataset import Dataset
from saccade.errors import DataError
from saccade.evaluation.evaluate import evaluate
from saccade.tasks import statistics
from saccade.types import Array, Scorecard


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

    @property
    def value(self) -> float:
        return self.first - self.second

    @property
    def significant(self) -> bool:
        """At 5 %: by McNemar where it applies, else when the interval leaves out 0."""
        return self.p < 0.05 if self.p is not None else not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Comparison:
    """differences: one per shared per-sample metric, the main one first; sentence: what to make of it."""

    n: int
    differences: tuple[Difference, ...]
    sentence: str


def compare(first: Scorecard, second: Scorecard) -> Comparison:
    """Pairs two cards image by image. Raises DataError unless both scored the same images with a shared metric."""
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
    shared.sort(key=lambda m: m != first.headline.name)
    found = tuple(
        _difference(m, np.asarray(first.per_sample[m]), np.asarray(second.per_sample[m])[order]) for m in shared
    )
    return Comparison(len(order), found, _sentence(found[0], len(order)))


def compare_packages(first: Path | str, second: Path | str, dataset: Dataset, split: str) -> Comparison:
    """Evaluates both on one split, then compares."""
    return compare(evaluate(first, dataset, split), evaluate(second, dataset, split))


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
    name = d.metric.replace("_", " ")
    if d.value == 0 and not (d.won or d.lost) and d.low == d.high == 0:
        return f"On the same {n} images both packages are equal in {name} ({d.first:.4f})."
    size = f"by {abs(d.value):.4f} (95 % interval of the difference {d.low:+.4f} to {d.high:+.4f}"
    size += f", McNemar p = {d.p:.3g})" if d.p is not None else ")"
    way = "higher than" if d.value > 0 else "lower than" if d.value < 0 else "as high as"
    verdict = "The difference is significant at 5 %." if d.significant else (
        "The difference could well be luck: it is not significant at 5 %."
    )  # fmt: skip
    return f"On the same {n} images the first package's {name} is {way} the second's, {size}. {verdict}"
