"""Arrays between two processes through a pair of pipes: a length, a JSON record, then the bytes of each array."""

import contextlib
import fcntl
import json
import math
import os
import select
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.types import Array

MAX_RECORD = 1024 * 1024
MAX_ARRAY = 2**32
DTYPES = ("bool", "float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
"""Types of array that may pass."""
PIPE_BYTES = 1024 * 1024
"""What a pipe holds, where the system allows: fewer changes of process for a batch of pictures."""


class Ended(Exception):  # noqa: N818 - an event of this folder, never seen outside
    """The other side is gone, or says what it cannot mean."""


class Late(Ended):
    """The other side took too long."""


@dataclass
class Channel:
    """One call at a time. reading, writing: file descriptors, closed with it. until, of `send` and `receive`: a moment
    of time.monotonic after which the other side is late; None waits for ever."""

    reading: int
    writing: int

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, record: Mapping[str, Any], arrays: Mapping[str, Array] = {}, until: float | None = None) -> None:
        """Raises Ended, Late."""
        whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        told = [[name, value.dtype.name, list(value.shape)] for name, value in whole.items()]
        text = json.dumps({**record, "arrays": told}).encode()
        self._write(struct.pack("<I", len(text)) + text, until)
        for value in whole.values():
            if value.nbytes:
                self._write(value.reshape(-1).view(np.uint8), until)

    def receive(self, until: float | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
        """A record and arrays in memory of their own. Raises Ended, Late."""
        [length] = struct.unpack("<I", self._read(bytearray(4), until))
        if length > MAX_RECORD:
            raise Ended
        try:
            record = json.loads(self._read(bytearray(length), until))
            arrays = {name: _empty(dtype, shape) for name, dtype, shape in record.pop("arrays")}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
            raise Ended from error
        for value in arrays.values():
            if value.nbytes:
                self._read(value.reshape(-1).view(np.uint8), until)
        return record, arrays

    def close(self) -> None:
        for handle in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(handle)

    def _write(self, data: Any, until: float | None) -> None:
        left = memoryview(data)
        try:
            # A pipe that has room may still hold up a writer who brings more than that.
            os.set_blocking(self.writing, until is None)
            while left:
                _wait(self.writing, select.POLLOUT, until)
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self.writing, left) :]
        except OSError as error:
            raise Ended from error

    def _read(self, into: Any, until: float | None) -> Any:
        left = memoryview(into)
        try:
            while left:
                _wait(self.reading, select.POLLIN, until)
                count = os.readv(self.reading, [left])
                if not count:
                    raise Ended
                left = left[count:]
        except OSError as error:
            raise Ended from error
        return into


def _wait(handle: int, what: int, until: float | None) -> None:
    """Until a pipe is ready, or its other side is gone. Raises Late."""
    if until is None:
        return
    waiting = select.poll()  # select.select knows no descriptor above 1023, which a busy server has
    waiting.register(handle, what)
    if not waiting.poll(max(0.0, until - time.monotonic()) * 1e3):
        raise Late


def _empty(dtype: str, shape: list[int]) -> Array:
    if dtype not in DTYPES or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(dtype)
    if math.prod(shape) * np.dtype(dtype).itemsize > MAX_ARRAY:
        raise ValueError(shape)
    return np.empty(shape, dtype)
