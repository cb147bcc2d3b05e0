"""The contract of a task: what is asked of an image, and how arrays become answers. Keepers: tasks/*/task.py, numpy only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from saccade.images.preprocess import Placement
from saccade.types import Array, Image, Labels, Prediction, Sample, Scorecard, TensorSpec


class Scorer(ABC):
    """Gathers predictions beside truths, then says how good they were."""

    @abstractmethod
    def add(self, prediction: Prediction, sample: Sample) -> None: ...

    @abstractmethod
    def card(self, split: str) -> Scorecard:
        """Headline first, 95 % bootstrap intervals on every headline number (seeded)."""


class Task(ABC):
    """name: as in manifests and on the wire. needs: annotation fields it learns from. output names: see ARCHITECTURE."""

    name: str
    needs: tuple[str, ...]

    @abstractmethod
    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        """What a sealed graph must give."""

    @abstractmethod
    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """Annotation to training targets (one sample). Raises DataError on an annotation that does not fit the ledger."""

    @abstractmethod
    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """From raw network outputs (`logits`...) on validation data to constants that the graph's tail will hold."""

    @abstractmethod
    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        """Graph outputs [N, ...] to answers in pixels of the originals."""

    @abstractmethod
    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        """From graph outputs [N, ...] to the scalar that speaks for a class, float [N], for explanations."""

    @abstractmethod
    def scorer(self, labels: Labels) -> Scorer: ...

    @abstractmethod
    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image: ...
