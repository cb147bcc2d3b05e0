"""Every candidate raced, measured and judged beside the default graph; those that earn it become variants."""

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import saccade
from saccade import process
from saccade.errors import SaccadeError
from saccade.images import preprocess
from saccade.inference import runtimes
from saccade.inference.runtime import OpenGraph
from saccade.optimization.judge import Budget, Drop, Measured, by_class, objections, overall
from saccade.optimization.optimizer import Candidate, Optimizer, Run, Unfit
from saccade.optimization.race import SECONDS, race
from saccade.package.manifest import Certified, GraphEntry
from saccade.package.reader import Package
from saccade.tasks.task import Task
from saccade.types import Array

SLACK = 1.5
"""How much farther from the golden outputs a variant may lie on another day than on the day it was certified."""
LEAST = 1e-2

Measure = Callable[[Run], Measured]
"""Scores a graph on held-back data."""


@dataclass(frozen=True)
class Tried:
    """What became of one candidate. objections: why it is no variant; none when it is. times: ms by batch size."""

    name: str
    objections: tuple[str, ...] = ()
    gain: float | None = None
    latency_ms: dict[str, float] | None = None
    default_ms: dict[str, float] | None = None
    drop: Drop | None = None
    classes: tuple[Drop, ...] = ()
    largest_difference: float | None = None
    largest_golden: float | None = None

    @property
    def kept(self) -> bool:
        return not self.objections


@dataclass(frozen=True)
class Found:
    """tried: every candidate in the order they came. graphs, files: what the kept ones add to the package."""

    tried: tuple[Tried, ...]
    graphs: dict[str, GraphEntry]
    files: dict[str, bytes]


