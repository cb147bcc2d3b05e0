"""TensorFlow Serving's JSON: rows, columns and base64 in, the same form out. Opens no socket."""

from collections.abc import Sequence
from typing import Any

from saccade.errors import ServerError
from saccade.images import decode
from saccade.protocols import tensors
from saccade.protocols.native.messages import strict_json
from saccade.protocols.tensors import Tensor
from saccade.protocols.tf_serving import models
from saccade.types import TensorSpec
from saccade.wire.names import TENSORFLOW


def wrong(what: str, hint: str = "", code: str = "invalid_value") -> ServerError:
    return ServerError(what, hint=hint, code=code)


def record(data: bytes) -> dict[str, Any]:
    """A body. Raises ServerError(malformed_json)."""
    if not data:
        raise ServerError("JSON Parse error: The document is empty", code="malformed_json")
    found = strict_json(data, nonfinite=True)
    if not isinstance(found, dict):
        raise wrong("the body is no object")
    return found


def predict(data: bytes, specs: Sequence[TensorSpec]) -> tuple[list[Tensor], bool]:
    """The inputs of a body, and whether they came as rows. Raises ServerError."""
    body = record(data)
    _signature(body)
    if "instances" not in body and "inputs" not in body:
        raise wrong("Missing 'inputs' or 'instances' key")
    if "instances" in body and "inputs" in body:
        raise wrong("both 'inputs' and 'instances' came", hint="send one of them")
    if "inputs" in body:
        given = body["inputs"]
        named = isinstance(given, dict) and set(given) != {"b64"}
        return _tensors(given if named else _alone(given, specs), specs), False
    rows = body["instances"]
    if not isinstance(rows, list) or not rows:
        raise wrong("instances is a list of at least one row")
    named = isinstance(rows[0], dict) and set(rows[0]) != {"b64"}
    if not named:
        return _tensors(_alone(rows, specs), specs), True
    if not all(isinstance(row, dict) and set(row) == set(rows[0]) for row in rows):
        raise wrong("the rows of instances have not all the same keys")
    return _tensors({name: [row[name] for row in rows] for name in rows[0]}, specs), True


def examples(data: bytes, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The inputs of a body for `:classify` and `:regress`."""
    body = record(data)
    _signature(body)
    rows = body.get("examples")
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) and set(r) == set(rows[0]) for r in rows):
        raise wrong("examples is a list of objects that all have the same keys")
    return _tensors({name: [row[name] for row in rows] for name in rows[0]}, specs)


def _signature(body: dict[str, Any]) -> None:
    name = body.get("signature_name", "")
    models.signature(name if isinstance(name, str) else "?")


def _alone(value: Any, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    if len(specs) != 1:
        raise wrong("this model has several inputs", hint="send each by its name")
    return {specs[0].name: value}


def _tensors(named: dict[str, Any], specs: Sequence[TensorSpec]) -> list[Tensor]:
    known = {spec.name: spec for spec in specs}
    found = []
    for name, value in named.items():
        if name not in known:
            raise wrong("an input is unknown to this model", hint=f"inputs: {', '.join(known)}")
        texts = value if isinstance(value, list) else [value]
        if texts and isinstance(texts[0], dict):
            found.append(Tensor(name, [_bytes(text) for text in texts], (len(texts),)))
        else:
            array = tensors.from_json(value, known[name].dtype, None, f"input {name!r}")
            found.append(tensors.of(name, array))
    return found


def _bytes(text: Any) -> bytes:
    if not isinstance(text, dict) or set(text) != {"b64"} or not isinstance(text["b64"], str):
        raise wrong("bytes are written as an object with the one key b64")
    return decode.from_base64(text["b64"])


def answer(outputs: Sequence[Tensor], rows: bool) -> dict[str, Any]:
    """Rows answer rows, columns answer columns; one output stands without its name."""
    columns: dict[str, list[Any]] = {}
    for output in outputs:
        value = output.value
        plain = [text.decode() for text in value] if isinstance(value, list) else value.tolist()
        columns[output.name] = plain
    values = list(columns.values())
    if not rows:
        return {"outputs": values[0] if len(columns) == 1 else columns}
    if len(columns) == 1:
        return {"predictions": values[0]}
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]}


def metadata(name: str, version: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, Any]:
    signature = {
        "inputs": {spec.name: _info(spec) for spec in inputs},
        "outputs": {spec.name: _info(spec) for spec in outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }


def _info(spec: TensorSpec) -> dict[str, Any]:
    sides = [-1, *(-1 if side is None else side for side in spec.shape[1:])]
    dims = [{"size": str(side), "name": ""} for side in sides]
    return {
        "dtype": TENSORFLOW[spec.dtype][0],
        "tensor_shape": {"dim": dims, "unknown_rank": False},
        "name": f"{spec.name}:0",
    }
