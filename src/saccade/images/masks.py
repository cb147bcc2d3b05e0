"""Masks of class ids in the forms that leave the house: PNG, COCO run lengths, polygons, shares of classes.

Run lengths follow the COCO API (maskApi.c, `rleEncode` and `rleToString`): column-major, and readable by pycocotools.
Polygons run along the edges of pixels, so that filling them gives the very same mask. The cost is linear in the pixels
and in the edges, and the number of edges is limited: a checkerboard would make an answer larger than its picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from saccade.errors import ImageError
from saccade.limits import ANSWER_LIMITS
from saccade.types import Array

MAX_EDGES, MAX_CORNERS = ANSWER_LIMITS.max_mask_edges, ANSWER_LIMITS.max_mask_corners
VOID = 255
"""Pixels that belong to no class, which nobody is asked about: in the PNG, but in no other form."""


@dataclass(frozen=True)
class Rings:
    """Closed rings of one class, each a flat list x, y, x, y ... in px; pixel edges are whole numbers.

    Even-odd filling of both together gives the class.
    """

    outer: list[list[int]]
    holes: list[list[int]]


EXACT = 1 << 24
"""Up to here float32, in which OpenCV counts, holds every whole number."""


def to_png(mask_HW: Array) -> bytes:
    """One channel of class ids."""
    # As OpenCV comes: naming a level makes it try every filter on every row, five times the time for the same size.
    done, buffer = cv2.imencode(".png", mask_HW)
    if not done:
        raise ImageError("the mask could not be encoded; this is a bug")
    return bytes(buffer)


def pixels(mask_HW: Array) -> dict[int, int]:
    """How many pixels each class has, by id; void is left out."""
    counts = np.zeros(256, np.int64)
    rows = max(1, EXACT // max(1, mask_HW.shape[1]))
    for start in range(0, mask_HW.shape[0], rows):
        part = np.ascontiguousarray(mask_HW[start : start + rows])
        counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return {int(k): int(counts[k]) for k in np.flatnonzero(counts) if k != VOID}


def to_rle(mask_HW: Array) -> dict[int, str]:
    """Compressed COCO counts of every class of a mask uint8 [H, W], by id. Raises ImageError(mask_too_complex)."""
    flat = np.ravel(mask_HW, order="F")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    if len(starts) > MAX_EDGES:
        raise _too_complex(len(starts), MAX_EDGES)
    ends, owners = np.append(starts[1:], flat.size), flat[starts]
    found: dict[int, str] = {}
    for k in np.unique(owners):
        if k == VOID:
            continue
        own = owners == k
        # The first run is of zeros, and may be empty; then ones and zeros take turns.
        cuts = np.stack([starts[own], ends[own]], 1).ravel()
        cuts = cuts if cuts[-1] == flat.size else np.append(cuts, flat.size)
        found[int(k)] = _compressed(np.diff(cuts, prepend=0))
    return found


def from_rle(counts: str, height: int, width: int) -> Array:
    """bool [H, W] of compressed COCO counts. Raises ImageError when they do not fit the size."""
    values: list[int] = []
    value, shift = 0, 0
    for letter in counts.encode("ascii", "replace"):
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16) << (shift - 4) if bits & 16 else 0
        values.append(value + (values[-2] if len(values) > 2 else 0))
        value, shift = 0, 0
    if shift or min(values, default=0) < 0 or sum(values) != height * width:
        raise ImageError(f"the run lengths do not cover a mask of {width}x{height} px")
    turns = np.arange(len(values)) % 2 == 1
    return np.repeat(turns, values).reshape((height, width), order="F")


def to_polygons(mask_HW: Array) -> dict[int, Rings]:
    """Rings along pixel edges of every class of a mask uint8 [H, W], by id. Raises ImageError(mask_too_complex).

    Pixels that touch at a corner only are apart. A corner of a region is a lattice point where one or three of four
    pixels are the class, or two that face each other, which count twice. In every row, and in every column, the corners
    pair up into edges; walking along the pairs in turn gives the rings.
    """
    height, width = mask_HW.shape
    around = np.full((height + 2, width + 2), VOID, np.uint8)
    around[1:-1, 1:-1] = mask_HW
    quads = around[:-1, :-1], around[:-1, 1:], around[1:, :-1], around[1:, 1:]
    ys, xs = np.nonzero((quads[0] != quads[1]) | (quads[0] != quads[2]) | (quads[0] != quads[3]))
    if len(ys) > MAX_EDGES:
        raise _too_complex(len(ys), MAX_EDGES)
    four = np.stack([quad[ys, xs] for quad in quads])
    owners, rows, columns, turns, inside = [], [], [], [], []
    for place in range(4):
        k = four[place]
        fresh = (k < VOID) & ~(four[:place] == k).any(0)
        same = four == k
        pattern = same[0] + 2 * same[1] + 4 * same[2] + 8 * same[3]
        crossed = (pattern == 6) | (pattern == 9)
        corner = fresh & (crossed | (same.sum(0) % 2 == 1))
        # Of the two corners at one point, the first ends the edge from the left, the second begins the one to the right.
        for copy in (0, 1):
            chosen = np.flatnonzero(corner if copy == 0 else corner & crossed)
            owners.append(k[chosen])
            rows.append(ys[chosen])
            columns.append(xs[chosen])
            upper_first = pattern[chosen] == 9
            turns.append(2 * copy + np.where(upper_first, copy, 1 - copy))
            inside.append(same[3][chosen])
    owner, y, x = np.concatenate(owners), np.concatenate(rows), np.concatenate(columns)
    if len(owner) > MAX_CORNERS:
        raise _too_complex(len(owner), MAX_CORNERS)
    turn, below = np.concatenate(turns), np.concatenate(inside)
    order = np.lexsort((turn // 2, x, y, owner))
    owner, y, x, turn, below = owner[order], y[order], x[order], turn[order], below[order]
    by_column = np.lexsort((turn % 2, y, x, owner))
    across = (np.arange(len(owner)) ^ 1).tolist()
    down_of = np.empty(len(owner), np.int64)
    down_of[by_column[::2]], down_of[by_column[1::2]] = by_column[1::2], by_column[::2]
    return _walk(owner.tolist(), x.tolist(), y.tolist(), below.tolist(), across, down_of.tolist())


def _walk(
    owner: list[int], x: list[int], y: list[int], below: list[bool], across: list[int], down: list[int]
) -> dict[int, Rings]:
    found: dict[int, Rings] = {}
    seen = bytearray(len(owner))
    for first in range(len(owner)):
        if seen[first]:
            continue
        ring: list[int] = []
        at = first
        while not seen[at]:
            other = across[at]
            seen[at] = seen[other] = 1
            ring += (x[at], y[at], x[other], y[other])
            at = down[other]
        rings = found.setdefault(owner[first], Rings([], []))
        # The first corner of a ring is its top left one: below it lies the class, or the hole.
        (rings.outer if below[first] else rings.holes).append(ring)
    return found


def _compressed(counts: Array) -> str:
    """Counts as COCO's text: from the fourth on the difference to the last but one, five bits a letter."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    letters = np.zeros((len(values), 13), np.uint8)
    rest, more, used = values, np.ones(len(values), bool), 0
    while more.any():
        bits, rest = rest & 31, rest >> 5
        going = more & np.where(bits & 16, rest != -1, rest != 0)
        letters[:, used] = np.where(more, bits + 32 * going + 48, 0)
        more, used = going, used + 1
    return bytes(letters[letters > 0]).decode("ascii")


def _too_complex(count: int, limit: int) -> ImageError:
    return ImageError(
        f"the mask has {count} edges or corners, at most {limit} are written as run lengths or polygons",
        hint="ask for mask=png",
        code="mask_too_complex",
        details={"limit": limit},
    )
