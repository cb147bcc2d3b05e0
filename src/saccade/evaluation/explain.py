"""Which part of a picture spoke for an answer? Found on the sealed package alone, by covering parts of it.

Written from Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2 (covering one part after the other); arXiv:1806.07421
(RISE: covering at random) and arXiv:2006.03204 (the same for one box).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from saccade.images.geometry import iou_matrix
from saccade.inference.model import Model
from saccade.types import Array, Image, Prediction

CELLS = 8
"""Cells of the heat map a side; a patch covers two by two of them and moves by one."""

LONGEST_PX = 448
FAINT = 0.05
DRAWS = 96
"""Random covers of one picture."""
SHOWN = 0.5
"""Chance that a cell is not covered."""


@dataclass(frozen=True)
class Explanation:
    """heat: float32 [CELLS, CELLS] in 0..1 over the whole picture, 1 where covering hurts the answer
    most (or takes FAINT of it, if no part takes as much).

    evidence: for the answer, uncovered; lowest: with the most telling part covered. All 0 when covering never hurts.
    """

    heat: Array
    evidence: float
    lowest: float


def occlusion(model: Model, image: Image, class_id: int) -> Explanation:
    """Covers each part in turn with the picture's mean colour and asks the package again, all in a few batches.

    image: uint8 [H, W, 3], upright; it goes the whole road through the package's own preprocessing. The task says which
    scalar is watched for class_id. A cell's heat is the mean loss of the patches that cover it. Raises ImageError.
    """
    base = _shrunk(image)
    fill = base.reshape(-1, 3).mean(0).round().astype(np.uint8)
    rows = np.linspace(0, base.shape[0], CELLS + 1).round().astype(int)
    columns = np.linspace(0, base.shape[1], CELLS + 1).round().astype(int)
    places = [(r, c) for r in range(CELLS - 1) for c in range(CELLS - 1)]
    pictures = [base]
    for r, c in places:
        covered = base.copy()
        covered[rows[r] : rows[r + 2], columns[c] : columns[c + 2]] = fill
        pictures.append(covered)
    evidence = np.asarray(model.task.evidence(model.outputs(pictures), class_id), np.float64)
    lost, times = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (r, c), left in zip(places, evidence[1:], strict=True):
        lost[r : r + 2, c : c + 2] += evidence[0] - left
        times[r : r + 2, c : c + 2] += 1
    heat = np.maximum(lost / times, 0.0)
    # Noise is not blown up to a full red: the scale starts at FAINT of the answer.
    top = max(float(heat.max()), FAINT * abs(float(evidence[0])))
    return Explanation((heat / top if top > 0 else heat).astype(np.float32), float(evidence[0]), float(evidence.min()))


def rise(model: Model, image: Image, class_id: int, box_4: Array | None = None) -> Explanation:
    """Covers parts at random and asks how much of one answer is left: which pixels must be seen for it to stand.

    image: uint8 [H, W, 3], upright. box_4: the box that is asked about, in px of the image; None for answers that are
    masks, where it is the region called class_id. What is left of a box is the best score x IoU of an answer of its
    class with it, of a region the IoU with what is called so now. heat: float32 [h, w] over the picture; evidence and
    lowest: what is left of the answer, uncovered and at the worst cover. Raises ImageError.
    """
    base = _shrunk(image)
    height, width = base.shape[:2]
    random = np.random.default_rng(0)
    covers = [np.ones((height, width), np.float32), *(_cover(random, height, width) for _ in range(DRAWS))]
    fill = base.reshape(-1, 3).mean(0)
    pictures = [(fill + (base - fill) * cover[:, :, None]).round().astype(np.uint8) for cover in covers]
    answers = model.predict(pictures)
    if box_4 is not None:
        asked = np.asarray(box_4, np.float64) * np.array([width / image.shape[1], height / image.shape[0]] * 2)
        left = np.array([_left_of_box(a, class_id, asked) for a in answers])
    else:
        left = np.array([_left_of_region(a, class_id, answers[0]) for a in answers])
    heat = np.zeros((height, width))
    # Against the mean over all covers: what is seen when the answer stands, less what is seen when it falls.
    for cover, value in zip(covers[1:], left[1:] - left[1:].mean(), strict=True):
        heat += value * cover
    heat = np.maximum(heat / (DRAWS * SHOWN * (1 - SHOWN)), 0.0)
    top = max(float(heat.max()), FAINT * float(left[0]))
    return Explanation((heat / top if top > 0 else heat).astype(np.float32), float(left[0]), float(left.min()))


def _shrunk(image: Image) -> Image:
    scale = min(1.0, LONGEST_PX / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else image


def _cover(random: np.random.Generator, height: int, width: int) -> Array:
    """float32 [H, W], 1 where the picture is seen: cells drawn at random, moved by part of a cell, with soft edges."""
    cells = (random.random((CELLS + 1, CELLS + 1)) < SHOWN).astype(np.float32)
    high, wide = -(-height // CELLS), -(-width // CELLS)
    large = cv2.resize(cells, ((CELLS + 1) * wide, (CELLS + 1) * high), interpolation=cv2.INTER_LINEAR)
    top, left = int(random.integers(0, high)), int(random.integers(0, wide))
    return np.asarray(large[top : top + height, left : left + width])


def _left_of_box(answer: Prediction, class_id: int, asked_4: Array) -> float:
    if answer.boxes is None or answer.scores is None or answer.class_ids is None or not len(answer.boxes):
        return 0.0
    overlaps = iou_matrix(asked_4[None], answer.boxes)[0]
    return float((overlaps * answer.scores * (answer.class_ids == class_id)).max())


def _left_of_region(answer: Prediction, class_id: int, plain: Prediction) -> float:
    assert answer.mask is not None
    assert plain.mask is not None
    now, then = answer.mask == class_id, plain.mask == class_id
    either = np.count_nonzero(now | then)
    return float(np.count_nonzero(now & then) / either) if either else 0.0
