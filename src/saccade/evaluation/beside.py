"""Truth beside answer, drawn by the fields both have: what was right, what was wrong, what was missed."""

import cv2
import numpy as np

from saccade.images import draw, fonts
from saccade.images.geometry import iou_matrix
from saccade.images.masks import VOID
from saccade.types import Array, Image, Labels, Prediction

OVERLAP = 0.5
"""Intersection over union from which a box of the same class is found."""
_WRONG = (220, 38, 38)


def pictures(image: Image, truth: Prediction, answer: Prediction, labels: Labels) -> list[tuple[str, Image]]:
    """The truth, then the answer with its mistakes, each with its name; nothing when there is no place to draw.

    image: uint8 [H, W, 3]; truth, answer: boxes in its px, masks of its size. Boxes: an answer that no true box of its
    class overlaps is captioned, a true box that no answer found is dashed; what nobody is asked about, and answers
    there, are left out. Masks: a picture of the wrong pixels more.
    """
    if truth.boxes is not None and answer.boxes is not None:
        asked = _asked(truth)
        ids = np.asarray(truth.class_ids)[asked]
        return [
            ("truth", draw.boxes(image, truth.boxes[asked], labels.names, class_ids=ids, captions=False)),
            ("answer", _judged(image, truth, answer, labels)),
        ]
    if truth.mask is not None and answer.mask is not None:
        return [
            ("truth", draw.mask(image, truth.mask, fonts.names(labels.names))),
            ("answer", draw.mask(image, answer.mask, fonts.names(labels.names))),
            ("wrong pixels", wrong_pixels(image, truth.mask, answer.mask)),
        ]
    return []


def match(truth: Prediction, answer: Prediction) -> tuple[Array, Array]:
    """Which answers are right, bool [K], and which true boxes were found, bool [M]: best scores choose first.

    True boxes that nobody is asked about (score 0) count as found, and answers that lie on one, or in it, as right.
    """
    ours, theirs = np.asarray(answer.boxes, np.float64), np.asarray(truth.boxes, np.float64)
    asked = _asked(truth)
    right, found = np.zeros(len(ours), bool), ~asked
    if not len(ours) or not len(theirs):
        return right, found
    overlap = iou_matrix(ours, theirs)
    overlap[np.asarray(answer.class_ids)[:, None] != np.asarray(truth.class_ids)[None]] = 0
    for i in np.argsort(-np.asarray(answer.scores), kind="stable"):
        best = int(np.where(found, 0, overlap[i]).argmax())
        if not found[best] and overlap[i, best] >= OVERLAP:
            right[i] = found[best] = True
    inside = _shares(ours, theirs) * (overlap > 0)
    return right | (~asked & ((overlap >= OVERLAP) | (inside >= OVERLAP))).any(1), found


def _asked(truth: Prediction) -> Array:
    """bool [M]."""
    return np.ones(len(np.asarray(truth.boxes)), bool) if truth.scores is None else np.asarray(truth.scores) > 0


def _shares(ours_K4: Array, theirs_M4: Array) -> Array:
    """The share of each of our boxes that lies in each of theirs, [K, M]: how crowds are judged, arXiv:1405.0312."""
    low = np.maximum(ours_K4[:, None, :2], theirs_M4[None, :, :2])
    high = np.minimum(ours_K4[:, None, 2:], theirs_M4[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    return np.asarray(both / np.maximum((ours_K4[:, 2:] - ours_K4[:, :2]).prod(1), 1e-9)[:, None])


def wrong_pixels(image: Image, truth_HW: Array, answer_HW: Array) -> Image:
    """The picture in grey, in red where the answer is wrong; what the truth leaves open is dark."""
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2)
    out = np.asarray(cv2.addWeighted(grey, 0.6, np.full_like(grey, 255), 0.25, 0), np.uint8)
    asked = truth_HW != VOID
    out[asked & (truth_HW != answer_HW)] = _WRONG
    out[~asked] = grey[~asked] // 3
    return out


def _judged(image: Image, truth: Prediction, answer: Prediction, labels: Labels) -> Image:
    right, found = match(truth, answer)
    assert truth.boxes is not None
    assert answer.boxes is not None
    assert truth.class_ids is not None
    assert answer.class_ids is not None
    assert answer.scores is not None
    drawn = draw.boxes(image, answer.boxes[right], labels.names, class_ids=answer.class_ids[right], captions=False)
    missed = [f"missed {name}" for name in fonts.names(labels.names)]
    drawn = draw.boxes(drawn, truth.boxes[~found], missed, class_ids=truth.class_ids[~found], dashed=True)
    wrong = [f"wrong {name}" for name in fonts.names(labels.names)]
    return draw.boxes(drawn, answer.boxes[~right], wrong, answer.scores[~right], answer.class_ids[~right])
