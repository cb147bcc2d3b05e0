"""A trained network as one ONNX file: uint8 NHWC in, normalisation and the task's calibrated tail inside."""

import importlib
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import TrainingError, UsageError
from saccade.tasks.keras import tf
from saccade.types import Array, Labels, TensorSpec

OPSET = 18


class Sealed(tf.Module):
    """What a package holds: cast, normalise, network, tail."""

    def __init__(
        self, network: Any, half: Any, labels: Labels, calibration: Mapping[str, float], spec: TensorSpec
    ) -> None:
        super().__init__("sealed")
        self.network = network
        self.half, self.labels, self.calibration = half, labels, dict(calibration)
        given = tf.TensorSpec(list(spec.shape), tf.uint8, name=spec.name)
        self.answer = tf.function(self._answer, input_signature=[given])

    def _answer(self, image: Any) -> dict[str, Any]:
        raw = self.network(tf.cast(image, tf.float32) / 255, training=False)
        found: dict[str, Any] = self.half.tail(self.half.named(raw), self.calibration, self.labels)
        return found


def run(sealed: Sealed, images_NHWC: Array, rows: int = 64) -> dict[str, Array]:
    """The framework's own answers in float32, in pieces of `rows`."""
    pieces = []
    for start in range(0, len(images_NHWC), rows):
        found = sealed.answer(tf.convert_to_tensor(images_NHWC[start : start + rows]))
        pieces.append({k: v.numpy() for k, v in found.items()})
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def write(sealed: Sealed, names: tuple[str, ...], file: Path, notes: Mapping[str, str]) -> str:
    """One ONNX file with free rows; the converter's name. notes: strings kept in the file's metadata.

    Raises TrainingError naming the layer that ONNX has no words for.
    """
    converter = _converter()
    onnx = importlib.import_module("onnx")
    quiet = logging.getLogger("tf2onnx")
    level, quiet.level = quiet.level, logging.CRITICAL
    lost = _Lost()
    quiet.addHandler(lost)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, _ = converter.convert.from_function(sealed.answer, sealed.answer.input_signature, opset=OPSET)
    except (ValueError, NotImplementedError, KeyError, RuntimeError) as error:
        raise TrainingError(
            f"this network cannot be exported: {error}",
            hint="replace that layer by one of Keras's own, or choose another network",
        ) from error
    finally:
        quiet.level = level
        quiet.removeHandler(lost)
    unknown = sorted({n.op_type for n in model.graph.node if n.domain not in ("", "ai.onnx", "ai.onnx.ml")})
    if unknown or lost.said:
        raise TrainingError(
            f"this network cannot be exported: ONNX has no operator for {lost.told() or ', '.join(unknown)}",
            hint="replace that layer by one of Keras's own, or choose another network",
        )
    _rename(model, names)
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(file))
    return f"tf2onnx {converter.__version__}"


class _Lost(logging.Handler):
    """Remembers what the converter says of operators it does not know."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "not supported" in text or "Unsupported ops" in text:
            self.said.append(text)

    def told(self) -> str:
        places = [m for text in self.said for m in re.findall(r"Tensorflow op \[([^:\]]+): ([^\]]+)\]", text)]
        return ", ".join(
            sorted({f"{kind} of layer {'/'.join(place.split('/')[-2:-1]) or place}" for place, kind in places})
        )


def _converter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("tf2onnx")
    except ModuleNotFoundError as error:
        raise UsageError(f"export from Keras needs {error.name}", hint="pip install 'saccade[keras]'") from error


def _rename(model: Any, names: tuple[str, ...]) -> None:
    """Outputs under the task's own names, whatever the converter called them."""
    found = [o.name for o in model.graph.output]
    if found == list(names):
        return
    if set(found) == set(names):
        ordered = {o.name: o for o in list(model.graph.output)}
        del model.graph.output[:]
        model.graph.output.extend(ordered[n] for n in names)
        return
    raise TrainingError(f"the exporter named the outputs {found}, expected {list(names)}; this is a bug")
