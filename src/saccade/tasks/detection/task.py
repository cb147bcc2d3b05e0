"""Detection: where are the things, and what are they? A box, a class and a score for each."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.errors import InferenceError
from saccade.images import decode, draw, fonts
from saccade.images.geometry import boxes_to_original, iou_matrix
from saccade.images.preprocess import Placement
from saccade.tasks.detection.score import BoxScorer, best_thresholds
from saccade.tasks.detection.truth import flags, truth
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Image, Labels, Prediction, Sample, TensorSpec

MOST = 100
"""Answers an image has at most, as the COCO metrics count them."""
SUPPRESSED = 0.6
"""A graph of ours keeps the better of two answers of one class with a higher IoU."""
OVERLAP = 0.65
"""Of any graph's answers two of one class with a higher IoU are one."""
TWIN = 2e-3
"""So near SUPPRESSED it is rounding that decides whether the worse of two answers stays."""
FAINT = 0.02
"""Below this score it is rounding that decides whether an answer is one, and which of its twins it is."""
IGNORED = -2
"""The class of a region in the targets that is neither object nor background."""


class Detection(Task):
    """Targets: `boxes` float32 [K, 4] and `box_classes` int64 [K], padded with -1. Sealed: `boxes` float32 [N, K, 4] in
    input px, `scores` float32 [N, K], `class_ids` int64 [N, K], best first, padded with score 0."""

    name = "detection"
    needs = ("boxes", "box_classes")
    padding: Mapping[str, float] = {"boxes": 0, "box_classes": -1}

    def outputs(self, labels: Labels) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec("boxes", "float32", (None, MOST, 4)),
            TensorSpec("scores", "float32", (None, MOST)),
            TensorSpec("class_ids", "int64", (None, MOST)),
        )

    def encode(self, sample: Sample, labels: Labels) -> dict[str, Array]:
        """Boxes in pixels of the upright original; crowds and difficult objects become regions of class IGNORED.

        Raises DataError when boxes are missing, not finite, without area, or of a class beyond the ledger.
        """
        boxes, classes = truth(sample, labels)
        aside = flags(sample, "box_crowd", len(boxes)) | flags(sample, "box_difficult", len(boxes))
        return {"boxes": boxes, "box_classes": np.where(aside, IGNORED, classes)}

    def calibrate(self, outputs: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> dict[str, float]:
        """From validation answers (`boxes` [N, K, 4], `scores`, `class_ids`) the score with the best F1 of each class,
        under `threshold.<id>`. A class with few objects, with none, or that was never found gets the median of the
        others; where no class was found there are none."""
        found = best_thresholds(outputs, targets, len(labels))
        return {f"threshold.{i}": value for i, value in enumerate(found) if value is not None}

    def thresholds(self, calibration: Mapping[str, float], labels: Labels) -> dict[str, float]:
        """The score by class name from which an answer is shown when the caller names none."""
        named = {labels.names[i]: calibration.get(f"threshold.{i}") for i in range(len(labels))}
        return {name: value for name, value in named.items() if value is not None}

    def decode(self, outputs: Mapping[str, Array], placements: Sequence[Placement], labels: Labels) -> list[Prediction]:
        """Boxes in pixels of the originals, best first. What lies outside the picture, has score 0, or repeats a better
        answer of its class (a graph without suppression) is left out."""
        boxes, scores, ids = (np.asarray(outputs[k]) for k in ("boxes", "scores", "class_ids"))
        rows = len(placements)
        if boxes.shape != (*scores.shape, 4) or scores.shape != ids.shape or scores.ndim != 2 or len(scores) != rows:
            raise InferenceError(
                f"boxes {list(boxes.shape)}, scores {list(scores.shape)} and class_ids {list(ids.shape)} do not fit "
                f"each other and {rows} images",
                code="model_does_not_fit",
            )
        return [self._row(*row, len(labels)) for row in zip(boxes, scores, ids, placements, strict=True)]

    def _row(self, boxes: Array, scores: Array, ids: Array, placement: Placement, classes: int) -> Prediction:
        real = np.flatnonzero(scores > 0)
        if np.any((ids[real] < 0) | (ids[real] >= classes)):
            raise InferenceError(f"the graph names classes beyond the {classes} known", code="model_does_not_fit")
        order = real[np.argsort(-scores[real], kind="stable")]
        order = order[survivors(boxes[order], ids[order], OVERLAP)]
        placed = boxes_to_original(boxes[order], placement)
        sound = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
        kept = order[sound][:MOST]
        return Prediction(
            placement.width,
            placement.height,
            class_ids=ids[kept].astype(np.int64),
            scores=scores[kept].astype(np.float32),
            boxes=placed[sound][:MOST],
        )

    def evidence(self, outputs: Mapping[str, Array], class_id: int) -> Array:
        """The best score of the class; 0 where it is not found."""
        scores, ids = np.asarray(outputs["scores"]), np.asarray(outputs["class_ids"])
        return np.asarray(np.where(ids == class_id, scores, 0.0).max(1, initial=0.0))

    def scorer(self, labels: Labels) -> Scorer:
        return BoxScorer(self, labels)

    def truth(self, sample: Sample, labels: Labels) -> Prediction:
        """The boxes of the sample with a score of 1, or of 0 where nothing is asked (crowds and difficult objects)."""
        boxes, classes = truth(sample, labels)
        aside = flags(sample, "box_crowd", len(boxes)) | flags(sample, "box_difficult", len(boxes))
        if isinstance(sample.image, np.ndarray):
            height, width = sample.image.shape[:2]
        else:
            header = decode.inspect(sample.image)
            width, height = header.width, header.height
        return Prediction(width, height, classes, 1 - aside.astype(np.float32), boxes)

    def draw(self, image: Image, prediction: Prediction, labels: Labels) -> Image:
        """The picture with every answer's box, class and score."""
        if prediction.boxes is None or prediction.class_ids is None or prediction.scores is None:
            raise InferenceError(f"a {self.name} answer has boxes, class_ids and scores")
        return draw.boxes(image, prediction.boxes, fonts.names(labels.names), prediction.scores, prediction.class_ids)

    def difference(self, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
        """The largest gap between answers that belong together, whatever their order: of scores, or 1 - IoU, which
        counts whole from a score of 0.5 on: what is hardly believed may lie anywhere, for it could as well be missing.

        An answer without a partner counts its own score, less what could come or go by rounding: FAINT, or the lowest
        score of the other side where that one is full.
        """
        rows = zip(*(np.asarray(side[k]) for side in (theirs, ours) for k in ("boxes", "scores", "class_ids")),
                   strict=True)  # fmt: skip
        return max((_gap(row[:3], row[3:]) for row in rows), default=0.0)


def _gap(theirs: Sequence[Array], ours: Sequence[Array]) -> float:
    overlaps = iou_matrix(theirs[0], ours[0]) * (theirs[2][:, None] == ours[2][None])
    overlaps *= (theirs[1][:, None] > 0) & (ours[1][None] > 0)
    alone = [set(np.flatnonzero(side[1] > 0).tolist()) for side in (theirs, ours)]
    worst = 0.0
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        i, j = divmod(int(flat), overlaps.shape[1])
        if overlaps[i, j] < 0.5:
            break
        if i in alone[0] and j in alone[1]:
            alone[0].remove(i)
            alone[1].remove(j)
            first, second = float(theirs[1][i]), float(ours[1][j])
            if (believed := max(first, second)) >= FAINT:
                weight = min(1.0, 2 * believed)
                worst = max(worst, weight * (1 - float(overlaps[i, j])), abs(first - second))
    for mine, left, other in ((theirs, alone[0], ours), (ours, alone[1], theirs)):
        floor = max(FAINT, float(other[1].min(initial=1.0)))
        worst = max([worst, *(float(mine[1][i]) - floor for i in left if not _twin(i, mine, other))])
    return worst


def _twin(i: int, mine: Sequence[Array], other: Sequence[Array]) -> bool:
    """Whether rounding alone decides if an answer stays: a better one of its class on the other side lies as near as
    TWIN to the overlap at which the worse one goes."""
    better = (other[2] == mine[2][i]) & (other[1] >= mine[1][i] - TWIN)
    near = iou_matrix(mine[0][i : i + 1], other[0])[0]
    return bool((better & (np.abs(near - SUPPRESSED) <= TWIN)).any())


def survivors(boxes_N4: Array, class_ids_N: Array, overlap: float) -> Array:
    """bool [N] of boxes, best first, that no better survivor of their class overlaps by more than `overlap`."""
    near = (iou_matrix(boxes_N4, boxes_N4) > overlap) & (class_ids_N[:, None] == class_ids_N[None])
    near = np.triu(near, 1)
    stays = np.ones(len(boxes_N4), bool)
    for i in np.flatnonzero(near.any(1)):
        if stays[i]:
            stays &= ~near[i]
    return stays


task = Detection
