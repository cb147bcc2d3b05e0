"""Pixels as a graph from elsewhere wants them: colour order, numbers, layout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from saccade.types import Array

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Filling:
    """value = (pixel * scale - mean) / std, pixel 0 to 255, in this colour order (rgb, bgr, gray: 0.299 R + 0.587 G +
    0.114 B); mean and std have one number a channel. layout: NCHW or NHWC. dtype: numpy's name; whole numbers are
    rounded and clipped."""

    layout: str
    dtype: str
    color: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Filling":
        return cls(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"])})


def fill(images_NHWC: Array, how: Filling) -> Array:
    """uint8 [N, H, W, 3] RGB to [N, C, H, W] or [N, H, W, C] of how.dtype, contiguous."""
    values: Array = images_NHWC.astype(np.float32)
    if how.color == "gray":
        values = (values @ LUMA)[..., None]
    elif how.color == "bgr":
        values = values[..., ::-1]
    values = (values * np.float32(how.scale) - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    if how.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    if not how.dtype.startswith("float"):
        bounds = np.iinfo(how.dtype)
        values = np.clip(np.rint(values), bounds.min, bounds.max)
    return np.ascontiguousarray(values, how.dtype)
