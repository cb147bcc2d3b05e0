"""From an encoded picture to a row: the decode pool and its pixel budget, before anything joins a batch."""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from saccade import confine
from saccade.errors import InferenceError
from saccade.inference.turns import Ahead, Turns
from saccade.inference.workers.decoder import Decoder
from saccade.process import cores

CLOSE_S = 10.0
UNDISTURBED_S = 0.25
"""Where no two pictures have met for so long the next one will hardly meet another. Of those that come at random moments many are
alone too as they come, and a run over all cores would hold up the next."""
QUIET_S = 2.0
"""After this long without a picture a decoder gives memory back."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be done for a picture, by a thread of the intake; `late` instead, once its deadline (of
    time.monotonic) passed while it waited, or its caller had gone. None may raise. seconds: what it will take, by what
    others took."""

    do: Callable[[], None]
    late: Callable[[], None]
    gone: Callable[[], bool]
    deadline: float
    caller: Hashable
    urgent: bool
    seconds: float


class Asked(Protocol):
    @property
    def pending(self) -> int: ...


class PixelBudget:
    """Pictures are decoded only while the sum of their pixels in flight fits; others wait in turn, then are refused."""

    def __init__(self, pixels: int = 200_000_000) -> None:
        self._free = pixels
        self._total = pixels
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._turns: deque[object] = deque()

    def room(self, pixels: int) -> bool:
        """Whether so many could be held now without waiting."""
        return not self._turns and self._free >= pixels

    def hold(self, pixels: int, deadline: float) -> "_Pixels":
        """Until the block ends. pixels: that decoding will write. deadline: a moment of time.monotonic. Raises
        InferenceError(overloaded) when no room came in time. Small pictures do not pass a large one that waits, or it would
        wait for ever."""
        return _Pixels(self, min(pixels, self._total), deadline)

    def take(self, wanted: int, deadline: float) -> None:
        """As `hold`, until `give`."""
        with self._lock:
            if self._turns or self._free < wanted:
                self._wait(wanted, deadline)
            self._free -= wanted

    def give(self, wanted: int) -> None:
        with self._lock:
            self._free += wanted
            if self._turns:
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


class _Pixels:
    def __init__(self, budget: PixelBudget, wanted: int, deadline: float) -> None:
        self._budget, self._wanted, self._deadline = budget, wanted, deadline

    def __enter__(self) -> None:
        self._budget.take(self._wanted, self._deadline)

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._wanted)


class Intake:
    """A few threads that decode and preprocess; the libraries release the interpreter's lock meanwhile.

    isolation: process has each thread decode in a confined process of its own (workers/decoder.py). Raises UsageError
    where this system has none.
    """

    def __init__(self, threads: int, pixels: int = 200_000_000, *, isolation: str = "none") -> None:
        if isolation == "process":
            confine.check()
        self.threads = threads
        self._cores = cores()
        self.isolated = isolation == "process"
        self._own = threading.local()
        self.budget = PixelBudget(pixels)
        self._bells: SimpleQueue[bool] = SimpleQueue()
        """One for each work that came; False ends the thread that hears it. It wakes threads for less
        than a condition does."""
        self._turns = Turns[Work]()
        self._ahead = Ahead()
        self._seconds = 0.0
        """Of all that waits."""
        self._crew: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._asked: tuple[Asked, ...] = ()
        self._met = -math.inf
        """When there were two at a time for the last time."""

    def join(self, who: "Asked") -> None:
        """Who brings pictures here, and says how many are under way."""
        with self._lock:
            self._asked = (*self._asked, who)

    def leave(self, who: "Asked") -> None:
        with self._lock:
            self._asked = tuple(one for one in self._asked if one is not who)

    def pending(self) -> int:
        """Pictures and rows that have come and are not answered, of all models."""
        return sum([who.pending for who in self._asked])

    def alone(self) -> bool:
        """Whether what came last is all there is to do here. Asked of everything that comes, for `undisturbed`."""
        if self.pending() > 1:
            self._met = time.monotonic()
            return False
        return True

    def undisturbed(self) -> bool:
        """Whether so it was for a while."""
        return self.alone() and time.monotonic() - self._met >= UNDISTURBED_S

    def decoder(self) -> Decoder | None:
        """That of the calling thread; None where pictures are decoded in this process."""
        return getattr(self._own, "decoder", None)

    def submit(self, work: Work) -> None:
        """Has it done by whichever thread is free first: urgent work before other work, callers in turns. Raises
        InferenceError(draining) once closed.

        An executor of the standard library would make a future for each, which costs more than a small picture.
        """
        if self._closed:
            raise InferenceError("the engine is closing", code="draining")
        if not self._crew:
            self._start()
        with self._lock:
            self._turns.add(work.caller, work, work.urgent)
            self._ahead.come(work.caller, work.urgent)
            self._seconds += work.seconds
        self._bells.put(True)

    def wait_s(self, caller: Hashable = None, urgent: bool = True) -> float:
        """How long a picture that came now would wait for a thread, whatever models the ones before it are for."""
        with self._lock:
            waiting = len(self._ahead)
            each = self._seconds / waiting / min(self.threads, self._cores) if waiting else 0.0
            return self._ahead.count(caller, urgent) * each

    def drop_late(self) -> None:
        """Answers pictures whose time is over now, and lets go of those whose caller left, rather than when a thread
        comes to them."""
        if not self._ahead:
            return
        now = time.monotonic()
        with self._lock:
            late = self._turns.take(lambda work: work.deadline <= now or work.gone())
            for work in late:
                self._left(work)
        for work in late:
            work.late()

    def _next(self) -> Work | None:
        """None where what the bell rang for was answered as late."""
        with self._lock:
            if not self._turns.waiting:
                return None
            work = self._turns.pop()
            self._left(work)
            return work

    def _left(self, work: Work) -> None:
        self._ahead.leave(work.caller, work.urgent)
        self._seconds = self._seconds - work.seconds if len(self._ahead) else 0.0

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
        while self._heard():
            if (work := self._next()) is not None:
                work.do()
            work = None  # or an idle thread would hold the last picture
        if self.isolated:
            self._own.decoder.close()

    def _heard(self) -> bool:
        """Waits for the next bell; a decoder that hears none for a while rests."""
        if self.isolated:
            try:
                return self._bells.get(timeout=QUIET_S)
            except Empty:
                self._own.decoder.rest()
        return self._bells.get()

    def close(self, within_s: float = CLOSE_S) -> None:
        """Does what was submitted, then ends the threads; one that is stuck in a graph is left behind."""
        self._closed = True
        for _ in self._crew:
            self._bells.put(False)
        end = time.monotonic() + within_s
        for thread in self._crew:
            thread.join(max(0.0, end - time.monotonic()))
