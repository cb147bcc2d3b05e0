"""Golden answers of variants: graphs of another shape or far from them are passed over in words, and the next is
taken."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from saccade import process, tasks
from saccade.errors import PackageError
from saccade.inference import choice, golden
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.manifest import Certified, GraphEntry
from saccade.package.reader import Package
from saccade.package.writer import reseal
from saccade.testing.graphs import bright_pixels, channel_means
from saccade.testing.packages import colors, masks
from saccade.types import Array


def with_variants(package: Package, *, allowed: float = 0.25, **graphs: Path) -> Package:
    """The package with these graphs as variants, certified here, the first one the fastest."""
    default = package.manifest.graphs["default"]
    entries, extra = {"default": default}, {}
    for i, (name, file) in enumerate(graphs.items()):
        place = f"variants/{name}"
        extra |= {f"{place}/model.onnx": file.read_bytes(), f"{place}/certificate.json": b"{}"}
        times = {"1": 1.0, "8": 1.0}
        version = choice.installed("onnxruntime")
        certified = Certified(f"{place}/certificate.json", process.host(), times, times, 9.0 - i, allowed, version)
        entries[name] = GraphEntry(f"{place}/model.onnx", "onnxruntime", default.inputs, default.outputs, certified)
    return reseal(package, graphs=entries, extra=extra)


def ended(file: Path, output: str, *nodes: onnx.NodeProto, shape: tuple[int, ...], **constants: Array) -> Path:
    """The graph in the file with nodes behind its output, which they find as `whole`. shape: of a row then."""
    model = onnx.load(file)
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == output:
                node.output[i] = "whole"
    model.graph.node.extend(nodes)
    for name, values in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    for dim, side in zip(model.graph.output[0].type.tensor_type.shape.dim[1:], shape, strict=True):
        dim.dim_value = side
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def halved(file: Path) -> Path:
    """`bright_pixels` whose mask has half as many rows and columns."""
    every = helper.make_node("Slice", ["whole", "from", "to", "over", "by"], ["mask"])
    return ended(
        bright_pixels(file), "mask", every, shape=(16, 16),
        **{"from": np.array([0, 0]), "to": np.array([32, 32]), "over": np.array([1, 2]), "by": np.array([2, 2])},
    )  # fmt: skip


def doubled(file: Path) -> Path:
    """`channel_means` that gives each score twice."""
    return ended(
        channel_means(file), "scores", helper.make_node("Concat", ["whole", "whole"], ["scores"], axis=1), shape=(6,)
    )


def dimmed(file: Path, by: float = 0.7) -> Path:
    """`channel_means` with smaller scores."""
    node = helper.make_node("Mul", ["whole", "share"], ["scores"])
    return ended(channel_means(file), "scores", node, shape=(3,), share=np.array(by, np.float32))


@pytest.mark.parametrize(
    ("make", "other", "same", "said"),
    [
        (masks, halved, bright_pixels, "output 'mask': expected shape [1, 32, 32], got [1, 16, 16]"),
        (colors, doubled, channel_means, "output 'scores': expected shape [1, 3], got [1, 6]"),
    ],
)
def test_a_variant_with_another_output_shape_is_passed_over_aloud(
    make: Callable[[Path], Package],
    other: Callable[[Path], Path],
    same: Callable[[Path], Path],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    package = with_variants(make(tmp_path / "p"), other=other(tmp_path / "o.onnx"), same=same(tmp_path / "s.onnx"))
    with caplog.at_level(logging.WARNING, "saccade.inference"), Model.open(package.path) as model:
        assert model.choice.variant == "same"
        assert f"golden picture 0, {said}; " in model.choice.passed["other"]
    assert "variant other is refused" in caplog.text
    with pytest.raises(PackageError) as caught:
        Model.open(package.path, options=Options(variant="other"))
    assert caught.value.code == "golden_mismatch"


def test_no_certificate_allows_everything(tmp_path: Path) -> None:
    """The scores of the golden picture are 0.78, 0.39 and 0.20: 0.7 of them lie 0.24 away, 0.6 of them 0.31."""
    near, far = dimmed(tmp_path / "near.onnx", 0.7), dimmed(tmp_path / "far.onnx", 0.6)
    package = with_variants(colors(tmp_path / "p"), allowed=1e9, far=far, near=near)
    with Model.open(package.path) as model:
        assert model.choice.variant == "near"
        assert "lies 0.31 from the default graph's, a certificate allows 0.25 here" in model.choice.passed["far"]
    strict = with_variants(colors(tmp_path / "q"), allowed=0.1, near=near)
    with Model.open(strict.path) as model:
        assert model.choice.variant == "default"
        assert "a certificate allows 0.1 here" in model.choice.passed["near"]


def test_the_most_that_is_allowed_follows_the_size_of_the_outputs() -> None:
    plain = tasks.find(tasks.fitting(("classes",))[0])
    own = tasks.find(tasks.fitting(("mask",))[0])
    logits = {"scores": np.array([[-40.0, 8.0, np.inf]], np.float32)}
    assert golden.most(plain, {"scores": np.array([[0.1, 0.9]], np.float32)}) == 0.25
    assert golden.most(plain, logits) == 10
    assert golden.most(own, {"mask": np.full((1, 4, 4), 3, np.uint8)}) == 0.25


def test_expected_outputs_get_the_batch_axis_of_the_answers() -> None:
    due = {"a": np.zeros(3), "b": np.zeros((1, 2))}
    found = golden.shaped(due, {"a": np.ones((1, 3)), "b": np.ones((1, 2)), "more": np.ones(1)}, "it")
    assert {name: value.shape for name, value in found.items()} == {"a": (1, 3), "b": (1, 2)}
    for got in (
        {"a": np.ones((1, 3))},
        {"a": np.ones((1, 3)), "b": np.ones((2, 1))},
        {"a": np.ones(()), "b": due["b"]},
    ):
        with pytest.raises(PackageError) as caught:
            golden.shaped(due, got, "it")
        assert caught.value.code == "golden_mismatch"
