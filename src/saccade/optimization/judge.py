"""Is a variant as good as the graph it would replace? Task metric on both sides, overall and by class."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from saccade.tasks import statistics
from saccade.types import Array, Scorecard, names_text

CLASS_METRICS = ("f1", "iou", "AP", "average precision")
"""Columns of a scorecard's table "Classes" that can be compared, the first one there is taken."""
COUNTS = ("images", "objects")
"""Columns that say how much of a class was measured."""
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Two-sided 95 % point of Student's distribution by number of parts."""
UNSEEN = 3.0
"""What none of n pictures shows may at 95 % still be true of UNSEEN / n of all (the rule of three, Hanley and
Lippman-Hand 1983)."""


class Measured(Protocol):
    """card: over all held-back pictures. shares: of each of several disjoint shares of them, None where there is none.
    classes: by class name, which of card.keys hold the class, bool [n]."""

    @property
    def card(self) -> Scorecard: ...
    @property
    def shares(self) -> Sequence[Scorecard | None]: ...
    @property
    def classes(self) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Drop:
    """What is lost, in points (hundredths of the metric; below 0 when it is gained), with its paired 95 % interval.

    n: how many `of` (images or objects) it was measured on. interval: in words, where low and high come from, or why
    there are none.
    """

    name: str
    n: int
    before: float
    after: float
    points: float
    low: float | None = None
    high: float | None = None
    of: str = "images"
    interval: str = "none"

    @property
    def one(self) -> float:
        """What one of the n is, in points."""
        return 100 / max(self.n, 1)

    @property
    def least(self) -> float:
        """The smallest drop that n can exclude, in points."""
        return _least(self.n)


@dataclass(frozen=True)
class Budget:
    """max_drop, max_class_drop: points. one_picture: a class of n pictures (or objects) may always lose one of them,
    where that, 100 / n points, is no more than this. proven: a drop must be excluded, not only unseen.

    min_gain: how many times as fast a variant must be over batches of one and eight together; at neither may it be
    slower than `slower` times the default.
    """

    max_drop: float = 0.5
    max_class_drop: float = 2.0
    min_gain: float = 1.03
    slower: float = 1.05
    one_picture: float = 10.0
    proven: bool = False

    def of_class(self, drop: Drop) -> float:
        """Points that a class may drop."""
        return max(self.max_class_drop, drop.one if drop.one <= self.one_picture else 0.0)


def overall(before: Measured, after: Measured) -> Drop:
    """The drop of the headline. Its interval: paired bootstrap where the headline is a mean over pictures, else from
    the differences on disjoint parts (batch means, Student's distribution). It never ends below the rule of three."""
    one, other = before.card.headline, after.card.headline
    sign = 100.0 if one.higher_is_better else -100.0
    points, n = sign * (one.value - other.value), before.card.n
    if one.name in before.card.per_sample and before.card.keys == after.card.keys:
        low, high = _paired(before, after, one.name, np.ones(len(before.card.keys), bool), sign)
        return Drop(one.name, n, one.value, other.value, points, low, high, "images", "paired bootstrap over images")
    theirs, ours = ([_headline(s, one.name) for s in side.shares] for side in (before, after))
    start, end, interval = _parted(theirs, ours, sign, points, n)
    return Drop(one.name, n, one.value, other.value, points, start, end, "images", interval)


def by_class(before: Measured, after: Measured) -> list[Drop]:
    """The drop of every class that both sides give a number for.

    Its interval belongs to the headline on the pictures that hold the class, where that is a mean over pictures; else
    to the class's own number, from its differences on disjoint parts.
    """
    theirs, column, of = _classes(before.card)
    ours, _, _ = _classes(after.card)
    one, two = ([_classes(s)[0] if s else {} for s in side.shares] for side in (before, after))
    metric = before.card.headline.name
    found = []
    for name, (n, value) in theirs.items():
        other = ours.get(name, (0, None))[1]
        if value is None or other is None:
            continue
        points = 100 * (value - other)
        low: float | None
        high: float | None
        member = before.classes.get(name)
        if metric in before.card.per_sample and member is not None and member.any():
            low, high = _paired(before, after, metric, member, 100.0)
            interval = f"paired bootstrap of {metric} over the images of the class"
        else:
            theirs_by_part, ours_by_part = ([_number(s.get(name, (0, None))[1]) for s in side] for side in (one, two))
            low, high, interval = _parted(theirs_by_part, ours_by_part, 100.0, points, n)
        found.append(Drop(f"{name} ({column})", n, value, other, points, low, high, of, interval))
    return found


