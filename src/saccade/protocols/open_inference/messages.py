"""Open Inference Protocol v2 over JSON, with its binary, raw and classification extensions. Opens no socket."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saccade.errors import ServerError
from saccade.images import decode
from saccade.protocols import tensors
from saccade.protocols.method import HEAVY
from saccade.protocols.native.messages import LONG, Wish, dumps, strict_json
from saccade.protocols.tensors import MAX_TENSORS, Tensor
from saccade.protocols.views import DECISIONS, Given
from saccade.types import Array, Labels, TensorSpec
from saccade.wire.names import DATATYPES, OPEN_INFERENCE

LENGTH = "inference-header-content-length"
CLASSES = "classification"
"""The parameter, and the extension, that turns scores into the names of the best classes."""
EXTENSIONS = (
    "binary_tensor_data",
    CLASSES,
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
MAX_CLASSIFIED = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """One output as asked for. classes: how many of the best as strings, 0 for the tensor itself.

    wishes: of the native answers, their parameters as its query has them: top_k, threshold, mask, confidence, tile.
    """

    name: str
    binary: bool = False
    classes: int = 0
    wishes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Infer:
    """A request in any of its forms. outputs: None for all; binary: how those come that do not say it themselves."""

    inputs: list[Tensor]
    outputs: list[Wanted] | None = None
    binary: bool = False
    id: str | None = None
    timeout_s: float | None = None
    urgent: bool | None = None


@dataclass(frozen=True)
class Result:
    """One output ready to be written."""

    tensor: Tensor
    datatype: str
    binary: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)


def wrong(what: str, hint: str = "", code: str = "invalid_value") -> ServerError:
    return ServerError(what, hint=hint, code=code)


# Requests


def header_length(text: str | None, size: int) -> int | None:
    """How many bytes of the body are JSON; None when all are. Raises ServerError(invalid_value)."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()) or int(text) > min(size, 2**31 - 1):
        raise wrong(f"{LENGTH} is a whole number from 0 to the length of the body")
    return int(text)


def infer(data: bytes, length: int | None) -> Infer:
    """A body of JSON, then the binary tensors. Raises ServerError."""
    end = len(data) if length is None else length
    record = strict_json(data[:end])
    if not isinstance(record, dict):
        raise wrong("the body is no object", code="malformed_json")
    inputs = record.get("inputs")
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MAX_TENSORS:
        raise wrong(f"inputs is a list of 1 to {MAX_TENSORS} tensors")
    rest = memoryview(data)[end:]
    found: list[Tensor] = []
    for entry in inputs:
        tensor, rest = _input(entry, rest)
        found.append(tensor)
    if len(rest):
        raise wrong(f"{len(rest)} bytes follow the last binary tensor")
    own = parameters(record.get("parameters", {}))
    own_id = record.get("id")
    if own_id is not None and not isinstance(own_id, str):
        raise wrong("id is a text")
    binary = _flag(own, "binary_data_output", False)
    return Infer(
        found,
        _outputs(record.get("outputs"), binary),
        binary,
        own_id,
        timeout_s(own.get("timeout")),
        urgent(own.get("priority")),
    )


def timeout_s(microseconds: Any) -> float | None:
    """The parameter `timeout` in seconds; 0 or none is no wish."""
    if microseconds is None or microseconds == 0:
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise wrong("timeout is a whole number of microseconds")
    return microseconds / 1e6


def urgent(priority: Any) -> bool | None:
    """The parameter `priority`: 1 goes first, a larger one gives way, 0 or none is no wish."""
    if priority is None or priority == 0:
        return None
    if type(priority) is not int or priority < 0:
        raise wrong("priority is a whole number from 0")
    return priority == 1


def parameters(found: Any) -> dict[str, Any]:
    """Those of a request, an input or an output, by name. Raises ServerError."""
    if not isinstance(found, dict):
        raise wrong("parameters is an object")
    if any(name.startswith("shared_memory") for name in found):
        raise wrong("shared memory is not implemented", hint="send the tensor itself", code="not_implemented")
    return found


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise wrong(f"{name} is true or false")
    return value


def _input(entry: Any, rest: memoryview) -> tuple[Tensor, memoryview]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise wrong("an input is an object with a name")
    name = "an input"
    shape = tensors.sides(entry.get("shape"), name)
    datatype = known(entry.get("datatype"))
    size = parameters(entry.get("parameters", {})).get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise wrong("an input has neither data nor binary_data_size")
        return Tensor(entry["name"], _from_json(entry["data"], datatype, shape), shape), rest
    if "data" in entry:
        raise wrong("an input has both data and binary_data_size")
    if type(size) is not int or not 0 <= size <= len(rest):
        raise wrong(f"binary_data_size is a whole number up to the {len(rest)} bytes that are left of the body")
    return Tensor(entry["name"], raw(rest[:size], datatype, shape), shape), rest[size:]


def known(datatype: Any) -> str:
    """A datatype that can be read. Raises ServerError(invalid_value)."""
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in OPEN_INFERENCE):
        raise wrong("an input has an unknown datatype", hint=f"BYTES, {', '.join(OPEN_INFERENCE)}")
    return datatype


