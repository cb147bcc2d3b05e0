"""Geometry of boxes on tensors in Keras: overlaps, and distances from grid points to sides, as in `torch/boxes.py`."""

import math
from typing import Any

from saccade.tasks.keras import tf

TINY = 1e-7


def area(boxes: Any) -> Any:
    """px² of boxes [..., 4]; a box turned inside out has none."""
    return tf.maximum(boxes[..., 2] - boxes[..., 0], 0) * tf.maximum(boxes[..., 3] - boxes[..., 1], 0)


def overlap(a: Any, b: Any) -> tuple[Any, Any]:
    """Intersection and union in px² of boxes [..., 4] that broadcast."""
    width = tf.maximum(tf.minimum(a[..., 2], b[..., 2]) - tf.maximum(a[..., 0], b[..., 0]), 0)
    height = tf.maximum(tf.minimum(a[..., 3], b[..., 3]) - tf.maximum(a[..., 1], b[..., 1]), 0)
    both = width * height
    return both, area(a) + area(b) - both


def iou(a: Any, b: Any) -> Any:
    """Intersection over union in 0..1; two empty boxes give 0."""
    both, either = overlap(a, b)
    return both / tf.maximum(either, TINY)


def giou(a: Any, b: Any) -> Any:
    """Generalised IoU in -1..1 (arXiv:1902.09630): IoU less the share of the hull that is in neither box."""
    both, either = overlap(a, b)
    hull = area(tf.concat([tf.minimum(a[..., :2], b[..., :2]), tf.maximum(a[..., 2:], b[..., 2:])], -1))
    return both / tf.maximum(either, TINY) - (hull - either) / tf.maximum(hull, TINY)


def ciou(a: Any, b: Any) -> Any:
    """Complete IoU (arXiv:1911.08287): IoU less the distance of the centres and the difference of the shapes."""
    both, either = overlap(a, b)
    found = both / tf.maximum(either, TINY)
    hull = tf.maximum(a[..., 2:], b[..., 2:]) - tf.minimum(a[..., :2], b[..., :2])
    apart = tf.reduce_sum(tf.square(a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]), -1) / 4
    side_a, side_b = (tf.maximum(x[..., 2:] - x[..., :2], TINY) for x in (a, b))
    turn = tf.atan(side_b[..., 0] / side_b[..., 1]) - tf.atan(side_a[..., 0] / side_a[..., 1])
    shape = (4 / math.pi**2) * tf.square(turn)
    weight = tf.stop_gradient(shape / (1 - found + shape + TINY))
    return found - apart / tf.maximum(tf.reduce_sum(tf.square(hull), -1), TINY) - weight * shape


def from_distances(points: Any, distances: Any) -> Any:
    """Boxes [..., 4] from points [..., 2] and their distances left, top, right, bottom in px."""
    return tf.concat([points - distances[..., :2], points + distances[..., 2:]], -1)


def to_distances(points: Any, boxes: Any) -> Any:
    """The inverse: how far each side lies from its point; negative when the point is outside."""
    return tf.concat([points - boxes[..., :2], boxes[..., 2:] - points], -1)
