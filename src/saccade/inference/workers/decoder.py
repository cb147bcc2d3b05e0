"""A confined process that decodes, as its server sees it: given bytes it gives pixels, and a bad
picture costs only itself."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from saccade.errors import ImageError, InferenceError
from saccade.images.header import Header
from saccade.images.preprocess import Placement, PreprocessSpec
from saccade.inference.workers import frames
from saccade.inference.workers.region import KEPT, Region
from saccade.inference.workers.worker import environment
from saccade.limits import IMAGE_LIMITS
from saccade.types import Image

START_S = 60.0
ENDING_S = 1.0
REST_S = 2.0
"""So long after a large picture its memory is let go of, though small ones go on coming."""
NONSENSE = "it answered what no decoder says"
MEMORY = 1024**3
"""Bytes that a decoder may take beyond what it has when it is confined."""


class Decoder:
    """One picture at a time, by one thread. seconds: of the clock that a picture may take.

    Hazard: Linux ends the process when the *thread* that started it ends; each thread that decodes
    has a decoder of its own.
    """

    def __init__(self, *, seconds: float = IMAGE_LIMITS.max_decode_s, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._strained = 0.0
        """When the last large picture came, while its memory is held."""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def begin(self) -> None:
        """Starts the process, and does not wait for it. Raises InferenceError(overloaded) when
        this machine has no room."""
        if self._process is None:
            try:
                self._start()
            except OSError as error:
                raise InferenceError(
                    f"no decoder could be started: {error.strerror}", hint="ask again later", code="overloaded"
                ) from error

    def load(self, data: bytes, header: Header, spec: PreprocessSpec) -> tuple[Image, Placement]:
        """As `preprocess.load_inspected`. Raises ImageError: image_undecodable, image_decode_timeout;
        InferenceError."""
        reply = self._ask(data, header, spec, spec.width * spec.height * 3)
        pixels, place = self._pixels(reply, (spec.height, spec.width, 3)), _placed(reply.get("placement"), header)
        if place is None:
            raise self._lost(NONSENSE)
        return pixels, place

    def pixels(self, data: bytes, header: Header) -> Image:
        """As `decode.pixels`. Raises as `load`."""
        reply = self._ask(data, header, None, header.width * header.height * 3)
        return self._pixels(reply, (header.height, header.width, 3))

    def _pixels(self, reply: Mapping[str, Any], shape: tuple[int, int, int]) -> Image:
        try:
            found = self._answered.get(reply["arrays"])["image"]
        except (ValueError, KeyError, TypeError, InferenceError) as error:
            raise self._lost(NONSENSE) from error
        if found.shape != shape or found.dtype != np.uint8:
            raise self._lost(NONSENSE)
        return np.array(found)  # the child may write on: what is kept is a copy

    def _ask(self, data: bytes, header: Header, spec: PreprocessSpec | None, room: int) -> Mapping[str, Any]:
        self._wait()
        if max(room, len(data)) > KEPT:
            self._strained = time.monotonic()
        elif self._strained and time.monotonic() - self._strained > REST_S:
            self._strained = 0.0
            self.rest()
        self._answered.reserve(room)
        told = self._given.put({"data": np.frombuffer(data, np.uint8)})
        try:
            frames.send(
                self._line, {"arrays": told, "header": asdict(header), "spec": spec.to_json() if spec else None}
            )
            reply, _ = frames.receive(self._line, seconds=self._seconds)
        except TimeoutError:
            self._lost("")
            raise ImageError(
                f"the picture took longer than {self._seconds:g} s to decode",
                hint="send a smaller or simpler one",
                code="image_decode_timeout",
            ) from None
        except ValueError as error:
            raise self._lost(NONSENSE) from error
        except (EOFError, OSError) as error:
            if self._code() == -signal.SIGKILL:  # by the kernel, or an operator
                self._lost("")
                raise InferenceError(
                    "the process that decoded was lost", hint="ask again", code="worker_lost"
                ) from error
            raise self._lost("its decoder ended") from error
        if "error" in reply:
            raise frames.raised(reply["error"])
        return reply

    def _code(self) -> int | None:
        """How the process ended; None of one that only hung up."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(ENDING_S) if self._process else None
        return None

    def _lost(self, why: str) -> ImageError:
        """Ends this process and starts the next one, which is ready when the next picture comes or soon after."""
        self.close()
        with contextlib.suppress(InferenceError):  # the next picture tries again, and says it
            self.begin()
        return ImageError(
            f"the image is damaged or not what its first bytes say: {why}", hint="open it and save it again"
        )

    def _start(self) -> None:
        with contextlib.ExitStack() as undo:
            given = undo.enter_context(contextlib.closing(Region.make()))
            answered = undo.enter_context(contextlib.closing(Region.make()))
            line, theirs = socket.socketpair()
            undo.callback(line.close)
            self._process = self._begun(theirs, given, answered)
            undo.pop_all()
        self._line, self._given, self._answered = line, given, answered

    def _begun(self, theirs: socket.socket, given: Region, answered: Region) -> "subprocess.Popen[bytes]":
        with theirs:
            descriptors = [theirs.fileno(), given.descriptor, answered.descriptor]
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "saccade.inference.workers.decoding",
                 str(os.getpid()), *map(str, descriptors), str(self._memory)],
                env={**environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,
            )  # fmt: skip

    def _wait(self) -> None:
        """Until it is confined and has said so. Raises InferenceError(worker_lost)."""
        if self._ready:
            return
        self.begin()
        frames.bound(self._line, START_S)
        try:
            reply, _ = frames.receive(self._line)
        except (EOFError, OSError, ValueError) as error:
            self.close()
            raise InferenceError("a decoder did not start", hint="ask again", code="worker_lost") from error
        if "error" in reply:
            raise frames.raised(reply["error"])
        frames.bound(self._line, self._seconds)
        self._ready = True

    def rest(self) -> None:
        """Lets go of the memory that a large picture took."""
        if self._process is not None:
            with contextlib.suppress(OSError):  # then it stays
                self._given.let_go()
                self._answered.let_go()

    def close(self) -> None:
        """Ends the process; the next picture would start another."""
        process, self._process = self._process, None
        self._ready = False
        if process is not None:
            self._line.close()
            self._given.close()
            self._answered.close()
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()


def _placed(told: Any, header: Header) -> Placement | None:
    """The placement that was told, None unless it is one of this picture: an answer takes memory by its sides."""
    if not isinstance(told, list) or len(told) != 6 or not all(type(n) in (int, float) for n in told):
        return None
    width, height, scale_x, scale_y, *_ = told
    fits = type(width) is type(height) is int and (width, height) == (header.width, header.height)
    return Placement(*told) if fits and all(map(math.isfinite, told)) and scale_x > 0 and scale_y > 0 else None
