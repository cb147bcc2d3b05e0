"""Every candidate raced, measured and judged beside the default graph; those that earn it become variants."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import saccade
from saccade import process
from saccade.images.fill import fill
from saccade.inference import choice, opening, runtimes
from saccade.inference.adapter import Adapted
from saccade.inference.options import Options
from saccade.inference.runtime import OpenGraph
from saccade.optimization.beside import LEAST, Beside
from saccade.optimization.judge import Budget, Drop, Measured, by_class, doubts, objections, overall, record, terms
from saccade.optimization.optimizer import Candidate, Distance, Optimizer, Run, Unfit, reason
from saccade.optimization.race import SECONDS, race
from saccade.package.manifest import Certified, GraphEntry
from saccade.package.reader import Package
from saccade.tasks.task import Task
from saccade.types import Array

SLACK = 1.5
"""How much farther from the golden outputs a variant may lie on another day than on the day it was certified."""

Measure = Callable[[Run], Measured]
"""Scores a graph on held-back data."""


@dataclass(frozen=True)
class Tried:
    """What became of one candidate. objections: why it is no variant; none when it is. latency_ms,
    default_ms: by batch size.

    doubts: what the held-back pictures are too few to exclude. largest_difference, largest_golden: None where they are
    no number. allowed_difference: from the golden outputs, on any later day.
    """

    name: str
    objections: tuple[str, ...] = ()
    gain: float | None = None
    latency_ms: dict[str, float] | None = None
    default_ms: dict[str, float] | None = None
    drop: Drop | None = None
    classes: tuple[Drop, ...] = ()
    doubts: tuple[str, ...] = ()
    largest_difference: float | None = None
    largest_golden: float | None = None
    allowed_difference: float | None = None

    @property
    def kept(self) -> bool:
        return not self.objections

    @property
    def verdict(self) -> str:
        """In words: kept, and what is not proven of it, or why not."""
        return "; ".join(("kept", *self.doubts) if self.kept else self.objections)


@dataclass(frozen=True)
class Found:
    """tried: every candidate in the order they came. graphs, files: what the kept ones add to the package."""

    tried: tuple[Tried, ...]
    graphs: dict[str, GraphEntry]
    files: dict[str, bytes]


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
    """images_NHWC: uint8, preprocessed pictures of the training split. seconds: of each race. Changes nothing on disk.

    A graph from elsewhere is made faster as it is, and raced and measured behind its adapter. Graphs are opened and raced
    as a server here opens and runs them unasked. A candidate that breaks, however it does,
    is told with the reason; only what the default graph raises while it is measured is raised.
    """
    entry = package.manifest.graphs["default"]
    served = Options().resolved()
    default = opening.adapted(
        runtimes.find(entry.runtime).open(package.graph_path(), threads=served.threads), package.manifest
    )
    tried = [Tried(u.name, (u.reason,)) for u in unfit]
    graphs: dict[str, GraphEntry] = {}
    files: dict[str, bytes] = {}
    try:
        given, distance = _asked(package, default, images_NHWC, task)
        listen(f"default  measuring the graph as it is, in {served.runners} runs at once of {served.threads} threads")
        before = measure(default.run)
        listen(f"budget   {terms(before.card, budget)}")
        trial = _Trial(package, task, images_NHWC, measure, budget, seconds, served, default, before)
        for optimizer in optimizers:
            with tempfile.TemporaryDirectory(prefix="saccade-optimize-") as folder:
                for candidate in _made(optimizer, package.graph_path(), given, Path(folder), distance):
                    if isinstance(candidate, Unfit):
                        one = Tried(candidate.name, (candidate.reason,))
                    else:
                        one, entries, more = trial.run(candidate)
                        graphs |= entries
                        files |= more
                    tried.append(one)
                    speed = f"  {one.gain:.2f} times as fast" if one.gain is not None else ""
                    said = "; ".join(one.doubts if one.kept else one.objections)
                    listen(f"{'kept' if one.kept else 'refused':<8} {one.name}{speed}{'; ' if said else ''}{said}")
    finally:
        default.close()
    return Found(tuple(tried), graphs, files)


def _asked(package: Package, default: OpenGraph, images_NHWC: Array, task: Task) -> tuple[Array, Distance]:
    """What the graph itself takes, [N, ...], and how far two answers that it gives itself lie apart."""
    adapter = package.manifest.adapter
    if adapter is None or not isinstance(default, Adapted):
        return images_NHWC, task.difference
    read = default.answers
    return fill(images_NHWC, adapter.filling), lambda one, other: task.difference(read(dict(one)), read(dict(other)))


def _made(
    optimizer: Optimizer, graph: Path, given: Array, folder: Path, distance: Distance
) -> Iterator[Candidate | Unfit]:
    """The candidates of an optimizer; where it breaks between them, its own name and the reason."""
    try:
        yield from optimizer.candidates(graph, given, folder, distance)
    except Exception as error:  # noqa: BLE001 - a library raises what it likes, and other optimizers are still to come
        yield Unfit(optimizer.name, reason(error))


@dataclass(frozen=True)
class _Trial:
    """What every candidate goes through. pictures: uint8 [N, H, W, 3], to race on. served: how graphs are opened and
    run. before: the default graph's numbers."""

    package: Package
    task: Task
    pictures: Array
    measure: Measure
    budget: Budget
    seconds: float
    served: Options
    default: OpenGraph
    before: Measured

    def run(self, candidate: Candidate) -> tuple[Tried, dict[str, GraphEntry], dict[str, bytes]]:
        """What became of it, and what a kept one adds to the package: its graph by name, and files."""
        try:
            graph = runtimes.find(candidate.runtime).open(candidate.graph, threads=self.served.threads)
            graph = opening.adapted(graph, self.package.manifest)
            try:
                one = self._tried(candidate.name, graph)
            finally:
                graph.close()
            if one.kept:
                entry, files = self._certified(candidate, one)
                return one, {one.name: entry}, files
        except Exception as error:  # noqa: BLE001 - as above: a candidate that breaks costs itself alone
            one = Tried(candidate.name, (reason(error),))
        return one, {}, {}

    def _tried(self, name: str, graph: OpenGraph) -> Tried:
        """Speed first: it is cheap to know, and a slow candidate needs no measuring."""
        budget = self.budget
        times = race(
            self.default.run,
            graph.run,
            self.pictures,
            name=graph.inputs[0].name,
            streams=self.served.runners or 1,
            seconds=self.seconds,
        )
        gain, ours, theirs = times.gain, times.second_ms, times.first_ms
        bound = min(1 / budget.slower, budget.min_gain)
        slow = [f"{1 / r:.2f} times as slow at batch {b}" for b, r in times.ratios.items() if r < bound]
        if gain < budget.min_gain:
            slow.append(f"not faster: {gain:.2f} times the speed, asked {budget.min_gain:g}")
        elif times.sure_gain < min(1.0, budget.min_gain):
            slow.append(f"not surely faster: a quarter of its turns gave {times.sure_gain:.2f} times the speed or less")
        if slow:
            return Tried(name, tuple(slow), gain, ours, theirs)
        beside = Beside(graph.run, self.default.run, self.task)
        after = self.measure(beside)
        golden = beside.objections(self.package)
        total, classes = overall(self.before, after), by_class(self.before, after)
        against = [*objections(total, classes, budget), *golden]
        if not math.isfinite(beside.largest):
            against.append("its answers are not finite where the default's are")
        return Tried(
            name,
            tuple(against),
            gain,
            ours,
            theirs,
            total,
            tuple(classes),
            tuple(doubts(total, classes, budget)),
            _finite(beside.largest),
            _finite(beside.largest_golden),
            min(beside.most, max(LEAST, SLACK * beside.largest_golden)),
        )

    def _certified(self, candidate: Candidate, one: Tried) -> tuple[GraphEntry, dict[str, bytes]]:
        place, default, budget = f"variants/{one.name}", self.package.manifest.graphs["default"], self.budget
        assert one.latency_ms is not None
        assert one.default_ms is not None
        assert one.gain is not None
        assert one.drop is not None
        assert one.allowed_difference is not None
        certificate = {
            "variant": one.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": process.host(),
            "served": {"runners": self.served.runners, "threads": self.served.threads},
            "versions": {
                "saccade": saccade.__version__,
                candidate.runtime: runtimes.find(candidate.runtime).version(),
                default.runtime: runtimes.find(default.runtime).version(),
            },
            "made": dict(candidate.made),
            "held_back_images": len(self.before.card.keys),
            "budget": asdict(budget),
            "drop": record(one.drop, budget.max_drop),
            "classes": [record(c, budget.of_class(c)) for c in one.classes],
            "not_proven": list(one.doubts),
            "largest_difference": one.largest_difference,
            "largest_golden": one.largest_golden,
            "allowed_difference": one.allowed_difference,
            "latency_ms": one.latency_ms,
            "default_ms": one.default_ms,
            "gain": one.gain,
        }
        files = {f"{place}/{file.name}": file.read_bytes() for file in candidate.files}
        files[f"{place}/certificate.json"] = json.dumps(certificate, indent=2, allow_nan=False).encode()
        certified = Certified(
            f"{place}/certificate.json",
            process.host(),
            one.latency_ms,
            one.default_ms,
            one.gain,
            one.allowed_difference,
            choice.installed(candidate.runtime),
        )
        entry = GraphEntry(
            f"{place}/{candidate.graph.name}", candidate.runtime, default.inputs, default.outputs, certified
        )
        return entry, files


def _finite(gap: float) -> float | None:
    return gap if math.isfinite(gap) else None
