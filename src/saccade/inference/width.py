"""A graph opened once more with all cores for each run: for a row that has the machine to itself.

Runs that share the cores with each other answer most rows a second, and leave all cores but their own idle while there
is one row alone. Which a row meets is known when it begins (batcher.py). Threads that sleep whenever they wait for each other
made a MobileNetV3-small no faster over two cores, ones that spin 1.2 to 1.4 times; so they spin here, and here alone.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from saccade.errors import SaccadeError
from saccade.inference import memory, opening
from saccade.inference.options import Options
from saccade.inference.runtime import OpenGraph
from saccade.package.reader import Package
from saccade.process import cores, free_memory
from saccade.types import Array

WORTH_S = 0.001
"""A row that takes less gains less than waking the other cores costs."""
GAIN = 1.2
"""How many times as fast it must be here, or it is worth neither its memory nor what the other cores spend: a MobileNetV3-small
is 1.3 to 1.7 times as fast on ONNX Runtime, for a quarter more of processor."""
TRIES, TRIED_S = 3, 0.05
"""So often it is tried, and again until so long: the first runs of a graph are not yet what the later ones will be."""


def opened(
    package: Package, variant: str, options: Options, arrays: Mapping[str, Array], row_s: float
) -> OpenGraph | None:
    """The same graph over all cores; None where that is not much faster. options: with numbers in all places. arrays:
    one row with a batch axis, which takes the graph row_s with its own threads."""
    if options.device != "cpu" or options.isolation != "none" or row_s < WORTH_S:
        return None
    if options.threads is None or options.threads >= cores() or not _room(package, variant):
        return None
    try:
        graph = opening.open_graph(package, variant, replace(options, threads=cores()), wide=True)
    except SaccadeError:
        return None  # what is open answers as well
    try:
        if graph.near and _least_s(graph, arrays) * GAIN <= row_s:
            return graph
    except SaccadeError:
        pass
    graph.close()
    return None


def _least_s(graph: OpenGraph, arrays: Mapping[str, Array]) -> float:
    took: list[float] = []
    while len(took) < TRIES or sum(took) < TRIED_S:
        began = time.perf_counter()
        graph.run(arrays)
        took.append(time.perf_counter() - began)
    return min(took)


def _room(package: Package, variant: str) -> bool:
    """Whether it leaves as much free as it takes."""
    free = free_memory()
    return free is None or 2 * memory.floor(package, variant) <= free
