"""What an annotation says, whichever fields it has: which classes are there, how much of each, and its digest."""

import hashlib

import numpy as np

from saccade.data.masks import LazyMask
from saccade.images.masks import VOID
from saccade.types import Annotation, Array


def amounts(annotation: Annotation, classes: int) -> Array:
    """int64 [C]: objects of each class, pixels where there is a mask, 1 for each class of a whole image.

    Raises DataError when a mask cannot be read.
    """
    if "mask" in annotation:
        counted = annotation.counts if isinstance(annotation, LazyMask) else None
        if counted is None:
            counted = np.bincount(annotation["mask"].ravel(), minlength=256)
        return np.asarray(counted[: min(classes, VOID)], np.int64)
    ids = annotation["box_classes"] if "box_classes" in annotation else annotation.get("classes", ())
    return np.bincount(np.asarray(ids, np.int64), minlength=classes).astype(np.int64)


def present(annotation: Annotation, classes: int) -> tuple[int, ...]:
    """Ids of the classes that are there, ascending. Raises DataError when a mask cannot be read."""
    return tuple(int(c) for c in np.flatnonzero(amounts(annotation, classes)))


def digest(annotation: Annotation) -> str:
    """SHA-256 (hex) of every field: name, dtype, shape and values; of what it is made from for a mask not made yet."""
    if isinstance(annotation, LazyMask):
        return annotation.digest
    told = hashlib.sha256()
    for name in sorted(annotation):
        values = np.ascontiguousarray(annotation[name])
        told.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
    return told.hexdigest()
