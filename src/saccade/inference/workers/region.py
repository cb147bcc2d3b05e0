"""Anonymous memory that two processes see: arrays are written on one side and read on the other, never pickled."""

import errno
import math
import mmap
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.errors import InferenceError
from saccade.types import Array

ALIGN = 64
DTYPES = frozenset(
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64".split()  # noqa: SIM905
)
NAMES = {np.dtype(name): name for name in DTYPES}
MAX_BYTES = 4 * 1024**3
KEPT = 16 * 1024**2
"""Bytes that `let_go` leaves."""
Told = list[list[Any]]
"""Of each array name, dtype, shape and where it begins: what a message says of arrays."""


class Region:
    """A piece of memory behind a descriptor. It grows with what is written; no side can make it smaller."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None
        self._size = self._filled = 0
        """Bytes that are mapped; those of them, from the first on, that have pages."""

    @classmethod
    def make(cls) -> "Region":
        if sys.platform == "linux":
            import fcntl  # not on every system that opens this room

            descriptor = os.memfd_create("saccade", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            # Hazard: reading a page that the other side cut off would end this process with SIGBUS.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            return cls(descriptor)
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def put(self, arrays: Mapping[str, Array]) -> Told:
        """Copies arrays in. Raises InferenceError(overloaded) when this machine has no memory left for them."""
        told = self._laid({name: (NAMES.get(value.dtype, ""), value.shape) for name, value in arrays.items()})
        for (_, *place), value in zip(told, arrays.values(), strict=True):
            _view(self._map, *place)[...] = value
        return told

    def put_rows(self, rows: Sequence[Mapping[str, Array]]) -> Told:
        """Copies rows of one shape in, each name's one after the other: an array with a first axis. Raises as `put`."""
        told = self._laid({name: (NAMES.get(one.dtype, ""), (len(rows), *one.shape)) for name, one in rows[0].items()})
        for name, *place in told:
            whole = _view(self._map, *place)
            for i, row in enumerate(rows):
                whole[i] = row[name]
        return told

    def _laid(self, wanted: Mapping[str, tuple[str, tuple[int, ...]]]) -> Told:
        told: Told = []
        end = 0
        for name, (dtype, shape) in wanted.items():
            if not dtype:
                raise InferenceError(f"array {name!r} does not hold numbers")
            told.append([name, dtype, shape, end])
            end += -(-math.prod(shape) * np.dtype(dtype).itemsize // ALIGN) * ALIGN
        self._room(end)
        return told

    def get(self, told: Sequence[Sequence[Any]]) -> dict[str, Array]:
        """The arrays a message speaks of, as views of the memory. Raises ValueError for what cannot be there."""
        found: dict[str, Array] = {}
        for name, dtype, shape, begin in told:
            if not isinstance(name, str) or dtype not in DTYPES or not isinstance(begin, int) or len(shape) > 16:
                raise ValueError("an array's words are not what they should be")
            count = 1
            for side in shape:
                if not isinstance(side, int) or not 0 <= side < 2**31:
                    raise ValueError("an array's side is no size")
                count *= side
            end = begin + count * np.dtype(dtype).itemsize
            if begin < 0 or begin % ALIGN or (end > self._size and end > self._held()):
                raise ValueError("an array reaches beyond the memory")
            self._room(end)
            found[name] = _view(self._map, dtype, tuple(shape), begin)
        return found

    def _held(self) -> int:
        """Bytes behind the descriptor, asked in the one way that a confined process still has."""
        return os.lseek(self.descriptor, 0, os.SEEK_END)

    def reserve(self, size: int) -> None:
        """Makes room for one array of so many bytes, for a side that may not grow it. Raises
        InferenceError(overloaded)."""
        self._room(-(-size // ALIGN) * ALIGN)

    def let_go(self) -> None:
        """Gives the pages beyond KEPT back to the machine, and with them what lay there. Only for the side that makes
        room for both: the other would write to pages that may not be had."""
        if self._map is not None and self._filled > KEPT and sys.platform == "linux":
            self._map.madvise(mmap.MADV_REMOVE, KEPT, self._size - KEPT)
            self._filled = KEPT

    def _room(self, size: int) -> None:
        """Maps at least so many bytes, which have pages."""
        if size > MAX_BYTES:
            raise InferenceError(f"a batch has {size} bytes, at most {MAX_BYTES} fit")
        if size <= self._filled:
            return
        need, held = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, self._held()
        lacking = need > held or self._filled < self._size
        if lacking:
            self._take(need)
        if max(need, held) > self._size:
            # The former map lives on as long as arrays look at it.
            self._size = max(need, held)
            self._map = mmap.mmap(self.descriptor, self._size)
        self._filled = need if lacking else self._size

    def _take(self, size: int) -> None:
        """Pages for so many bytes, now: one that is missing when it is written to ends the process with SIGBUS."""
        try:
            if sys.platform == "linux":
                os.posix_fallocate(self.descriptor, 0, size)
            else:
                os.ftruncate(self.descriptor, size)
        except OSError as error:
            if error.errno not in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
                raise
            raise InferenceError(
                f"there is no memory for a batch of {size} bytes", hint="ask again later", code="overloaded"
            ) from error

    def close(self) -> None:
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _view(memory: mmap.mmap | None, dtype: str, shape: tuple[int, ...], begin: int) -> Array:
    if memory is None or 0 in shape:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, memory, begin)
