"""What readers found wrong in annotations, as findings."""

from collections import defaultdict
from collections.abc import Sequence

from saccade.data.check.finding import Finding, finding
from saccade.data.dataset import Fault

FAULTS = {
    "bad_annotation": "{n} annotation {file cannot be read, and its picture is|files cannot be read, and their pictures are} left out",
    "bad_box": "{n} {object is|objects are} not written as a box with a class",
    "box_not_finite": "{n} {box has|boxes have} coordinates that are no number or out of all bounds",
    "unknown_class": "{n} {box is|boxes are} of a class that no list names",
    "pixel_coordinates": "{n} {line holds|lines hold} pixels where shares of 0 to 1 belong",
    "corners_as_sizes": "{n} {file gives|files give} corners where width and height belong",
    "path_outside": "{n} {path leads out of the data and is|paths lead out of the data and are} not followed",
    "same_id": "{n} {id is|ids are} given twice",
    "orientation_unsure": "{n} {picture is|pictures are} turned by EXIF, and nothing says which way {it was|they were} annotated",
    "box_without_area": "{n} {box has no area and is|boxes have no area and are} left out",
    "box_off_image": "{n} {box lies beside its picture and is|boxes lie beside their picture and are} left out",
    "box_clipped": "{n} {box leaves its picture and is|boxes leave their picture and are} cut at its border",
    "crossed_polygon": "{n} {outline crosses itself|outlines cross themselves}, which leaves holes when {it is|they are} filled",
    "box_off_outline": "{n} {box is not the bounds of its outline|boxes are not the bounds of their outlines}",
    "missing_annotation": "{n} {picture has no annotation and is|pictures have no annotation and are} left out",
    "missing_image": "{n} {annotation has no picture and is|annotations have no picture and are} left out",
    "other_size": "{n} {annotation was|annotations were} made for a picture of another size",
    "other_resolution": "the annotations were made for pictures of another resolution: export both at one size",
    "in_two_splits": "{n} {picture is|pictures are} in two lists; each stays where it is measured on",
}
"""Fault of a reader to the sentence of its finding."""


def annotations(faults: Sequence[Fault]) -> list[Finding]:
    sorts: dict[str, list[str]] = defaultdict(list)
    for fault in faults:
        sorts[fault.id].append(f"{fault.where}: {fault.text}")
    return [f for id, sentence in FAULTS.items() for f in finding(id, sentence, sorts[id])]
