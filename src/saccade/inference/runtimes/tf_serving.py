"""Graphs that a server of TensorFlow Serving's protocol runs, over gRPC."""

import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference import remote
from saccade.inference.remote import Remote, RemoteGraph, RemoteRuntime
from saccade.inference.runtimes.triton import LEARN_S, Line
from saccade.types import Array, TensorSpec
from saccade.wire import schema
from saccade.wire.names import TENSORFLOW

PREDICTION = schema.service("tensorflow.serving.PredictionService")
MODEL = schema.service("tensorflow.serving.ModelService")
SIGNATURES = schema.message("tensorflow.serving.SignatureDefMap")
SIGNATURE = "serving_default"
NAMES = {number: dtype for dtype, (_, number, _) in TENSORFLOW.items()}
AVAILABLE = 30
MAX_VALUES = 1 << 28
"""Of a tensor sent value by value: a shape may promise more than came, the last one is then repeated."""


class _Graph(RemoteGraph):
    def __init__(self, where: Remote) -> None:
        super().__init__(where)
        self._line = Line(where)
        self._signature = SIGNATURE

    def learn(self) -> Self:
        """Asks what goes in and what comes out. Raises InferenceError, PackageError."""
        rpc = PREDICTION["GetModelMetadata"]
        request = rpc.request(model_spec=self._spec(), metadata_field=["signature_def"])
        told = self._line.call(rpc, request, time.monotonic() + LEARN_S, LEARN_S).metadata["signature_def"]
        found = SIGNATURES.FromString(told.value).signature_def
        if SIGNATURE not in found and len(found) != 1:
            raise PackageError(
                f"the server's model has signatures {', '.join(sorted(found)) or 'none'}, expected {SIGNATURE}",
                code="onnx_invalid",
            )
        self._signature = SIGNATURE if SIGNATURE in found else next(iter(found))
        chosen = found[self._signature]
        self.inputs = tuple(_spec(name, chosen.inputs[name]) for name in sorted(chosen.inputs))
        self.outputs = tuple(_spec(name, chosen.outputs[name]) for name in sorted(chosen.outputs))
        return self

    def _spec(self, signature: str = "") -> dict[str, Any]:
        version = {"version": {"value": int(self.remote.version)}} if self.remote.version else {}
        return {"name": self.remote.model, "signature_name": signature, **version}

    def alive(self, until: float) -> None:
        rpc = MODEL["GetModelStatus"]
        told = self._line.call(rpc, rpc.request(model_spec=self._spec()), until)
        if not any(one.state == AVAILABLE for one in told.model_version_status):
            raise remote.away()

    def ask(self, arrays: Mapping[str, Array], until: float) -> dict[str, Array]:
        rpc = PREDICTION["Predict"]
        request = rpc.request(model_spec=self._spec(self._signature), output_filter=[s.name for s in self.outputs])
        for spec in self.inputs:
            value = np.ascontiguousarray(arrays[spec.name])
            tensor = request.inputs[spec.name]
            tensor.dtype = TENSORFLOW[value.dtype.name][1]
            for side in value.shape:
                tensor.tensor_shape.dim.add(size=side)
            tensor.tensor_content = value.tobytes()
        reply = self._line.call(rpc, request, until)
        return {name: _read(tensor) for name, tensor in reply.outputs.items()}

    def close(self) -> None:
        super().close()
        self._line.close()


def _spec(name: str, told: Any) -> TensorSpec:
    if told.dtype not in NAMES or told.tensor_shape.unknown_rank:
        raise PackageError(
            f"the server's tensor {name!r} has type {told.dtype} of TensorFlow's, expected numbers of known axes",
            code="onnx_invalid",
        )
    sides = (int(dim.size) for dim in told.tensor_shape.dim)
    return TensorSpec(name, NAMES[told.dtype], tuple(None if side < 0 else side for side in sides))


def _read(tensor: Any) -> Array:
    """A TensorProto, its values raw or one by one. Raises InferenceError when it is not what it says."""
    try:
        dtype = NAMES[tensor.dtype]
        _, _, field = TENSORFLOW[dtype]
        shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
        if min(shape, default=0) < 0:
            raise ValueError("a side is negative")
        if tensor.tensor_content:
            return np.array(np.frombuffer(tensor.tensor_content, dtype).reshape(shape))
        return _filled(getattr(tensor, field), dtype, shape)
    except (KeyError, ValueError, OverflowError) as error:
        raise InferenceError("the server that runs this model gave no tensors") from error


def _filled(values: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    many = int(np.prod(shape, dtype=np.float64))
    if many > MAX_VALUES or len(values) > many or (many and not len(values)):
        raise ValueError("the values do not fit the shape")
    # From a list: numpy refuses numbers that a type does not hold, and of a field it would take them modulo.
    plain = list(values)
    found = np.array(plain, "uint16").view("float16") if dtype == "float16" else np.array(plain, dtype)
    if len(found) < many:
        found = np.concatenate([found, np.full(many - len(found), found[-1], found.dtype)])
    return found.reshape(shape)


class _TensorFlowServing(RemoteRuntime):
    name = "tf_serving"
    graph = _Graph


RUNTIME = _TensorFlowServing()
