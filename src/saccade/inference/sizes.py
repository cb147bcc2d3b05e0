"""How many rows a run should have: learnt from what the runs themselves cost, for it differs by graph and machine.

On a GPU a run of sixteen costs little more than a run of one. On two cores MobileNetV3-small answered 794 rows a second
one by one and 573 sixteen at a time: what lies between its layers no longer fits the caches.
"""

import math

LIKE = 1.03
"""Sizes whose rows cost no more than this many times the least are as good; the smallest of them answers soonest."""
LITTLE = 1.25
"""A row alone that costs no more than this many times the least gains less from sharing a run than it loses by waiting
for one (decision 24)."""
TRIED = 16
"""One run in so many, of those that could have had more rows, has a size beside the best, so that a change is seen."""
FRESH = 0.1
"""Share of the newest run in what a size is known to cost."""


class Sizes:
    """most: rows at most. Knows nothing at first, and then takes all there are. Not thread-safe: its owner locks."""

    def __init__(self, most: int) -> None:
        self._steps: list[int] = [*(1 << i for i in range(most.bit_length()) if 1 << i < most), most]
        self._costs: dict[int, float] = {}
        self._asked = 0
        self.best = most
        self.lone = False
        """Sharing a run saves little, as `settle` found."""

    def settle(self) -> None:
        """What is known now was measured in turns and not yet under load, so that sizes can be compared."""
        alone = self._costs.get(1)
        self.lone = alone is not None and alone <= LITTLE * min(self._costs.values())

    def next(self) -> int:
        """How many rows the next run should have, if so many wait."""
        self._asked += 1
        if self._asked % TRIED or self._steps[-1] not in self._costs:
            return self.best
        place = self._steps.index(self.best) + (1 if self._asked % (2 * TRIED) else -1)
        return self._steps[min(max(place, 0), len(self._steps) - 1)]

    def learn(self, rows: int, seconds: float) -> None:
        """A run of so many rows took so long; sizes that are no step tell nothing about one."""
        if rows not in self._steps:
            return
        known, each = self._costs.get(rows), seconds / rows
        self._costs[rows] = each if known is None else known + FRESH * (each - known)
        if self._steps[-1] not in self._costs:
            return  # as long as the most was never seen, nothing says that fewer are better
        bound = LIKE * min(self._costs.values())
        for step in self._steps:
            if self._costs.get(step, math.inf) <= bound:
                self.best = step
                return
