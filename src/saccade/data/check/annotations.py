"""What is wrong with boxes and masks: what readers found in the files, and what the numbers themselves show."""

from collections import defaultdict
from collections.abc import Sequence

from saccade.data.check.finding import Finding, finding
from saccade.data.check.scan import Seen
from saccade.data.dataset import Dataset, Fault

FAULTS = {
    "bad_annotation": "{n} annotation files cannot be read, and their pictures are left out",
    "bad_box": "{n} objects are not written as a box with a class",
    "box_not_finite": "{n} boxes have coordinates that are no number or out of all bounds",
    "box_without_area": "{n} boxes have no area and are left out",
    "box_off_image": "{n} boxes lie beside their picture and are left out",
    "box_clipped": "{n} boxes leave their picture and are cut at its border",
    "missing_annotation": "{n} pictures have no annotation and are left out",
    "missing_image": "{n} annotations have no picture and are left out",
    "other_size": "{n} annotations were made for a picture of another size",
    "in_two_splits": "{n} pictures are in two lists; they stay where they are measured on",
}
"""Fault of a reader to the sentence of its finding."""


def annotations(dataset: Dataset, seen: Sequence[Seen]) -> list[Finding]:
    return [*_faults(dataset.faults), *_masks(seen)]


def _faults(faults: Sequence[Fault]) -> list[Finding]:
    sorts: dict[str, list[str]] = defaultdict(list)
    for fault in faults:
        sorts[fault.id].append(f"{fault.where}: {fault.text}")
    return [f for id, sentence in FAULTS.items() for f in finding(id, sentence, sorts[id])]


def _masks(seen: Sequence[Seen]) -> list[Finding]:
    wrong = [s.wrong.message for s in seen if s.wrong is not None]
    return finding("bad_mask", "{n} masks cannot be learnt from", wrong)
