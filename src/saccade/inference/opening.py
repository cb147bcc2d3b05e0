"""From a package and a choice to an open graph with the sealed face."""

from typing import Protocol, runtime_checkable

from saccade.errors import PackageError
from saccade.inference import memory, runtimes
from saccade.inference.adapter import Adapted
from saccade.inference.options import Options
from saccade.inference.runtime import INPUT, OpenGraph
from saccade.inference.steady import steady
from saccade.inference.workers.keeper import KeptGraph
from saccade.inference.workers.starter import Starter
from saccade.inference.workers.worker import Order
from saccade.package.manifest import Manifest
from saccade.package.reader import Package


@runtime_checkable
class Apart(Protocol):
    """A graph with a process of its own, which is ended when a run lasts longer than this."""

    hang_s: float


def open_graph(
    package: Package, variant: str, options: Options, starter: Starter | None = None, *, wide: bool = False
) -> OpenGraph:
    """In this process, or with isolation in some of its own, which the starter starts; these are opened one after the
    other with whoever else looks how much memory is free. What its files say that it takes must be free here too. wide:
    for one row at a time and nothing beside it.

    Raises PackageError(onnx_invalid) for a graph that is none, or takes something else than sealed ones do;
    InferenceError: not_found for a runtime or device that is not here, not_enough_memory, worker_lost.
    """
    name = package.manifest.graphs[variant].runtime
    # What runs on another server needs no process here.
    if options.isolation == "process" and name not in runtimes.LIBRARIES:
        with memory.room(package, variant, options.tuning, options.replicas):
            return _kept(package, variant, options.resolved(), starter or Starter())
    runtime = runtimes.find(name)
    if name not in runtimes.LIBRARIES:
        memory.check_here(package, variant)
    way = runtime.open_wide if wide else runtime.open
    opened = way(package.graph_path(variant), options.device, options.threads)
    opened.steady = steady(package.graph_path(variant))
    if isinstance(opened, Apart):  # some libraries have one however graphs are isolated
        opened.hang_s = options.hang_s
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


def _kept(package: Package, variant: str, options: Options, starter: Starter) -> OpenGraph:
    lanes = -(-(options.runners or 1) // options.replicas)
    order = Order(
        str(package.path.resolve()),
        package.digest,
        variant,
        options.device,
        options.threads,
        lanes,
        options.patient,
        package.manifest.name,
    )
    name = f"{package.manifest.name} {package.digest[:12]}"
    return KeptGraph(order, starter, replicas=options.replicas, hang_s=options.hang_s, name=name)


def takes_pictures(manifest: Manifest) -> bool:
    """False for a graph from elsewhere that answers tensors only."""
    return manifest.adapter is None or bool(manifest.adapter.outputs)


def adapted(graph: OpenGraph, manifest: Manifest) -> OpenGraph:
    """A graph with the sealed face: itself, or what the manifest's adapter makes of it."""
    if manifest.adapter is None:
        return graph
    size = (manifest.preprocess.width, manifest.preprocess.height)
    return Adapted(graph, manifest.adapter, INPUT, size, len(manifest.labels))
