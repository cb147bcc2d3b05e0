"""Who else asks. Whoever has the server to himself is answered by the thread that hears all callers; whoever asks again as
soon as he was refused is refused later."""

import math
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary, ref

ALONE_S = 0.25
"""A connection whose requests, one after the other, were the only ones for so long is alone."""
SOON_S, LATER_S = 1.0, 0.03
"""Who was refused and asks again within so long, though a second is the least that a refusal names, is answered no sooner
than after so long. 32 such callers took half of their rate from those who are answered (decision 24)."""


class Company:
    """Of the requests for work on one event loop. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Callable[[], object | None] = _nobody
        self._refused: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._open = 0
        self._since = clock()
        """When there was another caller for the last time."""

    def asking(self, connection: object | None) -> "_Asking":
        """For as long as a request is read and answered. connection: that carries one at a time; None where it may carry
        several, which is company to itself. While one is at work the next ones cannot be seen, so that not their number
        alone tells, but that all of the last ones came by the same connection."""
        return _Asking(self, connection)

    # What a block of `asking` begins and ends with.

    def come(self, connection: object | None) -> None:
        self._see(connection)
        self._open += 1

    def leave(self, connection: object | None) -> None:
        self._open -= 1
        self._see(connection)

    def _see(self, connection: object | None) -> None:
        if connection is None:
            self._since, self._last = self._clock(), _nobody
            return
        before = self._last()
        if self._open or before is not connection:
            self._since = self._clock()
        if before is not connection:
            self._last = ref(connection)

    def refused(self, connection: object | None) -> float:
        """Told of every refusal for overload, gives for how many seconds it is to be held back."""
        if connection is None:
            return 0.0
        now = self._clock()
        soon = now - self._refused.get(connection, -math.inf) < SOON_S
        self._refused[connection] = now
        return LATER_S if soon else 0.0

    def alone(self) -> bool:
        """Of the request that asks this, while it is open."""
        return self._open == 1 and self._last() is not None and self._clock() - self._since >= ALONE_S


class _Asking:
    def __init__(self, company: Company, connection: object | None) -> None:
        self._company, self._connection = company, connection

    def __enter__(self) -> None:
        self._company.come(self._connection)

    def __exit__(self, *_: object) -> None:
        self._company.leave(self._connection)


def _nobody() -> None:
    return None
