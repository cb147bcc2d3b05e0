"""Tensors as the dialects send them: checked shapes, raw bytes and JSON values, before anything
is allocated for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from saccade.errors import ServerError
from saccade.types import Array

MAX_RANK = 8
MAX_SIDE = 2**31
MAX_ELEMENTS = 2**26
MAX_TENSORS = 16
KINDS: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""Kind of a dtype to the types of JSON values it takes."""


@dataclass(frozen=True)
class Tensor:
    """A named value of a request or an answer: an array, or byte strings in row-major order with their shape."""

    name: str
    value: Array | list[bytes]
    shape: tuple[int, ...]


def of(name: str, array: Array) -> Tensor:
    return Tensor(name, array, array.shape)


def elements(tensors: Sequence[Tensor]) -> int:
    """How many values they hold together."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def sides(given: Any, name: str) -> tuple[int, ...]:
    """A shape as sent. Raises ServerError: tensor_shape_mismatch, tensor_too_large."""
    whole = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not whole or len(given) > MAX_RANK or not all(type(s) is int and 0 <= s <= MAX_SIDE for s in given):
        raise ServerError(
            f"the shape of {name} is no list of at most {MAX_RANK} whole numbers from 0 to {MAX_SIDE}",
            code="tensor_shape_mismatch",
        )
    shape = tuple(int(s) for s in given)
    if math.prod(max(side, 1) for side in shape) > MAX_ELEMENTS:  # an empty side must not hide a huge one
        raise ServerError(
            f"{name} has more than {MAX_ELEMENTS} elements",
            hint="send fewer rows",
            code="tensor_too_large",
            details={"limit": MAX_ELEMENTS},
        )
    return shape


def from_bytes(data: bytes | memoryview, dtype: str, shape: tuple[int, ...], name: str) -> Array:
    """Little-endian, row-major; the array is a read-only view of data. Raises ServerError(tensor_shape_mismatch)."""
    kind = np.dtype(dtype).newbyteorder("<")
    wanted = math.prod(shape) * kind.itemsize
    if len(data) != wanted:
        raise ServerError(f"{name} has {len(data)} bytes, expected {wanted}", code="tensor_shape_mismatch")
    array = np.frombuffer(data, kind).reshape(shape)
    if dtype == "bool" and array.size and array.view(np.uint8).max() > 1:
        raise ServerError(f"{name} has a boolean that is neither 0 nor 1", code="invalid_value")
    return array


def from_field(values: Sequence[Any], dtype: str | None, shape: tuple[int, ...], name: str) -> Array | list[bytes]:
    """A repeated field of protobuf; dtype None is byte strings.

    Raises ServerError: tensor_shape_mismatch, invalid_value for values the dtype cannot hold.
    """
    if len(values) != math.prod(shape):
        raise ServerError(f"{name} has {len(values)} values, expected {math.prod(shape)}", code="tensor_shape_mismatch")
    if dtype is None:
        return list(values)
    try:
        return np.fromiter(values, dtype, len(values)).reshape(shape)
    except OverflowError:
        raise ServerError(f"a value of {name} does not fit {dtype}", code="invalid_value") from None


def from_json(data: Any, dtype: str, shape: tuple[int, ...] | None, name: str) -> Array:
    """Numbers or booleans, nested like the shape or flat; shape None takes theirs.

    Raises ServerError: tensor_shape_mismatch, tensor_too_large, invalid_value for values the dtype cannot hold.
    """
    leaves, came = _leaves(data, name)
    # Types come first: an array of texts would be as wide as its longest, for every element.
    if not set(map(type, leaves)) <= KINDS[np.dtype(dtype).kind]:
        raise ServerError(f"the data of {name} are not all {dtype}", code="invalid_value")
    wanted = sides(list(came), name) if shape is None else shape
    if came != wanted and (len(came) != 1 or len(leaves) != math.prod(wanted)):
        raise ServerError(
            f"the data of {name} have shape {list(came)}, expected {list(wanted)}", code="tensor_shape_mismatch"
        )
    try:
        with np.errstate(over="ignore"):
            return np.array(leaves, dtype).reshape(wanted)
    except OverflowError:
        raise ServerError(f"a value of {name} does not fit {dtype}", code="invalid_value") from None


def _leaves(data: Any, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """What nested lists hold, in row-major order, and their shape. Raises ServerError(tensor_shape_mismatch)."""
    level, shape = [data], []
    while list in (kinds := set(map(type, level))):
        if len(kinds) > 1 or len(set(map(len, level))) > 1:
            raise ServerError(f"the data of {name} are ragged", code="tensor_shape_mismatch")
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def strings(data: bytes | memoryview, count: int, name: str) -> list[bytes]:
    """Byte strings, each behind its length in 4 little-endian bytes. Raises ServerError(tensor_shape_mismatch)."""
    found: list[bytes] = []
    position, view = 0, memoryview(data)
    while position < len(view):
        end = position + 4
        length = int.from_bytes(view[position:end], "little")
        if end + length > len(view) or len(found) == count:
            break
        found.append(bytes(view[end : end + length]))
        position = end + length
    if position != len(view) or len(found) != count:
        raise ServerError(
            f"the bytes of {name} are not {count} strings, each behind its length", code="tensor_shape_mismatch"
        )
    return found


def to_bytes(tensor: Tensor) -> bytes:
    """The inverse of from_bytes and strings."""
    if isinstance(tensor.value, list):
        return b"".join(len(text).to_bytes(4, "little") + text for text in tensor.value)
    array = np.ascontiguousarray(tensor.value)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def finite(tensor: Tensor) -> bool:
    value = tensor.value
    return isinstance(value, list) or value.dtype.kind != "f" or bool(np.isfinite(value).all())
