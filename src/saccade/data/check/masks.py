"""What masks show: unusable ones, those that say nothing, and in the full layer specks and
classes that are mere edges."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from saccade.data.annotation import amounts
from saccade.data.check.finding import Finding, finding
from saccade.data.check.scan import Seen
from saccade.data.dataset import Dataset
from saccade.types import Array

SPECKS = 20
"""Single pixels unlike their neighbours in one mask from which a slip of the brush is likely."""
INSIDE = 0.05
"""Share of pixels surrounded by their own class, below which a class is an edge of others."""
ENOUGH = 100


def masks(dataset: Dataset, seen: Sequence[Seen], full: bool) -> list[Finding]:
    masked = [s for s in seen if "mask" in s.sample.annotation]
    wrong = [s.wrong.message for s in masked if s.wrong is not None]
    good = [s for s in masked if s.wrong is None]
    void = [s.key for s in good if s.amounts is not None and not s.amounts.any()]
    found = [
        *finding("bad_mask", "{n} {mask|masks} cannot be learnt from", wrong),
        *finding("void_mask", "{n} {mask is|masks are} ignored in every pixel", void),
        *finding("same_mask", "{n} {mask stands|masks stand} under pictures that differ", _copies(good)),
    ]
    return [*found, *_looked_at(dataset, good)] if full else found


def _copies(good: Sequence[Seen]) -> list[str]:
    """The same mask of several classes to the last pixel under other pictures."""
    same: dict[str, list[Seen]] = defaultdict(list)
    for s in good:
        if s.told and len(s.classes) > 1:
            same[s.told].append(s)
    return [" and ".join(s.key for s in group[:3]) for group in same.values() if len({s.digest for s in group}) > 1]


def _looked_at(dataset: Dataset, good: Sequence[Seen]) -> list[Finding]:
    count = len(dataset.labels)
    with ThreadPoolExecutor(4) as pool:
        looks = list(pool.map(lambda s: _look(s.sample.annotation["mask"]), good))
    dirty = [f"{s.key}: {n}" for s, (n, _) in zip(good, looks, strict=True) if n >= SPECKS]
    inner = sum((inside[:count] for _, inside in looks), np.zeros(count, np.int64))
    total = sum((amounts(s.sample.annotation, count) for s in good), np.zeros(count, np.int64))
    edges = [
        f"{name}: {int(inner[k]):,} of {int(total[k]):,} pixels lie inside"
        for k, name in enumerate(dataset.labels.names)
        if total[k] >= ENOUGH and inner[k] < INSIDE * total[k]
    ]
    return [
        *finding("specks", f"{{n}} {{mask holds|masks hold}} {SPECKS} and more single pixels", dirty),
        *finding("halo_class", "{n} {class is|classes are} but an edge a pixel or two wide: anti-aliasing?", edges),
    ]


def _look(mask_HW: Array) -> tuple[int, Array]:
    """How many pixels are unlike all four neighbours, and of each id, int64 [256], how many are like all four."""
    if min(mask_HW.shape) < 3:
        return 0, np.bincount(mask_HW.ravel(), minlength=256)
    middle = mask_HW[1:-1, 1:-1]
    like = [
        middle == mask_HW[:-2, 1:-1], middle == mask_HW[2:, 1:-1],
        middle == mask_HW[1:-1, :-2], middle == mask_HW[1:-1, 2:],
    ]  # fmt: skip
    number = np.sum(like, axis=0, dtype=np.uint8)
    alone = int(((number == 0) & (middle != 255)).sum())
    return alone, np.bincount(middle[number == 4].ravel(), minlength=256)
