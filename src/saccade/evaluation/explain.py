"""Which part of a picture spoke for an answer? Found on the sealed package alone, by covering parts of it.

Written from Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from saccade.inference.model import Model
from saccade.types import Array, Image

CELLS = 8
"""Cells of the heat map a side; a patch covers two by two of them and moves by one."""

LONGEST_PX = 448
FAINT = 0.05


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
    scale = min(1.0, LONGEST_PX / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    base = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else image
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