class _Beside:
    """Runs a graph and the default one on the same pictures, and keeps the largest difference on any one of them."""

    def __init__(self, run: Run, default: Run, task: Task) -> None:
        self._run, self._default, self._task = run, default, task
        self.largest = self.largest_golden = 0.0

    def __call__(self, arrays: Any) -> dict[str, Array]:
        ours, theirs = self._run(arrays), self._default(arrays)
        for i in range(len(next(iter(ours.values())))):
            self._look({k: v[i : i + 1] for k, v in theirs.items()}, {k: v[i : i + 1] for k, v in ours.items()})
        return ours

    def golden(self, package: Package) -> None:
        """Looks at the golden pictures as well, whose outputs every server will compare."""
        for golden in package.golden():
            pixels, _ = preprocess.load(golden.image_bytes, package.manifest.preprocess)
            ours = self._run({"image": pixels[None]})
            gap = self._look({k: v.reshape(ours[k].shape) for k, v in golden.expected.items()}, ours)
            self.largest_golden = max(self.largest_golden, gap)

    def _look(self, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
        gap = self._task.difference(theirs, ours)
        # A difference that is no number is as large as can be.
        gap = gap if math.isfinite(gap) else math.inf
        self.largest = max(self.largest, gap)
        return gap


def search(
    package: Package,
    task: Task,
    images_NHWC: Array,
    measure: Measure,
    optimizers: Sequence[Optimizer],
    budget: Budget,
    *,
    unfit: Sequence[Unfit] = (),
    seconds: float = SECONDS,
    listen: Callable[[str], None] = lambda text: None,
) -> Found:
    """images_NHWC: uint8, preprocessed pictures of the training split. seconds: of each race. Changes nothing on disk."""
    entry = package.manifest.graphs["default"]
    default = runtimes.find(entry.runtime).open(package.graph_path())
    tried = [Tried(u.name, (u.reason,)) for u in unfit]
    graphs: dict[str, GraphEntry] = {}
    files: dict[str, bytes] = {}
    try:
        listen("default  measuring the graph as it is")
        before = measure(default.run)
        for optimizer in optimizers:
            with tempfile.TemporaryDirectory(prefix="saccade-optimize-") as folder:
                for candidate in optimizer.candidates(package.graph_path(), images_NHWC, Path(folder), task.difference):
                    if isinstance(candidate, Unfit):
                        one = Tried(candidate.name, (candidate.reason,))
                    else:
                        one = _try(package, candidate, default, before, task, images_NHWC, measure, budget, seconds)
                        if one.kept:
                            graphs[one.name], more = _certify(candidate, one, entry, len(before.card.keys), budget)
                            files |= more
                    tried.append(one)
                    listen(f"{'kept' if one.kept else 'refused':<8} {one.name}{_told(one)}")
    finally:
        default.close()
    return Found(tuple(tried), graphs, files)


def _told(one: Tried) -> str:
    speed = f"  {one.gain:.2f} times as fast" if one.gain is not None else ""
    return speed + "".join(f"; {o}" for o in one.objections)


def _try(
    package: Package,
    candidate: Candidate,
    default: OpenGraph,
    before: Measured,
    task: Task,
    images_NHWC: Array,
    measure: Measure,
    budget: Budget,
    seconds: float,
) -> Tried:
    """Speed first: it is cheap to know, and a slow candidate needs no measuring."""
    try:
        graph = runtimes.find(candidate.runtime).open(candidate.graph)
    except SaccadeError as error:
        return Tried(candidate.name, (str(error),))
    try:
        times = race(default.run, graph.run, images_NHWC, name=graph.inputs[0].name, seconds=seconds)
        gain, ours, theirs = times.gain, times.second_ms, times.first_ms
        bound = min(1 / budget.slower, budget.min_gain)
        slow = [f"{1 / r:.2f} times as slow at batch {b}" for b, r in times.ratios.items() if r < bound]
        if gain < budget.min_gain:
            slow.append(f"not faster: {gain:.2f} times the speed, asked {budget.min_gain:g}")
        elif times.sure_gain < min(1.0, budget.min_gain):
            slow.append(f"not surely faster: a quarter of its turns gave {times.sure_gain:.2f} times the speed or less")
        if slow:
            return Tried(candidate.name, tuple(slow), gain, ours, theirs)
        beside = _Beside(graph.run, default.run, task)
        after = measure(beside)
        beside.golden(package)
    except SaccadeError as error:
        return Tried(candidate.name, (str(error),))
    finally:
        graph.close()
    total, classes = overall(before, after), by_class(before, after)
    against = objections(total, classes, budget)
    if not math.isfinite(beside.largest):
        against.append("its answers are not finite where the default's are")
    return Tried(
        candidate.name, tuple(against), gain, ours, theirs, total, tuple(classes), beside.largest, beside.largest_golden
    )


def _certify(
    candidate: Candidate, one: Tried, default: GraphEntry, n: int, budget: Budget
) -> tuple[GraphEntry, dict[str, bytes]]:
    place = f"variants/{one.name}"
    assert one.latency_ms is not None
    assert one.default_ms is not None
    assert one.gain is not None
    assert one.largest_golden is not None
    allowed = max(
        LEAST, SLACK * one.largest_golden
    )  # of the golden pictures alone: those are what every server compares
    certificate = {
        "variant": one.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": process.host(),
        "versions": {
            "saccade": saccade.__version__,
            candidate.runtime: runtimes.find(candidate.runtime).version(),
            default.runtime: runtimes.find(default.runtime).version(),
        },
        "made": dict(candidate.made),
        "held_back_images": n,
        "budget": asdict(budget),
        "drop": asdict(one.drop) if one.drop else None,
        "classes": [asdict(c) for c in one.classes],
        "largest_difference": one.largest_difference,
        "allowed_difference": allowed,
        "latency_ms": one.latency_ms,
        "default_ms": one.default_ms,
        "gain": one.gain,
    }
    files = {f"{place}/{file.name}": file.read_bytes() for file in candidate.files}
    files[f"{place}/certificate.json"] = json.dumps(certificate, indent=2, allow_nan=False).encode()
    certified = Certified(
        f"{place}/certificate.json", process.host(), one.latency_ms, one.default_ms, one.gain, allowed
    )
    entry = GraphEntry(f"{place}/{candidate.graph.name}", candidate.runtime, default.inputs, default.outputs, certified)
    return entry, files
