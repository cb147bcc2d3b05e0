"""One loaded package, ready to answer: in a process of its own or inside an engine."""

import logging
import math
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, overload

import numpy as np

from saccade import tasks
from saccade.errors import InferenceError, PackageError, SaccadeError
from saccade.inference import choice, golden, memory, opening, record, width
from saccade.inference.aim import Aim
from saccade.inference.batcher import Batcher
from saccade.inference.choice import Choice
from saccade.inference.counts import Counts
from saccade.inference.intake import Intake
from saccade.inference.options import MAX_BATCH, Options
from saccade.inference.promise import Promise
from saccade.inference.request import Source
from saccade.inference.runtime import INPUT, Health, OpenGraph
from saccade.inference.stages import Outcome, Stages
from saccade.inference.workers.starter import Starter
from saccade.package import reader
from saccade.package.reader import Golden, Package
from saccade.process import cores
from saccade.types import Array, Labels, Prediction

log = logging.getLogger("saccade.inference")
LONG_S = 0.05
LAST_S = 1.0
"""What a run that should have ended gets besides."""


class Closing(Protocol):
    def close(self) -> None: ...


class Model:
    """A package ready to answer. Use as a context manager, or close it."""

    def __init__(
        self,
        package: Package,
        graph: OpenGraph,
        options: Options,
        intake: Intake,
        owned: Sequence[Closing],
        way: Choice,
    ) -> None:
        self.package = package
        self.choice = way
        self.manifest = package.manifest
        self.digest = package.digest
        self.labels: Labels = package.manifest.labels
        self.task = tasks.find(package.manifest.task)
        self.options = options
        self.places = frozenset(o.name for o in self.task.outputs(self.labels)) & {"boxes", "mask"}
        """What its answers say of places in a picture; empty for a task that speaks of whole pictures."""
        self.pictures = opening.takes_pictures(package.manifest)
        self._graph = graph
        self._wide: OpenGraph | None = None
        self._intake = intake
        self._owned = owned
        self.input_specs = graph.inputs
        self.output_specs = graph.outputs
        self.counts = Counts()
        self.aim = Aim(options.objective_s)
        self._batcher = Batcher(
            graph.run_until,
            max_batch=options.max_batch or MAX_BATCH,
            max_queue=options.max_queue,
            runners=options.runners or 1,
            ran=self.counts.run,
            objective_s=options.objective_s,
            stack=graph.stack,
            ready=graph.wait,
            alone=intake.undisturbed,
        )
        self._stages = Stages(
            self.manifest, self.task, graph, self.pictures, intake, self._batcher, options.runners or 1
        )

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        options: Options | None = None,
        intake: Intake | None = None,
        starter: Starter | None = None,
        check: bool = True,
    ) -> "Model":
        """Verifies every digest, opens the graph, warms it and re-checks the golden outputs.

        intake, starter: of an engine, which outlive the model; None makes its own.
        Raises PackageError: package_invalid, digest_mismatch, onnx_invalid, golden_mismatch; InferenceError:
        not_enough_memory, not_found, worker_lost.
        """
        options = options or Options()
        package = reader.open_package(Path(path))
        ways = choice.order(package, options.variant, options.device)
        refused: dict[str, str] = {}
        for way in ways:
            way = replace(way, passed={**way.passed, **refused})
            try:
                model = cls._opened(package, way, options, intake, starter, check)
            except (PackageError, InferenceError) as error:
                # A named variant, or the default itself, has nothing to stand in for it.
                if way.variant == ways[-1].variant:
                    raise
                log.warning("%s: variant %s is refused: %s", package.manifest.name, way.variant, error)
                refused[way.variant] = str(error)
                continue
            if len(package.manifest.graphs) > 1:
                log.info("%s: %s", package.manifest.name, way)
            return model
        raise PackageError("no graph of the package could be opened: this is a bug")

    @classmethod
    def _opened(
        cls,
        package: Package,
        way: Choice,
        options: Options,
        intake: Intake | None,
        starter: Starter | None,
        check: bool,
    ) -> "Model":
        measured = options.tuned(package.digest, way.variant)
        if measured is not options:
            log.info(
                "%s: %s runners of %s threads, batches up to %s: as saccade bench --tune found",
                package.manifest.name, measured.runners, measured.threads, measured.max_batch,
            )  # fmt: skip
        free = options.threads is None
        options = measured.resolved()
        owned: list[Closing] = []
        if starter is None and options.isolation == "process":
            starter = Starter()
            owned.append(starter)
        try:
            graph = opening.open_graph(package, way.variant, options, starter)
        except BaseException:
            for one in owned:
                one.close()
            raise
        if intake is None:
            intake = Intake(cores())
            owned.append(intake)
        model = cls(package, graph, options, intake, owned, way)
        try:
            model._batcher.start()
            lone_s = model._warm()
            if check:
                model._check_golden(graph)
            if free:
                model._widen(lone_s, check)
            graph.settle()
        except BaseException:
            model.close()
            raise
        model._remember()
        return model

    def _remember(self) -> None:
        """Writes down the most memory that a process of this graph took, for who loads it next."""
        health = self._graph.health()
        if health is not None and self.options.tuning is not None:
            try:
                memory.write(self.options.tuning, self.digest, self.choice.variant, health.peak)
            except (OSError, SaccadeError) as error:
                log.warning("%s: how much memory it took could not be written down: %s", self.manifest.name, error)

    @overload
    def predict(self, images: Source | str, *, tile: bool | float = ...) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: Sequence[Source | str], *, tile: bool | float = ...) -> list[Prediction]: ...
    def predict(
        self, images: Source | str | Sequence[Source | str], *, tile: bool | float = False
    ) -> Prediction | list[Prediction]:
        """One picture (path, bytes or uint8 [H, W, 3]) gives one Prediction, a list gives a list.

        tile: a picture larger than the network is asked in overlapping tiles of the network's size, and the boxes or
        masks are merged without a seam (inference/tiles.py); it costs a run for each tile. A number from 1 to 16: tiles
        so many times as large, shrunk to the network's size, as the training pictures were.

        Raises the first picture's error; `results` gives errors in their places instead.
        """
        single = isinstance(images, str | Path | bytes | np.ndarray)
        found = self.results([images] if single else images, tile=tile)  # type: ignore[list-item,arg-type]
        predictions: list[Prediction] = []
        for result in found:
            if isinstance(result, SaccadeError):
                raise result
            predictions.append(result)
        return predictions[0] if single else predictions

    def results(self, images: Sequence[Source | str], *, tile: bool | float = False) -> list[Prediction | SaccadeError]:
        """Predictions in the order given; a picture that cannot be used leaves its error in its place."""
        return [outcome.result for outcome in self._each(images, tile)]

    def outputs(self, images: Sequence[Source | str]) -> dict[str, Array]:
        """The graph's own outputs [N, ...], undecoded. Raises the first picture's error."""
        rows: list[dict[str, Array]] = []
        for outcome in self._each(images):
            if outcome.outputs is None:
                assert isinstance(outcome.result, SaccadeError)
                raise outcome.result
            rows.append(outcome.outputs)
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def record(
        self,
        found: Prediction,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        mask: str = "png",
        confidence: bool = False,
    ) -> dict[str, Any]:
        """An answer as the server's JSON tells it: see inference/record.py. Raises ImageError(mask_too_complex)."""
        return record.record(self.shown(found, top_k=top_k, threshold=threshold), self.labels, mask, confidence)

    def shown(self, found: Prediction, *, top_k: int | None = None, threshold: float | None = None) -> Prediction:
        """Without what scores too little: below `threshold`, or by default below the package's
        threshold of the class."""
        return record.shown(found, self.labels, self.manifest.thresholds, threshold, top_k)

    def _each(self, images: Sequence[Source | str], tile: bool | float = False) -> list[Outcome]:
        # A window keeps the runner fed while holding few decoded pictures in memory.
        window = 4 * (self.options.max_batch or MAX_BATCH)
        waiting: list[Promise[Outcome]] = []
        for i, image in enumerate(images):
            if i >= window:
                waiting[i - window].result()
            source = Path(image) if isinstance(image, str) else image
            waiting.append(self.submit(source, time.monotonic() + 3600.0, tile=tile))
        return [one.result() for one in waiting]

    def fault(self) -> SaccadeError | None:
        """Why no picture could be answered now, though the package is loaded: who runs its graph is away, or hangs."""
        if (fault := self._graph.fault()) is not None or not self._batcher.stuck(self.options.hang_s):
            return fault
        return InferenceError(
            f"every run of the graph has lasted longer than {self.options.hang_s:g} s",
            hint="ask again later",
            code="not_ready",
        )

    def expected_wait_s(self, caller: Hashable = None, urgent: bool = True) -> float:
        """As `Stages.expected_wait_s`."""
        return self._stages.expected_wait_s(caller, urgent)

    @property
    def longest_wait_s(self) -> float:
        """With a longer expected wait a single picture that is urgent is refused; infinite where none is."""
        most = math.inf if self.options.max_wait_s is None else self.options.max_wait_s
        return min(most, self.aim.objective_s) * self.aim.share

    def submit(
        self,
        source: Source,
        deadline: float,
        *,
        caller: Hashable = None,
        urgent: bool = True,
        tile: bool | float = False,
        here_s: float = 0.0,
    ) -> "Promise[Outcome]":
        """As `Stages.submit`."""
        return self._stages.submit(source, deadline, caller=caller, urgent=urgent, tile=tile, here_s=here_s)

    def drop_late(self) -> None:
        """Answers rows whose time is over, though all runners may be at work."""
        self._batcher.drop_late()

    def health(self) -> Health | None:
        """Of the processes it runs in; None when it runs in this one."""
        return self._graph.health()

    def _warm(self) -> float:
        """Seconds of one row alone; 0 where of what size rows are, only a caller knows."""
        most = self.options.max_batch or MAX_BATCH
        took: dict[int, float] = {}
        # In turns, for other models may be at work; twice each time, for the first run of a shape makes its plans, and one
        # behind another shape finds the caches full of that.
        for _ in range(2):
            for rows in [one for one in sorted({1, min(4, most), most}) for _ in range(2)]:
                if took.get(rows, 0.0) > LONG_S:
                    continue  # a long one tells enough by itself
                if (arrays := self._blank(rows)) is None:
                    return 0.0
                began = time.perf_counter()
                outputs = self._graph.run(arrays)
                took[rows] = min(took.get(rows, math.inf), time.perf_counter() - began)
                for name, value in outputs.items():
                    if value.shape[:1] != (rows,):
                        raise PackageError(
                            f"output {name!r} has shape {value.shape} for {rows} rows", code="onnx_invalid"
                        )
        for rows, seconds in took.items():
            self._batcher.sizes.learn(rows, seconds)
            self._batcher.row_s = seconds / rows / (self.options.runners or 1)
        self._batcher.lone_s = took[1]
        self._batcher.sizes.settle()
        return took[1]

    def _blank(self, rows: int) -> dict[str, Array] | None:
        """Rows of zeros; None where their shape is not known."""
        if self.pictures:
            spec = self.manifest.preprocess
            return {INPUT: np.zeros((rows, spec.height, spec.width, 3), np.uint8)}
        if any(side is None for spec in self._graph.inputs for side in spec.shape[1:]):
            return None
        return {spec.name: np.zeros((rows, *spec.shape[1:]), spec.dtype) for spec in self._graph.inputs}  # type: ignore[arg-type]

    def _widen(self, lone_s: float, check: bool) -> None:
        """Opens the graph over all cores too, for rows that come alone, where that is much faster and answers alike."""
        arrays = self._blank(1) if lone_s and self._graph.near else None
        if arrays is None:
            return
        wide = width.opened(self.package, self.choice.variant, self.options, arrays, lone_s)
        if wide is None:
            return
        self._wide = wide
        self._batcher.widen(wide.run_until, always=True)
        try:
            if check:
                self._check_golden(wide)
        except SaccadeError as error:
            log.warning("%s: a run over all cores answers otherwise and is not used: %s", self.manifest.name, error)
            self._batcher.widen(None)
            self._wide = None
            wide.close()
        else:
            self._batcher.widen(wide.run_until)

    def _check_golden(self, graph: OpenGraph) -> None:
        """graph: that runs when one row comes alone, as these do."""

        def ask(sample: Golden) -> dict[str, Array]:
            asked = {name: value[None] for name, value in sample.arrays.items()}
            return graph.run(asked) if asked else self.outputs([sample.image_bytes])

        golden.check(self.package, self.choice.variant, self.task, ask)

    def close(self, timeout_s: float = 30.0) -> None:
        """Finishes what was accepted, for so many seconds at most, then frees the graph."""
        end = time.monotonic() + timeout_s
        if not self._stages.close(timeout_s):
            return
        if self._batcher.close(max(LAST_S, end - time.monotonic())):
            self._free()
        else:
            log.warning("a run of %s did not end in %g s and is left behind", self.manifest.name, timeout_s)
            # To close what is at work may wait for it; to end the process it runs in is what ends it.
            threading.Thread(target=self._free, name="close-left-behind", daemon=True).start()
        self._remember()
        for one in self._owned:
            one.close()

    def _free(self) -> None:
        for graph in (self._graph, self._wide):
            if graph is not None:
                graph.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
