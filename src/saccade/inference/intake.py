"""From an encoded picture to a row: the decode pool and its pixel budget, before anything joins a batch."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from saccade.errors import InferenceError


class PixelBudget:
    """Pictures are decoded only while the sum of their pixels in flight fits; others wait, then are refused."""

    def __init__(self, pixels: int = 200_000_000) -> None:
        self._free = pixels
        self._total = pixels
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int, deadline: float) -> Iterator[None]:
        """deadline: a moment of time.monotonic. Raises InferenceError(overloaded) when no room came in time."""
        wanted = min(pixels, self._total)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= wanted, deadline - time.monotonic()):
                raise InferenceError("too many pixels are being decoded", hint="ask again later", code="overloaded")
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


class Intake:
    """A small thread pool that decodes and preprocesses; the libraries release the interpreter's lock meanwhile."""

    def __init__(self, threads: int, pixels: int = 200_000_000) -> None:
        self.threads = threads
        self.budget = PixelBudget(pixels)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
