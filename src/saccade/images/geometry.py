"""The way back: boxes and masks from network input to the original picture."""

import cv2
import numpy as np

from saccade.images.preprocess import Placement
from saccade.types import Array


def boxes_to_original(boxes_N4: Array, placement: Placement) -> Array:
    """x_min y_min x_max y_max in input px to px of the upright original, clipped to it. float32 [N, 4]."""
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    shift = np.array([placement.shift_x, placement.shift_y] * 2, np.float32)
    back = (boxes_N4.astype(np.float32) - shift) / scale
    limit = np.array([placement.width, placement.height] * 2, np.float32)
    return np.asarray(np.clip(back, 0, limit))


def boxes_to_input(boxes_N4: Array, placement: Placement) -> Array:
    """The inverse of boxes_to_original, without clipping."""
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    shift = np.array([placement.shift_x, placement.shift_y] * 2, np.float32)
    return np.asarray(boxes_N4.astype(np.float32) * scale + shift)


def mask_to_original(mask_HW: Array, placement: Placement, outside: int = 0) -> Array:
    """A mask of class ids in input px to the original's size, nearest neighbour; `outside` where nothing was seen."""
    matrix = np.array(
        [
            [placement.scale_x, 0, placement.shift_x + 0.5 * placement.scale_x - 0.5],
            [0, placement.scale_y, placement.shift_y + 0.5 * placement.scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    size = (placement.width, placement.height)
    return np.asarray(cv2.warpAffine(mask_HW, matrix, size, flags=flags, borderValue=outside))


def mask_to_input(mask_HW: Array, placement: Placement, width: int, height: int, outside: int = 0) -> Array:
    """A mask of class ids over the original to `width` x `height` input px, nearest neighbour."""
    matrix = np.array(
        [
            [1 / placement.scale_x, 0, (0.5 - placement.shift_x) / placement.scale_x - 0.5],
            [0, 1 / placement.scale_y, (0.5 - placement.shift_y) / placement.scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask_HW, matrix, (width, height), flags=flags, borderValue=outside))


def iou_matrix(boxes_N4: Array, others_M4: Array) -> Array:
    """Intersection over union of every pair, float64 [N, M]; a box that ends before it begins has no area."""
    return iou_pairs(np.asarray(boxes_N4)[:, None], np.asarray(others_M4)[None])


def iou_pairs(boxes: Array, others: Array, crowd: Array | None = None) -> Array:
    """The same of boxes [..., 4] that broadcast; where `crowd`, over the area of `boxes` alone,
    as pycocotools has it."""
    a, b = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    both = np.where((width > 0) & (height > 0), width * height, 0.0)
    own = area(a)
    either = own + area(b) - both
    either = either if crowd is None else np.where(crowd, own, either)
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def area(boxes: Array) -> Array:
    """px² of boxes [..., 4]; 0 for one that ends before it begins."""
    return np.asarray(np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0))