def objections(total: Drop, classes: list[Drop], budget: Budget) -> list[str]:
    """Why a variant is not good enough, in sentences; empty when it is."""
    found = []
    if not total.points <= budget.max_drop + 1e-9:
        note = f"; one of {total.n} images is {total.one:.2f} points" if total.one > budget.max_drop else ""
        found.append(f"{total.name} drops {total.points:.2f} points, allowed {budget.max_drop:g}{note}")
    for drop in classes:
        allowed = budget.of_class(drop)
        if not drop.points <= allowed + 1e-9:
            found.append(f"{drop.name} drops {drop.points:.2f} points on {drop.n} {drop.of}, allowed {allowed:.2f}")
    return found + (doubts(total, classes, budget) if budget.proven else [])


def doubts(total: Drop, classes: list[Drop], budget: Budget) -> list[str]:
    """What these pictures leave open, in sentences: drops beyond the budget that their intervals do not exclude."""
    found = []
    if total.high is None:
        found.append(f"not proven: {total.n} images give no interval of {total.name}")
    elif total.high > budget.max_drop + 1e-9:
        found.append(f"not proven: {_open(total, total.high)}, allowed {budget.max_drop:g}")
    if bare := [d.name for d in classes if d.high is None]:
        found.append(f"not proven: too few images show {names_text(bare, 3)}")
    wide = [(d.high, d) for d in classes if d.high is not None and d.high > budget.of_class(d) + 1e-9]
    if wide:
        high, worst = max(wide, key=lambda pair: pair[0])
        found.append(
            f"not proven for {len(wide)} of {len(classes)} classes: {_open(worst, high)}, "
            f"allowed {budget.of_class(worst):.2f}"
        )
    return found


def record(drop: Drop, allowed: float) -> dict[str, Any]:
    """For a certificate: a drop, what was allowed, and in points what one picture is and what the
    n can exclude at best."""
    return {**asdict(drop), "allowed": allowed, "one_of_n": drop.one, "smallest_provable": drop.least}


def terms(card: Scorecard, budget: Budget) -> str:
    """What will be asked, and how much of it so many pictures can tell."""
    return (
        f"{card.headline.name} may drop {budget.max_drop:g} points, a class {budget.max_class_drop:g}, or one of its "
        f"pictures where that is {budget.one_picture:g} points or less; {card.n} images exclude no drop below "
        f"{_least(card.n):.2f} points"
    )


def _open(drop: Drop, high: float) -> str:
    return f"with {drop.n} {drop.of} a drop of {drop.name} up to {high:.2f} points cannot be excluded"


def _least(n: int) -> float:
    return min(100.0, 100 * UNSEEN / max(n, 1))


def _classes(card: Scorecard) -> tuple[dict[str, tuple[int, float | None]], str, str]:
    """By class how many it was measured on and the number; what number, and of what so many."""
    for table in card.tables:
        wanted = [c for c in CLASS_METRICS if c in table.columns]
        if table.name == "Classes" and wanted:
            at = table.columns.index(wanted[0])
            of = next(c for c in COUNTS if c in table.columns)
            rows: dict[str, tuple[int, float | None]] = {}
            for row in table.rows:
                value, n = row[at], row[table.columns.index(of)]
                rows[str(row[0])] = (int(n or 0), float(value) if isinstance(value, int | float) else None)
            return rows, wanted[0], of
    return {}, "", COUNTS[0]


def _headline(card: Scorecard | None, name: str) -> float:
    return next((n.value for n in card.numbers if n.name == name), float("nan")) if card else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _parted(
    before: Sequence[float], after: Sequence[float], sign: float, points: float, n: int
) -> tuple[float | None, float | None, str]:
    """Low and high in points, and where they come from: the mean of paired differences on disjoint parts, of which
    those are left out that do not define the number on both sides."""
    gaps = sign * (np.array(before, np.float64) - np.array(after, np.float64))
    gaps = gaps[np.isfinite(gaps)]
    if len(gaps) not in T95:
        why = f"defined in {len(gaps)} of {len(before)} parts, 2 are needed" if before else "too few images for parts"
        return None, None, f"none: {why}"
    half = T95[len(gaps)] * float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if gaps.any() else _least(n)
    return (
        points - half,
        max(points + half, _least(n)),
        f"paired differences on {len(gaps)} disjoint parts of the images",
    )


def _paired(before: Measured, after: Measured, metric: str, member: Array, sign: float) -> tuple[float, float]:
    """In points. Where no picture changed a resample cannot either, so the rule of three speaks instead, and never less
    than it: a kind of picture that is not among these would not show."""
    gaps = np.asarray(before.card.per_sample[metric]) - np.asarray(after.card.per_sample[metric])
    least = _least(int(member.sum()))
    if not gaps[member].any():
        return -least, least
    low, high = statistics.mean_interval(gaps[member])
    low, high = (low * sign, high * sign) if sign > 0 else (high * sign, low * sign)
    return low, max(high, least)
