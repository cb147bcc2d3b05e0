"""A graph that lives in other processes and is kept alive there: what it costs to lose one is the batch it ran."""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from saccade.errors import InferenceError, SaccadeError
from saccade.inference.runtime import Health, OpenGraph
from saccade.inference.workers.again import again
from saccade.inference.workers.losses import LONGEST_S, STEADY_S, Losses
from saccade.inference.workers.starter import Starter
from saccade.inference.workers.worker import Lane, Order, Unsent, Worker
from saccade.types import Array

log = logging.getLogger("saccade.inference")


class _Laid(dict[str, Array]):
    """Arrays that lie in a lane already; the lane is theirs until they have run."""

    lane: Lane
    told: list[list[Any]]


class KeptGraph(OpenGraph):
    """replicas: processes that open the same graph; each has order.lanes. hang_s: a run that lasts longer is a hang,
    and its process is ended. name: for the log.

    A lost process is replaced at once, unless several were good for nothing or were lost within a minute: then after a
    growing wait (losses.py). Rows that wait meanwhile are none of its business: `wait` tells the queue.

    Raises what opening raised.
    """

    near = False

    def __init__(
        self, order: Order, starter: Starter, *, replicas: int = 1, hang_s: float = 30.0, name: str = ""
    ) -> None:
        self.hang_s = hang_s
        self._order = order
        self._starter = starter
        self._name = name
        self._changed = threading.Condition()
        self._free: deque[Lane] = deque()
        self._away = 0
        self._workers: list[Worker] = []
        self._replicas = replicas
        self._losses = Losses(replicas)
        self._peak = 0
        self._stop = threading.Event()
        self._keepers: list[threading.Thread] = []
        try:
            for _ in range(replicas):
                self._keep(self._started(order))
        except BaseException:
            self.close()
            raise

    def _started(self, order: Order) -> Worker:
        worker = self._starter.take()
        try:
            self.inputs, self.outputs = worker.open(order)
            with self._changed:
                if self._stop.is_set():
                    raise InferenceError("the graph is closed", code="not_ready")
                self._workers.append(worker)
                self._free.extend(worker.lanes)
                self._changed.notify_all()
        except BaseException:
            worker.kill("it could not open the graph")
            worker.close()
            for line in worker.said:
                log.error("%s: worker %d had said: %s", self._name, worker.pid, line)
            for lane in worker.lanes:
                lane.close()
            raise
        return worker

    # Running

    def stack(self, rows: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
        lane = self._borrow()
        try:
            laid = _Laid()
            laid.lane, laid.told = lane, lane.lay_rows(rows)
            return laid
        except BaseException:
            self._return(lane)
            raise

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if isinstance(arrays, _Laid):
            lane, told = arrays.lane, arrays.told
        else:
            lane, told = self._borrow(), []
        try:
            told = told or lane.lay(arrays)
            found = lane.run(told, self.hang_s)
            with self._changed:
                self._losses.answered()
            return {name: np.array(value) for name, value in found.items()}
        except Unsent:
            # It died before; another one has never seen these rows.
            arrays = lane.laid(told)
        finally:
            self._return(lane)
        return self.run(arrays)

    def wait(self, timeout_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._stop.is_set() or self._outage(), timeout_s)
            if self._stop.is_set():
                raise InferenceError("the graph is closed", code="not_ready")
            outage = self._outage()
            if outage is not None:
                raise outage
            return bool(self._free)

    def fault(self) -> SaccadeError | None:
        with self._changed:
            return self._outage()

    def _outage(self) -> InferenceError | None:
        """While no process is there and none is about to be; called with the lock held."""
        return None if self._workers else self._losses.outage()

    def _borrow(self) -> Lane:
        end = time.monotonic() + self.hang_s
        while not self.wait(max(0.0, end - time.monotonic())):
            if time.monotonic() >= end:
                raise InferenceError("no worker came free", hint="ask again later", code="not_ready")
        with self._changed:
            if self._free:
                self._away += 1
                return self._free.popleft()
        return self._borrow()

    def _return(self, lane: Lane) -> None:
        with self._changed:
            self._away -= 1
            dead = self._forget(lane.worker) if lane.worker.lost else []
            if lane.worker in self._workers and not self._stop.is_set():
                self._free.append(lane)
            else:
                dead.append(lane)
            self._changed.notify_all()
        for one in dead:
            one.close()

    def _forget(self, worker: Worker) -> list[Lane]:
        """Takes a lost worker off the list before anybody else is sent to it; its idle lanes. With the lock held."""
        if worker in self._workers:
            self._workers.remove(worker)
        dead = [lane for lane in self._free if lane.worker is worker]
        for lane in dead:
            self._free.remove(lane)
        return dead

    # Keeping

    def _keep(self, worker: Worker) -> None:
        thread = threading.Thread(target=self._watch, args=(worker,), name=f"keeper-{worker.pid}", daemon=True)
        self._keepers.append(thread)
        thread.start()

    def _watch(self, worker: Worker) -> None:
        while True:
            how = worker.wait()
            if not self._lost(worker, how):
                return
            found = self._again()
            if found is None:
                return
            worker = found

    def _lost(self, worker: Worker, how: str) -> bool:
        """Takes a dead worker off the list; False when it was to end."""
        with self._changed:
            dead = self._forget(worker)
            wanted = not self._stop.is_set()
            if wanted:
                self._losses.add(how, useful=worker.answered or worker.age_s() >= STEADY_S)
            self._changed.notify_all()
        for lane in dead:
            lane.close()
        worker.close()
        self._peak = max(self._peak, worker.peak)
        if wanted:
            log.error("%s: worker %d was lost: %s", self._name, worker.pid, how)
            for line in worker.said:
                log.error("%s: worker %d had said: %s", self._name, worker.pid, line)
        return wanted

    def _again(self) -> Worker | None:
        """A new worker, after the wait that is due; None once the graph is closed."""

        def start() -> Worker:
            began = time.monotonic()
            worker = self._started(replace(self._order, patient=False))
            log.warning("%s: worker %d is there after %.2f s", self._name, worker.pid, time.monotonic() - began)
            return worker

        return again(start, self._losses, self._changed, self._stop, self._name)

    def settle(self) -> None:
        """Ends the patience of an opening that gave way to others."""
        if self._order.patient:
            for worker in list(self._workers):
                worker.hurry()

    def health(self) -> Health:
        with self._changed:
            workers = list(self._workers)
        resident = sum(worker.memory() for worker in workers)
        self._peak = max([self._peak, *(worker.peak for worker in workers)])
        return Health(
            len(workers),
            self._replicas,
            self._losses.total,
            self._losses.trouble,
            resident,
            self._peak,
            [w.pid for w in workers],
        )

    def close(self) -> None:
        """Waits for the runs at work, at most as long as one may last; then the processes end."""
        with self._changed:
            if self._stop.is_set():
                return
            self._stop.set()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._away, self.hang_s)
            workers, self._workers = self._workers, []
            free, self._free = list(self._free), deque()
        for lane in free:
            lane.close()
        for worker in workers:
            worker.close()
            self._peak = max(self._peak, worker.peak)
        for keeper in self._keepers:
            # One that is opening a graph just now ends its worker when it finds that nobody wants it any more.
            keeper.join(LONGEST_S)
