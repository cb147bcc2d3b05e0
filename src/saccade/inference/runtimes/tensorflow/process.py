"""The parent's half: starts the process of a SavedModel, hands it arrays, and notices when it is gone."""

import contextlib
import logging
import os
import queue
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtimes.tensorflow.wire import Channel, Ended
from saccade.inference.workers import worker
from saccade.types import Array

log = logging.getLogger("saccade.inference")

START_S = 300.0
"""TensorFlow needs seconds to be imported, a large SavedModel some more; what is not there then never will be."""
RUN_S = 300.0
"""A run that takes longer hangs; its process is ended, as nothing else would end it."""
END_S = 5.0
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "NONE", "KERAS_BACKEND": "tensorflow"}


def environment(device: str) -> dict[str, str]:
    """For a process with TensorFlow in it: no keys and passwords, few words, and no GPU that nobody asked for."""
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
    return {**worker.environment(), **QUIET, **hidden}


class Process:
    """A running graph. facts: what it said of itself. Several threads may ask, `callers` of them at a time."""

    def __init__(self, folder: Path, device: str, threads: int, callers: int) -> None:
        self._channels: list[Channel] = []
        self._free: queue.SimpleQueue[Channel | None] = queue.SimpleQueue()
        self._words: deque[str] = deque(maxlen=20)
        theirs: list[int] = []
        pairs = []
        for _ in range(callers):
            their_reading, writing = os.pipe()
            reading, their_writing = os.pipe()
            self._channels.append(Channel(reading, writing))
            theirs += [their_reading, their_writing]
            pairs.append(f"{their_reading}:{their_writing}")
        # -P: a file in the folder we were called from must not stand in for the library.
        command = [sys.executable, "-P", "-m", "saccade.inference.runtimes.tensorflow.worker"]
        self._child = subprocess.Popen(
            [*command, str(os.getpid()), str(folder), device, str(threads), *pairs],
            env=environment(device),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=theirs,
            # Ctrl-C at a terminal is for the server, which ends its processes when their calls are done.
            start_new_session=True,
        )
        for handle in theirs:
            os.close(handle)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.facts = self._hello()
        except BaseException:
            self.close()
            raise
        for channel in self._channels:
            self._free.put(channel)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def ask(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Raises InferenceError: inference_failed, also when the process ended over it; not_ready after close."""
        channel = self._free.get()
        if channel is None:
            self._free.put(None)
            raise InferenceError("the graph is closed", code="not_ready")
        try:
            channel.send({}, arrays)
            if not select.select([channel.reading], [], [], RUN_S)[0]:
                raise Ended
            record, answers = channel.receive()
        except Ended as error:
            self._child.kill()
            code = self._child.wait()
            self._listener.join(1)
            log.warning("the process of a SavedModel ended with %s: %s", code, " | ".join(self._words))
            raise InferenceError("the process of the graph ended; it is started again") from error
        finally:
            self._free.put(channel)
        if "failed" in record:
            raise InferenceError("the graph failed on this input")
        return answers

    def close(self) -> None:
        """Waits for the calls at work, then for the process."""
        if hasattr(self, "facts"):
            for _ in self._channels:
                self._free.get()
        self._free.put(None)
        for channel in self._channels:
            channel.close()
        self._channels = []
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_S)
        self._child.kill()
        self._child.wait()
        self._listener.join(1)
        if self._child.stderr is not None:
            self._child.stderr.close()

    def _hello(self) -> dict[str, Any]:
        channel = self._channels[0]
        try:
            if not select.select([channel.reading], [], [], START_S)[0]:
                raise Ended
            record, _ = channel.receive()
        except Ended as error:
            self._child.kill()
            self._listener.join(1)
            log.warning("the process of a SavedModel did not start: %s", " | ".join(self._words))
            raise PackageError("TensorFlow ended while it opened the SavedModel", code="onnx_invalid") from error
        if "refused" in record:
            kind = InferenceError if record["code"] == "not_found" else PackageError
            raise kind(str(record["refused"]), code=str(record["code"]))
        return record

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._words.append(line.decode(errors="replace").strip()[:500])
