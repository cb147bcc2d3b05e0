"""THE preprocessing function, driven by the spec a package carries. Training, evaluation and serving call it."""

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

BEFORE = 2.0
"""`mean4_most` of packages that are older than the field."""
MODES = ("stretch", "center_crop", "letterbox")
MOST = 16
"""Of `crop_ratio`, `dct_margin` and `mean4_most`."""
NEWER = "install a newer saccade, or seal the package again"
_KERNELS = {
    "mean4": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}
INTERPOLATIONS = tuple(_KERNELS)


@dataclass(frozen=True)
class PreprocessSpec:
    """How a picture becomes network input; travels in every manifest.

    width, height: network input in px. mode: "stretch", "center_crop" (the largest centred window of the input's shape,
    its sides divided by `crop_ratio` >= 1; 256/224 is the usual 1.143) or "letterbox" (all of it, `fill` around).
    interpolation: "mean4" (each pixel the mean of four bilinear samples; "area" where a side shrinks by more than
    `mean4_most` times), "area", "bilinear", "bicubic". antialias: low-pass before shrinking. dct_scale: JPEGs may be
    decoded at 1/2, 1/4, 1/8 as long as both sides stay at least `dct_margin` times the target.
    """

    width: int
    height: int
    mode: Literal["stretch", "center_crop", "letterbox"] = "stretch"
    interpolation: Literal["mean4", "area", "bilinear", "bicubic"] = "mean4"
    antialias: bool = True
    crop_ratio: float = 1.0
    color: Literal["rgb", "bgr"] = "rgb"
    fill: int = 114
    dct_scale: bool = True
    dct_margin: float = 1.0
    mean4_most: float = 3.0

    def to_json(self) -> dict[str, Any]:
        """Without `mean4_most` where it says nothing, or what it says when it is not there."""
        record = asdict(self)
        if self.interpolation != "mean4" or self.mean4_most == BEFORE:
            del record["mean4_most"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "PreprocessSpec":
        try:
            spec = cls(**({"mean4_most": BEFORE} if record["interpolation"] == "mean4" else {}) | dict(record))
        except (TypeError, KeyError) as error:
            raise PackageError(f"preprocess spec does not fit this version: {error}", hint=NEWER) from error
        words: dict[str, tuple[Any, ...]] = {
            "mode": MODES, "interpolation": INTERPOLATIONS, "color": ("rgb", "bgr"),
            "antialias": (True, False), "dct_scale": (True, False),
        }  # fmt: skip
        for name, known in words.items():
            if (value := getattr(spec, name)) not in known or type(value) is not type(known[0]):
                said = ", ".join(map(str, known))
                raise PackageError(f"preprocess: {name} is one of {said}, got {value!r}", hint=NEWER)
        ratios = dict.fromkeys(("crop_ratio", "dct_margin", "mean4_most"), (1, MOST))
        for name, (low, high) in {**ratios, "fill": (0, 255)}.items():
            value = getattr(spec, name)
            if type(value) not in (int, float) or not low <= value <= high:
                raise PackageError(f"preprocess: {name} is a number from {low} to {high}, got {value!r}", hint=NEWER)
        return spec


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
        return preprocess(decode.decode(source, limits=limits), spec)
    data = decode.read(source, limits)
    return load_inspected(data, decode.inspect(data, limits), spec)


def load_inspected(data: bytes, header: decode.Header, spec: PreprocessSpec) -> tuple[Image, Placement]:
    """`load` of bytes whose header `decode.inspect` gave, which a large file need not be read for twice."""
    pixels = decode.pixels(data, header, reduction(header, spec))
    return preprocess(pixels, spec, (header.width, header.height))


def reduction(header: decode.Header, spec: PreprocessSpec) -> int:
    """1, 2, 4 or 8: how far a JPEG may shrink while decoding, so that both sides keep
    `dct_margin` times what is kept."""
    if not spec.dct_scale or header.format != "jpeg":
        return 1
    left, top, right, bottom = _window(header.width, header.height, spec)
    inner_width, inner_height, _, _ = _inner(header.width, header.height, spec)
    for factor in (8, 4, 2):
        room = factor * spec.dct_margin
        if right - left >= room * inner_width and bottom - top >= room * inner_height:
            return factor
    return 1


def preprocess(image: Image, spec: PreprocessSpec, original: tuple[int, int] | None = None) -> tuple[Image, Placement]:
    """Brings an upright RGB picture to the network's input.

    original: width and height in px before DCT-scaled decoding. Returns uint8 [spec.height, spec.width, 3] (channels in
    spec.color order), never the caller's own memory, and the placement relative to the original.
    """
    height, width = image.shape[:2]
    full_width, full_height = original or (width, height)
    left, top, right, bottom = _window(width, height, spec)
    inner_width, inner_height, x, y = _inner(full_width, full_height, spec)
    # Cropped before it is resized: a picture of 16,000 x 1 would otherwise grow to gigabytes.
    inner = _resize(image[top:bottom, left:right], inner_width, inner_height, spec)
    if (inner_width, inner_height) != (spec.width, spec.height):
        out = np.full((spec.height, spec.width, 3), spec.fill, np.uint8)
        out[y : y + inner_height, x : x + inner_width] = inner
    else:
        out = inner
    if spec.color == "bgr":
        out = out[:, :, ::-1]
    zoom_x, zoom_y = inner_width / (right - left), inner_height / (bottom - top)
    place = Placement(
        full_width,
        full_height,
        zoom_x * width / full_width,
        zoom_y * height / full_height,
        x - left * zoom_x,
        y - top * zoom_y,
    )
    return np.ascontiguousarray(out), place


def placement(width: int, height: int, spec: PreprocessSpec) -> Placement:
    """Where a picture of this upright size (px) lands, known without its pixels.

    The same as `preprocess` says, but for DCT-scaled JPEGs under center_crop, whose window is cut in the smaller
    picture (less than one px of it).
    """
    left, top, right, bottom = _window(width, height, spec)
    inner_width, inner_height, x, y = _inner(width, height, spec)
    zoom_x, zoom_y = inner_width / (right - left), inner_height / (bottom - top)
    return Placement(width, height, zoom_x, zoom_y, x - left * zoom_x, y - top * zoom_y)


def _window(width: int, height: int, spec: PreprocessSpec) -> tuple[int, int, int, int]:
    """The part of the picture that is kept, in its own px: left, top, right, bottom."""
    if spec.mode != "center_crop":
        return 0, 0, width, height
    scale = max(spec.width / width, spec.height / height) * max(1.0, spec.crop_ratio)
    kept_width = min(width, max(1, round(spec.width / scale)))
    kept_height = min(height, max(1, round(spec.height / scale)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def _inner(width: int, height: int, spec: PreprocessSpec) -> tuple[int, int, int, int]:
    """The part of the network input that is filled: width, height, left, top."""
    if spec.mode != "letterbox":
        return spec.width, spec.height, 0, 0
    scale = min(spec.width / width, spec.height / height)
    inner_width = max(1, min(spec.width, round(width * scale)))
    inner_height = max(1, min(spec.height, round(height * scale)))
    return inner_width, inner_height, (spec.width - inner_width) // 2, (spec.height - inner_height) // 2


def _resize(image: Image, width: int, height: int, spec: PreprocessSpec) -> Image:
    if image.shape[:2] == (height, width):
        return image.copy()
    kind = _KERNELS[spec.interpolation]
    if spec.antialias and (width < image.shape[1] or height < image.shape[0]):
        shrinks = max(image.shape[1] / width, image.shape[0] / height)
        if spec.interpolation == "mean4" and shrinks <= spec.mean4_most:
            # A third of the time of averaging over areas that are no whole pixels; of photos half a grey level off it.
            twice = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
            return np.asarray(cv2.resize(twice, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        # OpenCV's linear and cubic kernels do not widen when they shrink; averaging over areas does not alias. It only
        # averages when no side grows, so the sides that shrink go first.
        smaller = min(width, image.shape[1]), min(height, image.shape[0])
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
        if smaller == (width, height):
            return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
