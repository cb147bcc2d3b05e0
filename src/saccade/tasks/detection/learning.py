"""What the learning halves of detection share: losses by name, weights of classes, the number watched,
"auto" choices, captions."""

from collections.abc import Mapping

import numpy as np

from saccade.images import fonts
from saccade.tasks.detection import score
from saccade.tasks.detection.choices import prefer
from saccade.types import Array, Labels

__all__ = ["CANDIDATES", "FEATURES", "answers", "captions", "class_weights", "losses", "prefer", "watch"]

FEATURES = "maps"
CANDIDATES = 400
"""Points that go on to suppression."""


def losses(labels: Labels) -> tuple[str, ...]:
    """Every loss of the dense detector, the one nobody has to ask for first."""
    return ("task_aligned", "centers")


def answers(labels: Labels, width: int, height: int) -> None:
    """No network of another hand: loss and tail know this detector's grid."""
    return


def class_weights(targets: Mapping[str, Array], labels: Labels) -> Array:
    """Weights float32 [C], mean 1, by the square root of how rare a class's boxes are."""
    ids = np.asarray(targets["box_classes"])
    counts = np.bincount(ids[ids >= 0].ravel(), minlength=len(labels))
    weights = 1.0 / np.sqrt(np.maximum(counts, 1))
    return np.asarray(weights * len(labels) / weights.sum(), np.float32)


def watch(kept: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> tuple[str, float, float]:
    """The number a run steers by, higher is better: AP in px of the network's input, its value and standard error."""
    return ("ap", *score.watched(kept, targets, len(labels)))


def captions(box_classes_NK: Array, labels: Labels) -> list[str]:
    """What each image holds, for a contact sheet: "RBC 12, WBC 1"; in names that pictures can show."""
    names, lines = fonts.names(labels.names), []
    for ids in box_classes_NK:
        counts = np.bincount(ids[ids >= 0], minlength=len(labels))
        said = [f"{names[i]} {count}" for i, count in enumerate(counts) if count]
        lines.append(", ".join(said) or "nothing")
    return lines
