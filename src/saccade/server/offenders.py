"""Keys whose callers send one bad picture after the other: they are asked to slow down, for
each costs a decoder (B9)."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from saccade.errors import ImageError, SaccadeError, ServerError
from saccade.inference.request import Answer
from saccade.limits import CALLER_LIMITS, CallerLimits

MOST = 10_000
"""Keys that are remembered; beyond them the one that has been quiet for longest is forgotten."""


class Offenders:
    """Thread-safe. clock: seconds that never go back.

    A key with max_bad_images bad pictures within bad_images_s is answered one request a second for slow_s.
    """

    def __init__(self, limits: CallerLimits = CALLER_LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._bad: OrderedDict[str, deque[float]] = OrderedDict()
        self._slow: dict[str, tuple[float, float]] = {}
        """Of a key: when it is slow no longer, and when it may ask next."""

    def count(self, caller: str | None, what: Answer | SaccadeError) -> None:
        """What came of a request. Callers without a key cannot be told apart, and are not counted."""
        if caller is None or isinstance(what, SaccadeError):
            return
        bad = sum(isinstance(result, ImageError) for result in what.results)
        if bad:
            self._add(caller, bad)

    def admit(self, caller: str | None) -> None:
        """Raises ServerError(too_many_bad_images) for a key that was asked to slow down and did not."""
        if caller is None or caller not in self._slow:
            return
        with self._lock:
            until, again = self._slow.get(caller, (0.0, 0.0))
            now = self._clock()
            if now >= until:
                self._slow.pop(caller, None)
            elif now >= again:
                self._slow[caller] = until, now + 1.0
            else:
                raise ServerError(
                    f"{self._limits.max_bad_images} pictures of this key could not be read, so it is answered once a second",
                    hint="check the pictures before they are sent",
                    code="too_many_bad_images",
                    details={"retry_after_s": 1, "limit": self._limits.max_bad_images},
                )

    def _add(self, caller: str, bad: int) -> None:
        with self._lock:
            now = self._clock()
            times = self._bad.setdefault(caller, deque(maxlen=self._limits.max_bad_images))
            self._bad.move_to_end(caller)
            times.extend([now] * bad)
            if len(times) == times.maxlen and now - times[0] < self._limits.bad_images_s:
                self._slow[caller] = now + self._limits.slow_s, now
                times.clear()
            while len(self._bad) > MOST:
                forgotten, _ = self._bad.popitem(last=False)
                self._slow.pop(forgotten, None)
