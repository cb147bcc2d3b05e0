"""OpenVINO: the graph in its own format at f32 and bf16, and at int8 by NNCF's post-training quantisation.

As with ONNX Runtime the tail, what no layer with weights follows, stays float.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from saccade.optimization.optimizer import Candidate, Distance, Optimizer, Unfit, attempt
from saccade.optimization.quantising import ROWS, mean_distance, overflows, parted
from saccade.process import report_nothing
from saccade.types import Array

report_nothing()
import openvino  # noqa: E402
from openvino.passes import ConstantFolding, Manager  # noqa: E402

PRECISION = ["saccade", "precision"]
"""Where the runtime of the same name reads the precision it shall run at."""
WEIGHTED = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}


class _OpenVino(Optimizer):
    name = "openvino"

    def candidates(self, graph: Path, given: Array, folder: Path, distance: Distance) -> Iterator[Candidate | Unfit]:
        yield attempt("openvino-f32", lambda: _saved(openvino.Core().read_model(graph), "f32", folder))
        if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            yield attempt("openvino-bf16", lambda: _saved(openvino.Core().read_model(graph), "bf16", folder))
        else:
            yield Unfit("openvino-bf16", "this CPU has no bf16 arithmetic")
        yield attempt("openvino-int8", lambda: _quantised(graph, given, folder, distance))


def _quantised(graph: Path, given: Array, folder: Path, distance: Distance) -> Candidate | Unfit:
    """By the nearer of two presets: activations with a sign of their own ("mixed") or without ("performance")."""
    fit, judge = parted(given)
    narrow = overflows()
    models, found = {}, {}
    with _quiet(), contextlib.redirect_stdout(io.StringIO()):
        import nncf  # opened late: it brings much, and asks the environment whether it may report home
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

        whole = _folded(graph)
        if not any(node.get_type_name() in WEIGHTED for node in whole.get_ops()):
            return Unfit("openvino-int8", "the graph has no layer with weights")
        theirs, tail = _answers(whole, judge), _tail(whole)
        fix = OverflowFix.ENABLE if narrow else OverflowFix.DISABLE
        for preset in (nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED):
            models[preset.value] = nncf.quantize(
                _folded(graph),
                nncf.Dataset([image[None] for image in fit]),
                preset=preset,
                subset_size=len(fit),
                ignored_scope=nncf.IgnoredScope(names=tail, validate=False),
                advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
            )
            found[preset.value] = mean_distance(theirs, _answers(models[preset.value], judge), distance)
    best = min(found, key=lambda title: found[title])
    made = {
        "preset": best,
        "mean_difference": found,
        "calibration_images": len(fit),
        "float_nodes": len(tail),
        "seven_bit_weights": narrow,
        "nncf": str(nncf.__version__),
    }
    return _saved(models[best], "int8", folder, made)


def _folded(graph: Path) -> Any:
    """The graph with its constants folded.

    Hazard: ONNX gives a convolution its bias through a Reshape, and NNCF takes no bias for one that is not a constant
    itself. It then neither keeps it beside the sum nor corrects it: a ResNet-50 lay 0.097 from its floats instead of 0.007.
    """
    model, passes = openvino.Core().read_model(graph), Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


def _tail(model: Any) -> list[str]:
    """Names of the nodes that no layer with weights follows, the last such layers aside."""
    nodes = model.get_ordered_ops()
    todo = [node for node in nodes if node.get_type_name() in WEIGHTED]
    ahead = {node.get_friendly_name() for node in todo}
    while todo:
        for taken in todo.pop().inputs():
            node = taken.get_source_output().get_node()
            if node.get_friendly_name() not in ahead:
                ahead.add(node.get_friendly_name())
                todo.append(node)
    ends = {"Parameter", "Constant", "Result"}
    return [
        name for node in nodes if (name := node.get_friendly_name()) not in ahead and node.get_type_name() not in ends
    ]


def _answers(model: Any, given: Array) -> dict[str, Array]:
    compiled = openvino.Core().compile_model(model, "CPU")
    first = compiled.inputs[0].get_partial_shape()[0]
    rows = first.get_length() if first.is_static else ROWS
    parts = [compiled([given[i : i + rows]]) for i in range(0, len(given), rows)]
    return {o.get_any_name(): np.concatenate([part[k] for part in parts]) for k, o in enumerate(compiled.outputs)}


def _saved(model: Any, precision: str, folder: Path, made: dict[str, Any] | None = None) -> Candidate:
    model.set_rt_info("bf16" if precision == "bf16" else "f32", PRECISION)
    file = folder / f"{precision}.xml"
    openvino.save_model(model, file, compress_to_fp16=False)
    files = (file, file.with_suffix(".bin"))
    return Candidate(f"openvino-{precision}", "openvino", file, files, {"precision": precision, **(made or {})})


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF counts its users over the network unless it believes that it is tested; and it logs."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            os.environ.pop("NNCF_CI", None)
        else:
            os.environ["NNCF_CI"] = before


OPTIMIZER = _OpenVino()
