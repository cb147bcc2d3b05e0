"""Every format reads what it wrote, every pair agrees, and what a format cannot hold is said."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from saccade.cli.main import main
from saccade.data.convert import convert
from saccade.data.dataset import Dataset
from saccade.data.formats import keepers
from saccade.errors import DataError, StorageError, UsageError
from saccade.testing import formats as suite
from saccade.types import Labels, Sample
from saccade.verbs import data

BOXED = ["coco", "csv", "voc", "yolo"]
slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", BOXED)
def test_boxes_written_are_boxes_read(name: str) -> None:
    @slow
    @given(dataset=suite.datasets("boxes"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check(keepers()[name], dataset, Path(folder) / "d")

    run()


def test_masks_and_coco_agree() -> None:
    @slow
    @given(dataset=suite.datasets("mask"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check_pair(keepers()["coco_masks"], keepers()["masks"], dataset, Path(folder) / "a")
            suite.check_pair(keepers()["masks"], keepers()["coco_masks"], dataset, Path(folder) / "b")

    run()


def test_masks_written_are_masks_read() -> None:
    @slow
    @given(dataset=suite.datasets("mask"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check(keepers()["masks"], dataset, Path(folder) / "d")

    run()


@pytest.mark.parametrize("first", BOXED)
@pytest.mark.parametrize("second", BOXED)
def test_every_pair_of_box_formats_agrees(first: str, second: str) -> None:
    @settings(slow, max_examples=5)
    @given(dataset=suite.datasets("boxes"))
    def run(dataset: Dataset) -> None:
        with tempfile.TemporaryDirectory() as folder:
            suite.check_pair(keepers()[first], keepers()[second], dataset, Path(folder))

    run()


def boxed() -> Dataset:
    record = {
        "boxes": np.array([[1, 2, 9, 8], [3, 3, 4, 4]], np.float32),
        "box_classes": np.array([0, 1], np.int64),
        "box_crowd": np.array([True, False]),
        "box_area": np.array([30.0, 1.0], np.float32),
    }
    labels = Labels(("a", "b", "unused"), (7, 3, 90), exclusive=False)
    return Dataset("t", Path(), labels, {"all": (Sample("p.png", suite.picture(0), record, group="g"),)})


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    made = convert(boxed(), "voc", tmp_path / "voc")
    told = "\n".join(made.lost)
    for part in (
        "voc does not hold box_crowd, which 1 values say",
        "voc does not hold box_area",
        "voc does not hold groups",
        "voc numbers classes anew: 7 (a)",
        "1 classes that no picture shows are not in the copy: unused",
        "b: 1 became 0",
    ):
        assert part in told, told
    kept = convert(boxed(), "coco", tmp_path / "coco")
    assert [s for s in kept.lost if "groups" not in s and "numbers" not in s] == []


def test_the_verb_refuses_what_cannot_be(tmp_path: Path) -> None:
    keepers()["voc"].write(boxed(), tmp_path / "voc")
    with pytest.raises(DataError, match="masks holds mask"):
        data.convert(tmp_path / "voc", tmp_path / "m", to="masks")
    with pytest.raises(UsageError, match="no format"):
        data.convert(tmp_path / "voc", tmp_path / "m", to="coca")
    with pytest.raises(StorageError, match="already there"):
        data.convert(tmp_path / "voc", tmp_path, to="coco")


def test_the_command_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keepers()["coco"].write(boxed(), tmp_path / "coco")
    assert main(["convert", str(tmp_path / "coco"), str(tmp_path / "yolo"), "--to", "yolo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 1
    assert any("box_crowd" in sentence for sentence in told["lost"])
    assert main(["convert", str(tmp_path / "coco"), str(tmp_path / "csv"), "--to", "csv"]) == 0
    assert "1 pictures as csv" in capsys.readouterr().out
