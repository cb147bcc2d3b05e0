"""Two views of a package for the tensor dialects: encoded pictures in, or the graph's own inputs in.

Which view is meant shows in the request: byte strings sent to the input of pixels are encoded pictures. They take the
same road as on the native API and may ask for one output more, `prediction`: the native answer of each as JSON.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from saccade.errors import InferenceError, SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.request import Answer, Request, Source
from saccade.inference.shelves import Entry
from saccade.protocols import tensors
from saccade.protocols.method import aside
from saccade.protocols.native import messages as native
from saccade.protocols.protocol import Leave, asked
from saccade.protocols.tensors import Tensor
from saccade.types import TensorSpec

DECISIONS = "prediction"
"""The output that holds each picture's native answer."""


@dataclass(frozen=True)
class Given:
    """What came, and what is wanted of it: names of outputs, or None for all. wishes: of the native
    answers, as its query."""

    inputs: Sequence[Tensor]
    outputs: Sequence[str] | None = None
    wishes: Sequence[tuple[str, str]] = ()


def model_of(entry: Entry) -> Model:
    """The loaded package of a ready entry."""
    if entry.model is None:
        raise InferenceError("the version is not loaded", hint="ask again later", code="not_ready")
    return entry.model


def pixels(model: Model) -> TensorSpec | None:
    """The one input that takes uint8 pixels [N, H, W, 3], and so encoded pictures too; None for a model without."""
    specs = model.input_specs
    found = len(specs) == 1 and specs[0].dtype == "uint8" and len(specs[0].shape) == 4 and specs[0].shape[-1] == 3
    return specs[0] if found else None


async def ask(
    engine: Engine,
    name: str,
    version: int | None,
    given: Given,
    deadline_s: float,
    left: Leave | None = None,
    request_id: str = "",
    *,
    caller: str | None = None,
    urgent: bool | None = None,
    alone: Callable[[], bool] = bool,
) -> tuple[Answer, list[Tensor]]:
    """The answer, and the outputs asked for, batch axis first. name, version: as the caller gave them, so that one who
    named no version is answered by whichever is in service now. caller, urgent: as of a Request. alone: as of a Call.

    Raises SaccadeError: of the request, or of its first row that failed.
    """
    if deadline_s <= 0:
        raise InferenceError("the request came after its deadline", code="deadline_exceeded")
    model = model_of(engine.find(name, version))
    rows, pictures = _rows(model, given.inputs, engine.max_images)
    wanted = _wanted(model, given.outputs, pictures)
    wish = native.Wish(list(given.wishes))
    tiled = wish.tile if pictures else 0.0
    if tiled and set(wanted) - {DECISIONS}:
        raise ServerError(
            "tiles are merged into one answer, which has no tensors of its own",
            hint=f"ask for the output {DECISIONS} alone",
            code="invalid_value",
        )
    request = Request(name, rows, version, deadline_s, caller, urgent, tiled)
    answer = await asked(engine, request, left, alone)
    for result in answer.results:
        if isinstance(result, SaccadeError):
            raise result
    heavy = native.heavy(answer, wish) and DECISIONS in wanted
    return answer, await aside(heavy, lambda: [_output(answer, output, wish, request_id) for output in wanted])


def _rows(model: Model, inputs: Sequence[Tensor], most: int) -> tuple[tuple[Source, ...], bool]:
    """One source for each of at most so many rows, and whether they are encoded pictures."""
    specs = {spec.name: spec for spec in model.input_specs}
    names = [tensor.name for tensor in inputs]
    if len(set(names)) < len(names):
        raise ServerError("an input came twice", hint="send it once", code="invalid_value")
    if set(names) != set(specs):
        raise ServerError(
            f"expected {len(specs)} inputs, got {len(names)}, or another name came",
            hint=f"inputs: {', '.join(specs)}",
            code="invalid_value",
        )
    first = inputs[0]
    if isinstance(first.value, list) and pixels(model) is not None:
        if len(first.shape) not in (1, 2) or first.shape[1:] not in ((), (1,)):
            raise ServerError(
                f"encoded pictures come as [N] or [N, 1], got {list(first.shape)}", code="tensor_shape_mismatch"
            )
        return tuple(first.value), True
    count = _check(inputs, specs)
    if count > most:
        raise ServerError(
            f"{count} rows came, at most {most} fit in a request", hint="send fewer", code="batch_too_large"
        )
    arrays = {tensor.name: tensor.value for tensor in inputs}
    return tuple({name: array[i] for name, array in arrays.items()} for i in range(count)), False  # type: ignore[misc]


def _check(inputs: Sequence[Tensor], specs: dict[str, TensorSpec]) -> int:
    """How many rows the inputs have. Raises ServerError: invalid_value (type), tensor_shape_mismatch."""
    for tensor in inputs:
        spec = specs[tensor.name]
        got = "strings" if isinstance(tensor.value, list) else str(tensor.value.dtype)
        if got != spec.dtype:
            raise ServerError(f"input {spec.name!r} has type {got}, expected {spec.dtype}", code="invalid_value")
        expected = [-1 if side is None else side for side in spec.shape]
        expected[:1] = [-1]
        shape = tensor.shape
        fits = len(shape) == len(expected) and all(e in (-1, s) for e, s in zip(expected, shape, strict=True))
        fits = fits and 0 not in shape[1:]
        if not fits or shape[0] != inputs[0].shape[0]:
            raise ServerError(
                f"input {spec.name!r} has shape {list(shape)}, expected {expected}", code="tensor_shape_mismatch"
            )
    return inputs[0].shape[0]


def _wanted(model: Model, outputs: Sequence[str] | None, pictures: bool) -> list[str]:
    own = [spec.name for spec in model.output_specs]
    if outputs is None:
        return [*own, DECISIONS] if pictures and DECISIONS not in own else own
    if len(set(outputs)) < len(outputs):
        raise ServerError("an output was asked for twice", hint="ask once", code="invalid_value")
    strange = set(outputs) - set(own) - {DECISIONS}
    if strange:
        raise ServerError(
            "an output is unknown to this model",
            hint=f"outputs: {', '.join([*own, DECISIONS])}",
            code="invalid_value",
        )
    return list(outputs)


def _output(answer: Answer, name: str, wish: native.Wish, request_id: str) -> Tensor:
    rows = [row for row in answer.rows if row is not None]
    if rows and name in rows[0]:
        return tensors.of(name, np.stack([row[name] for row in rows]))
    records = native.answer(answer, wish, True, request_id)["results"]
    texts = [native.dumps(record) for record in records]
    return Tensor(name, texts, (len(texts),))
