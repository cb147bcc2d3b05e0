"""From an encoded picture to a row: the decode pool and its pixel budget, before anything joins a batch."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from saccade import confine
from saccade.errors import InferenceError
from saccade.inference.workers.decoder import Decoder

CLOSE_S = 10.0


class PixelBudget:
    """Pictures are decoded only while the sum of their pixels in flight fits; others wait in turn, then are refused."""

    def __init__(self, pixels: int = 200_000_000) -> None:
        self._free = pixels
        self._total = pixels
        self._changed = threading.Condition()
        self._turns: deque[object] = deque()

    def room(self, pixels: int) -> bool:
        """Whether so many could be held now without waiting."""
        return not self._turns and self._free >= pixels

    @contextlib.contextmanager
    def hold(self, pixels: int, deadline: float) -> Iterator[None]:
        """pixels: that decoding will write. deadline: a moment of time.monotonic. Raises InferenceError(overloaded) when
        no room came in time. Small pictures do not pass a large one that waits, or it would wait for ever."""
        wanted = min(pixels, self._total)
        with self._changed:
            if self._turns or self._free < wanted:
                self._wait(wanted, deadline)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()

    def _wait(self, wanted: int, deadline: float) -> None:
        turn = object()
        self._turns.append(turn)
        try:
            came = self._changed.wait_for(
                lambda: self._turns[0] is turn and self._free >= wanted, deadline - time.monotonic()
            )
        finally:
            self._turns.remove(turn)
            self._changed.notify_all()
        if not came:
            raise InferenceError("too many pixels are being decoded", hint="ask again later", code="overloaded")


class Intake:
    """A few threads that decode and preprocess; the libraries release the interpreter's lock meanwhile.

    isolation: process has each thread decode in a confined process of its own (workers/decoder.py). Raises UsageError
    where this system has none.
    """

    def __init__(self, threads: int, pixels: int = 200_000_000, *, isolation: str = "none") -> None:
        if isolation == "process":
            confine.check()
        self.threads = threads
        self.isolated = isolation == "process"
        self._own = threading.local()
        self.budget = PixelBudget(pixels)
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._crew: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def decoder(self) -> Decoder | None:
        """That of the calling thread; None where pictures are decoded in this process."""
        return getattr(self._own, "decoder", None)

    def submit(self, work: Callable[[], None]) -> None:
        """Has it done by whichever thread is free first; it must not raise. Raises InferenceError(draining) once closed.

        An executor of the standard library would make a future for each, which costs more than a small picture.
        """
        if self._closed:
            raise InferenceError("the engine is closing", code="draining")
        if not self._crew:
            self._start()
        self._queue.put(work)

    def _start(self) -> None:
        with self._lock:
            if not self._crew:
                names = [f"decode-{i}" for i in range(self.threads)]
                self._crew = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
                for thread in self._crew:
                    thread.start()

    def _work(self) -> None:
        if self.isolated:
            self._own.decoder = Decoder()
            with contextlib.suppress(InferenceError):  # the first picture tries again, and says it
                self._own.decoder.begin()
        while (work := self._queue.get()) is not None:
            work()
        if self.isolated:
            self._own.decoder.close()

    def close(self, within_s: float = CLOSE_S) -> None:
        """Does what was submitted, then ends the threads; one that is stuck in a graph is left behind."""
        self._closed = True
        for _ in self._crew:
            self._queue.put(None)
        end = time.monotonic() + within_s
        for thread in self._crew:
            thread.join(max(0.0, end - time.monotonic()))
