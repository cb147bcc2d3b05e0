"""Whether whoever asks has the server to himself: then the thread that hears all callers may do the work itself."""

import contextlib
import time
from collections.abc import Callable, Iterator
from weakref import ref

ALONE_S = 0.25
"""A connection whose requests, one after the other, were the only ones for so long is alone."""


class Company:
    """Of the requests for work on one event loop. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Callable[[], object | None] = lambda: None
        self._open = 0
        self._since = clock()
        """When there was another caller for the last time."""

    @contextlib.contextmanager
    def asking(self, connection: object | None) -> Iterator[None]:
        """For as long as a request is read and answered. connection: that carries one at a time; None where it may carry
        several, which is company to itself. While one is at work the next ones cannot be seen, so that not their number
        alone tells, but that all of the last ones came by the same connection."""
        self._see(connection)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._see(connection)

    def _see(self, connection: object | None) -> None:
        if self._open or connection is None or self._last() is not connection:
            self._since = self._clock()
        self._last = (lambda: None) if connection is None else ref(connection)

    def alone(self) -> bool:
        """Of the request that asks this, while it is open."""
        return self._open == 1 and self._last() is not None and self._clock() - self._since >= ALONE_S
