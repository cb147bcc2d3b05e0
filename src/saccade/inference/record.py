"""An answer as a plain record, by the fields that are there: the same at the command line, in Python and on the wire."""

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
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def shown(
    found: Prediction,
    labels: Labels,
    thresholds: Mapping[str, float],
    threshold: float | None = None,
    top_k: int | None = None,
) -> Prediction:
    """The answer without what is not to be seen.

    thresholds: by class name the score from which an answer of that class counts, unless `threshold` is given for all.
    Scores that are not finite stay. top_k cuts answers about the whole picture; of boxes there may be any number.
    """
    if found.class_ids is None or found.scores is None:
        return found
    order: Any = slice(None)
    if threshold is not None or thresholds:
        least: Any = threshold
        if threshold is None:
            least = np.array([thresholds.get(name, -math.inf) for name in labels.names])[found.class_ids]
        order = np.flatnonzero(~(found.scores < least))
    if found.boxes is not None:
        return replace(found, class_ids=found.class_ids[order], scores=found.scores[order], boxes=found.boxes[order])
    return replace(found, class_ids=found.class_ids[order][:top_k], scores=found.scores[order][:top_k])


def record(found: Prediction, labels: Labels, mask: str = "png") -> dict[str, Any]:
    """`image`, then `predictions` and, of a mask, `mask` and `classes`. Numbers that are not finite are null.

    mask: one of FORMS. Raises ImageError(mask_too_complex) where run lengths or polygons would be too many.
    """
    told: dict[str, Any] = {"image": {"width": found.width, "height": found.height}}
    if found.class_ids is not None and found.scores is not None:
        rows: list[dict[str, Any]] = []
        for i, (k, score) in enumerate(zip(found.class_ids.tolist(), found.scores, strict=True)):
            row: dict[str, Any] = {"class_id": k, "label": labels.names[k], "score": _number(score)}
            if found.boxes is not None:
                row["box"] = {side: _number(v) for side, v in zip(_SIDES, found.boxes[i], strict=True)}
            rows.append(row)
        told["predictions"] = rows
        if not (np.isfinite(found.scores).all() and (found.boxes is None or np.isfinite(found.boxes).all())):
            told["nonfinite"] = True
    if found.mask is not None:
        told["mask"] = _mask(found.mask, mask)
        told["classes"] = [
            {"class_id": k, "label": labels.names[k], "pixels": count, "fraction": count / found.mask.size}
            for k, count in masks.pixels(found.mask).items()
        ]
    return told


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


def _number(value: Any) -> float | None:
    # float32 to the shortest decimal that reads back as the same float32.
    number = float(value)
    return float(str(np.float32(number))) if math.isfinite(number) else None
