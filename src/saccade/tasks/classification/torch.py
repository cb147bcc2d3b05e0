"""The learning half of classification in PyTorch: head, loss, tail and the number watched while training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.tasks.classification import learning
from saccade.tasks.classification.learning import FEATURES, answers, class_weights, losses, prefer, watch
from saccade.types import Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "head", "keep", "loss", "losses", "named", "prefer",
    "soft_targets", "tail", "watch",
]  # fmt: skip


def head(features: int, labels: Labels, options: Mapping[str, Any]) -> nn.Module:
    """Pooled features [N, F] to logits [N, C]."""
    return nn.Linear(features, len(labels))


def keep(named: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels) -> Mapping[str, Tensor]:
    """What validation keeps of a batch: the logits."""
    return named


def named(raw: Tensor) -> dict[str, Tensor]:
    """What the network gave, under the names calibrate and tail know."""
    return {"logits": raw}


def soft_targets(targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Targets as float32 [N, C] rows that can be mixed; int64 ids [N] become one-hot rows."""
    target = targets["target"]
    if target.dtype == torch.int64 and target.ndim == 1:
        target = F.one_hot(target, len(labels))
    return {"target": target.float()}


def loss(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels, options: Mapping[str, Any]
) -> Tensor:
    """One number to make small.

    targets: soft rows [N, C]. options: loss ("cross_entropy", "bce", "focal", "mse"), smoothing, focal_gamma,
    class_weights (float32 [C] or None). Focal follows arXiv:1708.02002, on softmax for exclusive classes and on
    sigmoids otherwise.
    """
    logits, rows = outputs["logits"].float(), targets["target"]
    kind, smoothing, weights = options["loss"], float(options["smoothing"]), options.get("class_weights")
    if smoothing:
        rest = 1.0 / len(labels) if labels.exclusive else 0.5
        rows = rows * (1 - smoothing) + smoothing * rest
    if kind == "cross_entropy":
        return F.cross_entropy(logits, rows, weight=weights)
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, rows, weight=weights) * (
            len(labels) if labels.exclusive else 1
        )
    if kind == "mse":
        error = (_probabilities(logits, labels) - rows).square()
        return (error * weights if weights is not None else error).mean()
    gamma = float(options["focal_gamma"])
    if labels.exclusive:
        logs = F.log_softmax(logits, 1)
        terms = -rows * (1 - logs.exp()).pow(gamma) * logs
    else:
        plain = F.binary_cross_entropy_with_logits(logits, rows, reduction="none")
        chance = torch.sigmoid(logits)
        missed = rows * (1 - chance) + (1 - rows) * chance
        terms = missed.pow(gamma) * plain
    terms = terms * weights if weights is not None else terms
    return terms.sum(1).mean()


def tail(outputs: Mapping[str, Tensor], calibration: Mapping[str, float], labels: Labels) -> dict[str, Tensor]:
    """Raw outputs to the sealed graph's: `scores` float32 [N, C], with the calibrated temperature inside."""
    logits = outputs["logits"].float() / float(calibration.get("temperature", 1.0))
    return {"scores": _probabilities(logits, labels)}


def evidence(outputs: Mapping[str, Tensor], class_id: Tensor) -> Tensor:
    """The logit of the class asked for in each row, [N]: what Grad-CAM differentiates. class_id: int64 [N]."""
    return outputs["logits"].gather(1, class_id[:, None])[:, 0]


def _probabilities(logits: Tensor, labels: Labels) -> Tensor:
    return logits.softmax(1) if labels.exclusive else logits.sigmoid()


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """What a soft row says, for a contact sheet."""
    return learning.captions(targets["target"].cpu().numpy(), labels)
