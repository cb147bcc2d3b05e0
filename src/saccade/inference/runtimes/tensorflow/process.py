"""The parent's half: starts the process of a SavedModel, hands it arrays, and says how it ended."""

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtimes.tensorflow.wire import Channel, Ended, Late
from saccade.inference.workers import family, worker
from saccade.inference.workers.again import ending
from saccade.types import Array

log = logging.getLogger("saccade.inference")

START_S = 300.0
"""TensorFlow needs seconds to be imported, a large SavedModel some more; what is not there then never will be."""
END_S = 5.0
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "GRPC_VERBOSITY": "NONE", "KERAS_BACKEND": "tensorflow"}


def environment(device: str) -> dict[str, str]:
    """For a process with TensorFlow in it: no keys and passwords, few words, and no GPU that nobody asked for."""
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
    return {**worker.environment(), **QUIET, **hidden}


class Gone(Exception):  # noqa: N818 - not an error of anyone's
    """The process ended before it was given anything."""


def _pipe_back(other: int) -> tuple[int, int]:
    """The second of two pipes; where it cannot be had, the first one's end is given back too. Raises OSError."""
    try:
        return os.pipe()
    except OSError:
        os.close(other)
        raise


class Process:
    """Starts the process of a graph. Several threads may ask it, `callers` of them at a time. It is never started
    again; another one is made. Raises InferenceError(worker_lost) when this machine has no room for it."""

    def __init__(self, folder: Path, device: str, threads: int, callers: int) -> None:
        self._channels: list[Channel] = []
        self._free: queue.SimpleQueue[Channel | None] = queue.SimpleQueue()
        self._words: deque[str] = deque(maxlen=20)
        self._killed = ""
        self._broken = False
        """What stands in its pipes may be the answer to somebody who left."""
        self._lent = 0
        """Channels that callers may have."""
        self._closing = threading.Lock()
        self._opened_at = 0.0
        self.answered = False
        """Whether any run came back."""
        theirs: list[int] = []
        pairs = []
        # -P: a file in the folder we were called from must not stand in for the library.
        command = [sys.executable, "-P", "-m", "saccade.inference.runtimes.tensorflow.worker"]
        try:
            for _ in range(callers):
                their_reading, writing = os.pipe()
                theirs.append(their_reading)
                reading, their_writing = _pipe_back(writing)
                theirs.append(their_writing)
                self._channels.append(Channel(reading, writing))
                pairs.append(f"{their_reading}:{their_writing}")
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
        except OSError as error:
            for channel in self._channels:
                channel.close()
            raise InferenceError(
                f"the process of a SavedModel could not be started: {error.strerror or error}",
                hint="see whether this machine has memory and processes to spare",
                code="worker_lost",
            ) from error
        finally:
            for handle in theirs:
                os.close(handle)
        self.pid = self._child.pid
        self._listener = threading.Thread(target=self._listen, daemon=True)
        try:
            self._listener.start()
        except RuntimeError:  # no room for a thread
            self._child.kill()
            self._child.wait()
            for channel in self._channels:
                channel.close()
            raise

    def open(self) -> dict[str, Any]:
        """What the graph says of itself, once it is there. Raises PackageError when it is refused or the process ends
        over it; InferenceError: not_found for a device, worker_lost when somebody ended the process."""
        try:
            facts = self._hello()
        except BaseException:
            self.close()
            raise
        self._opened_at = time.monotonic()
        self._lent = len(self._channels)
        for channel in self._channels:
            self._free.put(channel)
        return facts

    def ask(self, arrays: Mapping[str, Array], hang_s: float) -> dict[str, Array]:
        """Raises Gone; InferenceError: inference_failed, worker_lost when the process ended over it, or was ended
        because it took longer than hang_s."""
        channel = self._free.get()
        if channel is None or self._broken:
            self._free.put(channel)
            raise Gone
        until, sent = time.monotonic() + hang_s, False
        try:
            channel.send({}, arrays, until)
            sent = True
            record, answers = channel.receive(until)
            self.answered = True
        except Ended as error:
            self._broken = True
            if isinstance(error, Late):
                self.kill(f"a run lasted longer than {hang_s:g} s (hang_s)")
            elif not sent:
                self.kill("")
                raise Gone from error
            hung = isinstance(error, Late)
            raise InferenceError(
                f"the process that ran this {self._fate()}",
                hint="ask again",
                code="worker_lost",
                details={"hung": hung},
            ) from error
        finally:
            self._free.put(channel)
        if "failed" in record:
            raise InferenceError("the graph failed on this input")
        return answers

    def age_s(self) -> float:
        """Since its graph was open."""
        return time.monotonic() - self._opened_at

    def memory(self) -> tuple[int, int]:
        """Resident bytes now and at their peak."""
        return family.memory(self.pid) if self._child.returncode is None else (0, 0)

    def kill(self, why: str) -> None:
        """Ends the process at once."""
        self._killed = self._killed or why
        with contextlib.suppress(OSError):
            self._child.kill()

    @property
    def said(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._words)

    def wait(self) -> str:
        """Blocks until the process has ended; says how."""
        code = self._child.wait()
        self._listener.join(1)
        return ending(code, self._killed)

    def close(self) -> None:
        """Waits for the calls at work, then for the process. A second call waits for the first."""
        with self._closing:
            for _ in range(self._lent):
                self._free.get()
            self._lent = 0
            self._free.put(None)
            for channel in self._channels:
                channel.close()
            self._channels = []
            self._end()
            self._listener.join(1)
            if self._child.stderr is not None:
                self._child.stderr.close()

    def _end(self) -> None:
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill("it did not end")
            self._child.wait()

    def _fate(self) -> str:
        # A process that hung up, or answered nonsense, is no more use than one that ended.
        self.kill("")
        return f"was ended: {self._killed}" if self._killed else "was lost"

    def _hello(self) -> dict[str, Any]:
        try:
            record, _ = self._channels[0].receive(time.monotonic() + START_S)
        except Ended as error:
            if isinstance(error, Late):
                self.kill(f"it was not there after {START_S:g} s")
            self._end()
            log.warning("the process of a SavedModel did not start: %s", " | ".join([self.wait(), *self.said]))
            if self._child.returncode == -signal.SIGKILL and not self._killed:
                # By the kernel, or an operator: the folder is not at fault.
                raise InferenceError(
                    "the process was ended while it opened the SavedModel", hint="ask again", code="worker_lost"
                ) from error
            raise PackageError("TensorFlow ended while it opened the SavedModel", code="onnx_invalid") from error
        if "refused" in record:
            kind = InferenceError if record["code"] == "not_found" else PackageError
            raise kind(str(record["refused"]), code=str(record["code"]))
        return record

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._words.append(line.decode(errors="replace").strip()[:500])
