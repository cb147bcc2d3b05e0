"""Pictures larger than the network, asked tile by tile: overlapping windows, and their answers merged without a seam.

The overlap is a quarter of a tile. Boxes of neighbours are the same object when, looked at in the part both tiles see,
they are the same; a box that a tile's edge cut off gives way to the whole one, and two halves become one. Every pixel
of a mask is answered by the tile that sees most around it.
"""

from collections.abc import Sequence

import numpy as np

from saccade.errors import ImageError, InferenceError
from saccade.images.geometry import iou_matrix
from saccade.limits import ANSWER_LIMITS
from saccade.types import Array, Prediction

OVERLAP = 0.25
MOST = ANSWER_LIMITS.max_tiles
TIMES = 16
"""A tile's sides are at most so many times those of the network's input."""
SAME = 0.5
"""Intersection over union, within what both tiles see, from which two boxes are one object."""
NEAR, NEAR_PX = 0.04, 1.5
"""A box that ends so near its tile's edge, as a share of the tile and at least in px, was cut off there: a network
draws the end of what goes on beyond its picture some px inside it. One that was whole after all loses nothing, its
neighbours saw it too."""

Window = tuple[int, int, int, int]
"""left, top, right, bottom in px of the picture."""


def windows(width: int, height: int, tile_width: int, tile_height: int) -> list[Window]:
    """Windows of the tile's size that cover the picture, evenly spread, neighbours sharing OVERLAP or more.

    A picture no larger than a tile is one window. Raises ImageError(image_too_many_pixels) beyond MOST windows.
    """
    columns, rows = _starts(width, tile_width), _starts(height, tile_height)
    if len(columns) * len(rows) > MOST:
        raise ImageError(
            f"a picture of {width}x{height} px is {len(columns) * len(rows)} tiles of {tile_width}x{tile_height} px, "
            f"at most {MOST} are asked",
            hint="send a smaller picture, or ask without tiles",
            code="image_too_many_pixels",
            details={"limit": MOST},
        )
    wide, high = min(width, tile_width), min(height, tile_height)
    return [(x, y, x + wide, y + high) for y in rows for x in columns]


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile * (1 - OVERLAP)))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def merge(parts: Sequence[Prediction], places: Sequence[Window], width: int, height: int) -> Prediction:
    """One answer about the whole picture from the answers about its windows, in order.

    Raises InferenceError(invalid_value) for answers that have no place: they speak of a whole picture.
    """
    if all(p.mask is not None for p in parts):
        layers = [[p.mask for p in parts]]
        if all(p.confidence is not None for p in parts):
            layers.append([p.confidence for p in parts])
        return Prediction(width, height, None, None, None, *_pixels(layers, places, width, height))
    if all(p.boxes is not None and p.scores is not None and p.class_ids is not None for p in parts):
        return _boxes(parts, places, width, height)
    raise refused()


def check(times: float) -> None:
    """Raises InferenceError(invalid_value) unless tiles can be so many times as large as the network's input."""
    if not 1 <= times <= TIMES:
        raise InferenceError(f"tile is yes, no or a number from 1 to {TIMES}, got {times:g}", code="invalid_value")


def refused() -> InferenceError:
    return InferenceError(
        "this model speaks of whole pictures, tiles are for boxes and masks",
        hint="ask without tiles",
        code="invalid_value",
    )


def _pixels(layers: Sequence[Sequence[Array | None]], places: Sequence[Window], width: int, height: int) -> list[Array]:
    """Each layer as uint8 [H, W] of the whole, from uint8 [h, w] of every window."""
    wholes, seen = [np.zeros((height, width), np.uint8) for _ in layers], np.full((height, width), -1, np.int32)
    for number, (left, top, right, bottom) in enumerate(places):
        x, y = np.arange(left, right), np.arange(top, bottom)
        # How far a pixel lies from the nearest edge behind which the tile saw nothing though there is something.
        far = width + height
        across = np.minimum(x - left if left else far, right - 1 - x if right < width else far)
        down = np.minimum(y - top if top else far, bottom - 1 - y if bottom < height else far)
        around = np.minimum(np.broadcast_to(across, x.shape)[None], np.broadcast_to(down, y.shape)[:, None])
        here = seen[top:bottom, left:right]
        better = around > here
        for whole, parts in zip(wholes, layers, strict=True):
            whole[top:bottom, left:right][better] = np.asarray(parts[number])[better]
        here[better] = around[better]
    return wholes


def _boxes(parts: Sequence[Prediction], places: Sequence[Window], width: int, height: int) -> Prediction:
    owner = np.concatenate([np.full(len(np.asarray(p.scores)), i) for i, p in enumerate(parts)])
    shift = np.array([(left, top, left, top) for left, top, _, _ in places], np.float32)
    boxes = np.concatenate([p.boxes for p in parts]).reshape(-1, 4) + shift[owner]
    scores = np.concatenate([p.scores for p in parts])
    ids = np.concatenate([p.class_ids for p in parts])
    frames = np.array(places, np.float32)
    limit = np.array([0, 0, width, height], np.float32)
    near = np.maximum(NEAR * np.tile(frames[:, 2:] - frames[:, :2], 2), NEAR_PX)
    cut = ((np.abs(boxes - frames[owner]) <= near[owner]) & (frames[owner] != limit)).any(1)
    groups = _groups(boxes, ids, owner, frames)
    kept: list[Array] = []
    best: list[int] = []
    for group in groups:
        whole = [i for i in group if not cut[i]]
        first = max(whole or group, key=lambda i: float(scores[i]))
        around = boxes[group]
        kept.append(boxes[first] if whole else np.concatenate([around[:, :2].min(0), around[:, 2:].max(0)]))
        best.append(max(group, key=lambda i: float(scores[i])))
    said = scores[best] if best else np.zeros(0, np.float32)
    order = np.argsort(-said, kind="stable")
    found = np.array(kept, np.float32).reshape(-1, 4)[order]
    return Prediction(width, height, ids[best][order] if best else ids, said[order], found)


def _groups(boxes: Array, ids: Array, owner: Array, frames: Array) -> list[list[int]]:
    """Boxes by object: the best pairs of neighbours first, each box once a pair of tiles, never two of one tile."""
    root = list(range(len(boxes)))
    members = [{int(o): i} for i, o in enumerate(owner)]

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    pairs: list[tuple[float, int, int]] = []
    rows = [np.flatnonzero(owner == k) for k in range(len(frames))]
    for a in range(len(frames)):
        for b in range(a + 1, len(frames)):
            shared = np.concatenate(
                [np.maximum(frames[a, :2], frames[b, :2]), np.minimum(frames[a, 2:], frames[b, 2:])]
            )
            if (shared[2:] <= shared[:2]).any() or not len(rows[a]) or not len(rows[b]):
                continue
            alike = iou_matrix(_within(boxes[rows[a]], shared), _within(boxes[rows[b]], shared))
            alike[ids[rows[a]][:, None] != ids[rows[b]][None]] = 0
            pairs += [
                (float(alike[i, j]), int(rows[a][i]), int(rows[b][j])) for i, j in np.argwhere(alike >= SAME).tolist()
            ]
    for _, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        one, other = find(i), find(j)
        if one != other and not members[one].keys() & members[other].keys():
            root[other] = one
            members[one] |= members[other]
    return [sorted(members[i].values()) for i in range(len(boxes)) if find(i) == i]


def _within(boxes_N4: Array, shared: Array) -> Array:
    return np.concatenate([np.maximum(boxes_N4[:, :2], shared[:2]), np.minimum(boxes_N4[:, 2:], shared[2:])], 1)
