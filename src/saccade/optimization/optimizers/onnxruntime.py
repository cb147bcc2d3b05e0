"""ONNX Runtime: the graph cleaned up, and int8 by static quantisation (QDQ, per channel), its calibration searched.

The quantised nodes are those a weighted layer still follows: what comes after the last one, the tail, stays float, for
boxes and probabilities have ranges that eight bits cannot hold. Written from: the library's guide to quantisation.
"""

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from saccade import process
from saccade.optimization.optimizer import Candidate, Distance, Optimizer, Unfit, attempt
from saccade.optimization.quantising import ROWS, mean_distance, overflows, parted
from saccade.tasks.statistics import spread
from saccade.types import Array

process.report_nothing()
import onnxruntime  # noqa: E402
from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

F32, INT8 = "onnxruntime-f32", "onnxruntime-int8"
METHODS = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "entropy": (CalibrationMethod.Entropy, {}),
    "percentile": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
STRIDE = 8
"""Pictures whose every intermediate tensor is held at once while ranges are gathered."""


class _Reader(CalibrationDataReader):
    """Pictures one at a time, in ranges, so that gathering needs little memory."""

    def __init__(self, name: str, given: Array) -> None:
        self._name, self._images = name, given
        self.set_range(0, len(given))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._at, self._end = start_index, min(end_index, len(self._images))

    def get_next(self) -> dict[str, Array] | None:
        if self._at >= self._end:
            return None
        self._at += 1
        return {self._name: self._images[self._at - 1 : self._at]}


class _OnnxRuntime(Optimizer):
    name = "onnxruntime"

    def candidates(self, graph: Path, given: Array, folder: Path, distance: Distance) -> Iterator[Candidate | Unfit]:
        yield attempt(F32, lambda: _clean(graph, folder))
        yield attempt(INT8, lambda: _quantised(graph, given, folder, distance))


def _clean(graph: Path, folder: Path) -> Candidate:
    """Constants folded, layers fused, as far as the result still runs on every CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    file = folder / "model.onnx"
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Candidate(F32, "onnxruntime", file, (file,), {"precision": "f32", "level": "extended"})


def _quantised(graph: Path, given: Array, folder: Path, distance: Distance) -> Candidate | Unfit:
    prepared = folder / "prepared.onnx"
    quant_pre_process(graph, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    # Files of old versions list their weights among the inputs too.
    name = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    tail = _tail(model)
    if len(tail) == len(model.graph.node):
        return Unfit(INT8, "the graph has no layer with weights")
    fit, judge = parted(given)
    stride = min(STRIDE, len(fit))
    fit = fit[spread(len(fit), len(fit) // stride * stride)]  # the library wants whole strides
    narrow = overflows()
    found: dict[str, float] = {}
    theirs = _run(graph, judge)
    for title, (method, more) in METHODS.items():
        file = folder / f"{title}.onnx"
        with _quiet(), contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                prepared,
                file,
                _Reader(name, fit),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=narrow,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=tail,
                calibrate_method=method,
                extra_options={"CalibStridedMinMax": stride, **more},
            )
        ours = _run(file, judge)
        found[title] = mean_distance(theirs, ours, distance)
    best = min(found, key=lambda title: found[title])
    file = (folder / f"{best}.onnx").rename(folder / "model-int8.onnx")
    made = {
        "precision": "int8",
        "calibration": best,
        "mean_difference": found,
        "calibration_images": len(fit),
        "float_nodes": len(tail),
        "seven_bit_weights": narrow,
    }
    return Candidate(INT8, "onnxruntime", file, (file,), made)


def _tail(model: Any) -> list[str]:
    """Names of the nodes that no layer with weights follows, the last such layers aside."""
    makers = {output: node for node in model.graph.node for output in node.output}
    ahead = {node.name for node in model.graph.node if node.op_type in WEIGHTED}
    todo = [node for node in model.graph.node if node.op_type in WEIGHTED]
    while todo:
        for source in todo.pop().input:
            node = makers.get(source)
            if node is not None and node.name not in ahead:
                ahead.add(node.name)
                todo.append(node)
    return [node.name for node in model.graph.node if node.name not in ahead]


def _run(graph: Path, given: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names, asked = [o.name for o in session.get_outputs()], session.get_inputs()[0]
    rows = asked.shape[0] if isinstance(asked.shape[0], int) else ROWS
    parts = [session.run(None, {asked.name: given[i : i + rows]}) for i in range(0, len(given), rows)]
    return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns on the root logger of things that were decided here."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


OPTIMIZER = _OnnxRuntime()
