"""A run's folder: what it writes, and what it says when it cannot."""

import errno
from pathlib import Path

import numpy as np
import pytest

from saccade.data.dataset import Dataset
from saccade.errors import StorageError
from saccade.storage.files import Files
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.types import Labels, Sample


def dataset() -> Dataset:
    pixels = np.zeros((4, 4, 3), np.uint8)
    samples = tuple(Sample(f"{i}", pixels + i, {"classes": np.array([0], np.int64)}) for i in range(2))
    return Dataset("arrays", Path("memory"), Labels(("one",)), {"train": samples})


def test_a_folder_that_cannot_hold_a_run_is_told_with_its_cause(tmp_path: Path) -> None:
    """A full disk and a refused permission are different troubles with different cures."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot hold a run: Not a directory; name another place") as caught:
        Run.create(tmp_path / "file" / "run", Recipe(), dataset())
    assert caught.value.code == "dependency_unavailable"


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "storage_full"), (errno.EACCES, "dependency_unavailable")])
def test_what_a_disk_refuses_names_the_cure(tmp_path: Path, number: int, code: str) -> None:
    class Refuses(Files):
        def replace(self, path: Path, data: bytes) -> None:
            raise OSError(number, "no")

    run = Run(tmp_path, Recipe(), Refuses())
    with pytest.raises(
        StorageError, match=r"a\.bin could not be written: (the disk is full; free some space|no; make the run folder)"
    ) as caught:
        run.write(tmp_path / "a.bin", b"1")
    assert caught.value.code == code
