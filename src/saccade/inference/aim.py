"""How long a picture may be expected to wait, so that an objective is kept: learnt from the answers themselves.

Expected waits are sums of what pictures cost on average; what refusals, other models and unlucky turns cost comes on top and
differs by machine and load. So the bound gives way as soon as two of a hundred were late for their wait, and comes back slowly.
"""

import math
import threading

LOOKED_AT, LONGEST_S = 100, 5.0
"""Answers of which one may be late, for the objective is a 99th percentile; in so long without a late one fewer will do."""
START, DOWN, UP = 0.8, 0.85, 1.05
LEAST = 0.1
"""Share of the longest wait below which the bound does not fall."""
INSIDE = 0.85
"""Share of the objective for what is seen here. A request waits to be heard, and its answer to be read, besides: 10 ms of
80 on two cores that were asked for half as much again as they can."""


class Aim:
    """objective_s: that 99 of 100 callers should keep, None for none. Thread-safe."""

    def __init__(self, objective_s: float | None) -> None:
        self.objective_s = INSIDE * objective_s if objective_s else math.inf
        self.share = START if objective_s else 1.0
        """Of the longest wait, that is let in now."""
        self._seen = self._late = 0
        self._since = self._began = -math.inf
        """When the bound gave way last; when the answers that are looked at began."""
        self._lock = threading.Lock()

    def left(self, came: float, seconds: float) -> None:
        """Of one that was let in and never run, for nobody waited for it any longer: that says something where it was late
        by then."""
        if seconds > self.objective_s:
            self.answered(came, seconds, seconds)

    def answered(self, came: float, seconds: float, waited_s: float) -> None:
        """Of one that was let in by this bound. came: when, of a monotonic clock. seconds: until it was answered; waited_s:
        of these, in queues."""
        if self.objective_s == math.inf:
            return
        # Without its wait it would have been late too: then no smaller queue helps.
        late = self.objective_s < seconds < self.objective_s + waited_s
        with self._lock:
            if came < self._since:
                return  # let in before the bound gave way
            now = came + seconds
            self._seen += 1
            self._late += late
            if self._late > 1:
                self._since = now
                self._change(DOWN, now)
            elif self._seen >= LOOKED_AT or (now - self._began >= LONGEST_S and not self._late):
                self._change(UP, now)

    def _change(self, times: float, now: float) -> None:
        self.share = min(1.0, max(LEAST, self.share * times))
        self._seen = self._late = 0
        self._began = now
