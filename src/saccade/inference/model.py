"""One loaded package: decode, preprocess, batch, run, decode. In-process, or inside an engine."""

import logging
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from saccade import tasks
from saccade.errors import InferenceError, PackageError, SaccadeError
from saccade.images import decode, preprocess
from saccade.images.preprocess import Placement
from saccade.inference import choice, record, runtimes, tiles, tuning
from saccade.inference.adapter import Adapted
from saccade.inference.batcher import Batcher, Ran
from saccade.inference.choice import Choice
from saccade.inference.counts import Counts
from saccade.inference.intake import Intake
from saccade.inference.request import Row, Source
from saccade.inference.runtime import OpenGraph
from saccade.package import reader
from saccade.package.manifest import Manifest
from saccade.package.reader import Package
from saccade.process import cores
from saccade.tasks.task import Task
from saccade.types import Array, Image, Labels, Prediction

log = logging.getLogger("saccade.inference")

MAX_BATCH = 16
INPUT = "image"
"""The one input of a sealed graph: uint8 [N, H, W, 3]."""


@dataclass(frozen=True)
class Options:
    """How a package is opened.

    variant: the graph that answers; None takes the fastest that was certified on this host, else `default`. runners:
    batches that run at the same time; None is two on a CPU with several cores, so that one is computed while the other
    is stacked and answered, else one. threads: of each run (None: the cores, shared among the runners). max_batch (None:
    16), max_queue: rows. max_wait_s: refuse when the expected wait of a single picture is longer; of several,
    twenty times that. None never refuses (a script that waits for itself). objective_s: how long a row may take from
    queue to answer; batches are kept small enough for it. tuning: the folder of `saccade bench --tune`; what it found
    for this graph on this host stands in for runners, threads and max_batch that are None.
    """

    variant: str | None = None
    device: str = "cpu"
    threads: int | None = None
    runners: int | None = None
    max_batch: int | None = None
    max_queue: int = 1024
    max_wait_s: float | None = None
    objective_s: float | None = None
    tuning: Path | None = None

    def resolved(self) -> "Options":
        """With numbers for what was left to this machine."""
        runners = self.runners or min(2, cores() if self.device == "cpu" else 1)
        threads = self.threads or max(1, cores() // runners)
        return replace(self, runners=runners, threads=threads, max_batch=self.max_batch or MAX_BATCH)

    def tuned(self, digest: str, variant: str) -> "Options":
        """With what was measured here for this graph, where nothing was asked for."""
        found = tuning.read(self.tuning, digest, variant) if self.tuning else None
        if found is None or self.device != "cpu":
            return self
        return replace(
            self,
            runners=self.runners or found.runners,
            threads=self.threads or found.threads,
            max_batch=self.max_batch or found.max_batch,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of one picture; timings in ms by stage (decode, queue, infer, post)."""

    result: Prediction | SaccadeError
    timings: dict[str, float]
    outputs: dict[str, Array] | None = None
    batch: int = 0


class Model:
    """A package ready to answer. Use as a context manager, or close it."""

    def __init__(
        self,
        package: Package,
        graph: OpenGraph,
        options: Options,
        intake: Intake,
        owns_intake: bool,
        way: Choice,
    ) -> None:
        self.package = package
        self.choice = way
        self.manifest = package.manifest
        self.digest = package.digest
        self.labels: Labels = package.manifest.labels
        self.task = tasks.find(package.manifest.task)
        self.options = options
        self.pictures = package.manifest.adapter is None or bool(package.manifest.adapter.outputs)
        self._graph = graph
        self._intake = intake
        self._owns_intake = owns_intake
        self.input_specs = graph.inputs
        self.output_specs = graph.outputs
        self.counts = Counts()
        self._batcher = Batcher(
            graph.run,
            max_batch=options.max_batch or MAX_BATCH,
            max_queue=options.max_queue,
            runners=options.runners or 1,
            ran=self.counts.run,
            objective_s=options.objective_s,
        )
        self._pending = 0
        self._lock = threading.Lock()
        self._decode_s = 0.0
        self._closed = False

    @classmethod
    def open(
        cls, path: Path | str, *, options: Options = Options(), intake: Intake | None = None, check: bool = True
    ) -> "Model":
        """Verifies every digest, opens the graph, warms it and re-checks the golden outputs.

        Raises PackageError: package_invalid, digest_mismatch, onnx_invalid, golden_mismatch.
        """
        package = reader.open_package(Path(path))
        ways = choice.order(package, options.variant, options.device)
        refused: dict[str, str] = {}
        for way in ways:
            way = replace(way, passed={**way.passed, **refused})
            try:
                model = cls._opened(package, way, options, intake, check)
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
    def _opened(cls, package: Package, way: Choice, options: Options, intake: Intake | None, check: bool) -> "Model":
        measured = options.tuned(package.digest, way.variant)
        if measured is not options:
            log.info(
                "%s: %s runners of %s threads, batches up to %s: as saccade bench --tune found",
                package.manifest.name, measured.runners, measured.threads, measured.max_batch,
            )  # fmt: skip
        options = measured.resolved()
        runtime = runtimes.find(package.manifest.graphs[way.variant].runtime)
        opened = runtime.open(package.graph_path(way.variant), options.device, options.threads)
        graph = adapted(opened, package.manifest)
        pictures = package.manifest.adapter is None or bool(package.manifest.adapter.outputs)
        if pictures and ([i.name for i in graph.inputs] != [INPUT] or graph.inputs[0].dtype != "uint8"):
            graph.close()
            raise PackageError(
                f"a sealed graph takes one uint8 input {INPUT!r}, this one takes {[i.name for i in graph.inputs]}",
                code="onnx_invalid",
            )
        own = intake is None
        model = cls(package, graph, options, intake or Intake(cores()), own, way)
        model._batcher.start()
        try:
            model._warm()
            if check:
                model._check_golden()
        except BaseException:
            model.close()
            raise
        return model

    @overload
    def predict(self, images: Source | str, *, tile: bool = ...) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: Sequence[Source | str], *, tile: bool = ...) -> list[Prediction]: ...
    def predict(
        self, images: Source | str | Sequence[Source | str], *, tile: bool = False
    ) -> Prediction | list[Prediction]:
        """One picture (path, bytes or uint8 [H, W, 3]) gives one Prediction, a list gives a list.

        tile: a picture larger than the network is asked in overlapping tiles of the network's size, and the boxes or
        masks are merged without a seam (inference/tiles.py); it costs a run for each tile.

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

    def results(self, images: Sequence[Source | str], *, tile: bool = False) -> list[Prediction | SaccadeError]:
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
        self, found: Prediction, *, top_k: int | None = None, threshold: float | None = None, mask: str = "png"
    ) -> dict[str, Any]:
        """An answer as the server's JSON tells it: see inference/record.py. Raises ImageError(mask_too_complex)."""
        return record.record(self.shown(found, top_k=top_k, threshold=threshold), self.labels, mask)

    def shown(self, found: Prediction, *, top_k: int | None = None, threshold: float | None = None) -> Prediction:
        """Without what scores too little: below `threshold`, or by default below the package's threshold of the class."""
        return record.shown(found, self.labels, self.manifest.thresholds, threshold, top_k)

    def _each(self, images: Sequence[Source | str], tile: bool = False) -> list[Outcome]:
        # A window keeps the runner fed while holding few decoded pictures in memory.
        window = 4 * (self.options.max_batch or MAX_BATCH)
        waiting: list[Future[Outcome]] = []
        for i, image in enumerate(images):
            if i >= window:
                waiting[i - window].result()
            source = Path(image) if isinstance(image, str) else image
            waiting.append(self.submit(source, time.monotonic() + 3600.0, tile=tile))
        return [future.result() for future in waiting]

    def expected_wait_s(self) -> float:
        """How long a picture that came now would wait, by what the pictures before it cost."""
        each = max(self._batcher.row_s, self._decode_s / self._intake.threads)
        return self._pending * each

    def submit(
        self,
        source: Source,
        deadline: float,
        *,
        caller: Hashable = None,
        urgent: bool = True,
        tile: bool = False,
    ) -> "Future[Outcome]":
        """Decodes, batches and runs one picture. deadline: a moment of time.monotonic. Callers take turns; urgent
        pictures go before the others. tile: as in `predict`.

        The future never raises: an error is the Outcome's result. Cancelling it drops work that has not begun.
        """
        future: Future[Outcome] = Future()
        with self._lock:
            if self._closed:
                raise InferenceError("the model is being unloaded", hint="ask again", code="not_ready")
            self._pending += 1
        began = time.perf_counter()
        if isinstance(source, Mapping):
            # Nothing to decode: a hop to the pool would cost more than the work.
            self._prepare(source, deadline, future, began, caller, urgent)
            return future
        try:
            prepare = self._spread if tile else self._prepare
            self._intake.pool.submit(prepare, source, deadline, future, began, caller, urgent)
        except RuntimeError:
            self._finish(future, Outcome(InferenceError("the engine is closing", code="draining"), {}))
        return future

    def _prepare(
        self,
        source: Source,
        deadline: float,
        future: "Future[Outcome]",
        submitted: float,
        caller: Hashable,
        urgent: bool,
    ) -> None:
        timings: dict[str, float] = {}
        try:
            if future.cancelled():
                raise InferenceError("the caller left", code="deadline_exceeded")
            if time.monotonic() >= deadline:
                raise InferenceError("the deadline passed before decoding", code="deadline_exceeded")
            began = time.perf_counter()
            timings["queue"] = (began - submitted) * 1e3
            row, placement = self._decode(source, deadline)
            took = time.perf_counter() - began
            timings["decode"] = took * 1e3
            if not isinstance(source, Mapping):
                self._decode_s += 0.2 * (took - self._decode_s) if self._decode_s else took
            ran = self._batcher.submit(row, deadline, caller=caller, urgent=urgent)
        except SaccadeError as error:
            self._finish(future, Outcome(error, timings))
            return
        except Exception as error:  # noqa: BLE001 - a pool thread swallows what it does not hand on
            self._finish(future, Outcome(_internal(error), timings))
            return
        # The caller's leaving must reach the queued row, so that it never runs.
        future.add_done_callback(lambda f: ran.cancel() if f.cancelled() else None)
        ran.add_done_callback(lambda f: self._answer(f, placement, timings, future))

    def _spread(
        self,
        source: Source,
        deadline: float,
        future: "Future[Outcome]",
        submitted: float,
        caller: Hashable,
        urgent: bool,
    ) -> None:
        """One picture as many: its windows go the whole way, each like a picture of its own."""
        began = time.perf_counter()
        timings = {"queue": (began - submitted) * 1e3}
        spec = self.manifest.preprocess
        try:
            if future.cancelled():
                raise InferenceError("the caller left", code="deadline_exceeded")
            image = self._whole(source, deadline)
            height, width = image.shape[:2]
            places = tiles.windows(width, height, spec.width, spec.height)
            timings["decode"] = (time.perf_counter() - began) * 1e3
            parts = [self.submit(image[t:b, x:r], deadline, caller=caller, urgent=urgent) for x, t, r, b in places]
        except SaccadeError as error:
            self._finish(future, Outcome(error, timings))
            return
        except Exception as error:  # noqa: BLE001 - a pool thread swallows what it does not hand on
            self._finish(future, Outcome(_internal(error), timings))
            return
        remaining = [len(parts)]

        def done(_: "Future[Outcome]") -> None:
            with self._lock:
                remaining[0] -= 1
                if remaining[0]:
                    return
            self._finish(future, self._joined(parts, places, (width, height), timings))

        future.add_done_callback(lambda f: [p.cancel() for p in parts] if f.cancelled() else None)
        for part in parts:
            part.add_done_callback(done)

    def _joined(
        self,
        parts: "list[Future[Outcome]]",
        places: list[tiles.Window],
        size: tuple[int, int],
        timings: dict[str, float],
    ) -> Outcome:
        if any(part.cancelled() for part in parts):
            return Outcome(InferenceError("the caller left", code="deadline_exceeded"), timings)
        outcomes = [part.result() for part in parts]
        for stage in ("queue", "infer", "post"):
            timings[stage] = timings.get(stage, 0.0) + max(o.timings.get(stage, 0.0) for o in outcomes)
        answers: list[Prediction] = []
        for outcome in outcomes:
            if isinstance(outcome.result, SaccadeError):
                return Outcome(outcome.result, timings)
            answers.append(outcome.result)
        began = time.perf_counter()
        try:
            result: Prediction | SaccadeError = tiles.merge(answers, places, *size)
        except SaccadeError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - runs in the batcher's thread, which must live on
            result = _internal(error)
        timings["post"] += (time.perf_counter() - began) * 1e3
        return Outcome(result, timings, None, max(o.batch for o in outcomes))

    def _whole(self, source: Source, deadline: float) -> Image:
        if isinstance(source, np.ndarray):
            return decode.decode(source)
        assert not isinstance(source, Mapping), "rows of tensors are never spread; this is a bug"
        data = decode.read(source)
        header = decode.inspect(data)
        with self._intake.budget.hold(header.width * header.height, deadline):
            return decode.pixels(data, header)

    def _decode(self, source: Source, deadline: float) -> tuple[Row, Placement]:
        spec = self.manifest.preprocess
        if isinstance(source, Mapping):
            self._check_row(source)
            return source, Placement(spec.width, spec.height)
        if not self.pictures:
            raise InferenceError(
                "this model takes tensors, no pictures", hint="ask it on a tensor protocol", code="invalid_value"
            )
        if isinstance(source, np.ndarray):
            pixels, placement = preprocess.load(source, spec)
            return {INPUT: pixels}, placement
        data = decode.read(source)
        header = decode.inspect(data)
        with self._intake.budget.hold(header.width * header.height, deadline):
            pixels, placement = preprocess.load(data, spec)
        return {INPUT: pixels}, placement

    def _check_row(self, row: Row) -> None:
        """Raises InferenceError(tensor_shape_mismatch) unless a row has exactly the graph's inputs."""
        for spec in self.input_specs:
            given = row.get(spec.name)
            expected = [-1 if side is None else side for side in spec.shape[1:]]
            if given is None:
                raise InferenceError(f"the input {spec.name!r} is missing", code="tensor_shape_mismatch")
            fits = given.ndim == len(expected) and all(e in (-1, g) for e, g in zip(expected, given.shape, strict=True))
            if not fits or given.dtype != spec.dtype:
                raise InferenceError(
                    f"a row of input {spec.name!r} is {given.dtype} {list(given.shape)}, expected {spec.dtype} {expected}",
                    code="tensor_shape_mismatch",
                )
        if len(row) != len(self.input_specs):
            raise InferenceError(
                f"{len(row)} inputs came, expected {len(self.input_specs)}", code="tensor_shape_mismatch"
            )

    def _answer(
        self, ran: "Future[Ran]", placement: Placement, timings: dict[str, float], future: "Future[Outcome]"
    ) -> None:
        if ran.cancelled():
            self._finish(future, Outcome(InferenceError("the caller left", code="deadline_exceeded"), timings))
            return
        error = ran.exception()
        if error is not None:
            typed = error if isinstance(error, SaccadeError) else _internal(error)
            self._finish(future, Outcome(typed, timings))
            return
        row = ran.result()
        timings["queue"] += row.queue_s * 1e3
        timings["infer"] = row.infer_s * 1e3
        began = time.perf_counter()
        result: Prediction | SaccadeError
        try:
            batched = {name: value[None] for name, value in row.outputs.items()}
            result = self.task.decode(batched, [placement], self.labels)[0]
        except Exception as failure:  # noqa: BLE001 - runs in the batcher's thread, which must live on
            result = failure if isinstance(failure, SaccadeError) else _internal(failure)
        timings["post"] = (time.perf_counter() - began) * 1e3
        self._finish(future, Outcome(result, timings, row.outputs, row.batch))

    def _finish(self, future: "Future[Outcome]", outcome: Outcome) -> None:
        with self._lock:
            self._pending -= 1
        if future.set_running_or_notify_cancel():
            future.set_result(outcome)

    def _warm(self) -> None:
        spec = self.manifest.preprocess
        shapes = {INPUT: ((spec.height, spec.width, 3), "uint8")}
        if not self.pictures:
            if any(side is None for s in self._graph.inputs for side in s.shape[1:]):
                return  # of what size its rows are, only a caller knows
            shapes = {s.name: (s.shape[1:], s.dtype) for s in self._graph.inputs}  # type: ignore[misc]
        most = self.options.max_batch or MAX_BATCH
        for rows in sorted({1, min(4, most), most}):
            began = time.perf_counter()
            outputs = self._graph.run(
                {name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in shapes.items()}
            )
            self._batcher.row_s = (time.perf_counter() - began) / rows / (self.options.runners or 1)
            for name, value in outputs.items():
                if value.shape[:1] != (rows,):
                    raise PackageError(f"output {name!r} has shape {value.shape} for {rows} rows", code="onnx_invalid")

    def _check_golden(self) -> None:
        certified = self.manifest.graphs[self.choice.variant].certified
        for i, golden in enumerate(self.package.golden()):
            asked = {name: value[None] for name, value in golden.arrays.items()}
            got = self._graph.run(asked) if asked else self.outputs([golden.image_bytes])
            for name in golden.expected:
                if name not in got:
                    raise PackageError(f"the graph has no output {name!r}", code="golden_mismatch")
            if certified is None and type(self.task).difference is not Task.difference:
                agree_as(self.task, golden.expected, got, f"golden picture {i}")
                continue
            if certified is None:
                for name, expected in golden.expected.items():
                    agree(expected, got[name][0], f"golden picture {i}, output {name!r}")
                continue
            theirs = {name: expected.reshape(got[name].shape) for name, expected in golden.expected.items()}
            apart = self.task.difference(theirs, got)
            if not apart <= certified.allowed_difference:
                raise PackageError(
                    f"golden picture {i}: the answer lies {apart:.2g} from the default graph's, the certificate allows "
                    f"{certified.allowed_difference:.2g}",
                    hint="this machine computes something else than the one that certified it; run saccade optimize here",
                    code="golden_mismatch",
                )

    def close(self, timeout_s: float = 30.0) -> None:
        """Finishes what was accepted, then frees the graph."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        end = time.monotonic() + timeout_s
        while self._pending and time.monotonic() < end:
            time.sleep(0.005)
        self._batcher.close()
        self._graph.close()
        if self._owns_intake:
            self._intake.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def agree_as(task: Task, expected: Mapping[str, Array], got: Mapping[str, Array], what: str) -> None:
    """Raises PackageError(golden_mismatch) where the task finds more than 1e-2 between two sets of outputs of one picture."""
    absent = sorted(set(expected) - set(got))
    if absent:
        raise PackageError(f"the graph has no output {absent[0]!r}", code="golden_mismatch")
    mine = {k: np.asarray(got[k][0])[None] for k in expected}
    theirs = {k: v if v.shape == mine[k].shape else v[None] for k, v in expected.items()}
    for name, value in theirs.items():
        if value.shape != mine[name].shape:
            raise PackageError(
                f"{what}, output {name!r}: expected shape {value.shape[1:]}, got {mine[name].shape[1:]}",
                code="golden_mismatch",
            )
    worst = task.difference(theirs, mine)
    if not worst <= 1e-2:
        raise PackageError(
            f"{what}: answers differ by {worst:.2g}, allowed 0.01",
            hint="this machine computes something else than the one that sealed the package; seal it again here",
            code="golden_mismatch",
        )


def adapted(graph: OpenGraph, manifest: Manifest) -> OpenGraph:
    """A graph with the sealed face: itself, or what the manifest's adapter makes of it."""
    if manifest.adapter is None:
        return graph
    size = (manifest.preprocess.width, manifest.preprocess.height)
    return Adapted(graph, manifest.adapter, INPUT, size, len(manifest.labels))


def agree(expected: Array, got: Array, what: str) -> None:
    """Raises PackageError(golden_mismatch) unless cosine >= 0.999 and floats differ by at most 1e-2 of their range.

    Kernels of other CPUs round differently, so equality to the bit cannot be asked for; integers must agree on 99 %.
    """
    expected = expected[0] if expected.shape == (1, *got.shape) else expected
    if expected.shape != got.shape:
        raise PackageError(f"{what}: expected shape {expected.shape}, got {got.shape}", code="golden_mismatch")
    if not np.issubdtype(got.dtype, np.floating):
        share = float(np.mean(expected == got)) if got.size else 1.0
        if share < 0.99:
            raise PackageError(f"{what}: {share:.2%} of values agree, expected 99 %", code="golden_mismatch")
        return
    a, b = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        raise PackageError(f"{what}: values are not finite in the same places", code="golden_mismatch")
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / length if length else float(np.array_equal(a, b))
    worst = float(np.abs(a - b).max(initial=0.0))
    allowed = 1e-2 * max(1.0, float(np.abs(a).max(initial=0.0)))
    if cosine < 0.999 or worst > allowed:
        raise PackageError(
            f"{what}: cosine {cosine:.5f} (expected 0.999), largest difference {worst:.2g} (allowed {allowed:.2g})",
            hint="this machine computes something else than the one that sealed the package; seal it again here",
            code="golden_mismatch",
        )


def _internal(cause: BaseException) -> InferenceError:
    error = InferenceError("the engine failed on this picture", code="internal")
    error.__cause__ = cause
    return error
