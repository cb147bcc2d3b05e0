"""The boxes of a sample, checked: what encoding and scoring both rest on."""

import numpy as np

from saccade.errors import DataError
from saccade.types import Array, Labels, Sample


def truth(sample: Sample, labels: Labels) -> tuple[Array, Array]:
    """Every box of a sample, float32 [K, 4], and its class, int64 [K]. Raises DataError naming sample and box."""
    boxes, classes = (sample.annotation.get(k) for k in ("boxes", "box_classes"))
    if boxes is None or classes is None:
        raise DataError(f"{sample.key} has no boxes", hint="an image without objects has boxes [0, 4]")
    boxes, classes = np.asarray(boxes, np.float32), np.asarray(classes)
    if boxes.ndim != 2 or boxes.shape[1:] != (4,) or classes.shape != boxes.shape[:1]:
        raise DataError(
            f"{sample.key}: boxes are [K, 4] and box_classes [K], got {list(boxes.shape)} and {list(classes.shape)}"
        )
    if classes.size and not np.issubdtype(classes.dtype, np.integer):
        raise DataError(f"{sample.key}: box_classes must be integers, got {classes.dtype}")
    for i, (box, class_id) in enumerate(zip(boxes, classes, strict=True)):
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            side = ", ".join(f"{v:g}" for v in box)
            raise DataError(f"{sample.key}: box {i} ({side}) has no area", hint="run `saccade check`; leave it out")
        if not 0 <= class_id < len(labels):
            raise DataError(f"{sample.key}: box {i} has class {class_id}, the ledger holds {len(labels)} classes")
    return boxes, classes.astype(np.int64)


def flags(sample: Sample, name: str, count: int) -> Array:
    """An optional bool [K] field of a sample; all False when it is absent. Raises DataError when it does not fit."""
    found = np.asarray(sample.annotation.get(name, np.zeros(count, bool)), bool)
    if found.shape != (count,):
        raise DataError(f"{sample.key}: {name} is [{count}], got {list(found.shape)}")
    return found
