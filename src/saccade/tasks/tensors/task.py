"""Tensors: a graph of which nobody said what it is asked. Its own inputs and outputs, as they are."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from saccade.errors import UsageError
from saccade.images.preprocess import Placement
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Image, Labels, Prediction, Sample, TensorSpec


class Tensors(Task):
    """No dataset has what it needs, so it is neither trained nor scored; its answers have no fields."""

    name = "tensors"
    needs = ("tensors",)

    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        return ()

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        self._refuse()

    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        self._refuse()

    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        return [Prediction(p.width, p.height) for p in placements]

    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        self._refuse()

    def scorer(self, labels: Labels) -> Scorer:
        self._refuse()

    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            "this model was imported without a task: it answers tensors only",
            hint="import it again with --task and --labels",
        )


task = Tensors
