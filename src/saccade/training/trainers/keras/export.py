"""A trained network as one ONNX file: uint8 NHWC in, normalisation and the task's calibrated tail inside."""

import importlib
import logging
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import TrainingError, UsageError
from saccade.tasks.keras import tf
from saccade.types import Array, Labels, TensorSpec

OPSET = 18


class Sealed(tf.Module):
    """What a package holds: cast, normalise, network, tail. extras: what the tail gives besides."""

    def __init__(
        self,
        network: Any,
        half: Any,
        labels: Labels,
        calibration: Mapping[str, float],
        spec: TensorSpec,
        extras: tuple[str, ...] = (),
    ) -> None:
        super().__init__("sealed")
        self.network = network
        self.half, self.labels, self.calibration = half, labels, dict(calibration)
        self.tail = partial(half.tail, extras=extras) if extras else half.tail
        given = tf.TensorSpec(list(spec.shape), tf.uint8, name=spec.name)
        self.answer = tf.function(self._answer, input_signature=[given])

    def _answer(self, image: Any) -> dict[str, Any]:
        raw = self.network(tf.cast(image, tf.float32) / 255, training=False)
        found: dict[str, Any] = self.tail(self.half.named(raw), self.calibration, self.labels)
        return found


def run(sealed: Sealed, images_NHWC: Array, rows: int = 64) -> dict[str, Array]:
    """The framework's own answers in float32, in pieces of `rows`."""
    pieces = []
    for start in range(0, len(images_NHWC), rows):
        found = sealed.answer(tf.convert_to_tensor(images_NHWC[start : start + rows]))
        arrays = {k: v.numpy() for k, v in found.items()}
        pieces.append(sealed.half.settle(arrays) if hasattr(sealed.half, "settle") else arrays)
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def write(sealed: Sealed, names: tuple[str, ...], file: Path, notes: Mapping[str, str]) -> str:
    """One ONNX file with free rows; the converter's name. notes: strings kept in the file's metadata.

    Raises TrainingError naming the layer that ONNX has no words for.
    """
    converter = _converter()
    onnx = importlib.import_module("onnx")
    quiet = logging.getLogger("tf2onnx")
    level, quiet.level = quiet.level, logging.CRITICAL
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
    unknown = [n for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)]
    if unknown:
        told = sorted({f"{n.op_type} of layer {n.name.rpartition('/')[0] or n.name}" for n in unknown})
        raise TrainingError(
            f"this network cannot be exported: ONNX has no operator for {', '.join(told)}",
            hint="replace that layer by one of Keras's own, or choose another network",
        )
    _modern(model)
    if hasattr(sealed.half, "finish"):
        sealed.half.finish(model)
    _rename(model, names)
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(file))
    return f"tf2onnx {converter.__version__}"


def _modern(model: Any) -> None:
    """TensorFlow's nearest neighbour in words that ONNX has not deprecated: floor((x + 0.5) * scale) either way."""
    for node in model.graph.node:
        settings = {a.name: a for a in node.attribute}
        mode = settings.get("coordinate_transformation_mode")
        if node.op_type == "Resize" and mode is not None and mode.s == b"tf_half_pixel_for_nn":
            mode.s = b"half_pixel"
            if "nearest_mode" in settings:
                node.attribute.remove(settings["nearest_mode"])
            node.attribute.add(name="nearest_mode", type=3, s=b"round_prefer_ceil")


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
