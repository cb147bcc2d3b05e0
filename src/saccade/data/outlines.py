"""Outlines of objects as polygons: those that cross themselves, and boxes that are not the bounds of their outline."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from saccade.data.dataset import Fault
from saccade.types import Array

NEAR_PX, NEAR_SHARE = 2.0, 0.05
"""A box may differ from the bounds of its outline by so many px, or by this share of its longer side."""
SHORT_PX = 2.0
"""Sides below this cross by rounding."""
MOST_POINTS = 2000
"""Polygons of more points are not looked at: they come from masks, whose borders cannot cross."""
CELLS = 2_000_000


@dataclass(frozen=True)
class Outline:
    """parts: polygons [n, 2] of x, y in px. box: x_min y_min x_max y_max as the file gives it,
    None when it gives none."""

    where: str
    parts: tuple[Array, ...]
    box: tuple[float, float, float, float] | None = None


def faults(outlines: Sequence[Outline]) -> Iterator[Fault]:
    """What is wrong with them, in their order."""
    owners = [(i, part) for i, outline in enumerate(outlines) for part in outline.parts]
    found = crossed([part for _, part in owners])
    torn = {i for (i, _), crosses in zip(owners, found, strict=True) if crosses}
    for i, outline in enumerate(outlines):
        if i in torn:
            yield Fault(
                "crossed_polygon", outline.where, "its sides cross, and what they enclose twice counts as outside"
            )
        if outline.box is not None and (told := _apart(outline.parts, outline.box)):
            yield Fault("box_off_outline", outline.where, told)


def crossed(polygons: Sequence[Array]) -> Array:
    """bool [P]: two sides of a polygon that are no neighbours cross. Polygons of as many points
    are looked at together."""
    answer = np.zeros(len(polygons), bool)
    sorts: dict[int, list[int]] = defaultdict(list)
    for i, points in enumerate(polygons):
        if 4 <= len(points) <= MOST_POINTS and np.isfinite(points).all():
            sorts[len(points)].append(i)
    for n, members in sorts.items():
        step = max(1, CELLS // (n * n))
        for start in range(0, len(members), step):
            some = members[start : start + step]
            answer[some] = _crossed(np.stack([polygons[i] for i in some]).astype(np.float64))
    return answer


def _crossed(points_PN2: Array) -> Array:
    n = points_PN2.shape[1]
    begin, end = points_PN2, np.roll(points_PN2, -1, 1)
    side = end - begin

    def left_of(points: Array) -> Array:
        """[P, N, N]: on which side of line i point j lies."""
        away = points[:, None] - begin[:, :, None]
        return np.asarray(side[:, :, None, 0] * away[..., 1] - side[:, :, None, 1] * away[..., 0])

    astride = left_of(begin) * left_of(end) < 0
    apart = (np.arange(n)[:, None] - np.arange(n)[None]) % n
    long = np.hypot(side[..., 0], side[..., 1]) > SHORT_PX
    counts = astride & astride.transpose(0, 2, 1) & (apart > 1) & (apart < n - 1) & long[:, None] & long[:, :, None]
    return np.asarray(counts.any((1, 2)))


def _apart(parts: Sequence[Array], box: tuple[float, float, float, float]) -> str:
    """How a box differs from the bounds of its outline; empty when it does not."""
    points = np.concatenate(parts) if parts else np.zeros((0, 2))
    if not len(points) or not np.isfinite(points).all() or not np.isfinite(box).all():
        return ""
    bounds = (*points.min(0), *points.max(0))
    allowed = max(NEAR_PX, NEAR_SHARE * max(box[2] - box[0], box[3] - box[1]))
    if max(abs(a - b) for a, b in zip(bounds, box, strict=True)) <= allowed:
        return ""
    ours, theirs = (", ".join(f"{v:g}" for v in corners) for corners in (box, bounds))
    return f"the box is {ours}, its outline reaches over {theirs}"
