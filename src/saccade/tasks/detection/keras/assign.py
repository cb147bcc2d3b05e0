"""Which grid point learns which box, as in `torch/assign.py`. Boxes [N, M, 4] in input px; classes int64 [N, M],
negative: no object."""

from dataclasses import dataclass
from typing import Any

from saccade.tasks.detection.keras.boxes import iou
from saccade.tasks.detection.plan import ALPHA, BETA, LEVEL_SPAN, NEAREST, REACH
from saccade.tasks.keras import tf


@dataclass(frozen=True)
class Assignment:
    """For every point: `owner` int64 [N, A], the place of its box among the M; `positive` bool [N, A];
    `quality` float32 [N, A] in 0..1, what its class score should become."""

    owner: Any
    positive: Any
    quality: Any


def task_aligned(scores: Any, guesses: Any, points: Any, boxes: Any, classes: Any) -> Assignment:
    """The NEAREST points of each box by score**ALPHA * IoU**BETA among those inside it (arXiv:2108.07755).

    scores: [N, A, C] in 0..1; guesses: [N, A, 4]; points: [A, 3]. M is 1 at least. A point wanted by several boxes goes
    to the one it overlaps most. Quality is the metric, scaled so that the best point of a box gets the box's best IoU.
    A box narrower than the finest grid still owns the points within REACH of that grid's stride around its centre.
    """
    real = classes >= 0
    overlaps = iou(boxes[:, :, None], guesses[:, None])
    chance = tf.gather(tf.transpose(scores, [0, 2, 1]), tf.maximum(classes, 0), batch_dims=1)
    metric = tf.pow(chance, ALPHA) * tf.pow(overlaps, BETA)
    inside = _inside(points, boxes) & real[:, :, None]
    # A guess that overlaps nothing yet still leaves the points nearest to the centre first.
    ranking = tf.where(inside, metric + 1e-9 * _nearness(points, boxes), -1.0)
    count = tf.minimum(NEAREST, tf.shape(metric)[2])
    best = tf.math.top_k(ranking, count)
    hit = tf.one_hot(best.indices, tf.shape(metric)[2]) * tf.cast(best.values >= 0, tf.float32)[..., None]
    chosen = tf.reduce_max(hit, 2) > 0
    rival = tf.where(chosen, overlaps, -1.0)
    owner = tf.argmax(rival, 1)
    positive = tf.reduce_any(chosen, 1)
    mine = tf.transpose(tf.one_hot(owner, tf.shape(boxes)[1]), [0, 2, 1]) * tf.cast(positive, tf.float32)[:, None]
    metric = metric * mine
    best_iou = tf.reduce_max(overlaps * mine, 2, keepdims=True)
    scaled = metric / tf.maximum(tf.reduce_max(metric, 2, keepdims=True), 1e-30) * best_iou
    return Assignment(owner, positive, tf.reduce_sum(scaled * mine, 1))


def _inside(points: Any, boxes: Any) -> Any:
    """bool [N, M, A]: the point lies in the box, or as near to its centre as the finest grid is wide."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = tf.maximum((boxes[..., 2:] - boxes[..., :2]) / 2, REACH * tf.reduce_min(points[:, 2]))
    away = tf.abs(points[:, :2] - centre[:, :, None])
    return tf.reduce_all(away < half[:, :, None], -1)


def _nearness(points: Any, boxes: Any) -> Any:
    """1 at a box's centre, falling with the distance in box sizes, float32 [N, M, A]."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    side = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)
    away = (points[:, :2] - centre[:, :, None]) / side[:, :, None]
    return 1 / (1 + tf.reduce_sum(tf.square(away), -1))


def heat(points: Any, boxes: Any, classes: Any) -> Any:
    """A Gaussian of a sixth of the box's sides around its centre, float32 [N, M, A]: 1 at the cell that holds the
    centre, 0 on levels that do not answer for a box of this size (LEVEL_SPAN)."""
    stride = points[:, 2]
    side = boxes[..., 2:] - boxes[..., :2]
    longer = tf.reduce_max(side, -1)[..., None]
    finest, coarsest = tf.reduce_min(stride), tf.reduce_max(stride)
    here = (longer <= LEVEL_SPAN * stride) | (stride == coarsest)
    here &= (longer > LEVEL_SPAN / 2 * stride) | (stride == finest)
    here &= (classes >= 0)[..., None]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    away = points[:, :2] - centre[:, :, None]
    spread = tf.maximum(side[:, :, None] / 6, stride[:, None] / 3)
    warmth = tf.exp(-tf.reduce_sum(tf.square(away / spread), -1) / 2)
    peak = tf.reduce_all(tf.abs(away) <= stride[:, None] / 2, -1)
    # A centre on the border of two cells belongs to the first one alone.
    counts = tf.cumsum(tf.cast(peak, tf.int32), -1) - tf.cumsum(tf.cast(peak & ~here, tf.int32), -1)
    first = peak & (counts == 1)
    return tf.where(first & here, 1.0, tf.minimum(warmth, 0.99)) * tf.cast(here, tf.float32)
