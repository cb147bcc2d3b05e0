"""The training loop in PyTorch, told top to bottom in `TorchTrainer.fit`.

All randomness of a step follows from the seed and the step's number, so a resumed run repeats the lost steps exactly.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import TrainingError
from saccade.images.draw import contact_sheet
from saccade.images.encode import to_png
from saccade.process import TRAINING, tune_memory
from saccade.tasks.task import Task
from saccade.training.events import Event, Finished, Note, Resumed, Started, Step
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Graph, Trainer
from saccade.training.trainers.torch import checkpoints, export, networks, optimizers, schedules
from saccade.training.trainers.torch.augment import Augment, as_float
from saccade.training.trainers.torch.batches import Pack, mixed, order, pack
from saccade.training.trainers.torch.gradcam import gradcam
from saccade.training.trainers.torch.judge import calibrate, validate, validate_every
from saccade.training.trainers.torch.session import (
    Session,
    build,
    choose_knobs,
    open_session,
    samples_of,
    set_threads,
    task_name,
    torch_half,
)
from saccade.training.trainers.torch.step import find_rate, one_step
from saccade.types import Array, Labels, TensorSpec

PROBES = 16
SAY_EVERY_S = 0.1
FEW = 20
"""Passes below which a run under a budget is told to be short."""


class TorchTrainer(Trainer):
    name = "torch"

    def fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        """Learns; every event is logged before it is yielded. Raises TrainingError, DataError, StorageError."""
        for event in self._fit(run, dataset):
            run.log(event)
            yield event

    def _fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        began = time.monotonic()
        train_samples, val_samples = samples_of(dataset, run.recipe)
        task = tasks.find(task_name(run.recipe, dataset))
        yield from choose_knobs(run, dataset.labels, task, train_samples)
        recipe = run.recipe
        tune_memory(TRAINING)
        set_threads(recipe)
        train = pack(train_samples, dataset.labels, task, run.preprocess, recipe)
        val = pack(val_samples, dataset.labels, task, run.preprocess, recipe)

        said: list[str] = []
        s = open_session(recipe, dataset.labels, task, train, said)
        yield from (Note(text) for text in said)
        yield Started(recipe.network, networks.parameters(s.network), str(s.device), len(train), len(val))
        augment = Augment(recipe)
        if checkpoints.last(run).exists():
            _resume(run, s)
            began = time.monotonic() - s.elapsed
            yield Resumed(s.step, s.epoch)
        else:
            run.forget_after(0)
            _write_contact_sheet(run, s, train, augment)
            if recipe.rate == "find":
                found = find_rate(s, train, augment)
                s.rate = found.rate
                yield found

        per_step = int(recipe.batch) * recipe.accumulate
        steps_an_epoch = max(1, len(train) // per_step)
        if recipe.smoke:
            steps_an_epoch = min(steps_an_epoch, 4)
        total = int(recipe.epochs) * steps_an_epoch
        every = validate_every(recipe, len(train), len(val))
        reason, spoken, speed = "all epochs done", 0.0, 0.0
        ended = s.step >= total
        if recipe.patience and s.stale >= recipe.patience:
            ended, reason = True, f"no gain in {s.stale} validations"

        while not ended:
            turn = order(len(train), recipe.seed, s.epoch)
            s.network.train()
            while s.position < steps_an_epoch * per_step and not ended:
                s.elapsed = time.monotonic() - began
                progress = _progress(s, total)
                if progress >= 1:
                    ended, reason = True, "the budget is spent"
                    break
                rate = s.rate * schedules.factor(recipe, progress)
                optimizers.set_rate(s.optimizer, rate)
                s.share = schedules.size_share(recipe, progress)
                s.several = progress < 1 - recipe.mosaic_close
                places = turn[s.position : s.position + per_step]
                start = time.monotonic()
                loss, words = one_step(s, train, places, augment)
                yield from (Note(text) for text in words)
                if not np.isfinite(loss):
                    raise TrainingError(
                        f"the loss became {loss} at step {s.step} of epoch {s.epoch} (rate {rate:.2g})",
                        hint=f"lower the rate (--set rate={rate / 5:.2g}), keep clip above 0, or set precision=float32",
                    )
                s.step, s.position = s.step + 1, s.position + per_step
                s.loss_sum, s.loss_steps = s.loss_sum + loss, s.loss_steps + 1
                now = time.monotonic()
                speed = 0.9 * speed + 0.1 * len(places) / (now - start) if speed else len(places) / (now - start)
                if s.step == 1:
                    s.reserve = max(s.reserve, (now - start) * len(val) / len(places) * 0.5)
                if now - spoken >= SAY_EVERY_S:
                    spoken = now
                    eta = _eta(s, total, began, per_step, speed)
                    yield Step(s.step, s.epoch, _progress(s, total), loss, rate, speed, eta)
                if now - s.saved_at >= recipe.checkpoint_every and s.position < steps_an_epoch * per_step:
                    s.elapsed = now - began
                    _save(run, s)
            if not ended:
                s.epoch, s.position = s.epoch + 1, 0
                ended = s.step >= total
            # A budget may end right after a validation: nothing was learned since, so nothing is judged again.
            if s.loss_steps and (ended or s.epoch % every == 0):
                s.elapsed = time.monotonic() - began
                event = validate(run, s, val, speed)
                yield event
                if recipe.patience and s.stale >= recipe.patience:
                    ended, reason = True, f"no gain in {s.stale} validations"
                s.elapsed = time.monotonic() - began
                if not ended:
                    _save(run, s)

        s.elapsed = time.monotonic() - began
        _save(run, s)
        calibration = calibrate(run, s, val)
        epochs = s.epoch + (s.position > 0)
        yield from _too_short(recipe, epochs)
        yield Finished(s.step, epochs, time.monotonic() - began, s.watched, s.kept, reason, calibration)

    def export(self, run: Run, dataset: Dataset, to: Path) -> Graph:
        """Writes `model.onnx` (float32, whatever the training arithmetic was) with probes from the validation split."""
        sealed, task, record = _open_sealed(run)
        spec = run.preprocess
        samples = dataset.splits.get("val") or dataset.splits["train"]
        step = max(1, len(samples) // PROBES)
        probe = pack(samples[::step][:PROBES], sealed._labels, task, spec, run.recipe).images.numpy()
        given = TensorSpec("image", "uint8", (None, spec.height, spec.width, 3))
        outputs = task.outputs(sealed._labels)
        to.mkdir(parents=True, exist_ok=True)
        file = to / "model.onnx"
        notes = {"saccade.task": task.name, "saccade.ledger": sealed._labels.digest()}
        export.write(sealed, tuple(o.name for o in outputs), given, file, notes)
        info = {
            "network": run.recipe.network,
            "parameters": networks.parameters(sealed.network),
            "opset": export.OPSET,
            "exporter": f"torch {torch.__version__}, dynamo",
            "calibration": record["calibration"],
        }
        return Graph(file, (given,), outputs, {"image": probe}, export.run(sealed, probe), info)

    def outputs(self, run: Run, images_NHWC: Array) -> Mapping[str, Array]:
        return export.run(_open_sealed(run)[0], images_NHWC)

    def explain(self, run: Run, images_NHWC: Array, class_ids_N: Array) -> Array:
        """Grad-CAM of the best weights. Raises TrainingError when the network ends without a feature map."""
        sealed, task, _ = _open_sealed(run)
        half = torch_half(task)
        ids = torch.from_numpy(np.asarray(class_ids_N, np.int64))
        images = as_float(torch.from_numpy(images_NHWC.copy()))
        place = half.explained(sealed.network.head) if hasattr(half, "explained") else None
        return gradcam(sealed.network, images, lambda raw, rows: half.evidence(half.named(raw), ids[rows]), place=place)


def _too_short(recipe: Recipe, epochs: int) -> Iterator[Note]:
    """A word to those whose budget ended before the network could learn."""
    if recipe.budget and not recipe.smoke and epochs < FEW:
        yield Note(
            f"the budget of {recipe.budget:.0f} s held {epochs} passes over the training images, and a network that "
            f"learns from scratch wants {FEW} or more: give it more time before you judge it"
        )


def _progress(s: Session, total: int) -> float:
    """Share of the schedule done: by the clock under a budget, else by steps."""
    if s.recipe.budget:
        return s.elapsed / max(0.1, s.recipe.budget - s.reserve)
    return s.step / total


def _eta(s: Session, total: int, began: float, per_step: int, speed: float) -> float:
    if s.recipe.budget:
        return max(0.0, s.recipe.budget - (time.monotonic() - began))
    return (total - s.step) * per_step / max(speed, 1e-9)


def _save(run: Run, s: Session) -> None:
    parts: dict[str, Mapping[str, Tensor]] = {
        "network": s.network.state_dict(),
        "optimizer": checkpoints.optimizer_part(s.optimizer),
    }
    record: dict[str, Any] = {
        "moving": {k: getattr(s, k) for k in Session.MOVING},
        "labels": s.labels.digest(),
        "recipe": asdict(s.recipe),
    }
    if s.average is not None:
        parts["average"] = s.average.state
        record["average_steps"] = s.average.steps
    checkpoints.write(run, checkpoints.last(run), parts, record)
    s.saved_at = time.monotonic()


def _resume(run: Run, s: Session) -> None:
    found = checkpoints.read(checkpoints.last(run))
    if found.record["labels"] != s.labels.digest():
        raise TrainingError("the dataset's classes changed since this run began", hint="resume with the same data")
    changed = s.recipe.different(Recipe().replace_from(found.record["recipe"]))
    if changed:
        raise TrainingError(
            f"recipe.toml changed since this run began: {', '.join(changed)}",
            hint="put back what was there to continue this run, or start a new one",
        )
    s.network.load_state_dict(found.part("network"))
    checkpoints.fill_optimizer(s.optimizer, found.part("optimizer"))
    if s.average is not None:
        for name, value in found.part("average").items():
            s.average.state[name].copy_(value)
        s.average.steps = int(found.record["average_steps"])
    for name, value in found.record["moving"].items():
        setattr(s, name, value)
    run.forget_after(s.step)


def _write_contact_sheet(run: Run, s: Session, train: Pack, augment: Augment) -> None:
    """The first batch as the network will see it, so that wrong augmentation is seen before an hour is spent."""
    places = order(len(train), s.recipe.seed, 0)[: min(16, int(s.recipe.batch))]
    pixels, targets = train.take(places, s.device)
    seed = mixed(s.recipe.seed, 0, 0)
    soft = s.half.soft_targets(targets, s.labels)
    images, soft = augment.mix(*augment(pixels, soft, seed), seed)
    pictures = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    captions = s.half.captions(soft, s.labels)
    sheet = contact_sheet(list(pictures), captions)
    run.write(run.samples / "first_batch.png", to_png(sheet))


def _open_sealed(run: Run) -> tuple[export.Sealed, Task, Mapping[str, Any]]:
    found = checkpoints.read(checkpoints.best(run))
    labels = Labels.from_json(found.record["labels"])
    task = tasks.find(found.record["task"])
    half = torch_half(task)
    spec = run.preprocess
    network, _ = build(run.recipe, half, labels, spec.width, spec.height, "none")
    network.load_state_dict(found.part("network"))
    return export.Sealed(network, half, labels, found.record["calibration"]), task, found.record


trainer = TorchTrainer
