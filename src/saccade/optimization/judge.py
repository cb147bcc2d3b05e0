"""Is a variant as good as the graph it would replace? Task metric on both sides, overall and by class."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from saccade.tasks import statistics
from saccade.types import Array, Scorecard

CLASS_METRICS = ("f1", "iou", "AP", "average precision")
"""Columns of a scorecard's table "Classes" that can be compared, the first one there is taken."""
COUNTS = ("images", "objects")
"""Columns that say how much of a class was measured."""
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Two-sided 95 % point of Student's distribution by number of parts."""


class Measured(Protocol):
    """card: over all held-back pictures. parts: the headline on each of several disjoint shares of them, NaN where
    a share does not define it. classes: by class name, which of card.keys hold the class, bool [n]."""

    @property
    def card(self) -> Scorecard: ...
    @property
    def parts(self) -> Array: ...
    @property
    def classes(self) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Drop:
    """What is lost, in points (hundredths of the metric; below 0 when it is gained), with its paired 95 % interval."""

    name: str
    n: int
    before: float
    after: float
    points: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Budget:
    """max_drop, max_class_drop: points. A class of n pictures (or objects) may always lose one of them: 100 / n points.

    min_gain: how many times as fast a variant must be over batches of one and eight together; at neither may it be
    slower than `slower` times the default.
    """

    max_drop: float = 0.5
    max_class_drop: float = 2.0
    min_gain: float = 1.03
    slower: float = 1.05


def overall(before: Measured, after: Measured) -> Drop:
    """The drop of the headline. Its interval: paired bootstrap where the headline is a mean over pictures, else from
    the differences on disjoint parts (batch means, Student's distribution)."""
    one, other = before.card.headline, after.card.headline
    sign = 100.0 if one.higher_is_better else -100.0
    points = sign * (one.value - other.value)
    low, high = None, None
    if one.name in before.card.per_sample and before.card.keys == after.card.keys:
        low, high = _paired(before, after, one.name, np.ones(len(before.card.keys), bool), sign)
    else:
        gaps = sign * (before.parts - after.parts)
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps) in T95:
            half = T95[len(gaps)] * float(gaps.std(ddof=1)) / len(gaps) ** 0.5
            low, high = points - half, points + half
    return Drop(one.name, before.card.n, one.value, other.value, points, low, high)


def by_class(before: Measured, after: Measured) -> list[Drop]:
    """The drop of every class that both sides give a number for.

    Its interval belongs to the headline on the pictures that hold the class, where that is a mean over pictures.
    """
    theirs, column = _classes(before.card)
    ours, _ = _classes(after.card)
    metric = before.card.headline.name
    found = []
    for name, (n, value) in theirs.items():
        other = ours.get(name, (0, None))[1]
        if value is None or other is None:
            continue
        low, high = None, None
        member = before.classes.get(name)
        if metric in before.card.per_sample and member is not None and member.any():
            low, high = _paired(before, after, metric, member, 100.0)
        found.append(Drop(f"{name} ({column})", n, value, other, 100 * (value - other), low, high))
    return found


def objections(total: Drop, classes: list[Drop], budget: Budget) -> list[str]:
    """Why a variant is not good enough, in sentences; empty when it is."""
    found = []
    if not total.points <= budget.max_drop + 1e-9:
        one = 100 / total.n
        note = f"; one of {total.n} images is {one:.2f} points" if one > budget.max_drop else ""
        found.append(f"{total.name} drops {total.points:.2f} points, allowed {budget.max_drop:g}{note}")
    for drop in classes:
        allowed = max(budget.max_class_drop, 100 / max(drop.n, 1))
        if not drop.points <= allowed + 1e-9:
            found.append(f"{drop.name} drops {drop.points:.2f} points on {drop.n} images, allowed {allowed:.2f}")
    return found


def _classes(card: Scorecard) -> tuple[dict[str, tuple[int, float | None]], str]:
    for table in card.tables:
        wanted = [c for c in CLASS_METRICS if c in table.columns]
        if table.name == "Classes" and wanted:
            at = table.columns.index(wanted[0])
            images = next(table.columns.index(c) for c in COUNTS if c in table.columns)
            rows: dict[str, tuple[int, float | None]] = {}
            for row in table.rows:
                value, n = row[at], row[images]
                rows[str(row[0])] = (int(n or 0), float(value) if isinstance(value, int | float) else None)
            return rows, wanted[0]
    return {}, ""


def _paired(before: Measured, after: Measured, metric: str, member: Array, sign: float) -> tuple[float, float]:
    gaps = np.asarray(before.card.per_sample[metric]) - np.asarray(after.card.per_sample[metric])
    low, high = statistics.mean_interval(gaps[member]) if gaps[member].any() else (0.0, 0.0)
    return (low * sign, high * sign) if sign > 0 else (high * sign, low * sign)
