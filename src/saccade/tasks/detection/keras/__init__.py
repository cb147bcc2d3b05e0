"""The learning half of detection in Keras: the dense detector on any backbone's maps, its losses, its tail."""

from collections.abc import Mapping, Sequence
from typing import Any

from saccade.tasks.detection import learning
from saccade.tasks.detection.keras import loss as losses_of
from saccade.tasks.detection.keras.boxes import from_distances
from saccade.tasks.detection.keras.dense import Detector, distances
from saccade.tasks.detection.keras.suppress import best, finish
from saccade.tasks.detection.learning import CANDIDATES, FEATURES, answers, class_weights, losses, prefer, watch
from saccade.tasks.detection.plan import FLOOR
from saccade.tasks.detection.task import MOST, SUPPRESSED
from saccade.tasks.keras import tf
from saccade.types import Array, Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "finish", "head", "keep", "loss", "losses", "named",
    "prefer", "served", "settle", "soft_targets", "tail", "watch",
]  # fmt: skip


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> Any:
    """(channels, stride) of maps, finest first, to a detector on those from `options["finest"]` on."""
    return Detector(features, len(labels), int(options["finest"]))


def named(raw: tuple[Any, Any, Any]) -> dict[str, Any]:
    """logits [N, A, C], sides [N, A, 4 * BINS] and points [N, A, 3] (x, y, stride)."""
    return dict(zip(("logits", "sides", "points"), raw, strict=True))


def soft_targets(targets: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    """Boxes and their classes as they are: pictures with boxes are not blended."""
    return dict(targets)


def loss(outputs: Mapping[str, Any], targets: Mapping[str, Any], labels: Labels, options: Mapping[str, Any]) -> Any:
    """One number to make small. targets: boxes [N, M, 4] in px of the picture, box_classes [N, M]; -1: nothing, -2: a
    region that is neither object nor background. options: loss ("task_aligned", "centers"), focal_gamma,
    class_weights."""
    kind = losses_of.centers if options["loss"] == "centers" else losses_of.aligned
    return kind(outputs, targets, options)


def tail(outputs: Mapping[str, Any], calibration: Mapping[str, float], labels: Labels) -> dict[str, Any]:
    """The CANDIDATES points with the best score of any class: `candidates` [N, M, 4] in px of the
    picture, `chances` [N, C, M].

    What they become, `settle` does here and `finish` in a sealed graph.
    """
    logits, sides = tf.cast(outputs["logits"], tf.float32), tf.cast(outputs["sides"], tf.float32)
    count = min(CANDIDATES, logits.shape[1]) if logits.shape[1] else tf.minimum(CANDIDATES, tf.shape(logits)[1])
    places = tf.math.top_k(tf.reduce_max(logits, 2), count).indices
    scores = tf.sigmoid(tf.gather(logits, places, batch_dims=1))
    points = tf.gather(outputs["points"], places, batch_dims=1)
    boxes = from_distances(points[..., :2], distances(tf.gather(sides, places, batch_dims=1), points[..., 2]))
    return {"candidates": boxes, "chances": tf.transpose(scores, [0, 2, 1])}


def settle(found: Mapping[str, Array]) -> dict[str, Array]:
    """What `tail` gave to the task's outputs."""
    return best(found["candidates"], found["chances"])


def served(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same in TensorFlow's own operator, for a SavedModel."""
    boxes, scores, ids, _ = tf.image.combined_non_max_suppression(
        found["candidates"][:, :, None],
        tf.transpose(found["chances"], [0, 2, 1]),
        max_output_size_per_class=MOST,
        max_total_size=MOST,
        iou_threshold=SUPPRESSED,
        score_threshold=FLOOR,
        clip_boxes=False,
    )
    return {"boxes": boxes, "scores": scores, "class_ids": tf.cast(ids, tf.int64)}


def keep(named: Mapping[str, Any], targets: Mapping[str, Array], labels: Labels) -> dict[str, Array]:
    """Of a validation batch: the answers a sealed graph would give."""
    return settle({k: v.numpy() for k, v in tail(named, {}, labels).items()})


def evidence(outputs: Mapping[str, Any], class_id: Any) -> Any:
    """The best logit of the class asked for in each row, [N]: what Grad-CAM differentiates. class_id: int64 [N]."""
    return tf.reduce_max(tf.gather(outputs["logits"], class_id, axis=2, batch_dims=1), 1)


def captions(targets: Mapping[str, Any], labels: Labels) -> list[str]:
    """What an image holds, for a contact sheet: "RBC 12, WBC 1"."""
    return learning.captions(targets["box_classes"].numpy(), labels)
