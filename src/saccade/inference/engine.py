"""Models by name and version: load, warm, check, swap, infer. Knows no registry and no protocol."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from saccade.errors import ImageError, InferenceError, SaccadeError
from saccade.images import decode
from saccade.inference.intake import Intake
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.pressure import Pressure
from saccade.inference.promise import Promise
from saccade.inference.request import Answer, Request
from saccade.inference.shelves import Entry, Shelves, closing
from saccade.inference.stages import Outcome, gone
from saccade.inference.workers.starter import Starter
from saccade.limits import ANSWER_LIMITS, QUEUE_LIMITS
from saccade.package.manifest import NAME, NAME_WORDS
from saccade.process import cores

log = logging.getLogger("saccade.inference")
SWEEP_S = 0.1
PATIENCE = QUEUE_LIMITS.max_batch_wait_s / QUEUE_LIMITS.max_wait_s
"""So many times longer than a single urgent image may others wait."""

Observer = Callable[[str, str, Answer | SaccadeError, float, str | None], None]
"""Called once per request with model name, version ("" when unknown), what came out, seconds taken, and who asked."""


class Engine:
    """Thread-safe. options: how every package is opened; max_images: of one request; max_deadline_s caps callers.

    decode_isolation: process decodes pictures in confined processes, one for each of decode_threads.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        decode_threads: int | None = None,
        decode_isolation: str = "none",
        max_images: int = 64,
        max_deadline_s: float = 60.0,
        observer: Observer | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """pressure: refuses while memory is short; None, as for an engine inside another program, never does."""
        self.options = options or Options(max_wait_s=QUEUE_LIMITS.max_wait_s)
        self.max_images = max_images
        self.max_deadline_s = max_deadline_s
        self.observer = observer
        self._pressure = pressure
        self._intake = Intake(decode_threads or cores(), isolation=decode_isolation)
        self._starter = Starter() if self.options.isolation == "process" else None
        self._shelves = Shelves()
        self._closing = threading.Event()
        threading.Thread(target=self._sweep, name="sweeper", daemon=True).start()

    # Loading and swapping

    def load(self, path: Path | str, name: str, version: int = 1, *, variant: str | None = None) -> Entry:
        """Loads beside what is there; the version is `ready` only after digests, warm-up and golden outputs held.

        A version that is ready already is given as it is. Raises PackageError or InferenceError; what is there stays
        as it was.
        """
        if not NAME.fullmatch(name):
            raise InferenceError(f"a model name is {NAME_WORDS}", code="not_found")
        began = time.monotonic()
        entry = Entry(name, version, Path(path), "loading")
        if (held := self._shelves.begin(entry)) is not None:
            return held
        try:
            model = self._open(path, variant)
        except SaccadeError as error:
            self._shelves.put(entry, replace(entry, state="failed", error=error))
            raise
        except BaseException:
            failed = InferenceError("loading failed", code="internal")
            self._shelves.put(entry, replace(entry, state="failed", error=failed))
            raise
        ready = replace(entry, state="ready", model=model, load_s=time.monotonic() - began)
        if not self._shelves.put(entry, ready):
            model.close()
            raise InferenceError("the version was unloaded while it was loaded", hint="load it again", code="not_ready")
        return ready

    def _open(self, path: Path | str, variant: str | None) -> Model:
        patient = any(e.state == "ready" for n in self.names() for e in self.versions(n).values())
        options = replace(self.options, variant=variant or self.options.variant, patient=patient)
        return Model.open(path, options=options, intake=self._intake, starter=self._starter)

    def exchange(self, path: Path | str, name: str, version: int, *, drain_s: float = 30.0) -> Entry:
        """Another package in the place of a version that is ready: opened beside it, then asked instead of it; what the
        one before had accepted is finished. Raises what `load` raises; then nothing has changed."""
        began = time.monotonic()
        entry = Entry(name, version, Path(path), "loading")
        held = self._shelves.begin(entry)
        if held is None or held.model is None:
            if held is None:
                self._shelves.remove(entry)
            raise InferenceError("the version is not loaded", hint="load it", code="not_ready")
        model = self._open(path, None)
        ready = replace(entry, state="ready", model=model, load_s=time.monotonic() - began)
        if not self._shelves.put(held, ready):
            model.close()
            raise InferenceError("the version was unloaded while it was loaded", hint="load it again", code="not_ready")
        held.model.close(drain_s)
        return ready

    def unload(self, name: str, version: int, *, drain_s: float = 30.0) -> None:
        """New requests no longer find the version; accepted ones are finished first."""
        going = self._shelves.leave(name, version)
        if going.model is not None:
            going.model.close(drain_s)
        self._shelves.remove(going)

    def set_aliases(self, name: str, aliases: Mapping[str, int]) -> None:
        """The aliases of a name, all at once. An alias may point at a version that is not loaded yet."""
        self._shelves.set_aliases(name, aliases)

    # Looking

    def names(self) -> list[str]:
        return self._shelves.names()

    def versions(self, name: str) -> dict[int, Entry]:
        return self._shelves.versions(name)

    def aliases(self, name: str) -> dict[str, int]:
        return self._shelves.aliases(name)

    def find(self, model: str, version: int | None = None) -> Entry:
        """A ready version: the one asked for, else the alias's, else the newest ready.

        Raises InferenceError: not_found, or not_ready when it is known but cannot answer now.
        """
        return self._shelves.find(model, version)

    # Answering

    def submit(self, request: Request) -> "Future[Answer]":
        """Raises nothing: the future gives an Answer, or raises a SaccadeError that concerns the whole request. Cancelling it
        drops every picture of it that has not run."""
        future: Future[Answer] = Future()
        asked = self.ask(request)

        def tell(done: Promise[Answer]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            error = gone() if done.cancelled() else done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)

        future.add_done_callback(lambda f: asked.cancel() if f.cancelled() else None)
        asked.add_done_callback(tell)
        return future

    def ask(self, request: Request, *, here_s: float = 0.0) -> "Promise[Answer]":
        """What `submit` makes a future of, for whoever needs none. here_s: for how long the calling thread may be held up, to
        answer a single picture before this returns (brief.py)."""
        promise: Promise[Answer] = Promise()
        began = time.monotonic()
        deadline, version = began + min(request.deadline_s, self.max_deadline_s), request.version
        try:
            entry = self._admit(request)
            version = entry.version
            try:
                items = self._hand_on(request, entry, deadline, promise, here_s)
            except InferenceError as error:
                # Found and gone before it was asked: whoever named no version is answered by the one that took over.
                # Its version itself may have been opened anew.
                after = self._admit(request) if error.code == "not_ready" else entry
                if after.model is entry.model:
                    raise
                entry, version = after, after.version
                items = self._hand_on(request, entry, deadline, promise, here_s)
        except SaccadeError as error:
            self._observe_refusal(request.model, version, error, began, request.caller)
            promise.set_exception(error)
            return promise
        # By the bound for these alone was it let in.
        aimed = _urgent(request) and len(items) == 1 and not request.tile
        done = _After(len(items), lambda: self._settle(promise, entry, items, began, deadline, request.caller, aimed))
        promise.add_done_callback(lambda f: [i.cancel() for i in items] if f.cancelled() else None)
        for item in items:
            item.add_done_callback(done)
        return promise

    def _hand_on(
        self, request: Request, entry: Entry, deadline: float, promise: "Promise[Answer]", here_s: float
    ) -> "list[Promise[Outcome]]":
        """Every picture of a request to one model, or none. Raises InferenceError(not_ready)
        where it is being unloaded."""
        assert entry.model is not None
        caller = request.caller or promise
        urgent = _urgent(request)
        items: list[Promise[Outcome]] = []
        try:
            for image in request.images:
                held_s = here_s if len(request.images) == 1 else 0.0
                items.append(
                    entry.model.submit(image, deadline, caller=caller, urgent=urgent, tile=request.tile, here_s=held_s)
                )
        except SaccadeError:
            for item in items:
                item.cancel()
            raise
        return items

    def _admit(self, request: Request) -> Entry:
        if self._shelves.closed:
            raise closing()
        if not request.images:
            raise InferenceError("a request needs at least one image", code="batch_too_large")
        if len(request.images) > self.max_images:
            raise InferenceError(
                f"{len(request.images)} images came, at most {self.max_images} fit in a request",
                hint="send them in several requests",
                code="batch_too_large",
                details={"limit": self.max_images},
            )
        entry = self._room(
            request.model,
            request.version,
            request.deadline_s,
            several=len(request.images) > 1,
            caller=request.caller,
            urgent=_urgent(request),
        )
        if self._pressure is not None:
            self._pressure.admit(_urgent(request) and len(request.images) == 1)
        if len(request.images) > 1 and entry.model is not None and "mask" in entry.model.places:
            _refuse_masks(request)
        return entry

    def admit(
        self,
        model: str,
        version: int | None = None,
        deadline_s: float = 10.0,
        *,
        several: bool = False,
        caller: str | None = None,
        urgent: bool | None = None,
    ) -> Entry:
        """As `find`, for a caller whose pictures are still to come: what can be refused without them is refused here.

        Raises InferenceError, beside those of `find`: overloaded when the wait would be too long, or memory is short.
        several: the request may hold more than one picture, which then may wait longer, as those may that are not
        urgent; None: not said, so one is.
        """
        began = time.monotonic()
        try:
            return self._room(model, version, deadline_s, several=several, caller=caller, urgent=urgent)
        except SaccadeError as error:
            self._observe_refusal(model, version, error, began, caller)
            raise

    def _room(
        self,
        model: str,
        version: int | None,
        deadline_s: float,
        *,
        several: bool,
        caller: str | None,
        urgent: bool | None,
    ) -> Entry:
        entry = self.find(model, version)
        assert entry.model is not None
        if self._pressure is not None:
            self._pressure.admit(urgent is not False)
        longest = entry.model.longest_wait_s
        # A deadline that is over is told as such, picture by picture.
        if longest < math.inf and deadline_s > 0:
            soon = not several if urgent is None else urgent
            most = math.inf if self.options.max_wait_s is None else self.options.max_wait_s
            bound = longest if soon and not several else PATIENCE * most
            wait = entry.model.expected_wait_s(caller, soon)
            if wait > min(bound, deadline_s):
                raise InferenceError(
                    f"the expected wait is {wait:.2f} s, the bound {bound:.2f} s",
                    hint="ask again later",
                    code="overloaded",
                )
        return entry

    def _settle(
        self,
        promise: "Promise[Answer]",
        entry: Entry,
        items: "list[Promise[Outcome]]",
        began: float,
        deadline: float,
        caller: str | None,
        aimed: bool,
    ) -> None:
        """deadline: the moment at which the caller gave up. aimed: it was to keep the model's objective."""
        model = entry.model
        assert model is not None
        outcomes = [item.result() for item in items if not item.cancelled()]
        whole = len(outcomes) == len(items)
        if not whole or promise.cancelled():
            model.counts.request(None, time.monotonic() - began)
            left = InferenceError("the caller left", code="cancelled")
            if time.monotonic() >= deadline:
                left = InferenceError("the deadline passed while the model was at work", code="deadline_exceeded")
            self._observe(entry.name, str(entry.version), left, began, caller)
            if promise.set_running_or_notify_cancel():
                promise.set_exception(gone())
            return
        if len(outcomes) == 1:
            timings, shared = outcomes[0].timings, (outcomes[0].batch, outcomes[0].why)
        else:
            stages = {stage for o in outcomes for stage in o.timings}
            timings = {stage: max(o.timings.get(stage, 0.0) for o in outcomes) for stage in stages}
            shared = max((o.batch, o.why) for o in outcomes)
        answer = Answer(
            entry.name,
            entry.version,
            model.digest,
            model.task.name,
            model.labels,
            tuple(o.result for o in outcomes),
            timings,
            model.manifest.thresholds,
            tuple(o.outputs for o in outcomes),
            *shared,
        )
        took = time.monotonic() - began
        model.counts.request(answer, took)
        if aimed:
            found = outcomes[0].result
            if not isinstance(found, SaccadeError):
                model.aim.answered(began, took, timings["queue"] / 1e3)
            elif found.code == "deadline_exceeded" and "infer" not in timings:
                model.aim.left(began, took)
        self._observe(entry.name, str(entry.version), answer, began, caller)
        if promise.set_running_or_notify_cancel():
            promise.set_result(answer)

    def _observe(self, name: str, version: str, what: Answer | SaccadeError, began: float, caller: str | None) -> None:
        if self.observer is not None:
            self.observer(name, version, what, time.monotonic() - began, caller)

    def _observe_refusal(
        self, model: str, version: int | None, error: SaccadeError, began: float, caller: str | None
    ) -> None:
        """Under no name and version that somebody made up: there is no end of those."""
        known = error.code != "not_found"
        name, number = (model.partition("@")[0], str(version or "")) if known else ("", "")
        self._observe(name, number, error, began, caller)

    def _sweep(self) -> None:
        """Runners answer the late when they come to them; here they are answered even while a graph hangs."""
        while not self._closing.wait(SWEEP_S):
            models = [e.model for name in self.names() for e in self.versions(name).values() if e.model is not None]
            tasks = [self._intake.drop_late, *(model.drop_late for model in models)]
            if self._pressure is not None:
                tasks.append(self._pressure.keep)
            for one in tasks:
                try:
                    one()
                except Exception:  # the others have theirs, and this one has another try
                    log.exception("a look at what waits failed")

    def close(self, drain_s: float = 30.0) -> None:
        """Refuses new requests, finishes accepted ones, frees every model."""
        self._shelves.close()
        for name in self.names():
            for version in self.versions(name):
                self.unload(name, version, drain_s=drain_s)
        self._closing.set()
        if self._starter is not None:
            self._starter.close()
        self._intake.close()


def _refuse_masks(request: Request) -> None:
    """Raises InferenceError(batch_too_large) where the masks of all its pictures would hold too much memory at once."""
    total = 0
    for image in request.images:
        if isinstance(image, bytes):
            with contextlib.suppress(ImageError):  # what is no picture is told when its turn comes
                header = decode.inspect(image)
                total += header.width * header.height
    if total > ANSWER_LIMITS.max_mask_pixels:
        raise InferenceError(
            f"the pictures have {total / 1e6:.0f} MP together, at most {ANSWER_LIMITS.max_mask_pixels / 1e6:.0f} MP are "
            "answered with masks in one request",
            hint="send them in several requests",
            code="batch_too_large",
            details={"limit": ANSWER_LIMITS.max_mask_pixels},
        )


def _urgent(request: Request) -> bool:
    """As was asked; else one picture is, unless it becomes many."""
    return len(request.images) == 1 and not request.tile if request.urgent is None else request.urgent


class _After:
    """Called once for each of so many promises, it does its work at the last."""

    def __init__(self, number: int, work: Callable[[], None]) -> None:
        self._left = number
        self._lock = threading.Lock()
        self._work = work

    def __call__(self, _: "Promise[Outcome]") -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._work()
