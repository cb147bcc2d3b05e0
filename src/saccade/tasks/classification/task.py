"""Which class, or which classes, a picture shows. numpy only.

Outputs of a sealed graph: `scores` float32 [N, C], softmax for exclusive classes, sigmoid otherwise, calibrated by
temperature (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.errors import DataError
from saccade.images import draw
from saccade.images.preprocess import Placement
from saccade.tasks.classification.scorer import ClassScorer
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Image, Labels, Prediction, Sample, TensorSpec


class Classification(Task):
    name = "classification"
    needs = ("classes",)

    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        return (TensorSpec("scores", "float32", (None, len(labels))),)

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """`target`: int64 [] for exclusive classes, else float32 [C] of zeros and ones."""
        classes = np.asarray(sample.annotation["classes"], np.int64)
        if classes.size and (classes.min() < 0 or classes.max() >= len(labels)):
            raise DataError(f"{sample.key} has class id {int(classes.max())}, the ledger ends at {len(labels) - 1}")
        if labels.exclusive:
            if classes.size != 1:
                raise DataError(f"{sample.key} has {classes.size} classes, exactly one was expected")
            return {"target": classes.reshape(())}
        target = np.zeros(len(labels), np.float32)
        target[classes] = 1
        return {"target": target}

    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """The temperature in 0.05..20 that makes the validation log-likelihood greatest (golden-section search)."""
        logits = np.asarray(outputs["logits"], np.float64)
        target = np.asarray(targets["target"])

        def cost(log_temperature: float) -> float:
            return _nll(logits / np.exp(log_temperature), target, labels.exclusive)

        low, high = np.log(0.05), np.log(20.0)
        ratio = (np.sqrt(5) - 1) / 2
        for _ in range(60):
            left, right = high - ratio * (high - low), low + ratio * (high - low)
            if cost(left) < cost(right):
                high = right
            else:
                low = left
        return {"temperature": float(np.exp((low + high) / 2))}

    def decode(
        self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels
    ) -> list[Prediction]:
        """All classes, best first; equal scores keep the ledger's order."""
        answers = []
        for scores, place in zip(outputs["scores"], placements, strict=True):
            order = np.argsort(-scores, kind="stable").astype(np.int64)
            answers.append(Prediction(place.width, place.height, order, scores[order].astype(np.float32)))
        return answers

    def scorer(self, labels: Labels) -> Scorer:
        return ClassScorer(self.name, labels)

    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image:
        assert prediction.class_ids is not None
        assert prediction.scores is not None
        best = prediction.class_ids[:5]
        return draw.bars(image, [labels.names[i] for i in best], [float(s) for s in prediction.scores[:5]])


def _nll(logits: Array, target: Array, exclusive: bool) -> float:
    if exclusive:
        shifted = logits - logits.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return float(-logs[np.arange(len(target)), target].mean())
    return float((np.logaddexp(0, logits) - target * logits).mean())


TASK = Classification()
