"""Starts worker processes ahead of need, so that a lost one is replaced at once."""

import logging
import queue
import sys
import threading
from concurrent.futures import Future

from saccade.errors import InferenceError, UsageError
from saccade.inference.workers.worker import Worker

log = logging.getLogger("saccade.inference")
RUNTIME = "onnxruntime"
"""Whose library a spare process has loaded; any runtime can be opened in it."""


class Starter:
    """All workers are started by its one thread, which lives as long as they may: see Worker."""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise UsageError("processes of their own need Linux or macOS", hint='set isolation = "none"')
        self._wanted: queue.SimpleQueue[Future[Worker] | None] = queue.SimpleQueue()
        self._spare: Worker | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="starter", daemon=True)
        self._thread.start()

    def take(self) -> Worker:
        """A process that is ready to open a graph. Raises InferenceError: worker_lost, draining after close."""
        with self._lock:
            if self._closed:
                raise InferenceError("the engine is closing", code="draining")
            future: Future[Worker] = Future()
            self._wanted.put(future)
        return future.result()

    def close(self) -> None:
        """Ends the spare process. Workers that were taken belong to their takers."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wanted.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (future := self._wanted.get()) is not None:
            try:
                spare, self._spare = self._spare, None
                if spare is not None and spare.ended():
                    spare.close()
                    spare = None
                future.set_result(spare or Worker(RUNTIME))
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the worker
                future.set_exception(error)
            # Nobody waits for the next one yet.
            if self._wanted.empty():
                try:
                    self._spare = Worker(RUNTIME)
                except Exception as error:  # noqa: BLE001 - all workers end with this thread
                    log.warning("no spare worker could be started: %s", error)
        if self._spare is not None:
            self._spare.close()
