"""Arrays: what headers say is looked at before anything is unpacked, and labels are few."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from saccade.data import formats
from saccade.data.format import MOST_CLASSES
from saccade.data.formats import arrays
from saccade.errors import DataError
from saccade.types import Array

PICTURES = np.zeros((2, 4, 4), np.uint8)


def test_a_side_below_zero_unpacks_nothing(tmp_path: Path) -> None:
    head, labels = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (-1, 4, 4)})
    np.save(labels, np.array([0, 1]))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("train_images.npy", head.getvalue() + bytes(32))
        archive.writestr("train_labels.npy", labels.getvalue())
    with pytest.raises(DataError, match=r"train_images says \[-1, 4, 4\], expected sides from 0"):
        formats.read(tmp_path / "d.npz")


def test_a_single_number_is_no_list_of_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_images=PICTURES[:1], train_labels=np.int64(1))
    with pytest.raises(DataError, match=r"train_labels must be 1 whole numbers from 0.* got int64 \[\]"):
        formats.read(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("labels", "names", "told"),
    [
        (np.array([0, 999_999]), 0, "train_labels go up to 999,999, expected less than 10,000"),
        (np.array([0, MOST_CLASSES]), 0, "train_labels go up to 10,000, expected less than 10,000"),
        (np.array([0, 1]), MOST_CLASSES + 1, "speak of 10,001 classes, expected at most 10,000"),
        (np.zeros((2, MOST_CLASSES + 1), np.uint8), 0, "speak of 10,001 classes, expected at most 10,000"),
    ],
)
def test_a_million_classes_are_one_sentence(labels: Array, names: int, told: str, tmp_path: Path) -> None:
    more = {"class_names": np.array([str(i) for i in range(names)])} if names else {}
    np.savez(tmp_path / "d.npz", train_images=PICTURES, train_labels=labels, **more)
    with pytest.raises(DataError, match=told):
        formats.read(tmp_path / "d.npz")


def test_as_many_classes_as_there_may_be_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", train_images=PICTURES, train_labels=np.array([0, MOST_CLASSES - 1]))
    assert len(formats.read(tmp_path / "d.npz")[0].labels) == MOST_CLASSES


def idx(file: Path, values: Array) -> None:
    file.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


def test_idx_files_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1], np.uint8)
    for part in ("train", "t10k"):
        idx(tmp_path / f"{part}-images-idx3-ubyte", PICTURES)
        idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    whole = 2 * (PICTURES.nbytes + labels.nbytes)
    monkeypatch.setattr(arrays, "MOST_BYTES", whole)
    assert {k: len(v) for k, v in formats.read(tmp_path)[0].splits.items()} == {"train": 2, "test": 2}
    monkeypatch.setattr(arrays, "MOST_BYTES", whole - 1)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte says \[2\], limit 0 MiB in all files together"):
        formats.read(tmp_path)
