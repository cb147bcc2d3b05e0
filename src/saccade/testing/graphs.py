"""Tiny ONNX graphs whose right answers can be worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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


def color_network(file: Path, side: int = 32, channels: int = 3) -> Path:
    """image uint8 [N, side, side, 3] -> scores float32 [N, 3]: softmax of ten times the means of the channels.

    A network with layers that can be quantised: two convolutions that blur each channel, pooling, a matrix, softmax.
    channels: how many the hidden layer has beside those three; they are computed and then not looked at.
    """
    hidden = 3 + channels
    first = np.random.default_rng(1).normal(0, 0.1, (hidden, 3, 3, 3)).astype(np.float32)
    first[:3] = 0
    first[range(3), range(3)] = 1 / 9
    second = np.zeros((3, hidden, 3, 3), np.float32)
    second[range(3), range(3)] = 1 / 9
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["share"], "normalise"),
        helper.make_node("Transpose", ["share"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["a"], "conv1"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], "conv2"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flatten"),
        helper.make_node("Gemm", ["e", "matrix"], ["logits"], "head"),
        helper.make_node("Softmax", ["logits"], ["scores"], "tail", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "color_network",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
            numpy_helper.from_array(first, "first"),
            numpy_helper.from_array(second, "second"),
            numpy_helper.from_array(10 * np.eye(3, dtype=np.float32), "matrix"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file
