"""Tiny sealed packages for tests: the real writer, the real format, answers that can be worked out by hand."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from saccade import tasks
from saccade.images.preprocess import PreprocessSpec
from saccade.inference import runtimes
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.testing.graphs import CHANNELS, channel_means, color_network
from saccade.types import Array, Labels


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
) -> Package:
    """Seals a package whose scores are the channel means of the picture, under the labels red, green, blue.

    logarithm: scores that are not finite for black. lie: golden outputs that the graph does not give. reverse: the
    labels in the other order, so that two versions answer differently. exclusive: one label an image, not several.
    network: the softmax of ten times those means, by a graph that has layers to quantise.
    """
    writer = PackageWriter(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder.with_suffix(".onnx")
    file = color_network(place) if network else channel_means(place, logarithm=logarithm)
    graph = runtimes.find("onnxruntime").open(file)
    writer.add("model.onnx", file.read_bytes())
    file.unlink()
    mark = (200, 100, 50)
    expected: dict[str, Array] = graph.run({"image": np.full((1, 32, 32, 3), mark, np.uint8)})
    own = {output: values[0] + (0.5 if lie else 0.0) for output, values in expected.items()}
    writer.add_golden("one", png(*mark), own)
    entry = GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)
    graph.close()
    labels = Labels(CHANNELS[::-1] if reverse else CHANNELS, exclusive=exclusive)
    spec = PreprocessSpec(32, 32)
    return writer.seal(Manifest(name, tasks.names()[0], labels, spec, {"default": entry}, golden=("one",)))
