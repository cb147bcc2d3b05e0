"""The way back: points, boxes and masks from network input to the original picture."""

import cv2
import numpy as np

from saccade.images.preprocess import Placement
from saccade.types import Array


def points_to_original(points_N2: Array, placement: Placement) -> Array:
    """x, y in input px to px of the upright original, not clipped. Pixel edges are whole numbers. float64 [N, 2]."""
    scale, shift = _axes(placement)
    return np.asarray((points_N2 - shift) / scale)


def points_to_input(points_N2: Array, placement: Placement) -> Array:
    """The inverse of points_to_original."""
    scale, shift = _axes(placement)
    return np.asarray(points_N2 * scale + shift)


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
    ours, theirs = np.asarray(boxes_N4, np.float64), np.asarray(others_M4, np.float64)
    low, high = np.maximum(ours[:, None, :2], theirs[None, :, :2]), np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    areas, others = (np.maximum(b[:, 2:] - b[:, :2], 0).prod(1) for b in (ours, theirs))
    either = areas[:, None] + others[None] - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def _axes(placement: Placement) -> tuple[Array, Array]:
    return (
        np.array([placement.scale_x, placement.scale_y], np.float64),
        np.array([placement.shift_x, placement.shift_y], np.float64),
    )
