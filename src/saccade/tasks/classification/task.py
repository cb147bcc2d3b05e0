"""Classification: which classes does this picture show? One (exclusive) or several (multi-label)."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.errors import DataError, InferenceError
from saccade.images import draw, fonts
from saccade.images.preprocess import Placement
from saccade.tasks import temperature
from saccade.tasks.classification.score import ClassScorer
from saccade.tasks.statistics import Ranking
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Image, Labels, Prediction, Sample, TensorSpec

SHOWN_FROM = "threshold "
"""What stands before a class name in the calibration of a package that gives several classes an image."""

ENOUGH = 5
"""Validation images with a class from which its threshold is fitted."""


class Classification(Task):
    """Targets: `target` int64 [] (exclusive) or float32 [C] multi-hot. Raw outputs: `logits`;
    sealed: `scores` [N, C]."""

    name = "classification"
    needs = ("classes",)

    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        return (TensorSpec("scores", "float32", (None, len(labels))),)

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """Raises DataError when the classes are missing, not in the ledger, or not exactly one where one is asked."""
        ids = sample.annotation.get("classes")
        if ids is None:
            raise DataError(f"{sample.key} has no classes", hint="label it, or leave it out")
        ids = np.asarray(ids)
        if ids.ndim != 1 or not (np.issubdtype(ids.dtype, np.integer) or ids.size == 0):
            raise DataError(f"{sample.key}: classes must be integers [K], got {ids.dtype} {list(ids.shape)}")
        strange = [int(i) for i in ids if not 0 <= i < len(labels)]
        if strange:
            raise DataError(f"{sample.key}: class id {strange[0]} is not in the ledger of {len(labels)} classes")
        if labels.exclusive:
            if ids.size != 1:
                raise DataError(
                    f"{sample.key} has {ids.size} classes, expected exactly one",
                    hint="read the dataset as multi-label if several classes may hold at once",
                )
            return {"target": np.asarray(ids[0], np.int64)}
        target = np.zeros(len(labels), np.float32)
        target[ids.astype(np.int64)] = 1.0
        return {"target": target}

    def thresholds(self, calibration: Mapping[str, float], labels: Labels) -> dict[str, float]:
        """Of each class of several an image, where F1 was best on the validation split; none where one class holds."""
        return {n: calibration[SHOWN_FROM + n] for n in labels.names if SHOWN_FROM + n in calibration}

    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """The temperature that suits `logits` best (tasks/temperature.py), and where several classes may hold the
        threshold of each. Raises DataError when logits are not finite or do not fit the targets."""
        logits = np.asarray(outputs["logits"], np.float64)
        target = np.asarray(targets["target"])
        if logits.ndim != 2 or len(logits) != len(target) or logits.shape[1] != len(labels) or not len(logits):
            raise DataError(f"expected logits [N, {len(labels)}] for {len(target)} targets, got {list(logits.shape)}")
        if not np.isfinite(logits).all():
            raise DataError("logits are not finite", hint="the network diverged; lower the learning rate")

        found_t = temperature.fit(logits, target)
        if labels.exclusive:
            return {"temperature": found_t}
        scores = 1.0 / (1.0 + np.exp(-logits / found_t))
        found = {SHOWN_FROM + n: threshold(scores[:, c], target[:, c] > 0.5) for c, n in enumerate(labels.names)}
        return {"temperature": found_t, **found}

    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        """All classes, best first; equal scores keep the order of the ledger."""
        scores = np.asarray(outputs["scores"])
        if scores.shape != (len(placements), len(labels)):
            raise InferenceError(
                f"scores have shape {list(scores.shape)}, expected [{len(placements)}, {len(labels)}]",
                code="model_does_not_fit",
            )
        orders = (-scores).argsort(axis=1, kind="stable")
        return [
            Prediction(p.width, p.height, class_ids=order.astype(np.int64), scores=row[order].astype(np.float32))
            for p, order, row in zip(placements, orders, scores, strict=True)
        ]

    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        """The score of the class."""
        return np.asarray(outputs["scores"][:, class_id])

    def scorer(self, labels: Labels) -> Scorer:
        return ClassScorer(self, labels)

    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image:
        """The picture with a bar for each of the five best classes."""
        if prediction.class_ids is None or prediction.scores is None:
            raise InferenceError(f"a {self.name} answer has class_ids and scores")
        best, names = prediction.class_ids[:5], fonts.names(labels.names)
        return draw.bars(image, [names[i] for i in best], [float(s) for s in prediction.scores[:5]])


def threshold(scores: Array, truth: Array) -> float:
    """Where answering yes gives the best F1: half way between the last score that is in and the next that is not.

    0.5 when fewer than ENOUGH images show the class, or all do: so few say nothing about others.
    """
    if not ENOUGH <= truth.sum() < len(truth):
        return 0.5
    last = Ranking(scores, truth).best_f1()[0]
    below = scores[scores < last]
    return float((last + below.max(initial=0.0)) / 2)


task = Classification
