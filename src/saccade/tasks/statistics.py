"""Numbers about numbers, for every task's scorer: bootstrap weights and intervals, ranking areas, curves; and which few
of many stand for all.

Written from: Efron and Tibshirani 1993 (bootstrap), Wilson 1927 (proportions), Fawcett 2006 (ROC),
Davis and Goadrich 2006 (average precision as a step sum), Guo et al. 2017, arXiv:1706.04599 (calibration error).
"""

from collections.abc import Iterator

import numpy as np

from saccade.types import Array

SEED = 20_240_229
DRAWS = 1000
Z = 1.959963984540054
"""The two-sided 95 % point of the normal distribution."""


def resamples(n: int, draws: int = DRAWS, seed: int = SEED, cells: int = 4_000_000) -> Iterator[Array]:
    """Bootstrap draws as counts, float32 [k, n] at a time (k * n <= cells), `draws` rows in all; each row sums to n.

    A statistic of weighted samples is then one matrix product. Same n and seed, same draws: pairs stay paired.
    """
    random = np.random.default_rng(seed)
    chunk = max(1, min(draws, cells // max(n, 1)))
    for start in range(0, draws, chunk):
        k = min(chunk, draws - start)
        picks = random.integers(0, n, (k, n)) + n * np.arange(k)[:, None]
        yield np.bincount(picks.ravel(), minlength=k * n).reshape(k, n).astype(np.float32)


def spread(n: int, most: int) -> Array:
    """Places of at most `most` of n things, evenly from the first to the last, int64 [k].

    A split is sorted by class, so its first pictures would be those of its first classes.
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def interval(draws: Array) -> tuple[float, float]:
    """The percentile interval that holds 95 % of the bootstrap draws; NaN draws are left out."""
    finite = np.asarray(draws)[np.isfinite(draws)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion; unlike the bootstrap it stays honest at 0 of n and n of n."""
    share, square = right / n, Z * Z / n
    centre = (share + square / 2) / (1 + square)
    half = Z * np.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def mean_interval(values: Array, seed: int = SEED) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of one value per sample; a proportion of 0 or 1 gets Wilson's."""
    flat = np.asarray(values, np.float64)
    if flat.size == 0:
        return float("nan"), float("nan")
    if np.all(flat == flat[0]) and flat[0] in (0.0, 1.0):
        return wilson(int(flat.sum()), flat.size)
    draws = [w @ flat / flat.size for w in resamples(flat.size, seed=seed)]
    return interval(np.concatenate(draws))


class Ranking:
    """Scores of one class, sorted once, so that areas under many weightings are cheap.

    scores: float [n]; truth: bool [n]. Equal scores count as one threshold.
    """

    def __init__(self, scores: Array, truth: Array) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        self.thresholds = ranked[self.ends]
        self.truth = truth[self.order].astype(np.float32)

    def counts(self, weights: Array | None = None) -> tuple[Array, Array]:
        """True and false positives at each threshold, float64 [..., T]; weights float [..., n]."""
        w = np.ones(len(self.order)) if weights is None else weights[..., self.order]
        hits = np.cumsum(w * self.truth, -1, dtype=np.float64)[..., self.ends]
        return hits, np.cumsum(w, -1, dtype=np.float64)[..., self.ends] - hits

    def areas(self, weights: Array | None = None) -> tuple[Array, Array]:
        """Area under the ROC curve (trapezoids) and average precision (steps); NaN where a side is missing."""
        hits, misses = self.counts(weights)
        positives, negatives = hits[..., -1], misses[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            gained = np.diff(hits, axis=-1, prepend=0.0)
            rise = hits - gained / 2
            area = (np.diff(misses, axis=-1, prepend=0.0) * rise).sum(-1) / (positives * negatives)
            precision = np.where(hits + misses > 0, hits / (hits + misses), 0.0)
            average = (gained * precision).sum(-1) / positives
        return area, average

    def roc(self) -> tuple[Array, Array]:
        """False and true positive rate, from (0, 0) to (1, 1)."""
        hits, misses = self.counts()
        return (
            np.append(0.0, misses / max(float(misses[-1]), 1.0)),
            np.append(0.0, hits / max(float(hits[-1]), 1.0)),
        )

    def precision_recall(self) -> tuple[Array, Array]:
        """Recall and precision at each threshold, recall rising; starts at recall 0 with the first precision."""
        hits, misses = self.counts()
        precision = hits / (hits + misses)
        return np.append(0.0, hits / max(float(hits[-1]), 1.0)), np.append(precision[0], precision)

    def best_f1(self) -> tuple[float, float]:
        """The score from which on answering yes gives the best F1, and that F1."""
        hits, misses = self.counts()
        if hits[-1] == 0:
            return 1.0, 0.0
        f1 = 2 * hits / (hits + misses + hits[-1])
        best = int(f1.argmax())
        return float(self.thresholds[best]), float(f1[best])


def thin(x: Array, y: Array, most: int = 160) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most about `most` points of a monotone curve, both ends kept, spread by arc length."""
    if len(x) > most:
        way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        keep = np.unique(np.searchsorted(way, np.linspace(0, way[-1], most)).clip(0, len(x) - 1))
        x, y = x[keep], y[keep]
    return tuple(round(float(v), 5) for v in x), tuple(round(float(v), 5) for v in y)


def calibration_bins(confidence: Array, right: Array, bins: int = 15) -> tuple[Array, Array, Array]:
    """Counts, mean confidence and share right in equal-width bins of 0..1; empty bins hold NaN means."""
    place = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, bins) / counts
        share = np.bincount(place, right, bins) / counts
    return counts, mean, share
