"""A tensor on its way through the graph, in ONNX's order of axes and in TensorFlow's, whichever is asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

Side = Any
"""One side of a shape: an int, or an int64 scalar that only a run knows."""


class Value:
    """plain: axes as ONNX has them (channels second); last: channels last, as TensorFlow computes on a CPU.

    Each is made of the other when it is first asked for, so a chain of convolutions turns its axes once at either end.
    A constant is a NumPy array. sides: of a vector of sizes, what is known of each.
    """

    def __init__(self, plain: Any = None, *, last: Any = None, sides: Sequence[Side] | None = None) -> None:
        self._plain, self._last = plain, last
        self.native_last = plain is None
        self._sides = sides

    @property
    def constant(self) -> Any:
        """The array, or None."""
        return self._plain if isinstance(self._plain, np.ndarray) else None

    @property
    def plain(self) -> Any:
        if self._plain is None:
            rank = len(self._last.shape)
            self._plain = tf.transpose(self._last, [0, rank - 1, *range(1, rank - 1)])
        return self._plain

    @property
    def last(self) -> Any:
        if self._last is None:
            order = [0, *range(2, self.rank), 1]
            plain = self._plain
            self._last = plain.transpose(order) if self.constant is not None else tf.transpose(plain, order)
        return self._last

    @property
    def shape(self) -> list[int | None]:
        """In ONNX's order."""
        known = [None if s is None else int(s) for s in (self._last if self._plain is None else self._plain).shape]
        return known if self._plain is not None else [known[0], known[-1], *known[1:-1]]

    @property
    def rank(self) -> int:
        return len((self._last if self._plain is None else self._plain).shape)

    @property
    def dtype(self) -> Any:
        return tf.as_dtype((self._last if self._plain is None else self._plain).dtype)

    @property
    def sides(self) -> list[Side]:
        """The elements of a vector of whole numbers, each an int where it is known."""
        if self._sides is not None:
            return list(self._sides)
        if self.constant is not None:
            return [int(v) for v in self.constant.reshape(-1)]
        return [self.plain[i] for i in range(self.shape[0] or 0)]

    @property
    def told_sides(self) -> Sequence[Side] | None:
        return self._sides if self.constant is None else self.sides


def of_sides(sides: Sequence[Side], dtype: Any = np.int64, *, scalar: bool = False) -> Value:
    """A vector (or the one number) of sizes; a constant when all are known."""
    if all(isinstance(s, int) for s in sides):
        return Value(np.array(sides[0] if scalar else sides, dtype))
    parts = [tf.cast(s, dtype) for s in sides]
    return Value(parts[0] if scalar else tf.stack(parts), sides=list(sides))


def size(value: Value, axis: int) -> Side:
    """Of an axis in ONNX's order."""
    known = value.shape[axis]
    return int(known) if known is not None else tf.shape(value.plain, tf.int64)[axis]


def together(values: Sequence[Value]) -> tuple[list[Any], bool]:
    """Tensors that broadcast with each other as ONNX says, and whether their channels lie last."""
    rank = max(v.rank for v in values)
    if rank < 3 or not any(v.native_last for v in values):
        return [v.plain for v in values], False
    return [_lastly(v, rank) for v in values], True


def _lastly(value: Value, rank: int) -> Any:
    if value.rank == rank:
        return value.last
    if value.rank == 0:
        return value.plain
    shape = [1] * (rank - value.rank) + value.shape
    whole = value.constant
    if whole is not None:
        return np.moveaxis(whole.reshape(shape), 1, -1)
    ends = [1] * (rank - value.rank) + [tf.shape(value.plain)[i] if s is None else s for i, s in enumerate(value.shape)]
    return tf.transpose(tf.reshape(value.plain, ends), [0, *range(2, rank), 1])


def made(tensor: Any, last: bool) -> Value:
    return Value(last=tensor) if last else Value(tensor)


def last_axis(axis: int, rank: int) -> int:
    """Where an axis of ONNX lies when channels lie last."""
    axis %= rank
    return axis if axis == 0 else rank - 1 if axis == 1 else axis - 1
