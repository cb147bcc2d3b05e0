"""The training loop, told top to bottom in `_learn`; what an engine does in it stands in `learner.py`.

All randomness of a step follows from the seed and the step's number, so a resumed run repeats the lost steps exactly.
"""

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import TrainingError
from saccade.images.draw import contact_sheet
from saccade.images.encode import to_png
from saccade.process import TRAINING, tune_memory
from saccade.tasks.task import Task
from saccade.training import checkpoints, schedules
from saccade.training.events import Event, Finished, Note, Resumed, Started, Step
from saccade.training.judge import calibrate, validate, validate_every
from saccade.training.learner import Learner, Moving
from saccade.training.outset import BEFORE, choose_knobs, half_of, hard_boxes, samples_of, task_name
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Trainer
from saccade.types import Labels, Sample

SAY_EVERY_S = 0.1
FEW = 20
"""Passes below which a run from scratch under a budget is told to be short."""


class LoopTrainer(Trainer):
    """A trainer whose run is the loop below."""

    @abstractmethod
    def machine(self, recipe: Recipe) -> tuple[str, bool]:
        """The device a run would take ("cpu" or "cuda"), and whether it multiplies bfloat16 natively."""

    @abstractmethod
    def pretrained(self, recipe: Recipe, half: Any, labels: Labels) -> str:
        """Makes the network of a recipe whose size is chosen, with pretrained weights, and says what it got."""

    @abstractmethod
    def learner(self, run: Run, labels: Labels, task: Task, train: Sequence[Sample], val: Sequence[Sample]) -> Learner:
        """A network ready for its first step. Raises UsageError, DataError, StorageError."""

    def fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        """Learns; every event is logged before it is yielded. Raises TrainingError, DataError, StorageError."""
        for event in self._fit(run, dataset):
            run.log(event)
            yield event

    def _fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        began = time.monotonic()
        train_samples, val_samples = samples_of(dataset, run.recipe)
        task = tasks.find(task_name(run.recipe, dataset))
        half = half_of(task, self.name)
        yield from choose_knobs(
            run,
            dataset.labels,
            task,
            half,
            train_samples,
            *self.machine(run.recipe),
            pretrained=lambda recipe: self.pretrained(recipe, half, dataset.labels),
        )
        yield from hard_boxes(run, dataset.labels, task, train_samples)
        tune_memory(TRAINING)
        with closing(self.learner(run, dataset.labels, task, train_samples, val_samples)) as learner:
            yield from _learn(run, learner, began)


