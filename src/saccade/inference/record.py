"""An answer as a plain record, by the fields that are there: the same at the command line, in
Python and on the wire."""

import base64
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from saccade.images import masks
from saccade.types import Array, Labels, Prediction

FORMS = ("png", "rle", "polygons", "none")
"""What a mask can be written as."""
PART = 1 << 18
"""Pixels that are added up at once."""
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def shown(
    found: Prediction,
    labels: Labels,
    thresholds: Mapping[str, float],
    threshold: float | None = None,
    top_k: int | None = None,
) -> Prediction:
    """The answer without what is not to be seen.

    thresholds: by class name the score from which an answer of that class counts, unless `threshold` is given for all;
    of a mask that tells how sure it is, pixels below `threshold` become void.
    Scores that are not finite stay. top_k cuts answers about the whole picture; of boxes there may be any number.
    """
    if found.mask is not None and found.confidence is not None and threshold is not None:
        return replace(found, mask=np.where(found.confidence < threshold * 255, np.uint8(masks.VOID), found.mask))
    if found.class_ids is None or found.scores is None:
        return found
    class_ids, scores, boxes = found.class_ids, found.scores, found.boxes
    if threshold is not None or thresholds:
        least: Any = threshold
        if threshold is None:
            least = np.array([thresholds.get(name, -math.inf) for name in labels.names])[class_ids]
        order = np.flatnonzero(~(scores < least))
        class_ids, scores, boxes = class_ids[order], scores[order], None if boxes is None else boxes[order]
    if boxes is None:
        class_ids, scores = class_ids[:top_k], scores[:top_k]
    return Prediction(found.width, found.height, class_ids, scores, boxes, found.mask)


def record(found: Prediction, labels: Labels, mask: str = "png", confidence: bool = False) -> dict[str, Any]:
    """`image`, then `predictions` and, of a mask, `mask` and `classes`. Numbers that are not finite are null.

    mask: one of FORMS. confidence: how sure each pixel is as well, of models that tell. Raises
    ImageError(mask_too_complex) where run lengths or polygons would be too many.
    """
    told: dict[str, Any] = {"image": {"width": found.width, "height": found.height}}
    if found.class_ids is not None and found.scores is not None:
        names, scores = labels.names, _numbers(found.scores)
        rows: list[dict[str, Any]] = [
            {"class_id": k, "label": names[k], "score": score}
            for k, score in zip(found.class_ids.tolist(), scores, strict=True)
        ]
        told["predictions"] = rows
        finite = None not in scores
        if found.boxes is not None:
            sides = _numbers(found.boxes.ravel())
            finite = finite and None not in sides
            for i, row in enumerate(rows):
                row["box"] = dict(zip(_SIDES, sides[4 * i : 4 * i + 4], strict=True))
        if not finite:
            told["nonfinite"] = True
    if found.mask is not None:
        told["mask"] = _mask(found.mask, mask)
        told["classes"] = [
            {"class_id": k, "label": labels.names[k], "pixels": count, "fraction": count / found.mask.size}
            for k, count in masks.pixels(found.mask).items()
        ]
        if found.confidence is not None and confidence:
            told["confidence"] = _mask(found.confidence, "png")
        if found.confidence is not None:
            total = _sums(found.mask, found.confidence)
            for row in told["classes"]:
                row["confidence"] = round(float(total[row["class_id"]]) / row["pixels"] / 255, 4)
    return told


def _sums(mask_HW: Array, confidence_HW: Array) -> Array:
    """Confidence added up by class id, float64 [256], some rows at a time: numpy counts in eight bytes what is one."""
    rows = max(1, PART // max(1, mask_HW.shape[1]))
    total = np.zeros(256)
    for start in range(0, len(mask_HW), rows):
        part = slice(start, start + rows)
        total += np.bincount(mask_HW[part].ravel(), confidence_HW[part].ravel(), 256)
    return total


def _mask(mask_HW: Array, form: str) -> dict[str, Any] | None:
    if form == "png":
        return {"encoding": "png", "data": base64.b64encode(masks.to_png(mask_HW)).decode()}
    if form == "rle":
        counts = {str(k): text for k, text in masks.to_rle(mask_HW).items()}
        return {"encoding": "rle", "size": list(mask_HW.shape), "counts": counts}
    if form == "polygons":
        rings = masks.to_polygons(mask_HW)
        return {
            "encoding": "polygons",
            "polygons": {str(k): r.outer for k, r in rings.items()},
            "holes": {str(k): r.holes for k, r in rings.items() if r.holes},
        }
    return None


def _numbers(values: Array) -> list[float | None]:
    """float32 as the shortest decimals that read back as the same float32; None for what is not finite."""
    texts = map(str, values.astype(np.float32, copy=False))
    return [number if math.isfinite(number := float(text)) else None for text in texts]
