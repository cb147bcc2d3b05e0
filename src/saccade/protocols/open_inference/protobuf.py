"""The Open Inference Protocol's requests and answers as protobuf messages: typed contents or raw bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.protocols import tensors
from saccade.protocols.method import HEAVY
from saccade.protocols.open_inference import messages
from saccade.protocols.open_inference.messages import CLASSES, Infer, Result, Wanted, wrong
from saccade.protocols.tensors import MAX_TENSORS, Tensor
from saccade.types import Array
from saccade.wire import schema
from saccade.wire.names import OPEN_INFERENCE

InferResponse = schema.message("inference.ModelInferResponse")
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype to the field of InferTensorContents that carries it; FP16 has none and is always raw."""


def parameter(value: Any) -> Any:
    """What an InferParameter or ModelRepositoryParameter holds; None when it holds nothing."""
    kind = value.WhichOneof("parameter_choice")
    return None if kind is None else getattr(value, kind)


def heavy(request: Any) -> bool:
    """Whether the values of a request come one by one, and many."""
    slow = not request.raw_input_contents or any(one.datatype == "BYTES" for one in request.inputs)
    return slow and request.ByteSize() > HEAVY


def infer(request: Any) -> Infer:
    """A ModelInferRequest, checked as its JSON would be; binary when the tensors came raw. Raises ServerError."""
    if not 1 <= len(request.inputs) <= MAX_TENSORS:
        raise wrong(f"inputs are 1 to {MAX_TENSORS} tensors")
    raw = list(request.raw_input_contents) if len(request.raw_input_contents) <= MAX_TENSORS else []
    if request.raw_input_contents and len(raw) != len(request.inputs):
        raise wrong(f"{len(request.raw_input_contents)} raw inputs came for {len(request.inputs)} inputs")
    given = messages.parameters(_parameters(request.parameters))
    found = [_input(entry, raw[i] if raw else None) for i, entry in enumerate(request.inputs)]
    timeout = messages.timeout_s(given.get("timeout"))
    urgent = messages.urgent(given.get("priority"))
    return Infer(found, _outputs(request.outputs), bool(raw), request.id, timeout, urgent)


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: parameter(value) for name, value in given.items()}


def _input(entry: Any, raw: bytes | None) -> Tensor:
    messages.parameters(_parameters(entry.parameters))
    shape = tensors.sides(list(entry.shape), "an input")
    datatype = messages.known(entry.datatype)
    if raw is None:
        return Tensor(entry.name, _typed(entry.contents, datatype, shape), shape)
    if entry.HasField("contents"):
        raise wrong("an input has contents though the inputs came raw")
    return Tensor(entry.name, messages.raw(raw, datatype, shape), shape)


def _typed(contents: Any, datatype: str, shape: tuple[int, ...]) -> Array | list[bytes]:
    if datatype not in FIELDS:
        raise wrong(f"{datatype} has no typed contents", hint="send it raw")
    strange = [field.name for field, _ in contents.ListFields() if field.name != FIELDS[datatype]]
    if strange:
        raise wrong(f"an input of {datatype} came with {strange[0]}, expected {FIELDS[datatype]}")
    values = getattr(contents, FIELDS[datatype])
    return tensors.from_field(values, OPEN_INFERENCE.get(datatype), shape, "an input")


def _outputs(given: Sequence[Any]) -> list[Wanted] | None:
    if len(given) > MAX_TENSORS:
        raise wrong(f"outputs are at most {MAX_TENSORS} names")
    found = []
    for entry in given:
        parameters = messages.parameters(_parameters(entry.parameters))
        classes = messages.count_of_classes(parameters.get(CLASSES, 0))
        found.append(Wanted(entry.name, classes=classes, wishes=messages.wishes(entry.name, parameters)))
    return found or None


def response(model: str, version: int, own_id: str, found: Sequence[Result], raw: bool) -> Any:
    """A ModelInferResponse. raw: as bytes, which FP16 always is, and then all outputs are."""
    reply = InferResponse(model_name=model, model_version=str(version), id=own_id)
    raw = raw or any(result.datatype not in FIELDS for result in found)
    for result in found:
        output = reply.outputs.add(name=result.tensor.name, datatype=result.datatype, shape=result.tensor.shape)
        if raw:
            reply.raw_output_contents.append(tensors.to_bytes(result.tensor))
            continue
        value = result.tensor.value
        values = value if isinstance(value, list) else np.asarray(value).ravel().tolist()
        getattr(output.contents, FIELDS[result.datatype]).extend(values)
    return reply
