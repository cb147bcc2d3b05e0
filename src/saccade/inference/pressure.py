"""Whether memory is short: then less is let in, before the kernel chooses a process to end (I4)."""

import logging
import time
from collections.abc import Callable

from saccade import process
from saccade.errors import InferenceError
from saccade.limits import MEMORY_LIMITS, MIB, MemoryLimits

log = logging.getLogger("saccade.inference")

LOOK_S, OLD_S = 0.25, 0.5
"""After so long `keep` looks again; an older look no request relies on. One takes a tenth of a millisecond, and each file
that it reads gives up the interpreter's lock: 2.6 ms for a thread that answers callers meanwhile."""
AGAIN = 1.2
"""So many times the memory at which something was refused must be free before it is let in again."""


class Pressure:
    """bounds: bytes free and in all of whatever bounds this process, nothing where nothing tells. clock: seconds.

    Threads may ask at once: two that look see the same.
    """

    def __init__(
        self,
        limits: MemoryLimits = MEMORY_LIMITS,
        bounds: Callable[[], list[tuple[int, int]]] = process.memory_bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._bounds = bounds
        self._clock = clock
        self._looked = -OLD_S
        self._wanted = False
        """Somebody asked since."""
        self._short = self._full = False

    def admit(self, soon: bool) -> None:
        """soon: one image that is wanted at once. Raises InferenceError(overloaded) where
        memory is too short for it."""
        if self._clock() - self._looked >= OLD_S:
            self._look()
        self._wanted = True
        if self._full or (self._short and not soon):
            raise InferenceError(
                f"the server is short of memory{'' if self._full else ', and takes one urgent image at a time'}",
                hint="ask again later",
                code="overloaded",
            )

    def keep(self) -> None:
        """For a thread that has time, every now and then: what the next request relies on."""
        if self._wanted and self._clock() - self._looked >= LOOK_S:
            self._look()

    def _look(self) -> None:
        self._looked, self._wanted = self._clock(), False
        limits, bounds, before = self._limits, self._bounds(), (self._full, self._short)
        self._full = any(_below(b, limits.refuse_share, limits.refuse_bytes, self._full) for b in bounds)
        self._short = self._full or any(_below(b, limits.shed_share, limits.shed_bytes, self._short) for b in bounds)
        if (self._full, self._short) != before:
            free = min((b[0] for b in bounds), default=0) // MIB
            what = (
                "every request is" if self._full else "all but single urgent images are" if self._short else "none are"
            )
            log.warning("%d MiB of memory are free: %s refused", free, what)


def _below(bound: tuple[int, int], share: float, size: int, already: bool) -> bool:
    free, whole = bound
    return free < min(share * whole, size) * (AGAIN if already else 1.0)
