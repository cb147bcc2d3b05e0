"""How a network is judged while it learns: what validation sees, which weights are kept, and how they are calibrated."""

import contextlib
import copy
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from saccade.training.events import Epoch
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers.torch import checkpoints
from saccade.training.trainers.torch.augment import as_float
from saccade.training.trainers.torch.batches import Pack
from saccade.training.trainers.torch.session import Session, arithmetic


def validate_every(recipe: Recipe, train: int, val: int) -> int:
    """Epochs between validations. From counts, not from a clock, so that a resumed run validates at the same steps."""
    cost = val / (3.0 * train)
    return max(1, int(np.ceil(cost / recipe.validation_share)))


def look(s: Session, network: nn.Module, val: Pack, exact: bool) -> tuple[dict[str, Tensor], float]:
    """What the task keeps of a split, and the mean loss. exact: in float32, as the exported graph will be."""
    network.eval()
    pieces: list[dict[str, Tensor]] = []
    loss = 0.0
    options = {**s.options, "smoothing": 0.0}
    with torch.inference_mode():
        for places in torch.arange(len(val)).split(min(128, max(8, int(s.recipe.batch)))):
            pixels, targets = val.take(places, s.device)
            images = as_float(pixels)
            with contextlib.nullcontext() if exact else arithmetic(s):
                named = s.half.named(network(images))
            named = {k: v.float() for k, v in named.items()}
            soft = s.half.soft_targets(targets, s.labels)
            loss += float(s.half.loss(named, soft, s.labels, options)) * len(places) / len(val)
            pieces.append({k: v.cpu() for k, v in s.half.keep(named, targets, s.labels).items()})
    return {k: torch.cat([p[k] for p in pieces]) for k in pieces[0]}, loss


def steady(s: Session) -> nn.Module:
    """The network that is judged and kept: averaged weights when there are any."""
    if s.average is None:
        return s.network
    network = copy.deepcopy(s.network)
    network.load_state_dict(s.average.state)
    return network


def validate(run: Run, s: Session, val: Pack, speed: float) -> Epoch:
    """Keeps these weights unless they are worse than the best ever by more than one standard error.

    On small validation splits the highest score is mostly luck, and later weights are better schooled.
    """
    start = time.monotonic()
    network = steady(s)
    outputs, val_loss = look(s, network, val, exact=False)
    arrays = {k: v.numpy() for k, v in outputs.items()}
    name, metric, error = s.half.watch(arrays, {k: v.numpy() for k, v in val.targets.items()}, s.labels)
    s.watched = name
    s.stale = 0 if metric > s.ever else s.stale + 1
    s.ever = max(s.ever, metric)
    kept = metric >= s.ever - error
    loss = s.loss_sum / max(1, s.loss_steps)
    s.loss_sum, s.loss_steps = 0.0, 0
    if kept:
        s.kept = metric
        _keep(run, s, network, {})
    s.reserve = max(s.reserve, 3.0 * (time.monotonic() - start))
    rate = float(s.optimizer.param_groups[0]["lr"])
    return Epoch(s.epoch, s.step, loss, val_loss, name, metric, kept, rate, speed, s.elapsed)


def _keep(run: Run, s: Session, network: nn.Module, calibration: Mapping[str, float]) -> None:
    record = {
        "task": s.task.name,
        "labels": s.labels.to_json(),
        "network": s.recipe.network,
        "step": s.step,
        "metric": s.kept,
        "calibration": dict(calibration),
    }
    checkpoints.write(run, checkpoints.best(run), {"network": network.state_dict()}, record)


def calibrate(run: Run, s: Session, val: Pack) -> dict[str, float]:
    """Fits the tail's constants on the best weights in float32, and writes them beside these weights."""
    found = checkpoints.read(checkpoints.best(run))
    network = copy.deepcopy(s.network)
    network.load_state_dict(found.part("network"))
    outputs, _ = look(s, network, val, exact=True)
    targets = {k: v.numpy() for k, v in val.targets.items()}
    calibration = dict(s.task.calibrate({k: v.numpy() for k, v in outputs.items()}, targets, s.labels))
    record = {**found.record, "calibration": calibration}
    record.pop("format")
    checkpoints.write(run, checkpoints.best(run), {"network": network.state_dict()}, record)
    return calibration
