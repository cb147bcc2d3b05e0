"""The data doctor: what is wrong with this dataset, in sentences. Never changes a file.

The cheap layer reads every file once (hash and header); the full layer decodes everything, looks for near duplicates,
and for labels that disagree with their neighbours. Every kind of finding stands in docs/02-data.md.
"""

from saccade.data.check.annotations import annotations
from saccade.data.check.boxes import INPUT_PX, boxes
from saccade.data.check.files import files
from saccade.data.check.finding import KINDS, Finding
from saccade.data.check.labels import labels
from saccade.data.check.links import links
from saccade.data.check.masks import masks
from saccade.data.check.repair import Repair, fix
from saccade.data.check.scan import scan
from saccade.data.check.sheet import sheet
from saccade.data.check.splits import splits, splits_full
from saccade.data.check.suspects import suspects
from saccade.data.dataset import Dataset


def check(dataset: Dataset, full: bool = False, side_px: int = INPUT_PX) -> list[Finding]:
    """All findings, worst first. Damage in single files is a finding, never an exception.

    side_px: longer side of the network's input, by which boxes are called tiny.
    """
    seen = scan(dataset, full)
    found = [
        *files(dataset, seen),
        *links(dataset),
        *annotations(dataset.faults),
        *boxes(seen, dataset.faults, side_px),
        *masks(dataset, seen, full),
        *labels(dataset, seen),
        *splits(dataset, seen),
    ]
    if full:
        found += splits_full(seen)
        found += suspects(seen, dataset.labels.names) if dataset.labels.exclusive else []
    rank = {"ERROR": 0, "WARN": 1, "INFO": 2}
    return sorted(found, key=lambda f: rank[f.severity])


__all__ = ["INPUT_PX", "KINDS", "Finding", "Repair", "check", "fix", "sheet"]
