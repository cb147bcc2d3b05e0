"""Arrays between two processes through a pair of pipes: a length, a JSON record, then the bytes of each array."""

import contextlib
import fcntl
import json
import math
import os
import struct
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


@dataclass
class Channel:
    """One call at a time. reading, writing: file descriptors, closed with it."""

    reading: int
    writing: int

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, record: Mapping[str, Any], arrays: Mapping[str, Array] = {}) -> None:
        """Raises Ended."""
        whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        told = [[name, value.dtype.name, list(value.shape)] for name, value in whole.items()]
        text = json.dumps({**record, "arrays": told}).encode()
        self._write(struct.pack("<I", len(text)) + text)
        for value in whole.values():
            if value.nbytes:
                self._write(value.reshape(-1).view(np.uint8))

    def receive(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """A record and arrays in memory of their own. Raises Ended."""
        [length] = struct.unpack("<I", self._read(bytearray(4)))
        if length > MAX_RECORD:
            raise Ended
        try:
            record = json.loads(self._read(bytearray(length)))
            arrays = {name: _empty(dtype, shape) for name, dtype, shape in record.pop("arrays")}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
            raise Ended from error
        for value in arrays.values():
            if value.nbytes:
                self._read(value.reshape(-1).view(np.uint8))
        return record, arrays

    def close(self) -> None:
        for handle in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(handle)

    def _write(self, data: Any) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.writing, left) :]
        except OSError as error:
            raise Ended from error

    def _read(self, into: Any) -> Any:
        left = memoryview(into)
        try:
            while left:
                count = os.readv(self.reading, [left])
                if not count:
                    raise Ended
                left = left[count:]
        except OSError as error:
            raise Ended from error
        return into


def _empty(dtype: str, shape: list[int]) -> Array:
    if dtype not in DTYPES or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(dtype)
    if math.prod(shape) * np.dtype(dtype).itemsize > MAX_ARRAY:
        raise ValueError(shape)
    return np.empty(shape, dtype)
