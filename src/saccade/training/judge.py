"""How a network is judged while it learns: which weights are kept, and how they are calibrated."""

import time
from collections.abc import Mapping

import numpy as np

from saccade.training import checkpoints
from saccade.training.events import Epoch
from saccade.training.learner import Learner, Moving
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Array


def validate_every(recipe: Recipe, train: int, val: int) -> int:
    """Epochs between validations. From counts, not from a clock, so that a resumed run validates at the same steps."""
    cost = val / (3.0 * train)
    return max(1, int(np.ceil(cost / recipe.validation_share)))


def validate(run: Run, learner: Learner, speed: float) -> Epoch:
    """Keeps these weights unless they are worse than the best ever by more than one standard error.

    On small validation splits the highest score is mostly luck, and later weights are better schooled.
    """
    s = learner.s
    start = time.monotonic()
    weights = learner.weights()
    kept, val_loss = learner.look(weights, exact=False)
    s.watched, metric, error = s.half.watch(kept, learner.val_targets, s.labels)
    error = error if np.isfinite(error) else 0.0
    s.stale = 0 if metric > s.ever else s.stale + 1
    s.ever = max(s.ever, metric)
    good = metric >= s.ever - error
    loss = s.loss_sum / max(1, s.loss_steps)
    s.loss_sum, s.loss_steps = 0.0, 0
    if good:
        s.kept = metric
        checkpoints.write(run, checkpoints.best(run), {"network": weights}, _record(s))
    # What comes last is one more validation and the calibration, which is slower where this one was in bfloat16.
    s.reserve = (2.2 if s.recipe.precision == "float32" else 3.0) * (time.monotonic() - start)
    return Epoch(s.epoch, s.step, loss, val_loss, s.watched, metric, good, s.now, speed, s.elapsed)


def _record(s: Moving) -> dict[str, object]:
    return {
        "task": s.task.name,
        "labels": s.labels.to_json(),
        "network": s.recipe.network,
        "step": s.step,
        "metric": s.kept,
        "calibration": {},
    }


def calibrate(run: Run, learner: Learner) -> dict[str, float]:
    """Fits the tail's constants on the best weights in float32, and writes them beside these weights."""
    s = learner.s
    found = checkpoints.read(checkpoints.best(run))
    weights: Mapping[str, Array] = found.part("network")
    kept, _ = learner.look(weights, exact=True)
    calibration = dict(s.task.calibrate(kept, learner.val_targets, s.labels))
    record = {**found.record, "calibration": calibration}
    record.pop("format")
    checkpoints.write(run, checkpoints.best(run), {"network": weights}, record)
    return calibration
