"""A graph from elsewhere is made faster as it is, and judged behind its adapter."""

import json
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.optimization.test_optimization_package import COLORS, photos

import saccade
from saccade import tasks
from saccade.errors import UsageError
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.reader import open_package
from saccade.testing.graphs import means
from saccade.verbs.optimize import optimize


def network(file: Path, batch: int | str) -> Path:
    """Floats [batch, 3, 40, 40] to three logits, by a convolution and a layer over its means: the strongest colour wins."""
    dice = np.random.default_rng(0)
    kernels = np.concatenate([np.eye(3), dice.normal(0, 0.1, (5, 3))]).astype(np.float32)[:, :, None, None] / 9
    weights = {
        "w": np.ascontiguousarray(np.broadcast_to(kernels, (8, 3, 3, 3))),
        "shift": dice.normal(0, 0.1, 8).astype(np.float32),
        "head": np.concatenate([6 * np.eye(3), np.zeros((3, 5))], 1).astype(np.float32),
        "bias": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "w", "shift"], ["seen"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["seen"], ["mean"], name="pool"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"], name="head_layer", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, 40, 40])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


@pytest.mark.parametrize("batch", ["N", 1])
def test_an_imported_classifier_gets_variants(tmp_path: Path, batch: int | str) -> None:
    labels = tmp_path / "l.txt"
    labels.write_text("\n".join(COLORS))
    folder, data = tmp_path / "p", photos(tmp_path / "data")
    saccade.import_model(
        network(tmp_path / "m.onnx", batch), folder, task=tasks.names()[0], labels=labels, preprocess="symmetric",
        tail="softmax", images=data / "val" / "red",
    )  # fmt: skip
    done = optimize(folder, data, min_gain=0, seconds=0.05)
    told = {one.name: one for one in done.tried}
    for name in ("onnxruntime-int8", "openvino-int8"):
        assert told[name].kept, told[name].verdict
        with Model.open(folder, options=Options(variant=name)) as model:
            for k, color in enumerate(COLORS):
                (found,) = model.predict([data / "val" / color / "1.png"])
                assert found.class_ids[0] == k
                assert found.scores.sum() == pytest.approx(1, abs=1e-4), "the adapter's softmax stands behind it"
    made = json.loads((folder / "variants/onnxruntime-int8/certificate.json").read_text())["made"]
    assert 0 < min(made["mean_difference"].values()) < 0.2, "measured on scores, as the task does"
    graph = onnx.load(folder / "variants/onnxruntime-int8/model-int8.onnx").graph
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) >= 1
    assert [given.name for given in graph.input] == ["picture"]
    assert open_package(folder).digest == done.digest
    model = openvino.Core().read_model(folder / "variants/openvino-int8/int8.xml")
    sums = [op for op in model.get_ops() if op.get_type_name() == "Add" and "Convolution" in sources(op)]
    assert sums
    assert all("Constant" in sources(op) for op in sums), "a bias that is no constant is none to NNCF"


def sources(op) -> list[str]:
    return [given.get_source_output().get_node().get_type_name() for given in op.inputs()]


def test_what_cannot_be_measured_on_pictures_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    saccade.import_model(means(tmp_path / "m.onnx", ("N", 3, 8, 12)), folder)
    with pytest.raises(UsageError, match="tensors only"):
        optimize(folder, photos(tmp_path / "data"))
