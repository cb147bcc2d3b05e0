"""THE preprocessing function, driven by the spec a package carries. Training-evaluation, evaluation and serving call it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from saccade.errors import PackageError
from saccade.images import decode
from saccade.limits import IMAGE_LIMITS, ImageLimits
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


def load(
    source: Path | bytes | Array, spec: PreprocessSpec, limits: ImageLimits = IMAGE_LIMITS
) -> tuple[Image, Placement]:
    """Decodes and preprocesses a picture: the one function of every path.

    source: a file, encoded bytes, or uint8 pixels [H, W] or [H, W, 3]. Returns uint8 [spec.height, spec.width, 3] and
    where the picture landed. Raises ImageError.
    """
    if isinstance(source, np.ndarray):
        pixels = decode.decode(source, limits=limits)
        return preprocess(pixels, spec)
    data = decode.read(source, limits)
    header = decode.inspect(data, limits)
    pixels = decode.decode(data, reduce=reduction(header, spec), limits=limits)
    return preprocess(pixels, spec, (header.width, header.height))


def reduction(header: decode.Header, spec: PreprocessSpec) -> int:
    """1, 2, 4 or 8: how far a JPEG may shrink while decoding, so that both sides keep `dct_margin` times the target."""
    if not spec.dct_scale or header.format != "jpeg":
        return 1
    for factor in (8, 4, 2):
        if (
            header.width >= factor * spec.dct_margin * spec.width
            and header.height >= factor * spec.dct_margin * spec.height
        ):
            return factor
    return 1


def preprocess(image: Image, spec: PreprocessSpec, original: tuple[int, int] | None = None) -> tuple[Image, Placement]:
    """Brings an upright RGB picture to the network's input.

    original: width and height in px before DCT-scaled decoding. Returns uint8 [spec.height, spec.width, 3] (channels in
    spec.color order) and the placement relative to the original.
    """
    height, width = image.shape[:2]
    full_width, full_height = original or (width, height)
    if spec.mode == "stretch":
        out = _resize(image, spec.width, spec.height, spec)
        place = Placement(full_width, full_height, spec.width / full_width, spec.height / full_height)
    elif spec.mode == "letterbox":
        scale = min(spec.width / full_width, spec.height / full_height)
        inner_w = max(1, min(spec.width, round(full_width * scale)))
        inner_h = max(1, min(spec.height, round(full_height * scale)))
        left, top = (spec.width - inner_w) // 2, (spec.height - inner_h) // 2
        out = np.full((spec.height, spec.width, 3), spec.fill, np.uint8)
        out[top : top + inner_h, left : left + inner_w] = _resize(image, inner_w, inner_h, spec)
        place = Placement(full_width, full_height, inner_w / full_width, inner_h / full_height, left, top)
    else:
        scale = max(spec.width / full_width, spec.height / full_height) * spec.crop_ratio
        outer_w = max(spec.width, round(full_width * scale))
        outer_h = max(spec.height, round(full_height * scale))
        left, top = (outer_w - spec.width) // 2, (outer_h - spec.height) // 2
        resized = _resize(image, outer_w, outer_h, spec)
        out = resized[top : top + spec.height, left : left + spec.width]
        place = Placement(full_width, full_height, outer_w / full_width, outer_h / full_height, -left, -top)
    if spec.color == "bgr":
        out = out[:, :, ::-1]
    return np.ascontiguousarray(out), place


def _resize(image: Image, width: int, height: int, spec: PreprocessSpec) -> Image:
    if image.shape[:2] == (height, width):
        return image
    kind = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[spec.interpolation]
    shrinks = width < image.shape[1] or height < image.shape[0]
    if spec.antialias and shrinks:
        # OpenCV's linear and cubic kernels do not widen when they shrink; averaging over areas does not alias.
        kind = cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
