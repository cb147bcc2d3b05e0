"""Tiny sealed packages for tests: the real writer, the real format, answers that can be worked out by hand."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from PIL import Image

from saccade import tasks
from saccade.images.preprocess import PreprocessSpec
from saccade.inference import runtimes
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.testing.graphs import CHANNELS, bright_boxes, bright_pixels, channel_means, color_network
from saccade.types import Array, Labels

Mode = Literal["stretch", "center_crop", "letterbox"]


def png(red: int, green: int, blue: int, width: int = 40, height: int = 30) -> bytes:
    """A picture of one colour; `colors` answers its channels divided by 255."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def colors(
    folder: Path,
    name: str = "colors",
    *,
    logarithm: bool = False,
    lie: bool = False,
    reverse: bool = False,
    exclusive: bool = False,
    network: bool = False,
    fault: Callable[[Path], Path] | None = None,
) -> Package:
    """Seals a package whose scores are the channel means of the picture, under the labels red, green, blue.

    logarithm: scores that are not finite for black. lie: golden outputs that the graph does not give. reverse: the
    labels in the other order, so that two versions answer differently. exclusive: one label an image, not several.
    network: the softmax of ten times those means, by a graph that has layers to quantise. fault: `endless` or `greedy`
    of testing/graphs, which fail on some pictures.
    """
    labels = Labels(CHANNELS[::-1] if reverse else CHANNELS, exclusive=exclusive)
    place = _beside(folder)
    if fault is not None:
        file = fault(place)
    else:
        file = color_network(place) if network else channel_means(place, logarithm=logarithm)
    return _seal(folder, name, file, ("classes",), labels, off=0.5 if lie else 0.0)


def masks(
    folder: Path, name: str = "masks", *, side: int = 32, mode: Mode = "stretch", confidence: bool = False
) -> Package:
    """Seals a package whose mask says which of red and green is bright: none, red, green, yellow; and with
    confidence how bright."""
    labels = Labels(("none", "red", "green", "yellow"))
    file = bright_pixels(_beside(folder), side, side, confidence=confidence)
    return _seal(folder, name, file, ("mask",), labels, side=side, mode=mode)


def boxes(
    folder: Path,
    name: str = "boxes",
    *,
    side: int = 32,
    mode: Mode = "stretch",
    thresholds: Mapping[str, float] = MappingProxyType({}),
) -> Package:
    """Seals a package that finds one box for each channel: around its bright pixels, its score the brightest / 255."""
    file = bright_boxes(_beside(folder), side, side)
    return _seal(
        folder, name, file, ("boxes", "box_classes"), Labels(CHANNELS), side=side, mode=mode, thresholds=thresholds
    )


def _beside(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_suffix(".onnx")


def _seal(
    folder: Path,
    name: str,
    file: Path,
    needs: tuple[str, ...],
    labels: Labels,
    *,
    side: int = 32,
    mode: Mode = "stretch",
    thresholds: Mapping[str, float] = MappingProxyType({}),
    off: float = 0.0,
) -> Package:
    writer = PackageWriter(folder)
    graph = runtimes.find("onnxruntime").open(file)
    writer.add("model.onnx", file.read_bytes())
    file.unlink()
    mark = (200, 100, 50)
    expected: dict[str, Array] = graph.run({"image": np.full((1, side, side, 3), mark, np.uint8)})
    own = {output: values[0] + off if off else values[0] for output, values in expected.items()}
    writer.add_golden("one", png(*mark), own)
    entry = GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)
    graph.close()
    task = tasks.fitting(needs)[0]
    spec = PreprocessSpec(side, side, mode=mode)
    return writer.seal(
        Manifest(name, task, labels, spec, {"default": entry}, golden=("one",), thresholds=dict(thresholds))
    )
