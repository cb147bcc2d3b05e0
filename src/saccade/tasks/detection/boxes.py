"""Overlaps of boxes in numpy, as pycocotools defines them."""

import numpy as np

from saccade.types import Array


def iou_matrix(boxes_N4: Array, others_M4: Array) -> Array:
    """Intersection over union of every pair, float64 [N, M]; a pair without area gives 0."""
    return iou_pairs(boxes_N4[:, None], others_M4[None])


def iou_pairs(boxes: Array, others: Array, crowd: Array | None = None) -> Array:
    """Intersection over union of boxes [..., 4] that broadcast, float64; where `crowd`, over the area of `boxes` alone."""
    a, b = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    both = np.where((width > 0) & (height > 0), width * height, 0.0)
    own = area(a)
    either = own + area(b) - both
    either = either if crowd is None else np.where(crowd, own, either)
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def area(boxes: Array) -> Array:
    """px² of boxes [..., 4]."""
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def survivors(boxes_N4: Array, class_ids_N: Array, overlap: float) -> Array:
    """bool [N] of boxes, best first, that no better survivor of their class overlaps by more than `overlap`."""
    near = (iou_matrix(boxes_N4, boxes_N4) > overlap) & (class_ids_N[:, None] == class_ids_N[None])
    near = np.triu(near, 1)
    stays = np.ones(len(boxes_N4), bool)
    for i in np.flatnonzero(near.any(1)):
        if stays[i]:
            stays &= ~near[i]
    return stays
