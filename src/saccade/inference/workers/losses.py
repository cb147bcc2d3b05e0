"""Processes that were lost: how many, how lately, and how long the next start waits for it."""

import math
import time
from collections import deque
from collections.abc import Callable

from saccade.errors import InferenceError

FIRST_S, LONGEST_S = 0.5, 30.0
"""Waits before the next start after two or more that were good for nothing: doubling, first to longest."""
STEADY_S = 1.0
"""A process that lived so long, or answered, was good for something."""
MANY, WITHIN_S = 3, 60.0
"""So many losses within that time are often, whatever the processes were good for."""
OFTEN_S = 5.0
"""The longest wait for that reason: shorter than most deadlines, so whoever waits for the next
process is answered by it."""


class Losses:
    """wanted: processes there shall be; a loss counts once for all of them. Not thread-safe: its owner locks."""

    def __init__(self, wanted: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = wanted
        self._clock = clock
        self._when: deque[float] = deque()
        self._useless = 0
        """In a row, without an answer between."""
        self._back_at = 0.0
        self.total = 0
        self.trouble = ""
        """What ended the last one, or kept the next one from starting."""

    def add(self, how: str, *, useful: bool) -> None:
        """A process was lost. useful: it was good for something."""
        self.total += 1
        self.trouble = how
        self._useless += not useful
        self._when.append(self._clock())

    def failed(self, how: str) -> None:
        """A process could not be started."""
        self.trouble = how
        self._useless += 1

    def answered(self) -> None:
        self._useless = 0

    def often(self) -> int:
        """How many were lost within WITHIN_S; 0 where that is not often."""
        while self._when and self._when[0] < self._clock() - WITHIN_S:
            self._when.popleft()
        return len(self._when) if len(self._when) >= MANY * self._wanted else 0

    def wait_s(self) -> float:
        """How long to wait before the next start, from now on."""
        useless = _doubled(self._useless - 2, LONGEST_S)
        often = _doubled(self.often() // self._wanted - MANY, OFTEN_S)
        wait = max(useless, often)
        self._back_at = self._clock() + wait
        return wait

    def outage(self) -> InferenceError | None:
        """The answer while no process is there and none is about to be; None while it is worth waiting for one."""
        if self._useless < 2:
            return None
        seconds = max(1, math.ceil(self._back_at - self._clock()))
        return InferenceError(
            "the process of this model is down and is being started again",
            hint="ask again later",
            code="not_ready",
            details={"retry_after_s": seconds},
        )


def _doubled(times: int, most: float) -> float:
    return 0.0 if times < 0 else float(min(most, FIRST_S * 2 ** min(times, 16)))
