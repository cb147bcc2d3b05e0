"""What the thread that brings a picture may do itself, rather than hand it on: two wakings of another thread were 0.3 to 0.5 ms
on 2 AMD EPYC cores."""

import time
from collections.abc import Callable

BRIEF_S = 0.001
"""How long a thread that serves many may be held up."""
LONE_S = 0.006
"""How long one may that serves a single caller, as far as it can see."""
BYTES, PIXELS, ROW_BYTES = 32 * 1024, 65_536, 256 * 1024
"""Of a picture, and of a row of tensors, for each millisecond: what more may take is not known beforehand."""
HICCUP_S = 0.01
"""A single one that takes so much longer than it may says something; the machine's own hiccups do not."""
PAUSE_S, LONGEST_S = 1.0, 60.0
"""After one that took too long none is tried for so long; twice as long each time, until many kept to it."""


class Brief:
    """Whether what a thread does itself is over as soon as it must be: by the ones before, for each bound of its own.
    clock: monotonic seconds. For one thread; of several, at worst one more tries."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[float, _Tried] = {}

    def expects(self, here_s: float) -> bool:
        """Whether the next one may be tried in the thread that brings it, which may be held up for so long."""
        return here_s not in self._of or self._of[here_s].until <= self._clock()

    def took(self, here_s: float, seconds: float) -> None:
        tried = self._of.setdefault(here_s, _Tried())
        tried.mean += 0.2 * (min(seconds, here_s + HICCUP_S) - tried.mean)
        if max(tried.mean, seconds - HICCUP_S) > here_s:
            tried.until = self._clock() + tried.pause
            tried.pause = min(2 * tried.pause, LONGEST_S)
            tried.mean = here_s  # then the next one decides
        else:
            tried.pause = max(PAUSE_S, 0.98 * tried.pause)


class _Tried:
    def __init__(self) -> None:
        self.mean = self.until = 0.0
        self.pause = PAUSE_S


def fits(here_s: float, *, data: int = 0, pixels: int = 0, row: int = 0) -> bool:
    """Whether bytes of a file, pixels or bytes of a row are few enough."""
    ms = here_s * 1e3
    return data <= BYTES * ms and pixels <= PIXELS * ms and row <= ROW_BYTES * ms
