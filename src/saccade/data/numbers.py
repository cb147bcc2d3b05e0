"""The numbers that a copy gives to classes: their own where the format can hold them."""

from collections import Counter
from itertools import count

from saccade.types import Labels


def numbers(labels: Labels, least: int | None = None, most: int | None = None) -> list[int] | None:
    """One whole number a class, in ledger order: its original where that is one that no other has, and fits
    least..most.

    The other classes get free numbers from 0 on. None when no class has such a number.
    """
    seen = Counter(labels.originals)
    own = [
        o if isinstance(o, int) and not isinstance(o, bool) and seen[o] == 1 and _fits(o, least, most) else None
        for o in labels.originals
    ]
    if all(o is None for o in own):
        return None
    free = (k for k in count() if k not in own)
    return [next(free) if o is None else o for o in own]


def _fits(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)
