"""The way of a picture through a model: decode, queue, infer, post."""

import contextlib
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from saccade.errors import InferenceError, SaccadeError
from saccade.images import decode, preprocess
from saccade.images.decode import Header
from saccade.images.preprocess import Placement
from saccade.inference import tiles
from saccade.inference.batcher import Batcher, Ran
from saccade.inference.brief import BRIEF_S, Brief, fits
from saccade.inference.intake import Intake, Work
from saccade.inference.promise import Promise
from saccade.inference.request import Row, Source
from saccade.inference.runtime import INPUT, OpenGraph
from saccade.inference.turns import Ahead
from saccade.package.manifest import Manifest
from saccade.tasks.task import Task
from saccade.types import Array, Image, Prediction

SOON_S = 0.01
"""A run that takes less may hold up the thread that decodes."""
DEEP = 6
"""Pictures for each runner, from which on it counts how many are answered, no longer how soon one of them is."""


@dataclass(frozen=True)
class Outcome:
    """What became of one picture; timings in ms by stage (decode, queue, infer, post)."""

    result: Prediction | SaccadeError
    timings: dict[str, float]
    outputs: dict[str, Array] | None = None
    batch: int = 0
    why: str = ""


@dataclass(frozen=True, eq=False)
class _Asked:
    """A picture on its way. deadline: a moment of time.monotonic; came: of time.perf_counter."""

    promise: "Promise[Outcome]"
    deadline: float
    came: float
    caller: Hashable
    urgent: bool


