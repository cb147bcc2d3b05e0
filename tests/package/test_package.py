"""A sealed package is what it says, or is refused."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.errors import PackageError, StorageError
from saccade.images.preprocess import PreprocessSpec
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package, is_package, open_package
from saccade.package.writer import PackageWriter, reseal
from saccade.storage.files import Files
from saccade.types import Labels, TensorSpec

MANIFEST = Manifest(
    name="cells",
    task="some-task",
    labels=Labels(("a", "b")),
    preprocess=PreprocessSpec(8, 6),
    graphs={
        "default": GraphEntry(
            "model.onnx",
            "onnxruntime",
            (TensorSpec("image", "uint8", (None, 6, 8, 3)),),
            (TensorSpec("scores", "float32", (None, 2)),),
        )
    },
    golden=("00",),
    calibration={"temperature": 1.5},
)


def sealed(folder: Path, files: Files | None = None) -> Package:
    writer = PackageWriter(folder, files)
    writer.add("model.onnx", b"graph")
    writer.add_golden("00", b"picture", {"scores": np.array([0.25, 0.75], np.float32)})
    return writer.seal(MANIFEST)


def test_what_was_sealed_is_read(tmp_path: Path) -> None:
    package = sealed(tmp_path / "p")
    again = open_package(tmp_path / "p")
    assert again.digest == package.digest
    assert again.manifest.labels == MANIFEST.labels
    assert again.graph_path().read_bytes() == b"graph"
    golden = again.golden()[0]
    assert golden.image_bytes == b"picture"
    assert golden.expected["scores"].tolist() == [0.25, 0.75]


def test_equal_content_has_an_equal_digest(tmp_path: Path) -> None:
    assert sealed(tmp_path / "p").digest == sealed(tmp_path / "q").digest


def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    package = sealed(tmp_path / "p")
    for file in sorted(p for p in package.path.rglob("*") if p.is_file() and p.name != "manifest.json"):
        data = file.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 5)):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(PackageError) as caught:
                open_package(package.path)
            assert caught.value.code == "digest_mismatch"
        file.write_bytes(data)
    open_package(package.path)


def test_missing_and_extra_files_and_links_are_refused(tmp_path: Path) -> None:
    package = sealed(tmp_path / "p")
    (package.path / "extra.py").write_text("print()")
    with pytest.raises(PackageError, match="not in the manifest"):
        open_package(package.path)
    (package.path / "extra.py").unlink()
    graph = package.path / "model.onnx"
    graph.rename(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="missing"):
        open_package(package.path)
    graph.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="missing"):
        open_package(package.path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"format_version":1', b'"format_version":2', "format 1"),
        (b'"task":', b'"strange":1,"task":', "unknown fields"),
        (b'"task":', b'"task":"x","task":', "twice"),
        (b"1.5", b"NaN", "no number"),
        (b'"name":"cells"', b'"name":"../x"', "model name"),
        (b'"golden/00.image"', b'"golden/../../x"', "fixed pattern"),
        (b'"task"', b'"tusk"', "lacks"),
        (b"{", b"", "JSON"),
    ],
)
def test_a_strange_manifest_is_refused(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    package = sealed(tmp_path / "p")
    file = package.path / "manifest.json"
    file.write_bytes(file.read_bytes().replace(old, new, 1))
    with pytest.raises(PackageError, match=words):
        open_package(package.path)


def test_a_folder_that_says_it_is_a_package_need_not_be_a_sound_one(tmp_path: Path) -> None:
    package = sealed(tmp_path / "p")
    assert is_package(package.path)
    manifest = package.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert is_package(package.path)
    manifest.write_text('{"images": []}')
    assert not is_package(package.path)
    assert not is_package(tmp_path)
    assert not is_package(manifest)


def test_what_did_not_come_to_its_seal_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> None:
        with PackageWriter(tmp_path / "p") as writer:
            writer.add("model.onnx", b"graph")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []
    old = sealed(tmp_path / "p")
    with pytest.raises(PackageError, match="a model name is"):
        reseal(replace(old, manifest=replace(old.manifest, name="waste v2")))
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert open_package(tmp_path / "p").digest == old.digest


def test_resealing_keeps_files_and_adds_numbers(tmp_path: Path) -> None:
    first = sealed(tmp_path / "p")
    second = reseal(first, metrics=({"name": "accuracy", "value": 0.5},), extra={"report.html": b"<p>"})
    assert second.digest != first.digest
    assert second.manifest.metrics[0]["value"] == 0.5
    assert (second.path / "report.html").read_bytes() == b"<p>"
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


class Full(Files):
    """A disk that refuses the n-th durable write."""

    def __init__(self, n: int) -> None:
        self.left = n

    def write(self, file: Path, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        super().write(file, data)


def test_a_full_disk_leaves_the_old_package_and_no_litter(tmp_path: Path) -> None:
    before = sealed(tmp_path / "p").digest
    for n in range(4):
        with pytest.raises(StorageError, match="disk is full"):
            sealed(tmp_path / "p", Full(n))
        assert open_package(tmp_path / "p").digest == before
        assert [p.name for p in tmp_path.iterdir()] == ["p"]


class Broken(Files):
    """A disk that fails with another word than full."""

    def write(self, file: Path, data: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_only_a_full_disk_is_called_full(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        sealed(tmp_path / "p", Broken())
    assert caught.value.code == "dependency_unavailable"
    assert "Input/output error" in str(caught.value)
    with pytest.raises(StorageError) as caught:
        sealed(tmp_path / "p", Full(0))
    assert caught.value.code == "storage_full"


class Fatal(Files):
    """The process dies at the n-th step that moves something, before or after it."""

    def __init__(self, n: int, after: bool, swaps: bool) -> None:
        self.left, self.after, self.swaps = n, after, swaps

    def _step(self, move: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = move()
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def rename(self, old: Path, new: Path) -> None:
        self._step(lambda: super(Fatal, self).rename(old, new))

    def exchange(self, one: Path, other: Path) -> bool:
        return bool(self.swaps and self._step(lambda: super(Fatal, self).exchange(one, other)))


@pytest.mark.parametrize("swaps", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_a_reseal_that_is_killed_leaves_the_old_package_or_the_new(tmp_path: Path, swaps: bool, after: bool) -> None:
    for n in range(3):
        folder = tmp_path / f"p[{n}]"
        old = sealed(folder)
        child = os.fork()
        if child == 0:
            try:
                reseal(old, metrics=(), extra={"report.html": b"<p>"}, files=Fatal(n, after, swaps))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        if swaps:
            open_package(folder)
        elif not folder.exists():
            with pytest.raises(PackageError, match="waits at"):
                open_package(folder)
        writer = PackageWriter(folder)
        writer.add("model.onnx", b"graph")
        assert open_package(folder).manifest.name == "cells", "what a kill left is back before anything new is made"
        writer.drop()


def test_a_folder_that_is_no_package_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("mine")
    with pytest.raises(PackageError, match="in the way"):
        sealed(tmp_path / "p")
    assert (tmp_path / "p" / "thesis.txt").read_text() == "mine"
