"""A graph whose process is watched, and started again when it is gone: what that costs is the runs at work."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from saccade.errors import InferenceError, SaccadeError
from saccade.inference.runtime import Health, OpenGraph
from saccade.inference.runtimes.tensorflow.process import Gone, Process
from saccade.inference.workers.again import again
from saccade.inference.workers.losses import LONGEST_S, STEADY_S, Losses
from saccade.process import cores
from saccade.types import Array, TensorSpec

log = logging.getLogger("saccade.inference")

RUN_S = 300.0
"""A run that takes longer hangs, where nobody says otherwise; its process is ended, as nothing else would end it."""


class Graph(OpenGraph):
    """hang_s: a run that lasts longer is ended with the process. Runs wait while a new one is
    started, unless that fails.

    Raises PackageError, InferenceError: not_found, worker_lost.
    """

    near = False

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        self.hang_s = RUN_S
        self._how = (folder, device, threads, max(1, cores() // threads))
        self._changed = threading.Condition()
        """Never held while a process starts or ends."""
        self._stop = threading.Event()
        self._losses = Losses()
        self._peak = 0
        self._coming: Process | None = None
        first = Process(*self._how)
        facts = first.open()
        self.inputs = tuple(TensorSpec(n, d, tuple(s)) for n, d, s in facts["inputs"])
        self.outputs = tuple(TensorSpec(n, d, tuple(s)) for n, d, s in facts["outputs"])
        self._process: Process | None = first
        self._keeper = threading.Thread(target=self._watch, args=(first,), name=f"keeper-{first.pid}", daemon=True)
        self._keeper.start()

    # Running

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return self._asked(arrays, time.monotonic() + self.hang_s, "not_ready")

    def run_until(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        return self._asked(arrays, deadline, "deadline_exceeded")

    def _asked(self, arrays: Mapping[str, Array], until: float, late: str) -> dict[str, Array]:
        """until: when it is no longer worth waiting for a process; late: the code of the error then."""
        lacking = [spec.name for spec in self.inputs if spec.name not in arrays]
        if lacking:
            raise InferenceError(f"the graph takes {lacking[0]!r}, which did not come")
        given = {spec.name: arrays[spec.name] for spec in self.inputs}
        while self.wait(until - time.monotonic()):
            with self._changed:
                process = self._process
            if process is None:
                continue
            try:
                found = process.ask(given, self.hang_s)
            except Gone:
                self._forget(process)  # the next one has never seen these rows
            except InferenceError as error:
                if error.code == "worker_lost":
                    self._forget(process)
                raise
            else:
                with self._changed:
                    self._losses.answered()
                return found
        raise InferenceError("the process of the graph is being started again", hint="ask again later", code=late)

    def wait(self, timeout_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._process or self._stop.is_set() or self._outage(), max(0.0, timeout_s))
            if self._stop.is_set():
                raise InferenceError("the graph is closed", code="not_ready")
            outage = self._outage()
            if outage is not None:
                raise outage
            return self._process is not None

    def fault(self) -> SaccadeError | None:
        with self._changed:
            return self._outage()

    def _outage(self) -> InferenceError | None:
        """While no process is there and none is about to be; called with the lock held."""
        return None if self._process else self._losses.outage()

    def _forget(self, process: Process) -> None:
        """Sends nobody to a lost process any more."""
        with self._changed:
            if self._process is process:
                self._process = None
            self._changed.notify_all()

    # Keeping

    def _watch(self, process: Process) -> None:
        """Ends with the graph."""
        found: Process | None = process
        while found is not None:
            found = self._again() if self._lost(found, found.wait()) else None

    def _lost(self, process: Process, how: str) -> bool:
        """Puts a dead process away; False when it was to end."""
        with self._changed:
            self._process = None
            wanted = not self._stop.is_set()
            if wanted:
                self._losses.add(how, useful=process.answered or process.age_s() >= STEADY_S)
            self._changed.notify_all()
        process.close()
        if wanted:
            log.error("the process %d of a SavedModel was lost: %s", process.pid, how)
            for line in process.said:
                log.error("the process %d of a SavedModel had said: %s", process.pid, line)
        return wanted

    def _again(self) -> Process | None:
        """A new process, after the wait that is due; None once the graph is closed."""
        return again(self._started, self._losses, self._changed, self._stop, "a SavedModel")

    def _started(self) -> Process | None:
        began = time.monotonic()
        process = Process(*self._how)
        with self._changed:
            self._coming = process
            stopped = self._stop.is_set()
        if stopped:
            process.kill("the graph is closed")
        try:
            process.open()
        finally:
            with self._changed:
                self._coming = None
        with self._changed:
            stopped = self._stop.is_set()
            self._process = None if stopped else process
            self._changed.notify_all()
        if stopped:
            process.close()
            return None
        log.warning("process %d of a SavedModel is there after %.2f s", process.pid, time.monotonic() - began)
        return process

    def health(self) -> Health:
        with self._changed:
            process = self._process
        resident, peak = process.memory() if process else (0, 0)
        self._peak = max(self._peak, peak)
        processes = [process.pid] if process else []
        return Health(len(processes), 1, self._losses.total, self._losses.trouble, resident, self._peak, processes)

    def close(self) -> None:
        """Waits for the runs at work, at most as long as one may last; then the process ends."""
        self.health()  # the last look at its peak
        with self._changed:
            self._stop.set()
            process, self._process = self._process, None
            coming = self._coming
            self._changed.notify_all()
        if coming is not None:
            coming.kill("the graph is closed")
        if process is not None:
            process.close()
        self._keeper.join(LONGEST_S)
