"""What the detector makes small, as in `torch/loss.py`: class scores towards box quality, sides towards the boxes."""

from collections.abc import Mapping
from typing import Any

from saccade.tasks.detection.keras.assign import heat, task_aligned
from saccade.tasks.detection.keras.boxes import ciou, from_distances, giou, to_distances
from saccade.tasks.detection.keras.dense import distances
from saccade.tasks.detection.plan import BINS, BOX_WEIGHT, HOT, SIDE_WEIGHT
from saccade.tasks.keras import tf


def aligned(outputs: Mapping[str, Any], targets: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Task-aligned learning (arXiv:2108.07755) with quality focal and distribution focal loss (arXiv:2006.04388)."""
    logits, sides, points, boxes, classes = _given(outputs, targets)
    guesses = from_distances(points[:, :2], distances(sides, points[:, 2]))
    found = task_aligned(tf.sigmoid(logits), guesses, points, boxes, classes)
    owner, positive, quality = (tf.stop_gradient(v) for v in (found.owner, found.positive, found.quality))
    total = tf.maximum(tf.reduce_sum(quality), 1.0)
    ids = tf.gather(tf.maximum(classes, 0), owner, batch_dims=1)
    wanted = tf.one_hot(ids, logits.shape[-1]) * quality[:, :, None]
    miss = tf.pow(tf.abs(wanted - tf.sigmoid(logits)), float(options["focal_gamma"]))
    terms = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits) * miss
    by_class = _by_class(terms, positive, points, boxes, classes, options) / total
    return by_class + _sides_loss(sides, points, boxes, positive, owner, quality, options)


def centers(outputs: Mapping[str, Any], targets: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Heat around each box's centre with a penalty-reduced focal loss (arXiv:1904.07850); sides are learned where the
    heat is above HOT. The level of a box follows its size (arXiv:1904.01355)."""
    logits, sides, points, boxes, classes = _given(outputs, targets)
    found = heat(points, boxes, classes)
    ids = tf.one_hot(tf.maximum(classes, 0), logits.shape[-1])
    wanted = tf.reduce_max(found[..., None] * ids[:, :, None], 1)
    chance, gamma = tf.sigmoid(logits), float(options["focal_gamma"])
    peak = wanted >= 1
    terms = tf.where(
        peak,
        -tf.pow(1 - chance, gamma) * tf.math.log_sigmoid(logits),
        -tf.pow(1 - wanted, 4.0) * tf.pow(chance, gamma) * tf.math.log_sigmoid(-logits),
    )
    total = tf.maximum(tf.reduce_sum(tf.cast(peak, tf.float32)), 1)
    by_class = _by_class(terms, tf.reduce_any(peak, 2), points, boxes, classes, options) / total
    warmth, owner = tf.reduce_max(found, 1), tf.argmax(found, 1)
    return by_class + _sides_loss(sides, points, boxes, warmth > HOT, owner, warmth, options)


def _given(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    """In float32, with one box at least: none is a box of class -1."""
    logits, sides = (tf.cast(outputs[k], tf.float32) for k in ("logits", "sides"))
    boxes = tf.pad(tf.cast(targets["boxes"], tf.float32), [[0, 0], [0, 1], [0, 0]])
    classes = tf.pad(targets["box_classes"], [[0, 0], [0, 1]], constant_values=-1)
    return logits, sides, outputs["points"][0], boxes, classes


def _by_class(terms: Any, positive: Any, points: Any, boxes: Any, classes: Any, options: Mapping[str, Any]) -> Any:
    if options.get("class_weights") is not None:
        terms = terms * options["class_weights"]
    counted = positive | ~ignored(points, boxes, classes)
    return tf.reduce_sum(tf.reduce_sum(terms, 2) * tf.cast(counted, tf.float32))


def _sides_loss(
    sides: Any, points: Any, boxes: Any, chosen: Any, owner: Any, weight: Any, options: Mapping[str, Any]
) -> Any:
    """IoU and distribution loss of the points that own a box, each by its weight; 0 when there are none."""
    where = tf.where(chosen)
    place = tf.gather(points, where[:, 1])
    at, stride = place[:, :2], place[:, 2]
    mine = tf.gather_nd(sides, where)
    goal = tf.gather_nd(boxes, tf.stack([where[:, 0], tf.gather_nd(owner, where)], 1))
    weight = tf.gather_nd(weight, where)
    guesses = from_distances(at, distances(mine, stride))
    measure = ciou if options["box_loss"] == "ciou" else giou
    steps = to_distances(at, goal) / stride[:, None]
    split = tf.reshape(mine, [-1, 4, BINS])
    terms = BOX_WEIGHT * (1 - measure(guesses, goal)) + SIDE_WEIGHT * distribution(split, steps)
    return tf.reduce_sum(terms * weight) / tf.maximum(tf.reduce_sum(weight), 1e-3)


def distribution(logits: Any, steps: Any) -> Any:
    """Cross-entropy with the two bins around the true distance, [P], mean of four sides. steps: [P, 4] in strides."""
    steps = tf.clip_by_value(steps, 0.0, BINS - 1 - 1e-3)
    low = tf.floor(steps)
    share = steps - low
    logs = tf.nn.log_softmax(logits)
    place = tf.cast(low, tf.int32)
    left, right = (tf.gather(logs, place + i, axis=2, batch_dims=2) for i in (0, 1))
    return -tf.reduce_mean(left * (1 - share) + right * share, -1)


def ignored(points: Any, boxes: Any, classes: Any) -> Any:
    """bool [N, A]: the point lies in a region (class -2) that is neither object nor background."""
    x, y = points[:, 0], points[:, 1]
    regions = boxes * tf.cast(classes == -2, tf.float32)[..., None]
    inside = (x > regions[..., :1]) & (y > regions[..., 1:2]) & (x < regions[..., 2:3]) & (y < regions[..., 3:4])
    return tf.reduce_any(inside, 1)