def raw(data: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> Array | list[bytes]:
    """A tensor's value from its raw bytes."""
    if datatype == "BYTES":
        return tensors.strings(data, int(np.prod(shape, dtype=np.int64)), "an input")
    return tensors.from_bytes(data, OPEN_INFERENCE[datatype], shape, "an input")


def _from_json(data: Any, datatype: str, shape: tuple[int, ...]) -> Array | list[bytes]:
    if datatype == "FP16":
        raise wrong("FP16 has no JSON form", hint="send it binary")
    if datatype != "BYTES":
        return tensors.from_json(data, OPEN_INFERENCE[datatype], shape, "an input")
    texts = _flat(data)
    if len(texts) != np.prod(shape, dtype=np.int64) or not all(isinstance(t, str) for t in texts):
        raise wrong("the data of an input are not as many texts as its shape says", code="tensor_shape_mismatch")
    return [decode.from_base64(text) for text in texts]


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [leaf for part in data for leaf in (_flat(part) if isinstance(part, list) else [part])]


def _outputs(given: Any, binary: bool) -> list[Wanted] | None:
    if given is None or given == []:
        return None
    if not isinstance(given, list) or len(given) > MAX_TENSORS:
        raise wrong(f"outputs is a list of at most {MAX_TENSORS} names")
    found = []
    for entry in given:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise wrong("an output is an object with a name")
        own = parameters(entry.get("parameters", {}))
        classes = count_of_classes(own.get(CLASSES, 0))
        found.append(Wanted(entry["name"], _flag(own, "binary_data", binary), classes, wishes(entry["name"], own)))
    return found


def wishes(output: str, parameters: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What an output's parameters say of the native answers; of another output, nothing."""
    if output != DECISIONS:
        return ()
    given = {name: value for name, value in parameters.items() if name in Wish.names}
    return tuple((name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in given.items())


def asked(inputs: Sequence[Tensor], outputs: Sequence[Wanted] | None) -> Given:
    """Inputs and outputs as the views take them."""
    if outputs is None:
        return Given(inputs)
    return Given(inputs, [wanted.name for wanted in outputs], [wish for wanted in outputs for wish in wanted.wishes])


def count_of_classes(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_CLASSIFIED:
        raise wrong(f"{CLASSES} is a whole number from 0 to {MAX_CLASSIFIED}")
    return value


def raw_request(data: bytes, spec: TensorSpec, pictures: bool) -> Infer:
    """A whole body as the one tensor of a batch of one: an encoded picture where one is taken, else its bytes."""
    if pictures and decode.sniff(data) is not None:
        return Infer([Tensor(spec.name, [data], (1,))], binary=True)
    item = np.dtype(spec.dtype).itemsize
    free = [i for i, side in enumerate(spec.shape) if i and side is None]
    shape = [1 if i == 0 else side or 1 for i, side in enumerate(spec.shape)]
    if len(free) > 1:
        raise wrong("a raw request cannot tell more than one free side", hint="send JSON with the shape")
    if free:
        each = int(np.prod(shape)) * item
        shape[free[0]] = len(data) // each
    sized = tensors.sides(shape, "the body")
    return Infer([Tensor(spec.name, tensors.from_bytes(data, spec.dtype, sized, "the body"), sized)], binary=True)


# Answers


def results(outputs: Sequence[Tensor], wanted: Sequence[Wanted], labels: Labels) -> list[Result]:
    """Outputs as they were asked for. Raises ServerError(invalid_value) for classes of what holds no numbers."""
    found = []
    for tensor, wish in zip(outputs, wanted, strict=True):
        made = classified(tensor, wish.classes, labels) if wish.classes else tensor
        datatype = "BYTES" if isinstance(made.value, list) else DATATYPES[str(made.value.dtype)]
        found.append(Result(made, datatype, wish.binary, {} if tensors.finite(made) else {"nonfinite": True}))
    return found


def heavy(outputs: Sequence[Tensor], wanted: Sequence[Wanted]) -> bool:
    """Whether writing them takes so long that it must not hold up other callers; a class in words takes longest."""
    return tensors.elements(outputs) > (LONG if any(wish.classes for wish in wanted) else HEAVY)


def classified(tensor: Tensor, count: int, labels: Labels) -> Tensor:
    """The best `count` of each row as `value:index:label`, highest first."""
    if isinstance(tensor.value, list) or tensor.value.dtype.kind not in "iuf" or tensor.value.ndim != 2:
        raise wrong("this output has no scores of classes")
    scores = tensor.value
    if scores.size > MAX_CLASSIFIED:
        raise wrong(f"the output has more than {MAX_CLASSIFIED} elements", code="tensor_too_large")
    count = min(count, scores.shape[1])
    names = labels.names if len(labels) == scores.shape[1] else ()
    texts = []
    for row in scores:
        for i in np.argsort(-row.astype(np.float64), kind="stable")[:count].tolist():
            texts.append((f"{float(row[i]):.6f}:{i}" + (f":{names[i]}" if names else "")).encode())
    return Tensor(tensor.name, texts, (len(scores), count))


def response(head: dict[str, Any], found: Sequence[Result]) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON part when binary tensors follow it."""
    outputs, parts = [], []
    for result in found:
        tensor, parameters = result.tensor, dict(result.parameters)
        record: dict[str, Any] = {"name": tensor.name, "datatype": result.datatype, "shape": list(tensor.shape)}
        if result.binary:
            parts.append(tensors.to_bytes(tensor))
            parameters = {"binary_data_size": len(parts[-1])}  # binary is exact, so nothing to flag
        else:
            record["data"] = _to_json(tensor)
        if parameters:
            record["parameters"] = parameters
        outputs.append(record)
    text = dumps({**head, "outputs": outputs})
    return (text + b"".join(parts), len(text)) if parts else (text, None)


def _to_json(tensor: Tensor) -> list[Any]:
    if isinstance(tensor.value, list):
        return [text.decode("utf-8", "replace") for text in tensor.value]
    if tensor.value.dtype == np.float16:
        raise wrong("FP16 has no JSON form", hint="ask for it binary")
    values: list[Any] = tensor.value.ravel().tolist()
    if tensors.finite(tensor):
        return values
    return [value if np.isfinite(value) else None for value in values]
