"""What both of TensorFlow Serving's mouths share: which version is meant, what it answers, its clients' own
sentences."""

from collections.abc import Sequence

from saccade.errors import InferenceError, SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.request import Answer
from saccade.inference.shelves import Entry
from saccade.protocols.native.messages import LONG
from saccade.protocols.tensors import Tensor
from saccade.types import TensorSpec

STATES = {"loading": "LOADING", "ready": "AVAILABLE", "away": "LOADING", "failed": "END", "unloading": "UNLOADING"}


def find(engine: Engine, name: str, version: int | None = None, label: str | None = None) -> Entry:
    """A ready version; aliases are labels. Raises InferenceError: not_found, not_ready."""
    try:
        return engine.find(full(name, label), version)
    except InferenceError as error:
        if error.code != "not_found" or (label and engine.versions(name)):
            raise
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise InferenceError(f"Servable not found for request: {asked}", code="not_found") from None


def full(name: str, label: str | None) -> str:
    """A model as the engine knows it: its labels are aliases."""
    return f"{name}@{label}" if label else name


def held(engine: Engine, name: str, version: int | None, label: str | None) -> list[Entry]:
    """The versions whose status is asked for, newest first. Raises InferenceError(not_found)."""
    if version is not None or label:
        return [find(engine, name, version, label)]
    entries = sorted(engine.versions(name).values(), key=lambda e: -e.version)
    if not entries:
        raise InferenceError(f"Could not find any versions of model {name}", code="not_found")
    return entries


def signature(name: str) -> None:
    """Raises ServerError(not_found) for another than the one signature."""
    if name not in ("serving_default", ""):
        raise ServerError("the only signature here is serving_default", code="not_found")


def classes(answer: Answer) -> list[list[tuple[str, float]]]:
    """Label and score of every class, best first, for each row. Raises SaccadeError: of a row, or not_implemented."""
    found = []
    for result in answer.results:
        if isinstance(result, SaccadeError):
            raise result
        if result.class_ids is None or result.scores is None or result.boxes is not None:
            raise ServerError("this model does not name classes of a picture", code="not_implemented")
        pairs = zip(result.class_ids.tolist(), result.scores.tolist(), strict=True)
        found.append([(answer.labels.names[k], score) for k, score in pairs])
    return found


def heavy(answer: Answer) -> bool:
    """Whether telling all classes takes so long that it must not hold up other callers."""
    rows = (r.scores for r in answer.results if not isinstance(r, SaccadeError) and r.scores is not None)
    return sum(len(scores) for scores in rows) > LONG


def number(outputs: Sequence[TensorSpec]) -> str:
    """The output that is one number a row. Raises ServerError(not_implemented) when not exactly one output is."""
    found = [spec.name for spec in outputs if spec.dtype.startswith("float") and spec.shape[1:] in ((), (1,))]
    if len(found) != 1:
        raise ServerError("this model does not give one number a row", hint="ask :predict", code="not_implemented")
    return found[0]


def numbers(output: Tensor) -> list[float]:
    """Of each row its one number."""
    assert not isinstance(output.value, list), "an output of numbers holds byte strings: this is a bug"
    return [float(value) for value in output.value.ravel()]
