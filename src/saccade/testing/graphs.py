"""Tiny ONNX graphs whose right answers can be worked out by hand."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

CHANNELS = ("red", "green", "blue")


def channel_means(file: Path, width: int = 32, height: int = 32, *, logarithm: bool = False) -> Path:
    """image uint8 [N, H, W, 3] -> scores float32 [N, 3], the mean of each channel in 0..1.

    logarithm: their logarithm instead, which is not finite for a channel that is all zero.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["share" if logarithm else "scores"]),
    ]
    if logarithm:
        nodes.append(helper.make_node("Log", ["share"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "channel_means",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file
