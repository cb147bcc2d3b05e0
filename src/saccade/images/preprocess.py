"""THE preprocessing function, driven by the spec a package carries. Training-evaluation, evaluation and serving call it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from saccade.errors import PackageError
from saccade.types import Array, Image


@dataclass(frozen=True)
class PreprocessSpec:
    """How a picture becomes network input; travels in every manifest.

    width, height: network input in px. mode: "stretch", "center_crop" (short side to `crop_ratio`-enlarged size, then
    crop) or "letterbox". interpolation: "area", "bilinear", "bicubic". antialias: low-pass before shrinking.
    dct_scale: JPEGs may be decoded at 1/2, 1/4, 1/8 as long as both sides stay at least `dct_margin` times the target.
    """

    width: int
    height: int
    mode: Literal["stretch", "center_crop", "letterbox"] = "stretch"
    interpolation: Literal["area", "bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    crop_ratio: float = 1.0
    color: Literal["rgb", "bgr"] = "rgb"
    fill: int = 114
    dct_scale: bool = True
    dct_margin: float = 2.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "PreprocessSpec":
        try:
            return cls(**record)
        except TypeError as error:
            raise PackageError(f"preprocess spec does not fit this version: {error}") from error


@dataclass(frozen=True)
class Placement:
    """Where a picture landed in the network input: x_net = x * scale_x + shift_x, and the same for y.

    width, height: the upright original in px.
    """

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
