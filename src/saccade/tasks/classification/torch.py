"""The learning half of classification in PyTorch: head, loss, tail and the number watched while training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.tasks import statistics
from saccade.tasks.statistics import Ranking
from saccade.types import Array, Labels

DRAWS = 60
"""Bootstrap draws behind the error of a watched number; it only decides which weights are kept."""

FEATURES = "pooled"
"""What the head wants of a backbone: one vector a picture."""


def losses(labels: Labels) -> tuple[str, ...]:
    """Losses that can be asked for; the first is taken when nobody asks."""
    first = ("cross_entropy", "bce") if labels.exclusive else ("bce",)
    return (*first, "focal", "mse")


def prefer(facts: Any, recipe: Any) -> Mapping[str, tuple[Any, str]]:
    """Nothing but the general table, which was made on this task."""
    return {}


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


def class_weights(targets: Mapping[str, Array], labels: Labels) -> Array:
    """Balanced weights float32 [C], mean 1: a class half as common weighs twice as much."""
    target = np.asarray(targets["target"])
    counts = np.bincount(target, minlength=len(labels)) if target.ndim == 1 else target.sum(0)
    weights = 1.0 / np.maximum(counts, 1)
    return np.asarray(weights * len(labels) / weights.sum(), np.float32)


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


def watch(outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> tuple[str, float, float]:
    """The number a run steers by, higher is better: its name, value and standard error.

    Accuracy for exclusive classes; else mean average precision over the classes that some images show and some do not,
    with its bootstrap error. Before thresholds are fitted, a ranking says more than any F1.
    """
    logits, target = np.asarray(outputs["logits"]), np.asarray(targets["target"])
    if labels.exclusive:
        right = float((logits.argmax(1) == target).mean())
        return "accuracy", right, float(np.sqrt(max(right * (1 - right), 1e-6) / len(target)))
    truth = target > 0.5
    rankings = [Ranking(logits[:, c], truth[:, c]) for c in np.flatnonzero(truth.any(0) & ~truth.all(0))]
    if not rankings:
        return "mean_average_precision", 0.0, 0.0
    value = float(np.mean([r.areas()[1] for r in rankings]))
    drawn = [np.mean([r.areas(w)[1] for r in rankings], 0) for w in statistics.resamples(len(truth), DRAWS)]
    return "mean_average_precision", value, float(np.nanstd(np.concatenate(drawn)))


def _probabilities(logits: Tensor, labels: Labels) -> Tensor:
    return logits.softmax(1) if labels.exclusive else logits.sigmoid()


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """What a soft row says, for a contact sheet: "glass" or "glass 60 % paper 40 %"."""
    lines = []
    for row in targets["target"].cpu():
        held = [(float(v), labels.names[i]) for i, v in enumerate(row) if v > 0.02]
        held.sort(reverse=True)
        plain = not labels.exclusive or len(held) == 1
        lines.append(", ".join(n for _, n in held) if plain else " ".join(f"{n} {100 * v:.0f} %" for v, n in held))
    return lines
