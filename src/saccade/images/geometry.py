"""The way back: points, boxes and masks from network input to the original picture."""

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
