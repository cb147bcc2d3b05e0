"""TensorFlow's tensors and examples as protobuf messages. Opens no socket."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.errors import ServerError
from saccade.protocols import tensors
from saccade.protocols.method import HEAVY
from saccade.protocols.native.http import MAX_BODY
from saccade.protocols.tensors import MAX_TENSORS, Tensor
from saccade.protocols.tf_serving.messages import wrong
from saccade.types import Array, TensorSpec
from saccade.wire import schema
from saccade.wire.names import TENSORFLOW, TENSORFLOW_STRING

TensorProto = schema.message("tensorflow.TensorProto")
NAMES = {number: dtype for dtype, (_, number, _) in TENSORFLOW.items()}


def heavy(request: Any) -> bool:
    """Whether the values of a request come one by one, and many."""
    slow = (proto for proto in request.inputs.values() if proto.dtype == TENSORFLOW_STRING or not proto.tensor_content)
    return sum(int(proto.ByteSize()) for proto in slow) > HEAVY


def inputs(given: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a PredictRequest. Raises ServerError."""
    if not 1 <= len(given) <= MAX_TENSORS:
        raise wrong(f"inputs are 1 to {MAX_TENSORS} tensors")
    return [Tensor(name, *value(proto)) for name, proto in given.items()]


def value(proto: Any) -> tuple[Array | list[bytes], tuple[int, ...]]:
    """What a TensorProto holds, and its shape. Raises ServerError."""
    if proto.tensor_shape.unknown_rank:
        raise wrong("the shape of an input is unknown", code="tensor_shape_mismatch")
    shape = tensors.sides([dim.size for dim in proto.tensor_shape.dim], "an input")
    if proto.dtype == TENSORFLOW_STRING:
        return tensors.from_field(proto.string_val, None, shape, "an input"), shape
    dtype = NAMES.get(proto.dtype)
    if dtype is None:
        raise wrong(
            "an input has a type that no model here takes",
            hint=f"DT_STRING, {', '.join(name for name, _, _ in TENSORFLOW.values())}",
        )
    if proto.tensor_content:
        return tensors.from_bytes(proto.tensor_content, dtype, shape, "an input"), shape
    array = _repeated(getattr(proto, TENSORFLOW[dtype][2]), "uint16" if dtype == "float16" else dtype, shape)
    return array.view("float16") if dtype == "float16" else array, shape


def _repeated(values: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    """Typed values; TensorFlow leaves out those that repeat the last one, so that a few bytes
    may mean a huge tensor."""
    missing = math.prod(shape) - len(values)
    if not values or missing <= 0:
        return np.asarray(tensors.from_field(values, dtype, shape, "an input"))
    if math.prod(shape) * np.dtype(dtype).itemsize > MAX_BODY:
        raise ServerError("an input would be larger than a message", hint="send fewer rows", code="tensor_too_large")
    return np.pad(tensors.from_field(values, dtype, (len(values),), "an input"), (0, missing), "edge").reshape(shape)


def tensor(output: Tensor) -> Any:
    """An output as TensorFlow Serving writes it: typed values, which its clients read by the name of their field."""
    proto = TensorProto()
    for side in output.shape:
        proto.tensor_shape.dim.add(size=side)
    if isinstance(output.value, list):
        proto.dtype = TENSORFLOW_STRING
        proto.string_val.extend(output.value)
        return proto
    dtype = str(output.value.dtype)
    proto.dtype = TENSORFLOW[dtype][1]
    flat = output.value.ravel()
    getattr(proto, TENSORFLOW[dtype][2]).extend((flat.view("uint16") if dtype == "float16" else flat).tolist())
    return proto


def examples(given: Any, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The inputs that the examples of an Input hold, features of the context in each. Raises ServerError."""
    kind = given.WhichOneof("kind")
    if kind is None or not getattr(given, kind).examples:
        raise wrong("Input is empty", hint="send at least one example")
    context = dict(given.example_list_with_context.context.features.feature) if "context" in kind else {}
    rows = [{**context, **example.features.feature} for example in getattr(given, kind).examples]
    known = {spec.name: spec for spec in specs}
    if any(set(row) != set(rows[0]) for row in rows):
        raise wrong("the examples have not all the same features")
    strange = set(rows[0]) - set(known)
    if strange:
        raise wrong("a feature is unknown to this model", hint=f"inputs: {', '.join(known)}")
    return [_column(name, [row[name] for row in rows], known[name]) for name in rows[0]]


def _column(name: str, features: Sequence[Any], spec: TensorSpec) -> Tensor:
    """One feature of all examples: an encoded picture of each, or the numbers of a row."""
    kinds = {feature.WhichOneof("kind") for feature in features}
    if len(kinds) > 1 or None in kinds:
        raise wrong("a feature has no value, or not the same kind of value in all examples")
    kind = kinds.pop()
    values = [getattr(feature, kind).value for feature in features]
    if kind == "bytes_list":
        if any(len(one) != 1 for one in values):
            raise wrong("a feature of bytes holds one value")
        return Tensor(name, [one[0] for one in values], (len(values),))
    if kind == "int64_list" and np.dtype(spec.dtype).kind not in "iu":
        raise wrong(f"a feature came as whole numbers, expected {spec.dtype}")
    if kind == "float_list" and np.dtype(spec.dtype).kind != "f":
        raise wrong(f"a feature came as floats, expected {spec.dtype}")
    free = [i for i, side in enumerate(spec.shape[1:]) if side is None]
    row = [1 if side is None else side for side in spec.shape[1:]]
    if len(free) > 1:
        raise wrong("a feature cannot tell more than one free side", hint="ask Predict")
    if free:
        row[free[0]] = len(values[0]) // max(1, math.prod(row))
    shape = tensors.sides([len(values), *row], "a feature")
    return tensors.of(name, np.stack([tensors.from_field(one, spec.dtype, shape[1:], "a feature") for one in values]))
