"""What the learning halves of classification share: losses by name, weights of classes, the number watched,
captions."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from saccade.images import fonts
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


def class_weights(targets: Mapping[str, Array], labels: Labels) -> Array:
    """Balanced weights float32 [C]: a class half as common weighs twice as much, one without pictures like the rarest.

    Their mean over the pictures is 1, so that the loss, and with it the step of plain gradient descent, keeps its size.
    """
    target = np.asarray(targets["target"])
    counts = np.asarray(np.bincount(target, minlength=len(labels)) if target.ndim == 1 else target.sum(0), np.float64)
    weights = 1.0 / np.maximum(counts, counts[counts > 0].min(initial=max(1.0, counts.max(initial=1.0))))
    return np.asarray(weights * counts.sum() / max(1e-12, float((weights * counts).sum())), np.float32)


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
    drawn = []
    for weights in statistics.resamples(len(truth), DRAWS):
        areas = np.array([r.areas(weights)[1] for r in rankings])
        known = np.isfinite(areas)  # a draw may hold no picture of a rare class
        drawn.append((np.where(known, areas, 0).sum(0) / np.maximum(known.sum(0), 1))[known.any(0)])
    spread = np.concatenate(drawn)
    return "mean_average_precision", value, float(spread.std()) if len(spread) else 0.0


def captions(rows_NC: Array, labels: Labels) -> list[str]:
    """What each soft row says, for a contact sheet: "glass" or "glass 60 % paper 40 %"; in names that pictures can
    show."""
    names, lines = fonts.names(labels.names), []
    for row in rows_NC:
        held = [(float(v), names[i]) for i, v in enumerate(row) if v > 0.02]
        held.sort(reverse=True)
        plain = not labels.exclusive or len(held) == 1
        lines.append(", ".join(n for _, n in held) if plain else " ".join(f"{n} {100 * v:.0f} %" for v, n in held))
    return lines


def answers(labels: Labels, width: int, height: int) -> tuple[int, ...]:
    """What a network of another hand must give for one picture, channels last: a raw score a class."""
    return (len(labels),)
