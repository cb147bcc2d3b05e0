"""Tensors as the dialects send them: checked shapes, raw bytes and JSON values, before anything is allocated for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.errors import ServerError
from saccade.types import Array

MAX_RANK = 8
MAX_SIDE = 2**31
MAX_ELEMENTS = 2**26
MAX_TENSORS = 16


@dataclass(frozen=True)
class Tensor:
    """A named value of a request or an answer: an array, or byte strings in row-major order with their shape."""

    name: str
    value: Array | list[bytes]
    shape: tuple[int, ...]


def of(name: str, array: Array) -> Tensor:
    return Tensor(name, array, array.shape)


def sides(given: Any, name: str) -> tuple[int, ...]:
    """A shape as sent. Raises ServerError: tensor_shape_mismatch, tensor_too_large."""
    whole = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not whole or len(given) > MAX_RANK or not all(type(s) is int and 0 <= s <= MAX_SIDE for s in given):
        raise ServerError(
            f"the shape of {name} is no list of at most {MAX_RANK} whole numbers from 0 to {MAX_SIDE}",
            code="tensor_shape_mismatch",
        )
    shape = tuple(int(s) for s in given)
    if math.prod(shape) > MAX_ELEMENTS:
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


def from_json(data: Any, dtype: str, shape: tuple[int, ...] | None, name: str) -> Array:
    """Numbers or booleans, nested like the shape or flat; shape None takes theirs.

    Raises ServerError: tensor_shape_mismatch, tensor_too_large, invalid_value for values the dtype cannot hold.
    """
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError):
        raise ServerError(f"the data of {name} are ragged", code="tensor_shape_mismatch") from None
    kind = np.dtype(dtype).kind
    if array.dtype.kind not in {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[kind] and array.size:
        raise ServerError(f"the data of {name} are not all {dtype}", code="invalid_value")
    if kind in "iu" and array.size:
        info = np.iinfo(dtype)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise ServerError(f"a value of {name} does not fit {dtype}", code="invalid_value")
    wanted = sides(list(array.shape), name) if shape is None else shape
    if array.shape != wanted and (array.ndim != 1 or array.size != math.prod(wanted)):
        raise ServerError(
            f"the data of {name} have shape {list(array.shape)}, expected {list(wanted)}", code="tensor_shape_mismatch"
        )
    with np.errstate(over="ignore"):
        return array.astype(dtype).reshape(wanted)


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
