"""Waiting rows into one run: size, order, deadline, cancel, refuse. A row is one picture, already decoded and checked.

A free runner never waits for more rows: a batch is whatever has queued while the last one ran, or as much of it as
makes a row cheapest (sizes.py), and no more than its share of what waits, or the other runners would have nothing to do
while it lasts. A row that meets a free runner may run in the thread that brings it, which saves handing it on, where nobody
else is there or sharing would save little; one alone may have all cores to itself. Urgent rows go before the others, and
callers take turns, so nobody waits behind another's hundred pictures. A batch that fails is run again row by row, so an
error belongs to one row only. One whose process was lost is too, once, with nothing beside it and as soon as another
process is there, so that only the row that ends processes is lost with them.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from saccade.errors import InferenceError, SaccadeError
from saccade.inference.promise import Promise
from saccade.inference.sizes import Sizes
from saccade.inference.turns import Turns
from saccade.types import Array

Run = Callable[[Mapping[str, Array], float], dict[str, Array]]
"""Arrays, and the moment of the clock at which their callers give up."""


LOOK_S = 0.1
"""How often rows are looked at while nothing can run."""
WAITED, ALL, SMALL = "all that waited", "the most", "kept small for p99"
PAYS = "more would cost more a row"
SAVES = "sharing would save little"
SHARE = "its share of what waited"
SHAPE, ALONE = "the next has another shape", "alone after a failure"
"""Why a batch is no larger."""
WHOLE = ("dependency_unavailable", "overloaded", "not_ready")
"""Errors for which no row of a batch is to blame: asking again row by row would only ask in vain."""
LOST = "worker_lost"
"""The error of a run whose process ended over it: one row may have done that, or none."""
LATE_S = 0.05
"""A row with less time left than this when its batch gave up is the one that gave up."""


@dataclass(frozen=True)
class Ran:
    """One row's own outputs, each without the batch axis; queue_s and infer_s in seconds.

    batch: rows that shared the run; why: what kept it from being larger.
    """

    outputs: dict[str, Array]
    queue_s: float
    infer_s: float
    batch: int
    why: str = ""


@dataclass(eq=False)
class _Row:
    arrays: Mapping[str, Array]
    deadline: float
    promise: "Promise[Ran]" = field(default_factory=Promise)
    queued: float = 0.0
    again: bool = False
    """It was in a run that was lost, and has its second one."""

    def over(self, now: float) -> bool:
        return self.promise.cancelled() or self.deadline <= now

    def begin(self, now: float) -> bool:
        """Marks the row as running; False when its caller left, and then it must never run, or its time is over."""
        if not self.promise.set_running_or_notify_cancel():
            return False
        return not self.late(now)

    def late(self, now: float) -> bool:
        """Answers a row that is taken, if its time is over."""
        if self.deadline > now:
            return False
        self.promise.set_exception(
            InferenceError("the deadline passed in the queue", hint="allow more time", code="deadline_exceeded")
        )
        return True


class Batcher:
    """A bounded queue and the threads that run it. max_batch and max_queue count rows; runners counts threads.

    objective_s: how long a row may take from queue to answer, None for no bound. A row that comes just after a
    batch began waits for it before its own, so batches are kept as small as makes one last half of that, as
    measured. run takes arrays with a batch axis [N, ...] and the nearest deadline, and gives outputs [N, ...];
    several runners call it at the same time. Rows of unlike shape never share a batch. ran: told of every run that
    succeeded, its rows and seconds.

    stack: makes arrays of the rows of a batch. ready: blocks at most so many seconds until a run could begin, True if
    so; while it could not, rows whose deadline passes are answered. What it raises is the answer of all that wait. alone:
    whether nothing but what came here is at work on this machine, as far as is known.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int = 16,
        max_queue: int = 1024,
        runners: int = 1,
        objective_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "batcher",
        ran: Callable[[int, float], None] = lambda rows, seconds: None,
        stack: Callable[[Sequence[Mapping[str, Array]]], Mapping[str, Array]] | None = None,
        ready: Callable[[float], bool] = lambda seconds: True,
        alone: Callable[[], bool] = lambda: True,
    ) -> None:
        self._run = run
        self._stack = stack or _stack
        self._ready = ready
        self._ran = ran
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._clock = clock
        self._turns = Turns[_Row]()
        self._running = 0
        self._begun: dict[int, float] = {}
        """Of each thread that runs rows, since when."""
        self._wide: Run | None = None
        self._always = False
        self._lonely = alone
        self._suspects = 0
        """Threads that hold rows of lost runs; nothing else begins meanwhile."""
        self._alone = False
        """One of those rows runs."""
        self._objective_s = objective_s
        self.limit = max_batch
        """Rows that may share a run now: max_batch, or fewer under an objective."""
        self.sizes = Sizes(max_batch)
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        """Of the lock, which is taken by itself: a condition's own `with` is calls of Python's, each row takes a dozen."""
        self._closing = False
        self.row_s = 0.0
        """Moving mean of the time between two rows while all runners are at work, for whoever must guess a wait."""
        self.lone_s = 0.0
        """Moving mean of a run of one row that met no other; 0 as long as there was none."""
        self._threads = [threading.Thread(target=self._loop, name=f"{name}-{i}", daemon=True) for i in range(runners)]

    def widen(self, wide: Run | None, *, always: bool = False) -> None:
        """From now on a row that has all runners to itself goes this way, which takes all of the machine for it. always:
        and one that does not, to try it."""
        self._wide, self._always = wide, always

    def start(self) -> "Batcher":
        for thread in self._threads:
            thread.start()
        return self

    def __len__(self) -> int:
        return self._turns.waiting

    def submit(
        self,
        arrays: Mapping[str, Array],
        deadline: float,
        *,
        caller: Hashable = None,
        urgent: bool = True,
        then: Callable[["Promise[Ran]"], None] | None = None,
    ) -> "Promise[Ran]":
        """Queues one row. deadline: a moment of the clock. caller: whose turn it takes. then: called with the promise once
        it is done, by the thread that ran the row, however soon that is. Raises InferenceError(overloaded) when the queue
        is full, not_ready after close. The promise may raise deadline_exceeded, inference_failed or worker_lost."""
        row = _Row(arrays, deadline, queued=self._clock())
        if then is not None:
            row.promise.add_done_callback(then)
        with self._lock:
            if self._closing:
                raise InferenceError("the model is being unloaded", hint="ask again", code="not_ready")
            if self._turns.waiting >= self._max_queue:
                raise InferenceError(f"{self._max_queue} rows are waiting", hint="ask again later", code="overloaded")
            self._turns.add(caller, row, urgent)
            self._wake.notify()
        return row.promise

    def at_once(self, arrays: Mapping[str, Array], deadline: float) -> Ran | None:
        """Runs one row in the calling thread, if a runner is free and nothing waits; None if not, and nothing was done.

        Raises what the promise of `submit` would raise.
        """
        with self._lock:
            if self._closing or self._turns.waiting or self._suspects or self._running >= len(self._threads):
                return None
            if deadline <= self._clock() or not self._ready(0.0):
                return None
            self._running += 1
            met = self._running > 1
            self._begun[threading.get_ident()] = self._clock()
        try:
            began, (run, alone) = self._clock(), self._way(1)
            try:
                outputs = self._checked(run(self._stack([arrays]), deadline), 1)
            except Exception as error:  # noqa: BLE001 - a graph may raise anything
                typed = _typed(error)
                raise typed from typed.__cause__
            took = self._clock() - began
            self._note(1, took, run, alone)
            why = SAVES if self.sizes.lone and met else WAITED
            return Ran({name: value[0] for name, value in outputs.items()}, 0.0, took, 1, why)
        finally:
            self._leave()

    def close(self, within_s: float | None = None) -> bool:
        """Runs what is queued, then ends the threads. False when something still runs after so many seconds, here or in
        a thread that ran its own row at once: it is left alone, and ends with the run it is stuck in."""
        with self._lock:
            self._closing = True
            self._wake.notify_all()
        end = None if within_s is None else time.monotonic() + within_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(None if end is None else max(0.0, end - time.monotonic()))
        with self._lock:
            return self._wake.wait_for(
                lambda: not self._running, None if end is None else max(0.0, end - time.monotonic())
            )

    def _loop(self) -> None:
        while self._some():
            try:
                if not self._ready(LOOK_S):
                    self.drop_late()
                    continue
            except SaccadeError as error:
                self._refuse(error)
                continue
            batch, why = self._take()
            if batch:
                try:
                    self._serve(batch, why)
                finally:
                    self._leave()
            batch = []  # or an idle thread would hold the last pictures and their answers

    def _some(self) -> bool:
        """Waits for a row and a turn to run it; False once there is none and none will come."""
        with self._lock:
            while not self._turns.waiting or self._suspects or self._running >= len(self._threads):
                if self._closing and not self._turns.waiting:
                    return False
                self._wake.wait()
            return True

    def stuck(self, bound_s: float) -> bool:
        """Whether nothing can run, since every runner has been at the same run for longer than this."""
        # Without the lock, which is held while callers are told that they are late: who looks at a model must not wait
        # for them.
        if self._running < len(self._threads):
            return False
        begun, late = list(self._begun.values()), self._clock() - bound_s
        return len(begun) >= len(self._threads) and all(began < late for began in begun)

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            self._begun.pop(threading.get_ident(), None)
            if self._closing or self._suspects:
                self._wake.notify_all()
            elif self._turns.waiting:
                self._wake.notify()

    def drop_late(self) -> None:
        """Answers rows whose time is over now, rather than when a runner comes to them."""
        if not self._turns.waiting:
            return
        now = self._clock()
        with self._lock:
            late = self._turns.take(lambda row: row.over(now))
        for row in late:
            row.begin(now)

    def _refuse(self, error: SaccadeError) -> None:
        with self._lock:
            rows = self._turns.take(lambda row: True)
        for row in rows:
            if row.promise.set_running_or_notify_cancel():
                row.promise.set_exception(error)

    def _take(self) -> tuple[list[_Row], str]:
        """The next batch, and what ended it."""
        with self._lock:
            batch: list[_Row] = []
            now = self._clock()
            most = self.limit
            why = ALL if most == self._max_batch else SMALL
            if self._turns.waiting > 1 and (pays := self.sizes.next()) < most:
                most, why = pays, PAYS
            if (share := -(-self._turns.waiting // len(self._threads))) < min(most, self._turns.waiting):
                most, why = share, SHARE
            while self._turns.waiting and not self._suspects and len(batch) < most:
                if batch and _shape(self._turns.first()) != _shape(batch[0]):
                    why = SHAPE
                    break
                row = self._turns.pop()
                if row.begin(now):
                    batch.append(row)
            if why != SHAPE and len(batch) < most:
                why = WAITED
            if batch:
                self._running += 1
                self._begun[threading.get_ident()] = now
            return batch, why

    def _fit(self, rows: int, took: float) -> None:
        """Moves the limit to what the objective leaves room for; called with the lock held."""
        if self._objective_s is None:
            return
        room = self._objective_s / 2
        if took > room:
            self.limit = max(1, min(self.limit, int(rows * room / took)))
        elif rows >= min(self.limit, self.sizes.best) and took < room / 2:
            self.limit = min(self._max_batch, self.limit * 2)

    def _serve(self, batch: list[_Row], why: str) -> None:
        began = self._begun[threading.get_ident()] = self._clock()
        try:
            run, alone = self._way(len(batch))
            arrays = self._stack([row.arrays for row in batch])
            outputs = self._checked(run(arrays, min(row.deadline for row in batch)), len(batch))
            took = self._clock() - began
            self._note(len(batch), took, run, alone)
            # Copies: a view would keep the whole batch alive, other callers' rows with it.
            each = [{name: np.array(value[i]) for name, value in outputs.items()} for i in range(len(batch))]
        except Exception as error:  # noqa: BLE001 - a runner may raise anything, and this thread must live on
            self._part(batch, _typed(error), why)
            return
        del outputs
        for row, own in zip(batch, each, strict=True):
            row.promise.set_result(Ran(own, began - row.queued, took, len(batch), why))

    def _way(self, rows: int) -> tuple[Run, bool]:
        """How so many rows are run, and whether they are one that has all runners to itself."""
        with self._lock:
            alone = rows == 1 and self._running == 1 and not self._turns.waiting and self._lonely()
        goes = self._wide is not None and (alone or (self._always and rows == 1))
        return (self._wide if goes and self._wide is not None else self._run), alone

    def _note(self, rows: int, took: float, run: Run, alone: bool) -> None:
        self._ran(rows, took)
        each = took / rows / len(self._threads)
        with self._lock:
            if alone:
                self.lone_s += 0.2 * (took - self.lone_s) if self.lone_s else took
            if run is not self._wide:  # which says nothing of how long one takes among others
                self.row_s += 0.2 * (each - self.row_s) if self.row_s else each
                self.sizes.learn(rows, took)
                self._fit(rows, took)

    def _part(self, batch: list[_Row], error: SaccadeError, why: str) -> None:
        """Gives the error to the rows it belongs to, and the others another run."""
        if error.code == LOST:
            # One that hung alone would hang again, and hold up all others for as long.
            hung = len(batch) == 1 and bool(error.details.get("hung"))
            blamed = [row for row in batch if row.again or hung]
        elif error.code == "deadline_exceeded":
            now = self._clock() + LATE_S
            blamed = [row for row in batch if row.deadline <= now] or batch
        else:
            blamed = batch if len(batch) == 1 or error.code in WHOLE else []
        for row in blamed:
            row.promise.set_exception(error)
        rest = [row for row in batch if row not in blamed]
        if error.code == LOST:
            self._once_more(rest, error)
        elif error.code == "deadline_exceeded" and rest:
            self._serve(rest, why)
        else:
            for row in rest:
                if not row.late(self._clock()):
                    self._serve([row], ALONE)

    def _once_more(self, rows: list[_Row], error: SaccadeError) -> None:
        """Runs each row of a lost run once more, with nothing beside it: if a process is lost again, that row did it.

        The error stays with rows whose time is over before they can run.
        """
        with self._lock:
            self._suspects += 1
            self._begun.pop(threading.get_ident(), None)  # what it began is over
        try:
            for row in rows:
                row.again = True
                if not self._cleared(row.deadline):
                    row.promise.set_exception(error)
                    continue
                try:
                    if self._there(row.deadline):
                        self._serve([row], ALONE)
                    else:
                        row.promise.set_exception(error)
                finally:
                    with self._lock:
                        self._alone = False
                        self._wake.notify_all()
        finally:
            with self._lock:
                self._suspects -= 1
                self._wake.notify_all()

    def _cleared(self, deadline: float) -> bool:
        """Waits until nothing else runs, and sees to it that nothing else begins; False when
        the deadline came first."""
        with self._lock:
            left = max(0.0, deadline - self._clock())
            if not self._wake.wait_for(lambda: not self._alone and self._running <= self._suspects, left):
                return False
            self._alone = True
            return True

    def _there(self, deadline: float) -> bool:
        """Waits until a run could begin; False when the deadline came first, or nothing will come any more."""
        while (left := deadline - self._clock()) > 0:
            try:
                if self._ready(min(LOOK_S, left)):
                    return True
                self.drop_late()
            except SaccadeError as outage:
                self._refuse(outage)
                if self._closing:
                    return False
                time.sleep(min(LOOK_S, left))
        return False

    @staticmethod
    def _checked(outputs: dict[str, Array], rows: int) -> dict[str, Array]:
        for name, value in outputs.items():
            if value.ndim == 0 or value.shape[0] != rows:
                raise InferenceError(f"output {name!r} has shape {value.shape} for {rows} rows")
        return outputs


def _stack(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _shape(row: _Row) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape) for name, array in row.arrays.items()]


def _typed(error: Exception) -> SaccadeError:
    if isinstance(error, SaccadeError):
        return error
    typed = InferenceError("the graph failed on this input")
    typed.__cause__ = error
    return typed
