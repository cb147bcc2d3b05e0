"""Waiting rows into one run: size, deadline, cancel, refuse. A row is one picture that is already decoded and checked.

A free runner never waits for more rows: a batch is whatever has queued while the last one ran. A batch that fails is
run again row by row, so an error belongs to one row only.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from saccade.errors import InferenceError, SaccadeError
from saccade.types import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class Ran:
    """One row's own outputs, each without the batch axis; queue_s and infer_s in seconds."""

    outputs: dict[str, Array]
    queue_s: float
    infer_s: float
    batch: int


@dataclass(eq=False)
class _Row:
    arrays: Mapping[str, Array]
    deadline: float
    future: "Future[Ran]" = field(default_factory=Future)
    queued: float = 0.0


class Batcher:
    """A bounded queue and the threads that run it. max_batch and max_queue count rows; runners counts threads.

    run takes arrays with a batch axis [N, ...] and gives outputs [N, ...]; several runners call it at the same time.
    Rows of unlike shape never share a batch. ran: told of every run that succeeded, its rows and seconds.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int = 16,
        max_queue: int = 1024,
        runners: int = 1,
        clock: Callable[[], float] = time.monotonic,
        name: str = "batcher",
        ran: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._run = run
        self._ran = ran
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._clock = clock
        self._rows: deque[_Row] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self.row_s = 0.0
        """Moving mean of the time between two rows while all runners are at work, for whoever must guess a wait."""
        self._threads = [threading.Thread(target=self._loop, name=f"{name}-{i}", daemon=True) for i in range(runners)]

    def start(self) -> "Batcher":
        for thread in self._threads:
            thread.start()
        return self

    def __len__(self) -> int:
        return len(self._rows)

    def submit(self, arrays: Mapping[str, Array], deadline: float) -> "Future[Ran]":
        """Queues one row. deadline: a moment of the clock. Raises InferenceError(overloaded) when the queue is full,
        not_ready after close. The future may raise deadline_exceeded or inference_failed."""
        row = _Row(arrays, deadline, queued=self._clock())
        with self._wake:
            if self._closing:
                raise InferenceError("the model is being unloaded", hint="ask again", code="not_ready")
            if len(self._rows) >= self._max_queue:
                raise InferenceError(f"{self._max_queue} rows are waiting", hint="ask again later", code="overloaded")
            self._rows.append(row)
            self._wake.notify()
        return row.future

    def close(self) -> None:
        """Runs what is queued, then ends the threads."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _loop(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._serve(batch)

    def _take(self) -> list[_Row] | None:
        with self._wake:
            while not self._rows:
                if self._closing:
                    return None
                self._wake.wait()
            batch: list[_Row] = []
            now = self._clock()
            while self._rows and len(batch) < self._max_batch:
                row = self._rows[0]
                if batch and _shape(row) != _shape(batch[0]):
                    break
                self._rows.popleft()
                # Marks the row as running; False means its caller left, and then it must never run.
                if not row.future.set_running_or_notify_cancel():
                    continue
                if row.deadline <= now:
                    row.future.set_exception(
                        InferenceError(
                            "the deadline passed in the queue", hint="allow more time", code="deadline_exceeded"
                        )
                    )
                    continue
                batch.append(row)
            return batch

    def _serve(self, batch: list[_Row]) -> None:
        began = self._clock()
        try:
            outputs = self._stacked(batch)
        except Exception as error:  # noqa: BLE001 - a runner may raise anything, and this thread must live on
            if len(batch) == 1:
                batch[0].future.set_exception(_typed(error))
                return
            for row in batch:
                self._serve([row])
            return
        took = self._clock() - began
        self._ran(len(batch), took)
        each = took / len(batch) / len(self._threads)
        with self._wake:
            self.row_s += 0.2 * (each - self.row_s) if self.row_s else each
        for i, row in enumerate(batch):
            # A copy: a view would keep the whole batch alive, other callers' rows with it.
            own = {name: np.array(value[i]) for name, value in outputs.items()}
            row.future.set_result(Ran(own, began - row.queued, took, len(batch)))

    def _stacked(self, batch: list[_Row]) -> dict[str, Array]:
        arrays = {name: np.stack([row.arrays[name] for row in batch]) for name in batch[0].arrays}
        outputs = self._run(arrays)
        for name, value in outputs.items():
            if value.ndim == 0 or value.shape[0] != len(batch):
                raise InferenceError(f"output {name!r} has shape {value.shape} for {len(batch)} rows")
        return outputs


def _shape(row: _Row) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape) for name, array in row.arrays.items()]


def _typed(error: Exception) -> SaccadeError:
    if isinstance(error, SaccadeError):
        return error
    typed = InferenceError("the graph failed on this input")
    typed.__cause__ = error
    return typed
