"""The sets that come with the project are sound: small, licensed, split, and read as what they are."""

from pathlib import Path

import pytest

from saccade.data import formats
from saccade.data.check import check

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"


@pytest.mark.parametrize(
    ("name", "format", "fields", "classes"),
    [("cells", "voc", {"boxes", "box_classes"}, 3), ("corridor", "masks", {"mask"}, 11)],
)
def test_a_set_is_read_with_its_splits(name: str, format: str, fields: set[str], classes: int) -> None:
    root = DATA / name
    dataset, evidence = formats.read(root)
    assert evidence.format == format
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 72, "val": 24, "test": 24}
    assert dataset.fields == fields
    assert len(dataset.labels) == classes
    assert sum(f.stat().st_size for f in root.rglob("*") if f.is_file()) <= 4_000_000
    assert (root / "LICENSE").is_file()
    assert (root / "README.md").is_file()
    findings = {f.id: f for f in check(dataset)}
    assert not [f for f in findings.values() if f.severity == "ERROR"]
    if name == "cells":
        told = findings["box_without_area"].files
        assert [t.split(" line ")[0] for t in told] == [
            "Annotations/BloodImage_00338.xml",
            "Annotations/BloodImage_00343.xml",
        ]
