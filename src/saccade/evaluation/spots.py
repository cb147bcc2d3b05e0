"""Single mistakes as small crops of their pictures: what was answered beside what is there.

A class has the colour it has in every picture. The box that is meant is strong, the other one thin; answers have whole
lines, the truth has dashed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from saccade.images import decode, draw
from saccade.images.encode import to_jpeg
from saccade.types import Array, Box, Image, Labels, Sample, Scorecard, Spot

SIDE_PX = 160
"""The longer side of a crop."""
AROUND = 0.5
"""Of the longer side of the box that is meant, shown beyond it and the other one at every side."""
FAR = 1.5
"""Of that side, the most that is shown beyond the box that is meant: the other one may be as large as the picture."""
LEAST_PX = 16
"""What is shown around a tiny box, at least."""
STRONG_PX, THIN_PX, DASH_PX = 3, 1, 6
QUALITY = 82
_DARK, _LIGHT = (24, 24, 27), (250, 250, 250)


@dataclass(frozen=True)
class Crop:
    """A spot with a JPEG to show, and the name of its class."""

    spot: Spot
    label: str
    jpeg: bytes


def crops(card: Scorecard, samples: Sequence[Sample], labels: Labels) -> tuple[Crop, ...]:
    """One for each spot of a card, in its order; a picture is read once however many it gives. samples: of the split.
    Raises ImageError."""
    by_key = {s.key: s for s in samples}
    places: dict[str, list[int]] = {}
    for i, spot in enumerate(card.spots):
        places.setdefault(spot.key, []).append(i)
    jpegs: dict[int, bytes] = {}
    for key, here in places.items():
        image = decode.decode(by_key[key].image)
        jpegs |= {i: to_jpeg(crop(image, card.spots[i]), QUALITY) for i in here}
    return tuple(Crop(spot, labels.names[spot.class_id], jpegs[i]) for i, spot in enumerate(card.spots))


def crop(image: Image, spot: Spot) -> Image:
    """uint8 [h, w, 3], its longer side SIDE_PX: both boxes of a spot and what is around them, as far as the picture
    goes. image: uint8 [H, W, 3], upright."""
    height, width = image.shape[:2]
    left, top, right, bottom = view(spot, width, height)
    picture = sized(image[top:bottom, left:right], SIDE_PX).copy()
    zoom = np.array([picture.shape[1] / (right - left), picture.shape[0] / (bottom - top)] * 2)

    def frame(box: Box, class_id: int, line: int, dashed: bool) -> None:
        whole = np.clip(box, 0, [width, height] * 2)
        _frame(picture, (whole - (left, top, left, top)) * zoom, class_id, line, dashed)

    truth = spot.score is None
    frame(spot.box, spot.class_id, STRONG_PX, truth)
    # On top, for where a right box has a wrong name both lie at one place.
    if spot.other is not None and spot.other_id is not None:
        frame(spot.other, spot.other_id, THIN_PX, not truth)
    return picture


def view(spot: Spot, width: int, height: int) -> tuple[int, int, int, int]:
    """Which part of a picture a crop shows: left, top, right and bottom in px; never empty, even for a box that lies
    beyond the picture."""
    low, high = np.array(spot.box[:2]), np.array(spot.box[2:])
    other = np.array(spot.box if spot.other is None else spot.other)
    longer = float((high - low).max())
    around, far = (max(LEAST_PX, share * longer) for share in (AROUND, FAR))
    size = np.array([width, height])
    begin = np.maximum(np.minimum(low, other[:2]) - around, low - far)
    end = np.minimum(np.maximum(high, other[2:]) + around, high + far)
    first = np.clip(np.floor(begin), 0, size - 1).astype(int)
    last = np.clip(np.ceil(end), first + 1, size).astype(int)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def sized(image: Image, side_px: int) -> Image:
    """The whole picture with a longer side of side_px."""
    scale = side_px / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


def _frame(picture: Image, box_4: Array, class_id: int, line: int, dashed: bool) -> None:
    """A rectangle along the inside of a box, into the picture; a strong one between lines of the opposite lightness, so
    that it shows on any ground."""
    left, top, right, bottom = np.round(box_4).astype(int).tolist()
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    inside = np.minimum.reduce([columns - left, right - columns, rows - top, bottom - rows])
    tint = draw.colour(class_id)
    ground = _LIGHT if np.dot(tint, (0.299, 0.587, 0.114)) < 128 else _DARK
    halo = 1 if line > THIN_PX else 0
    picture[(inside >= -halo) & (inside < line + halo)] = ground
    rim = (inside >= 0) & (inside < line)
    picture[rim & ((rows + columns) // DASH_PX % 2 == 0) if dashed else rim] = tint
