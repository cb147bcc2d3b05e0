"""The contract of a task: what is asked of an image, and how arrays become answers. Keepers:
tasks/*/task.py, numpy only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from saccade.images.preprocess import Placement
from saccade.types import Array, Image, Labels, Prediction, Sample, Scorecard, TensorSpec


class Scorer(ABC):
    """Gathers predictions beside truths, then says how good they were.

    thresholds: by class name the score from which an answer counts as given, as a package keeps them; set before `add`.
    """

    thresholds: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def add(self, prediction: Prediction, sample: Sample) -> None: ...

    @abstractmethod
    def card(self, split: str) -> Scorecard:
        """Headline first, 95 % bootstrap intervals on every headline number (seeded)."""


NOT_HAD = "pretrained weights could not be had"
"""Said of a network that was to begin with them and begins from scratch."""


class Task(ABC):
    """name: as in manifests and on the wire. needs: annotation fields it learns from. output names: see ARCHITECTURE.

    padding: targets whose first axis differs between samples, and what fills the shorter ones when they are stacked.
    extras: outputs a sealed graph gives besides where the recipe's knob of that name is on. Targets named `boxes` and
    `mask` are geometry: encode gives them in px of the original, the trainer places them over the network's input and
    moves them with the picture. The learning half beside task.py gives FEATURES, head, named, soft_targets,
    class_weights, losses, loss, keep, watch, tail, evidence, captions, prefer, answers (the shape a network of another
    hand must give, or None), and maybe whole; in Keras maybe settle, served and finish, where the tail ends outside
    TensorFlow. Where a task has extras, its tail takes their names as `extras`.
    """

    name: str
    needs: tuple[str, ...]
    padding: Mapping[str, float] = MappingProxyType({})
    extras: Mapping[str, TensorSpec] = MappingProxyType({})

    @abstractmethod
    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        """What a sealed graph must give."""

    @abstractmethod
    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """Annotation to training targets (one sample). Raises DataError on an annotation that
        does not fit the ledger."""

    @abstractmethod
    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """From what the half kept of validation data (`keep`) to constants that tail and thresholds rest on."""

    def thresholds(self, calibration: Mapping[str, float], labels: Labels) -> dict[str, float]:
        """By class name the score from which an answer is shown when the caller names none; empty: every answer is."""
        return {}

    def difference(self, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
        """How far the outputs of two runtimes on the same pictures lie apart: the largest absolute difference."""
        gaps = [np.abs(v.astype(np.float64) - ours[k].astype(np.float64)).max(initial=0.0) for k, v in theirs.items()]
        return float(max(gaps, default=0.0))

    @abstractmethod
    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        """Graph outputs [N, ...] to answers in pixels of the originals."""

    @abstractmethod
    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        """From graph outputs [N, ...] to the scalar that speaks for a class, float [N], for explanations."""

    @abstractmethod
    def scorer(self, labels: Labels) -> Scorer: ...

    def truth(self, sample: Sample, labels: Labels) -> Prediction | None:
        """The annotation as if it were an answer, to be drawn beside one; None where words say as much. A box that
        nobody is asked about has score 0."""
        return None

    @abstractmethod
    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image: ...