def _learn(run: Run, learner: Learner, began: float) -> Iterator[Event]:
    recipe, s = run.recipe, learner.s
    s.per_step = int(recipe.batch) * recipe.accumulate
    s.steps_an_epoch = max(1, learner.train * int(recipe.repeat) // s.per_step)
    if recipe.smoke:
        s.steps_an_epoch = min(s.steps_an_epoch, 4)
    s.total = int(recipe.epochs) * s.steps_an_epoch
    yield from (Note(text) for text in learner.said)
    yield Started(recipe.network, learner.parameters, learner.device, learner.train, learner.val)
    if checkpoints.last(run).exists():
        _resume(run, learner)
        began = time.monotonic() - s.elapsed
        yield Resumed(s.step, s.epoch)
    else:
        run.forget_after(0)
        _write_contact_sheet(run, learner)
        if recipe.rate == "find":
            found = learner.find_rate()
            s.rate = found.rate
            yield found

    if recipe.budget:
        s.reserve = min(learner.rehearse(), recipe.budget / 2)
    per_step, steps_an_epoch, total = s.per_step, s.steps_an_epoch, s.total
    every = validate_every(recipe, learner.train * int(recipe.repeat), learner.val)
    reason, spoken, speed = "all epochs done", 0.0, 0.0
    ended = s.step >= total
    if recipe.patience and s.stale >= recipe.patience:
        ended, reason = True, f"no gain in {s.stale} validations"

    while not ended:
        turn = learner.turn(s.epoch)
        while s.position < steps_an_epoch * per_step and not ended:
            s.elapsed = time.monotonic() - began
            progress = s.progress()
            # However short a budget is, something is learned before it is judged.
            if progress >= 1 and s.step:
                ended, reason = True, "the budget is spent"
                break
            s.now = s.rate * schedules.factor(recipe, progress)
            s.share = schedules.size_share(recipe, progress, s.step)
            s.several, s.still = schedules.joins(recipe, progress), schedules.rests(recipe, progress)
            places = turn[s.position : s.position + per_step]
            start = time.monotonic()
            loss, words = learner.step(places)
            yield from (Note(text) for text in words)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {s.step} of epoch {s.epoch} (rate {s.now:.2g})",
                    hint=f"lower the rate (--set rate={s.now / 5:.2g}), keep clip above 0, or set precision=float32",
                )
            s.step, s.position = s.step + 1, s.position + per_step
            s.loss_sum, s.loss_steps = s.loss_sum + loss, s.loss_steps + 1
            now = time.monotonic()
            speed = 0.9 * speed + 0.1 * len(places) / (now - start) if speed else len(places) / (now - start)
            if now - spoken >= SAY_EVERY_S:
                spoken = now
                eta = _eta(s, began, speed)
                yield Step(s.step, s.epoch, s.progress(), loss, s.now, speed, eta)
            if now - s.saved_at >= recipe.checkpoint_every and s.position < steps_an_epoch * per_step:
                s.elapsed = now - began
                _save(run, learner)
        if not ended:
            s.epoch, s.position = s.epoch + 1, 0
            ended = s.step >= total
        # A budget may end right after a validation: nothing was learned since, so nothing is judged again.
        if s.loss_steps and (ended or s.epoch % every == 0):
            s.elapsed = time.monotonic() - began
            event = validate(run, learner, speed)
            yield event
            if recipe.patience and s.stale >= recipe.patience:
                ended, reason = True, f"no gain in {s.stale} validations"
            s.elapsed = time.monotonic() - began
            if not ended:
                _save(run, learner)

    s.elapsed = time.monotonic() - began
    _save(run, learner)
    calibration = calibrate(run, learner)
    epochs = s.epoch + (s.position > 0)
    yield from _too_short(recipe, s.step * s.per_step // max(1, learner.train))
    yield Finished(s.step, epochs, time.monotonic() - began, s.watched, s.kept, reason, calibration)


def _too_short(recipe: Recipe, passes: int) -> Iterator[Note]:
    """A word to those whose budget ended before a network without pretrained weights could learn."""
    if recipe.budget and recipe.weights == "none" and not recipe.smoke and passes < FEW:
        yield Note(
            f"the budget of {recipe.budget:.0f} s held {passes} passes over the training images, and a network that "
            f"learns from scratch wants {FEW} or more: give it more time before you judge it"
        )


def _eta(s: Moving, began: float, speed: float) -> float:
    if s.recipe.budget:
        return max(0.0, s.recipe.budget - (time.monotonic() - began))
    return (s.total - s.step) * s.per_step / max(speed, 1e-9)


def _save(run: Run, learner: Learner) -> None:
    s = learner.s
    parts, more = learner.state()
    record = {
        "moving": {k: getattr(s, k) for k in Moving.MOVING},
        "labels": s.labels.digest(),
        "recipe": asdict(s.recipe),
        **more,
    }
    checkpoints.write(run, checkpoints.last(run), parts, record)
    s.saved_at = time.monotonic()


def _resume(run: Run, learner: Learner) -> None:
    s = learner.s
    found = checkpoints.read(checkpoints.last(run))
    if found.record["labels"] != s.labels.digest():
        raise TrainingError("the dataset's classes changed since this run began", hint="resume with the same data")
    # A knob that this run did not know when it began has had its old meaning all along.
    changed = s.recipe.different(Recipe().replace_from({**BEFORE, **found.record["recipe"]}))
    if changed:
        raise TrainingError(
            f"recipe.toml changed since this run began: {', '.join(changed)}",
            hint="put back what was there to continue this run, or start a new one",
        )
    for name, value in found.record["moving"].items():
        setattr(s, name, value)
    learner.fill(found)
    run.forget_after(s.step)


def _write_contact_sheet(run: Run, learner: Learner) -> None:
    """The first batch as the network will see it, so that wrong augmentation is seen before an hour is spent."""
    pictures, captions = learner.sheet(16)
    run.write(run.samples / "first_batch.png", to_png(contact_sheet(pictures, captions)))
