"""Where is a model weaker? The same pictures, cut in three by size, brightness and sharpness."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import erfc, exp, lgamma, sqrt

import cv2
import numpy as np

from saccade.images import preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.tasks import statistics
from saccade.types import Array, Sample, Scorecard

MEASURED_AT = PreprocessSpec(160, 160)
"""Brightness and sharpness are judged on the picture at this size, near what a network sees of it."""

ENOUGH = 5
"""A slice of fewer pictures is not judged."""


@dataclass(frozen=True)
class Slice:
    """A third of the pictures. trait: "size", "brightness" or "sharpness"; range: its bounds in words.

    value: mean of the metric with its 95 % bootstrap interval. p: how likely a slice this bad is by chance, one-sided,
    corrected for looking at many (Holm 1979). worse: p < 0.05.
    """

    trait: str
    range: str
    n: int
    metric: str
    value: float
    low: float
    high: float
    p: float = 1.0

    @property
    def worse(self) -> bool:
        return self.p < 0.05


def slices(card: Scorecard, samples: Sequence[Sample]) -> tuple[Slice, ...]:
    """Terciles of every trait that varies, on the card's headline if it is a mean over pictures, else its first."""
    metric = sliced_metric(card)
    if metric is None:
        return ()
    by_key = {s.key: s for s in samples}
    values = np.asarray(card.per_sample[metric])
    measured = traits([by_key[k] for k in card.keys])
    found = []
    for (name, unit), amounts in measured.items():
        for low, high, member in terciles(amounts):
            ends = statistics.mean_interval(values[member])
            words = f"{low:.3g} {unit}" if low == high else f"{low:.3g} to {high:.3g} {unit}"
            p = chance_of_worse(values, member) if ENOUGH <= member.sum() < len(values) else 1.0
            found.append(Slice(name, words.strip(), int(member.sum()), metric, float(values[member].mean()), *ends, p))
    return tuple(replace(s, p=p) for s, p in zip(found, holm([s.p for s in found]), strict=True))


def sliced_metric(card: Scorecard) -> str | None:
    """The per-image metric to slice by: the headline's, else the first where more is better."""
    better = {n.name: n.higher_is_better for n in card.numbers}
    if card.headline.name in card.per_sample:
        return card.headline.name
    return next((m for m in card.per_sample if better.get(m, True)), None)


def traits(samples: Sequence[Sample]) -> dict[tuple[str, str], Array]:
    """(trait, unit) to one float per sample: megapixels, mean grey 0..255, standard deviation of the Laplacian."""
    with ThreadPoolExecutor() as pool:
        rows = np.array(list(pool.map(_measure, samples)), np.float64).reshape(-1, 3)
    return {("size", "MP"): rows[:, 0], ("brightness", ""): rows[:, 1], ("sharpness", ""): rows[:, 2]}


def _measure(sample: Sample) -> tuple[float, float, float]:
    pixels, place = preprocess.load(sample.image, MEASURED_AT)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return place.width * place.height / 1e6, float(grey.mean()), float(cv2.Laplacian(grey, cv2.CV_32F).std())


def terciles(amounts: Array) -> list[tuple[float, float, Array]]:
    """Lowest, highest and members (bool [n]) of up to three groups; equal amounts stay together, one group is none."""
    cuts = np.unique(np.quantile(amounts, (1 / 3, 2 / 3), method="inverted_cdf"))
    place = np.searchsorted(cuts, amounts, side="left")
    groups = [place == k for k in np.unique(place)]
    return [(float(amounts[g].min()), float(amounts[g].max()), g) for g in groups] if len(groups) > 1 else []


def chance_of_worse(values: Array, member: Array) -> float:
    """One-sided p that `member` holds so low values by chance, had the values been dealt out blindly.

    Of 0s and 1s it is Fisher's exact test (hypergeometric tail); of other values the normal limit of the permutation
    test, with the variance of drawing without replacement.
    """
    n, k = len(values), int(member.sum())
    if np.isin(values, (0, 1)).all():
        total, right = int(values.sum()), int(values[member].sum())
        lowest = max(0, k - (n - total))
        return min(1.0, sum(_dealt(n, total, k, i) for i in range(lowest, right + 1)))
    spread = float(values.var(ddof=1)) / k * (1 - k / n)
    if spread == 0:
        return 1.0
    return 0.5 * erfc((float(values.mean()) - float(values[member].mean())) / sqrt(2 * spread))


def _dealt(n: int, total: int, k: int, right: int) -> float:
    """Chance that of `total` ones among n exactly `right` fall into k places."""

    def ways(a: int, b: int) -> float:
        return lgamma(a + 1) - lgamma(b + 1) - lgamma(a - b + 1)

    return exp(ways(total, right) + ways(n - total, k - right) - ways(n, k))


def holm(ps: Sequence[float]) -> list[float]:
    """Corrected for their number (Holm 1979): the smallest times m, the next times m - 1, ..., never falling."""
    corrected = [1.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, ps[i] * (len(ps) - rank)))
        corrected[i] = highest
    return corrected