class Stages:
    """Takes pictures in as long as it is open; each ends as one Outcome.

    pictures: False for a graph that takes tensors only. runners: rows or batches that run at the same time.
    """

    def __init__(
        self,
        manifest: Manifest,
        task: Task,
        graph: OpenGraph,
        pictures: bool,
        intake: Intake,
        batcher: Batcher,
        runners: int,
    ) -> None:
        self._manifest = manifest
        self._task = task
        self._inputs = graph.inputs
        self._near = graph.near and graph.steady
        """Another thread than a runner's may run it."""
        self._sized = all(None not in spec.shape[1:] for spec in graph.inputs)
        """How large rows are is known, and so what one costs."""
        self._runners = runners
        self._pictures = pictures
        self._tileable = bool({"boxes", "mask"} & {o.name for o in task.outputs(manifest.labels)})
        self._intake = intake
        self._batcher = batcher
        self._lock = threading.Lock()
        self._decode_s = self._held_s = 0.0
        self._brief = Brief()
        self._closed = False
        self._ahead = Ahead()
        intake.join(self)

    @property
    def pending(self) -> int:
        """Pictures that have come and are not answered."""
        return len(self._ahead)

    def expected_wait_s(self, caller: Hashable = None, urgent: bool = True) -> float:
        """How long a picture of this caller that came now would wait, by what the pictures before it cost here and,
        while they wait to be decoded, in other models."""
        decode_s, row_s = self._decode_s / self._intake.threads, self._batcher.row_s
        # What stays with the thread that decodes costs both, one after the other.
        each = decode_s + row_s if self._stays() else max(decode_s, row_s)
        with self._lock:
            ahead = self._ahead.count(caller, urgent)
        return max(ahead * each, self._intake.wait_s(caller, urgent))

    def submit(
        self,
        source: Source,
        deadline: float,
        *,
        caller: Hashable = None,
        urgent: bool = True,
        tile: float = 0.0,
        here_s: float = 0.0,
    ) -> "Promise[Outcome]":
        """Decodes, batches and runs one picture. deadline: a moment of time.monotonic. Callers take turns; urgent
        pictures go before the others. tile: as in `predict`. here_s: for how long the calling thread may do the work
        itself, where nothing else is under way (brief.py).

        The promise never raises: an error is the Outcome's result. Cancelling it drops work that has not begun.
        """
        if tile:
            tiles.check(tile)
            if not self._tileable:
                raise tiles.refused()
        asked = _Asked(Promise(), deadline, time.perf_counter(), caller, urgent)
        with self._lock:
            if self._closed:
                raise InferenceError("the model is being unloaded", hint="ask again", code="not_ready")
            self._ahead.come(caller, urgent)
        here_s = self._bound(here_s if self._intake.alone() else 0.0)
        if isinstance(source, Mapping):
            # Nothing to decode: a hop to the pool would cost more than the work.
            here = self._sized and here_s > 0 and fits(here_s, row=_bytes(source))
            self._prepare(source, asked, at_once=here)
            if here:
                self._brief.took(here_s, time.perf_counter() - asked.came)
            return asked.promise
        if here_s and not tile:
            header = self._headed(source, here_s)
            if header is not None:
                self._prepare(source, asked, header)
            if header is not None or time.perf_counter() - asked.came > here_s:
                self._brief.took(here_s, time.perf_counter() - asked.came)
            if header is not None:
                return asked.promise
        work = Work(
            lambda: self._spread(source, asked, tile) if tile else self._prepare(source, asked),
            lambda: self._finish(asked, Outcome(late(), {})),
            asked.promise.cancelled,
            deadline,
            caller,
            urgent,
            self._held_s,
        )
        try:
            self._intake.submit(work)
        except InferenceError as error:
            self._finish(asked, Outcome(error, {}))
        return asked.promise

    def _prepare(
        self,
        source: Source,
        asked: _Asked,
        header: Header | None = None,
        at_once: bool = True,
    ) -> None:
        """at_once: this thread may run the graph too."""
        timings: dict[str, float] = {}
        promise, deadline = asked.promise, asked.deadline
        try:
            _check(asked)
            began = time.perf_counter()
            timings["queue"] = (began - asked.came) * 1e3
            row, placement = self._decode(source, deadline, header)
            took = time.perf_counter() - began
            timings["decode"] = took * 1e3
            if not isinstance(source, Mapping):
                self._decode_s += 0.2 * (took - self._decode_s) if self._decode_s else took
            if at_once and self._stays() and (done := self._batcher.at_once(row, deadline)) is not None:
                self._hold(began)
                self._conclude(done, placement, timings, asked)
                return
            ran = self._batcher.submit(
                row,
                deadline,
                caller=asked.caller,
                urgent=asked.urgent,
                then=lambda done: self._answer(done, placement, timings, asked),
            )
            self._hold(began)
        except SaccadeError as error:
            self._finish(asked, Outcome(error, timings))
            return
        except Exception as error:  # noqa: BLE001 - a pool thread swallows what it does not hand on
            self._finish(asked, Outcome(_internal(error), timings))
            return
        # The caller's leaving must reach the queued row, so that it never runs.
        promise.add_done_callback(lambda p: ran.cancel() if p.cancelled() else None)

    def _hold(self, began: float) -> None:
        """Of how long a picture keeps the thread that decodes it, for whoever waits for one."""
        took = time.perf_counter() - began
        self._held_s += 0.2 * (took - self._held_s) if self._held_s else took

    def _spread(self, source: Source, asked: _Asked, times: float) -> None:
        """One picture as many: its windows, so many times as large as the network's input, go the whole way, each like
        a picture of its own.

        They are made ready here, while the picture's pixels are held in the budget: what is
        queued has the network's size.
        """
        began = time.perf_counter()
        timings = {"queue": (began - asked.came) * 1e3}
        spec = self._manifest.preprocess
        side = round(spec.width * times), round(spec.height * times)
        parts: list[Promise[Outcome]] = []
        try:
            _check(asked)
            if isinstance(source, bytes | Path):
                header = decode.inspect(source)
                tiles.windows(header.width, header.height, *side)  # refused before a pixel is decoded
            with self._whole(source, asked.deadline) as image:
                height, width = image.shape[:2]
                places = tiles.windows(width, height, *side)
                timings["decode"] = (time.perf_counter() - began) * 1e3
                for left, top, right, bottom in places:
                    _check(asked)
                    window = image[top:bottom, left:right].copy()
                    part = replace(asked, promise=Promise(), came=time.perf_counter())
                    parts.append(part.promise)
                    with self._lock:
                        self._ahead.come(part.caller, part.urgent)
                    self._prepare(window, part, at_once=False)
                    if (refusal := _refusal(part.promise)) is not None:
                        raise refusal  # the others are asked in vain
                del image
        except Exception as error:  # noqa: BLE001 - a pool thread swallows what it does not hand on
            for one in parts:
                one.cancel()
            self._finish(asked, Outcome(error if isinstance(error, SaccadeError) else _internal(error), timings))
            return
        remaining = [len(parts)]

        def done(_: "Promise[Outcome]") -> None:
            with self._lock:
                remaining[0] -= 1
                if remaining[0]:
                    return
            outcome = self._joined(parts, places, (width, height), timings)
            self._finish(asked, outcome)

        asked.promise.add_done_callback(lambda f: [p.cancel() for p in parts] if f.cancelled() else None)
        for one in parts:
            one.add_done_callback(done)

    def _joined(
        self,
        parts: "list[Promise[Outcome]]",
        places: list[tiles.Window],
        size: tuple[int, int],
        timings: dict[str, float],
    ) -> Outcome:
        if any(part.cancelled() for part in parts):
            return Outcome(gone(), timings)
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
        return Outcome(result, timings, None, *max((o.batch, o.why) for o in outcomes))

    @contextlib.contextmanager
    def _whole(self, source: Source, deadline: float) -> Iterator[Image]:
        """All pixels of a picture, which count in the budget as long as they are needed."""
        if isinstance(source, np.ndarray):
            yield decode.decode(source)
            return
        assert not isinstance(source, Mapping), "rows of tensors are never spread; this is a bug"
        data = decode.read(source)
        header = decode.inspect(data)
        with self._intake.budget.hold(header.width * header.height, deadline):
            decoder = self._intake.decoder()
            yield decoder.pixels(data, header) if decoder else decode.pixels(data, header)

    def _decode(self, source: Source, deadline: float, header: Header | None) -> tuple[Row, Placement]:
        spec = self._manifest.preprocess
        if isinstance(source, Mapping):
            self._check_row(source)
            return source, Placement(spec.width, spec.height)
        if not self._pictures:
            raise InferenceError(
                "this model takes tensors, no pictures", hint="ask it on a tensor protocol", code="invalid_value"
            )
        if isinstance(source, np.ndarray):
            pixels, placement = preprocess.load(source, spec)
            return {INPUT: pixels}, placement
        data = decode.read(source)
        header = header or decode.inspect(data)
        smaller = preprocess.reduction(header, spec) ** 2
        with self._intake.budget.hold(header.width * header.height // smaller, deadline):
            decoder = self._intake.decoder()
            load = decoder.load if decoder else preprocess.load_inspected
            pixels, placement = load(data, header, spec)
        return {INPUT: pixels}, placement

    def _check_row(self, row: Row) -> None:
        """Raises InferenceError(tensor_shape_mismatch) unless a row has exactly the graph's inputs."""
        for spec in self._inputs:
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
        if len(row) != len(self._inputs):
            raise InferenceError(f"{len(row)} inputs came, expected {len(self._inputs)}", code="tensor_shape_mismatch")

    def _answer(self, ran: "Promise[Ran]", placement: Placement, timings: dict[str, float], asked: _Asked) -> None:
        if ran.cancelled():
            self._finish(asked, Outcome(gone(), timings))
            return
        error = ran.exception()
        if error is not None:
            typed = error if isinstance(error, SaccadeError) else _internal(error)
            self._finish(asked, Outcome(typed, timings))
            return
        self._conclude(ran.result(), placement, timings, asked)

    def _bound(self, here_s: float) -> float:
        """For how long the thread that brought what came now may be held up by it: as long as was said, where its graph is over
        by then and those before it were, else for less or not at all."""
        if self._near:
            for bound in (here_s, min(here_s, BRIEF_S)):
                if 0 < self._batcher.lone_s <= bound and self._brief.expects(bound):
                    return bound
        return 0.0

    def _headed(self, source: Source, here_s: float) -> Header | None:
        """The header of a picture that is small enough for it; None for any other."""
        if not isinstance(source, bytes) or not fits(here_s, data=len(source)):
            return None
        if self._intake.isolated or not self._pictures:
            return None
        try:
            header = decode.inspect(source)
        except SaccadeError:
            return None
        pixels = header.width * header.height
        if not fits(here_s, pixels=pixels * header.scans):
            return None
        # Elsewhere a picture may wait until there is room to decode it; this thread may not.
        return header if self._intake.budget.room(pixels) else None

    def _stays(self) -> bool:
        """Whether handing a row to a runner's thread would cost more than it could save: it is over soon, and sharing a
        run would save little, or there are no more pictures than runners, so that none could share one.

        Then pictures end in the order they came, with as many at work as there are threads that decode: handed on, those
        that are decoded and those that run would share the cores, and all of them end late. Where many wait they end
        late anyway, and more threads keep the cores busier."""
        if not self._near or self._batcher.row_s * self._runners >= SOON_S:
            return False
        return self.pending <= self._runners * (DEEP if self._batcher.sizes.lone else 1)

    def _conclude(self, row: Ran, placement: Placement, timings: dict[str, float], asked: _Asked) -> None:
        timings["queue"] += row.queue_s * 1e3
        timings["infer"] = row.infer_s * 1e3
        began = time.perf_counter()
        result: Prediction | SaccadeError
        try:
            batched = {name: value[None] for name, value in row.outputs.items()}
            result = self._task.decode(batched, [placement], self._manifest.labels)[0]
        except Exception as failure:  # noqa: BLE001 - runs in the batcher's thread, which must live on
            result = failure if isinstance(failure, SaccadeError) else _internal(failure)
        timings["post"] = (time.perf_counter() - began) * 1e3
        self._finish(asked, Outcome(result, timings, row.outputs, row.batch, row.why))

    def _finish(self, asked: _Asked, outcome: Outcome) -> None:
        with self._lock:
            self._ahead.leave(asked.caller, asked.urgent)
        if asked.promise.set_running_or_notify_cancel():
            asked.promise.set_result(outcome)

    def close(self, timeout_s: float) -> bool:
        """Takes nothing more in and waits for what was accepted; False when it was closed before."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
        end = time.monotonic() + timeout_s
        while self.pending and time.monotonic() < end:
            time.sleep(0.005)
        self._intake.leave(self)
        return True


def _bytes(row: Row) -> int:
    return sum(np.asarray(array).nbytes for array in row.values())


def gone() -> InferenceError:
    return InferenceError("the caller left", code="deadline_exceeded")


def late() -> InferenceError:
    return InferenceError("the deadline passed before decoding", hint="allow more time", code="deadline_exceeded")


def _refusal(promise: "Promise[Outcome]") -> SaccadeError | None:
    """What a part has failed with already."""
    result = promise.result().result if promise.done() and not promise.cancelled() else None
    return result if isinstance(result, SaccadeError) else None


def _check(asked: _Asked) -> None:
    """Raises InferenceError(deadline_exceeded) for a picture that nobody waits for any more."""
    if asked.promise.cancelled():
        raise gone()
    if time.monotonic() >= asked.deadline:
        raise late()


def _internal(cause: BaseException) -> InferenceError:
    error = InferenceError("the engine failed on this picture", code="internal")
    error.__cause__ = cause
    return error
