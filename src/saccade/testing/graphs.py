"""Tiny ONNX graphs whose right answers can be worked out by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from saccade.types import Array

CHANNELS = ("red", "green", "blue")


def foreign(
    file: Path,
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, Array],
    *,
    domain: str = "",
    listed: bool = False,
    beside: str = "",
    whole: Sequence[str] = (),
) -> Path:
    """A graph as others make them. nodes: operator, inputs, outputs, attributes; float32 but the outputs in `whole`.

    domain: of the operators. listed: the weights stand among the inputs too, as old exporters have it. beside: the
    file, next to the graph's, that keeps the weights.
    """
    made = [helper.make_node(op, ins, outs, domain=domain, **attributes) for op, ins, outs, attributes in nodes]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    into = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    if listed:
        into += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in held]
    out = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name in whole else TensorProto.FLOAT, shape)
        for name, shape in outputs.items()
    ]
    sets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(helper.make_graph(made, "foreign", into, out, held), opset_imports=sets, ir_version=8)
    onnx.save(model, file, save_as_external_data=bool(beside), location=beside or None, size_threshold=0)
    return file


def means(
    file: Path, shape: Sequence[int | str] = ("N", 3, 8, 12), *, end: str = "", gain: float = 1.0, **how: Any
) -> Path:
    """x [N, 3, H, W] -> y [N, 3], the mean of each channel times gain, through the operator `end` (Softmax, ...)."""
    nodes: list[tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]] = [
        ("ReduceMean", ["x"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
        ("Mul", ["mean", "gain"], ["raw" if end else "y"], {}),
    ]
    if end:
        nodes.append((end, ["raw"], ["y"], {}))
    weights = {"gain": np.array([gain] * 3, np.float32)}
    return foreign(file, nodes, {"x": shape}, {"y": [shape[0], 3]}, weights, **how)


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
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
    ]
    return _save(file, nodes, width, height, [("scores", TensorProto.FLOAT, ["N", 3])], constants)


def endless(file: Path, width: int = 32, height: int = 32) -> Path:
    """`channel_means` that never comes back, at work on one core, once a picture has a pixel whose red is 255."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["held", "one"], ["more"])],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1])],
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gather", ["real", "first"], ["reds"], axis=3),
        helper.make_node("ReduceMax", ["reds"], ["reddest"], keepdims=0),
        helper.make_node("Mul", ["reddest", "scale"], ["share"]),
        helper.make_node("Floor", ["share"], ["marked"]),
        helper.make_node("Mul", ["marked", "ages"], ["times"]),
        helper.make_node("Cast", ["times"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "yes", "zero"], ["held"], body=body),
        helper.make_node("Mul", ["held", "zero"], ["nothing"]),
        helper.make_node("Mul", ["mean", "scale"], ["shares"]),
        helper.make_node("Add", ["shares", "nothing"], ["scores"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("ages", TensorProto.FLOAT, [], [2**40]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
    ]
    return _save(file, nodes, width, height, [("scores", TensorProto.FLOAT, ["N", 3])], constants)


def greedy(file: Path, width: int = 32, height: int = 32) -> Path:
    """`channel_means` that wants 4 TiB of memory once a picture has a value of 255."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["real"], ["best"], keepdims=0),
        helper.make_node("Mul", ["best", "scale"], ["share"]),
        helper.make_node("Floor", ["share"], ["marked"]),
        helper.make_node("Mul", ["marked", "many"], ["size"]),
        helper.make_node("Cast", ["size"], ["length"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["length", "front"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["nothing"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["shares"]),
        helper.make_node("Add", ["shares", "nothing"], ["scores"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("many", TensorProto.FLOAT, [], [2**40]),
        helper.make_tensor("front", TensorProto.INT64, [1], [0]),
    ]
    return _save(file, nodes, width, height, [("scores", TensorProto.FLOAT, ["N", 3])], constants)


def bright_pixels(file: Path, width: int = 32, height: int = 32, *, confidence: bool = False) -> Path:
    """image uint8 [N, H, W, 3] -> mask uint8 [N, H, W]: 1 where red is above 127, 2 where green is, 3 where both are.

    confidence: a second output of that name, uint8 [N, H, W], the brighter of red and green.
    """
    nodes = [
        helper.make_node("Greater", ["image", "middle"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ones", "weights"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["mask"], to=TensorProto.UINT8),
    ]
    constants = [
        helper.make_tensor("middle", TensorProto.UINT8, [], [127]),
        helper.make_tensor("weights", TensorProto.FLOAT, [3], [1, 2, 0]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [3]),
    ]
    outputs: list[tuple[str, int, list[str | int]]] = [("mask", TensorProto.UINT8, ["N", height, width])]
    if confidence:
        nodes += [
            helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["numbers", "seen"], ["shown"]),
            helper.make_node("ReduceMax", ["shown", "axes"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["confidence"], to=TensorProto.UINT8),
        ]
        constants.append(helper.make_tensor("seen", TensorProto.FLOAT, [3], [1, 1, 0]))
        outputs.append(("confidence", TensorProto.UINT8, ["N", height, width]))
    return _save(file, nodes, width, height, outputs, constants)


def bright_boxes(file: Path, width: int = 32, height: int = 32) -> Path:
    """image uint8 [N, H, W, 3] -> boxes [N, 3, 4], scores [N, 3], class_ids [N, 3], best first.

    For each channel the box around its pixels above 127 and, as its score, the brightest of them /
    255; 0 when there is none.
    """
    far = 10_000.0
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Greater", ["planes", "middle"], ["bright"]),
        helper.make_node("Cast", ["planes"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["bright", "real", "zero"], ["lit"]),
        helper.make_node("ReduceMax", ["lit", "axes"], ["best"], keepdims=0),
        helper.make_node("Mul", ["best", "scale"], ["found"]),
    ]
    sides = []
    for place, (grid, low) in enumerate((("left", True), ("top", True), ("right", False), ("bottom", False))):
        nodes.append(helper.make_node("Where", ["bright", grid, "far" if low else "zero"], [f"at_{grid}"]))
        reduce = "ReduceMin" if low else "ReduceMax"
        nodes.append(helper.make_node(reduce, [f"at_{grid}", "axes"], [f"side_{place}"], keepdims=0))
        nodes.append(helper.make_node("Unsqueeze", [f"side_{place}", "last"], [f"column_{place}"]))
        sides.append(f"column_{place}")
    nodes += [
        helper.make_node("Concat", sides, ["around"], axis=2),
        helper.make_node("TopK", ["found", "three"], ["scores", "class_ids"], axis=1),
        helper.make_node("Unsqueeze", ["class_ids", "last"], ["order"]),
        helper.make_node("Expand", ["order", "four"], ["orders"]),
        helper.make_node("GatherElements", ["around", "orders"], ["boxes"], axis=1),
    ]
    columns, rows = list(range(width)), list(range(height))
    constants = [
        helper.make_tensor("middle", TensorProto.UINT8, [], [127]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
        helper.make_tensor("far", TensorProto.FLOAT, [], [far]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("three", TensorProto.INT64, [1], [3]),
        helper.make_tensor("four", TensorProto.INT64, [3], [1, 1, 4]),
        helper.make_tensor("left", TensorProto.FLOAT, [1, width], columns),
        helper.make_tensor("right", TensorProto.FLOAT, [1, width], [c + 1 for c in columns]),
        helper.make_tensor("top", TensorProto.FLOAT, [height, 1], rows),
        helper.make_tensor("bottom", TensorProto.FLOAT, [height, 1], [r + 1 for r in rows]),
    ]
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("boxes", TensorProto.FLOAT, ["N", 3, 4]),
        ("scores", TensorProto.FLOAT, ["N", 3]),
        ("class_ids", TensorProto.INT64, ["N", 3]),
    ]
    return _save(file, nodes, width, height, outputs, constants)


def _save(
    file: Path,
    nodes: list[NodeProto],
    width: int,
    height: int,
    outputs: list[tuple[str, int, list[str | int]]],
    constants: list[TensorProto],
) -> Path:
    image: ValueInfoProto = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])
    given = [helper.make_tensor_value_info(*o) for o in outputs]
    graph = helper.make_graph(nodes, file.stem, [image], given, constants)
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
