"""From a package and a choice to an open graph with the sealed face."""

from saccade.errors import PackageError
from saccade.inference import runtimes
from saccade.inference.adapter import Adapted
from saccade.inference.options import Options
from saccade.inference.runtime import INPUT, OpenGraph
from saccade.package.manifest import Manifest
from saccade.package.reader import Package


def open_graph(package: Package, variant: str, options: Options) -> OpenGraph:
    """Raises PackageError(onnx_invalid) for a graph that is none, or takes something else than sealed ones do."""
    runtime = runtimes.find(package.manifest.graphs[variant].runtime)
    opened = runtime.open(package.graph_path(variant), options.device, options.threads)
    graph = adapted(opened, package.manifest)
    if takes_pictures(package.manifest) and (
        [i.name for i in graph.inputs] != [INPUT] or graph.inputs[0].dtype != "uint8"
    ):
        graph.close()
        raise PackageError(
            f"a sealed graph takes one uint8 input {INPUT!r}, this one takes {[i.name for i in graph.inputs]}",
            code="onnx_invalid",
        )
    return graph


def takes_pictures(manifest: Manifest) -> bool:
    """False for a graph from elsewhere that answers tensors only."""
    return manifest.adapter is None or bool(manifest.adapter.outputs)


def adapted(graph: OpenGraph, manifest: Manifest) -> OpenGraph:
    """A graph with the sealed face: itself, or what the manifest's adapter makes of it."""
    if manifest.adapter is None:
        return graph
    size = (manifest.preprocess.width, manifest.preprocess.height)
    return Adapted(graph, manifest.adapter, INPUT, size, len(manifest.labels))
