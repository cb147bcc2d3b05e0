"""Graphs told again in TensorFlow answer as ONNX Runtime does; the folder is one that TensorFlow Serving loads."""

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto as Sent

from saccade.errors import PackageError, UsageError
from saccade.export.exporters import tf_serving
from saccade.export.exporters.tf_serving.tensorflow import picture, write
from saccade.export.exporters.tf_serving.tensorflow.graph import OPS, Told
from saccade.images import preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.package.reader import open_package
from saccade.testing.graphs import means
from saccade.testing.packages import boxes, colors, masks
from saccade.types import Array
from saccade.verbs.export import export
from saccade.verbs.imports import import_model

F = np.float32
DICE = np.random.default_rng(5)


def noise(*shape: int, kind: Any = F) -> Array:
    return np.asarray(DICE.normal(0, 1, shape) if np.dtype(kind).kind == "f" else DICE.integers(0, 5, shape)).astype(
        kind
    )


X, Y, V = noise(2, 4, 6, 5), noise(2, 4, 6, 5), noise(3, 7)
INTS = np.array
P = np.abs

Case = tuple[str, Sequence[Any], Mapping[str, Any]]
CASES: list[Case] = [
    *[(op, [X], {}) for op in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Round", "Sign", "Erf", "Sin", "Cos", "Tanh", "Sigmoid",
                               "Relu", "Softplus", "Softsign", "Identity", "HardSwish", "Mish", "LeakyRelu", "Elu",
                               "HardSigmoid", "GlobalAveragePool", "GlobalMaxPool", "Shape", "Flatten", "Transpose",
                               "LogSoftmax", "Dropout")],
    *[(op, [P(X) + 1], {}) for op in ("Log", "Sqrt", "Reciprocal")],
    *[(op, [X, Y], {}) for op in ("Add", "Sub", "Mul", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Min",
                                  "Max", "Sum", "Mean")],
    ("Gelu", [X], {}), ("Gelu", [X], {"approximate": "tanh"}), ("Pow", [P(X), F(1.5)], {}),
    ("Equal", [noise(4, 5, kind="i8"), noise(4, 5, kind="i8")], {}), ("Not", [X > 0], {}), ("IsNaN", [X], {}),
    *[(op, [X > 0, Y > 0], {}) for op in ("And", "Or", "Xor")],
    ("PRelu", [X, noise(4, 1, 1)], {}), ("Add", [X, noise(4, 1, 1)], {}), ("Mul", [noise(6, 1), X], {}),
    ("Mod", [noise(9, kind="i8") - 2, INTS([3] * 9)], {}), ("Mod", [X, Y], {"fmod": 1}),
    ("Div", [noise(9, kind="i8") - 2, INTS([3] * 9)], {}), ("Clip", [X, F(-0.5), F(0.5)], {}), ("Clip", [X, None, F(0)], {}),
    ("Cast", [X * 3], {"to": TensorProto.INT32}), ("Cast", [X], {"to": TensorProto.BOOL}), ("Where", [X > 0, X, Y], {}),
    *[(op, [X, INTS([2, 3])], {}) for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2")],
    ("ReduceMean", [X, INTS([1])], {"keepdims": 0}), ("ReduceSum", [X], {}),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}), ("ReduceMax", [X, INTS([-1, 1])], {"keepdims": 0}),
    ("Softmax", [X], {"axis": 1}), ("Softmax", [X], {}), ("ArgMax", [X], {"axis": 1, "keepdims": 0}), ("ArgMin", [X], {"axis": 2}),
    ("Conv", [X, noise(3, 4, 3, 2)], {}), ("Conv", [X, noise(3, 4, 3, 3), noise(3)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [X, noise(4, 1, 3, 3), noise(4)], {"group": 4, "pads": [1] * 4}),
    ("Conv", [X, noise(8, 1, 3, 3)], {"group": 4, "strides": [2, 2]}), ("Conv", [X, noise(6, 2, 1, 1)], {"group": 2}),
    ("Conv", [X, noise(3, 4, 2, 2)], {"auto_pad": "SAME_UPPER"}), ("Conv", [X, noise(3, 4, 2, 2)], {"dilations": [2, 3]}),
    ("Conv", [X, noise(3, 4, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("ConvTranspose", [X, noise(4, 3, 3, 2), noise(3)], {"strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("ConvTranspose", [X, noise(4, 2, 3, 3)], {"strides": [2, 3], "output_padding": [1, 2], "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", [X, noise(4, 2, 2, 2)], {"group": 2, "dilations": [2, 1]}),
    ("MaxPool", [X], {"kernel_shape": [2, 2]}), ("MaxPool", [X], {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}),
    ("MaxPool", [X], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [X], {"kernel_shape": [2, 2], "dilations": [2, 2]}), ("MaxPool", [X], {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 0], "count_include_pad": 1}),
    ("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("BatchNormalization", [X, noise(4), noise(4), noise(4), P(noise(4)) + 1], {"epsilon": 1e-3}),
    ("InstanceNormalization", [X, noise(4), noise(4)], {}), ("LayerNormalization", [X, noise(5), noise(5)], {}),
    ("GroupNormalization", [X, noise(2), noise(2)], {"num_groups": 2}),
    ("Gemm", [V, noise(7, 4), noise(4)], {}), ("Gemm", [V, noise(4, 7)], {"transB": 1, "alpha": 0.5}),
    ("MatMul", [V, noise(7, 4)], {}), ("MatMul", [X, noise(5, 2)], {}), ("MatMul", [noise(7), noise(7, 2)], {}),
    *[("Resize", [X, None, INTS([1, 1, 2, 1.6], F)], {"mode": m, "coordinate_transformation_mode": c})
      for m in ("nearest", "linear", "cubic") for c in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")],
    *[("Resize", [X, None, INTS([1, 1, 1.5, 2.5], F)], {"nearest_mode": n})
      for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")],
    ("Resize", [X, None, None, INTS([2, 4, 3, 9])], {"mode": "linear"}),
    ("Reshape", [X, INTS([0, -1, 5])], {}), ("Reshape", [X, INTS([2, 12, 2, 5])], {}), ("Flatten", [X], {"axis": 2}),
    ("Flatten", [X], {"axis": 0}), ("Transpose", [X], {"perm": [0, 2, 3, 1]}), ("Transpose", [X], {"perm": [0, 3, 1, 2]}),
    ("Squeeze", [noise(2, 1, 3, 1), INTS([1, 3])], {}), ("Squeeze", [noise(2, 1, 3)], {}),
    ("Unsqueeze", [V, INTS([0, -1])], {}), ("Concat", [X, Y], {"axis": 1}), ("Concat", [V, V], {"axis": -1}),
    ("Slice", [X, INTS([1, 0]), INTS([2**62, -1]), INTS([2, 3])], {}), ("Slice", [X, INTS([-1]), INTS([-(2**62)]), INTS([1]), INTS([-1])], {}),
    ("Slice", [X, INTS([0, 1])[:1], INTS([1])], {}), ("Gather", [X, INTS([3, 0, -1])], {"axis": 1}),
    ("Gather", [X, INTS(1)], {"axis": 2}), ("Gather", [V, INTS([[0, 2], [1, -1]])], {}),
    ("GatherElements", [V, INTS([[0, 1], [6, -1]])], {"axis": 1}), ("GatherND", [X, INTS([[0, 1], [1, -1]])], {}),
    ("GatherND", [X, INTS([[1], [0]])], {"batch_dims": 1}), ("ScatterND", [V, INTS([[0], [2]]), noise(2, 7)], {}),
    ("ScatterND", [V, INTS([[0, 1], [0, 1]]), noise(2)], {"reduction": "add"}),
    ("ScatterElements", [V, INTS([[0, 1], [6, -2]]), noise(2, 2)], {"axis": 1}),
    ("Expand", [noise(3, 1), INTS([2, 1, 4])], {}), ("Tile", [V, INTS([2, 3])], {}), ("Range", [INTS(2), INTS(11), INTS(3)], {}),
    ("ConstantOfShape", [INTS([2, 3])], {"value": numpy_helper.from_array(INTS([7]))}),
    ("Pad", [X, INTS([0, 0, 1, 2, 0, 0, 3, 0]), F(9)], {}), ("Pad", [X, INTS([0, 0, 1, 2, 0, 0, 3, 0])], {"mode": "reflect"}),
    ("Pad", [X, INTS([0, 0, 1, 2, 0, 0, 3, -1])], {}), ("Pad", [X, INTS([0, 0, 9, 2, 0, 0, 3, 0])], {"mode": "edge"}),
    ("DepthToSpace", [X], {"blocksize": 2}), ("DepthToSpace", [X], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [noise(1, 3, 4, 6)], {"blocksize": 2}), ("CumSum", [X, INTS(2)], {"reverse": 1, "exclusive": 1}),
    ("Einsum", [V, noise(7, 4)], {"equation": "ij,jk->ki"}), ("NonZero", [V > 0], {}),
    ("NonMaxSuppression", [P(noise(2, 40, 4)), P(noise(2, 3, 40)), INTS([5]), INTS([0.3], F), INTS([0.2], F)], {}),
    ("NonMaxSuppression", [P(noise(1, 40, 4)), P(noise(1, 1, 40)), INTS([50]), INTS([0.1], F)], {"center_point_box": 1}),
]  # fmt: skip
SEVERAL: list[tuple[str, Sequence[Any], Mapping[str, Any], int]] = [
    ("Split", [X, INTS([1, 3])], {"axis": 1}, 2), ("Split", [X], {"axis": 3, "num_outputs": 3}, 3),
    ("TopK", [X, INTS([3])], {"axis": 1}, 2), ("TopK", [noise(3, 9), INTS([2])], {"largest": 0}, 2),
]  # fmt: skip
WEIGHTS = ("Conv", "ConvTranspose", "BatchNormalization")
"""Whose inputs but the first are constants in any graph."""


def graph_of(file: Path, nodes: Sequence[Any], given: Mapping[str, Array], held: Mapping[str, Array], outputs: Sequence[str],
             opset: int = 20) -> Path:  # fmt: skip
    def info(name: str, value: Array) -> Any:
        free = [f"{name}{i}" if i == 0 and value.ndim > 1 else side for i, side in enumerate(value.shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), free)

    model = helper.make_model(
        helper.make_graph(nodes, "g", [info(k, v) for k, v in given.items()], [onnx.ValueInfoProto(name=o) for o in outputs],
                          [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=9,
    )  # fmt: skip
    onnx.save(model, file)
    return file


def same(file: Path, given: Mapping[str, Array]) -> None:
    expected = onnxruntime.InferenceSession(file).run(None, dict(given))
    told = Told(file)
    spec = {k: tf.TensorSpec([None, *v.shape[1:]] if v.ndim > 1 else v.shape, v.dtype) for k, v in given.items()}
    run = tf.function(lambda **given: told(given), autograph=False).get_concrete_function(**spec)
    got = run(**{k: tf.constant(v) for k, v in given.items()})
    for name, value in zip(told.outputs, expected, strict=True):
        assert got[name].dtype.as_numpy_dtype == value.dtype, name
        np.testing.assert_allclose(got[name].numpy(), value, rtol=2e-4, atol=2e-5, err_msg=name)


def asked(
    op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], outputs: int
) -> tuple[Any, dict[str, Array], dict[str, Array]]:
    """The node, what it is given and what it holds. Sizes, axes and places are constants, as exporters write them."""
    names = ["" if v is None else f"i{i}" for i, v in enumerate(inputs)]
    values = {n: np.asarray(v) for n, v in zip(names, inputs, strict=True) if n}
    held = {
        n: v
        for n, v in values.items()
        if n != "i0" and (v.dtype.kind == "i" or op in (*WEIGHTS, "Resize") or v.ndim == 0)
    }
    held |= values if op in ("Range", "ConstantOfShape") else {}
    given = {n: v for n, v in values.items() if n not in held}
    return helper.make_node(op, names, [f"o{i}" for i in range(outputs)], **attributes), given, held


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_an_operator_answers_as_in_onnx_runtime(tmp_path: Path, op: str, inputs: Any, attributes: Any) -> None:
    node, given, held = asked(op, inputs, attributes, 1)
    # Between two that compute with channels last, so that either order of axes is tried.
    same(graph_of(tmp_path / "g.onnx", [node], given, held, ["o0"]), given)
    first = given.get("i0")
    if first is not None and first.ndim == 4 and first.dtype == F and op != "NonMaxSuppression":
        before = helper.make_node("InstanceNormalization", ["raw", "one", "nil"], ["i0"])
        channels = first.shape[1]
        held |= {"one": np.ones(channels, F), "nil": np.zeros(channels, F) + F(1.5)}
        rest = {k: v for k, v in given.items() if k != "i0"}
        same(
            graph_of(tmp_path / "h.onnx", [before, node], {"raw": first, **rest}, held, ["o0"]), {"raw": first, **rest}
        )


@pytest.mark.parametrize(("op", "inputs", "attributes", "outputs"), SEVERAL)
def test_operators_with_several_answers(tmp_path: Path, op: str, inputs: Any, attributes: Any, outputs: int) -> None:
    node, given, held = asked(op, inputs, attributes, outputs)
    same(graph_of(tmp_path / "g.onnx", [node], given, held, list(node.output)), given)


def test_every_operator_is_tried() -> None:
    tried = {c[0] for c in CASES} | {c[0] for c in SEVERAL}
    assert set(OPS) - tried == {"Constant", "Upsample"}


def test_shapes_that_only_a_run_knows_are_carried(tmp_path: Path) -> None:
    """The batch read off, sliced, joined with known sides, reshaped to, expanded to."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Gather", ["s", "three"], ["w"]),
        helper.make_node("Concat", ["n", "half", "w"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["o0"]),
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0]),
        helper.make_node("Concat", ["n", "two"], ["wide"], axis=0),
        helper.make_node("Expand", ["c", "wide"], ["o1"]),
        helper.make_node("Concat", ["n", "four", "sizes"], ["big"], axis=0),
        helper.make_node("Resize", ["x", "", "", "big"], ["o2"], mode="nearest"),
    ]
    held = {"zero": [0], "one": [1], "three": [3], "half": [24], "two": [2], "four": [4], "sizes": [12, 10]}
    file = graph_of(tmp_path / "g.onnx", nodes, {"x": X}, {k: np.array(v) for k, v in held.items()}, ["o0", "o1", "o2"])
    same(file, {"x": X})


def test_older_opsets_say_the_same_otherwise(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Upsample", ["x", "scales"], ["big"], mode="linear"),
        helper.make_node("Slice", ["big"], ["cut"], axes=[2], starts=[1], ends=[9]),
        helper.make_node("Clip", ["cut"], ["clipped"], min=-0.5, max=0.5),
        helper.make_node("Pad", ["clipped"], ["padded"], pads=[0, 0, 1, 1, 0, 0, 0, 0], value=2.0),
        helper.make_node("Softmax", ["padded"], ["o0"], axis=1),
        helper.make_node("ReduceMean", ["padded"], ["o1"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["o1"], ["o2"], axes=[0]),
        helper.make_node("Split", ["padded"], ["o3", "o4"], axis=1, split=[1, 3]),
    ]
    held = {"scales": np.array([1, 1, 2, 2], F)}
    file = graph_of(tmp_path / "g.onnx", nodes, {"x": X}, held, ["o0", "o1", "o2", "o3", "o4"], opset=9)
    same(file, {"x": X})


def test_what_has_no_form_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("GRU", ["x"], ["a"]), helper.make_node("Warp", ["x"], ["b"], domain="acme")]
    file = graph_of(tmp_path / "g.onnx", nodes, {"x": X}, {}, ["a"])
    with pytest.raises(UsageError, match=r"operators without a form in TensorFlow here: GRU, acme\.Warp"):
        Told(file)
    file = graph_of(
        tmp_path / "g.onnx",
        [helper.make_node("ArgMax", ["x"], ["a"], "last", select_last_index=1)],
        {"x": X},
        {},
        ["a"],
    )
    with pytest.raises(UsageError, match=r"ArgMax .last. of the graph has no form .* select_last_index"):
        Told(file)({"x": tf.constant(X)})


# Pictures


def jpeg(pixels: Array, orientation: int = 0) -> bytes:
    """orientation: 0 writes no Exif at all."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(out, "JPEG", quality=92, subsampling=0, **({"exif": exif} if orientation else {}))
    return out.getvalue()


def photo(width: int, height: int) -> Array:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a / width) * np.cos(y * b / height) for a, b in ((9, 5), (4, 11), (15, 3))]
    return np.stack([(w + 1) * 127.5 for w in waves], -1).astype(np.uint8)


@pytest.mark.parametrize("mode", ["stretch", "center_crop", "letterbox"])
@pytest.mark.parametrize("interpolation", ["mean4", "area", "bilinear", "bicubic"])
def test_pictures_come_as_ours_do(mode: Any, interpolation: Any) -> None:
    for size, plain in (((90, 61), False), ((40, 200), True), ((640, 480), False)):
        spec = PreprocessSpec(64, 48, mode, interpolation, antialias=not plain, crop_ratio=1.143, dct_scale=not plain)
        encoded = jpeg(photo(*size))
        ours = preprocess.load(encoded, spec)[0].astype(int)
        theirs = picture.pixels(tf.constant([encoded]), spec).numpy()[0].astype(int)
        assert np.abs(ours - theirs).mean() < 0.6
        assert np.abs(ours - theirs).max() < 12


@pytest.mark.parametrize("most", [2.0, 3.0])
@pytest.mark.parametrize("size", [(128, 96), (160, 120), (192, 144), (200, 150)])
def test_four_samples_end_where_ours_do(size: tuple[int, int], most: float) -> None:
    dice, out = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(dice.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(out, "PNG")
    spec = PreprocessSpec(64, 48, mean4_most=most)
    ours = preprocess.load(out.getvalue(), spec)[0].astype(int)
    theirs = picture.pixels(tf.constant([out.getvalue()]), spec).numpy()[0].astype(int)
    assert np.abs(ours - theirs).mean() < 0.6
    if size != (128, 96):  # where the other kernel gives other pixels
        other, _ = preprocess.load(out.getvalue(), PreprocessSpec(64, 48, mean4_most=5.0 - most))
        assert np.array_equal(ours, other) == (size == (200, 150))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    spec = PreprocessSpec(40, 30)
    encoded = jpeg(photo(80, 50), orientation)
    ours = preprocess.load(encoded, spec)[0].astype(int)
    theirs = picture.pixels(tf.constant([encoded]), spec).numpy()[0].astype(int)
    assert np.abs(ours - theirs).mean() < 0.6


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "P4", "RGBA", "LA", "1"])
def test_pngs_of_every_kind(mode: str) -> None:
    spec = PreprocessSpec(40, 30)
    image = Image.fromarray(photo(80, 50)).convert(mode.strip("4"), colors=4 if "4" in mode else 256)
    if "A" in mode:
        image.putalpha(Image.fromarray(photo(80, 50)[..., 0]))
    out = io.BytesIO()
    image.save(out, "PNG")
    ours = preprocess.load(out.getvalue(), spec)[0].astype(int)
    theirs = picture.pixels(tf.constant([out.getvalue()]), spec).numpy()[0].astype(int)
    assert np.abs(ours - theirs).max() <= 2


def test_pictures_in_one_request_keep_their_places() -> None:
    spec = PreprocessSpec(8, 8)
    encoded = [jpeg(np.full((20, 30, 3), 60 * i, np.uint8)) for i in range(4)]
    assert picture.pixels(tf.constant(encoded), spec).numpy()[:, 0, 0, 0].tolist() == [0, 60, 120, 180]


# The folder


def test_a_package_becomes_a_folder_that_the_server_loads(tmp_path: Path) -> None:
    package = colors(tmp_path / "p", network=True)
    made = export(
        "tf-serving", package.path, tmp_path / "out", name="tints", version=7, settings={"root": "/srv/models"}
    )
    assert {"models.config", "tints/7/saved_model.pb", "tints/7/assets.extra/tf_serving_warmup_requests"} <= set(
        made.files
    )
    assert made.written.difference is not None
    assert made.written.difference <= 1e-5
    assert any("pixels decoded by TensorFlow differ" in note for note in made.written.notes)
    text = (tmp_path / "out" / "models.config").read_text()
    assert "name: 'tints'" in text
    assert "base_path: '/srv/models/tints'" in text
    # What was written is a SavedModel like any: it comes back as a package, and answers tensors as it did.
    back = import_model(tmp_path / "out" / "tints" / "7", tmp_path / "back", signature="serving_default")
    graph = open_package(back.package).manifest.graphs["default"]
    assert [(i.name, i.dtype, i.shape) for i in graph.inputs] == [("image", "uint8", (None, 32, 32, 3))]
    assert requests(tmp_path / "out" / "tints" / "7" / "assets.extra" / "tf_serving_warmup_requests") == [
        ("tints", "serving_default", ["image"]),
        ("tints", "serving_bytes", ["image_bytes"]),
    ]


def requests(file: Path) -> list[tuple[str, str, list[str]]]:
    """Model, signature and inputs of each warm-up request, read by protobuf with the published messages' fields."""
    proto = descriptor_pb2.FileDescriptorProto(name="w.proto", package="w", syntax="proto3")
    kinds = {
        "Spec": [(1, "name", "", 1), (3, "signature_name", "", 1)], "Input": [(1, "key", "", 1), (2, "value", "b", 1)],
        "Request": [(1, "model_spec", "Spec", 1), (2, "inputs", "Input", 3)], "Log": [(1, "request", "Request", 1)],
        "Entry": [(6, "predict_log", "Log", 1)],
    }  # fmt: skip
    for kind, parts in kinds.items():
        message = proto.message_type.add(name=kind)
        for number, name, of, label in parts:
            message.field.add(number=number, name=name, label=label, type={"": 9, "b": 12}.get(of, 11),  # type: ignore[arg-type]
                              type_name=f".w.{of}" if of not in ("", "b") else None)  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(proto.SerializeToString())
    entry = message_factory.GetMessageClass(pool.FindMessageTypeByName("w.Entry"))
    found = []
    for record in tf.data.TFRecordDataset(str(file)):
        request = entry.FromString(record.numpy()).predict_log.request
        for given in request.inputs:
            tensor = tf.make_ndarray(Sent.FromString(given.value))
            assert len(tensor) == 1
        found.append((request.model_spec.name, request.model_spec.signature_name, [i.key for i in request.inputs]))
    assert struct.unpack("<Q", file.read_bytes()[:8])[0] > 0
    return found


@pytest.mark.parametrize("make", [masks, boxes])
def test_masks_and_boxes_answer_the_same(tmp_path: Path, make: Any) -> None:
    package = make(tmp_path / "p")
    (tmp_path / "m").mkdir()
    facts = write.write(package, tmp_path / "m", "m", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as found:
        told = tf_serving._compared(package, facts, tf_serving._parts(found))
    assert told.difference == 0


def test_a_graph_from_elsewhere_is_filled_by_its_adapter(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("red\ngreen\nblue\n")
    file = means(tmp_path / "m.onnx", (2, 3, 8, 12), gain=3.0)
    made = import_model(
        file, tmp_path / "p", task="classification", labels=tmp_path / "l.txt", preprocess="imagenet", tail="softmax"
    )
    (tmp_path / "m").mkdir()
    package = open_package(made.package)
    facts = write.write(package, tmp_path / "m", "m", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as found:
        parts = tf_serving._parts(found)
        told = tf_serving._compared(package, facts, parts)
        lied = {**parts, "tensors": {k: {n: a + 1 for n, a in v.items()} for k, v in parts["tensors"].items()}}
        with pytest.raises(PackageError, match="apart from the package") as caught:
            tf_serving._compared(package, facts, lied)
    assert caught.value.code == "golden_mismatch"
    assert told.difference is not None
    assert told.difference < 1e-5


def test_a_saved_model_is_copied_opened_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubles(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": 2 * x}

    module = Doubles()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.double})
    made = import_model(tmp_path / "saved", tmp_path / "p")
    told = export("tf-serving", made.package, tmp_path / "out")
    assert told.written.difference == 0.0
    copy = tf.saved_model.load(str(next((tmp_path / "out").glob("*/*/saved_model.pb")).parent))
    answer = copy.signatures["serving_default"](x=tf.constant([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(answer["twice"].numpy(), [[2.0, 4.0, 6.0]])

    true = tf_serving.adapted
    monkeypatch.setattr(tf_serving, "adapted", lambda graph, manifest: Off(true(graph, manifest)))
    with pytest.raises(PackageError, match="apart from the package's golden samples"):
        export("tf-serving", made.package, tmp_path / "again")
    assert not (tmp_path / "again").exists()


class Off:
    """A graph that answers one too much."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value + 1 for name, value in self.graph.run(arrays).items()}


def test_inputs_get_names_that_functions_can_have() -> None:
    names = ["image", "input.1", "input_1", "0", "in", "é"]
    assert list(write.short(names).values()) == ["image", "input_1", "input_1_", "x_0", "x_in", "é"]


def test_a_root_that_is_no_path_is_refused(tmp_path: Path) -> None:
    package = colors(tmp_path / "p")
    with pytest.raises(UsageError, match="root is an absolute path"):
        export("tf-serving", package.path, tmp_path / "out", settings={"root": "models' }"})
    assert not (tmp_path / "out").exists()
