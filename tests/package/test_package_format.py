"""Packages: sealing, opening, everything a reader must refuse; and a package built from docs/format.md alone."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.errors import PackageError, StorageError
from saccade.package.manifest import Manifest
from saccade.package.reader import open_package
from saccade.package.writer import PackageWriter, reseal
from saccade.storage.files import Files
from saccade.testing.packages import colors, png

PAGE = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def canonical(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def test_a_sealed_package_opens_with_its_golden_samples(tmp_path: Path) -> None:
    sealed = colors(tmp_path / "p")
    package = open_package(tmp_path / "p")
    assert (
        package.digest == sealed.digest == hashlib.sha256((tmp_path / "p" / "manifest.json").read_bytes()).hexdigest()
    )
    assert package.graph_path() == tmp_path / "p" / "model.onnx"
    [golden] = package.golden()
    assert golden.image_bytes == png(200, 100, 50)
    assert np.allclose(golden.expected["scores"], np.array([200, 100, 50]) / 255, atol=1e-3)
    with pytest.raises(PackageError):
        package.graph_path("int8")
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    package = colors(tmp_path / "p")
    for file in sorted(p for p in package.path.rglob("*") if p.is_file()):
        data = file.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            if file.name == "manifest.json":
                with contextlib.suppress(PackageError):
                    assert open_package(package.path).digest != package.digest
            else:
                with pytest.raises(PackageError) as caught:
                    open_package(package.path)
                assert caught.value.code == "digest_mismatch"
        file.write_bytes(data)
    assert open_package(package.path).digest == package.digest


def _longer(p: Path) -> None:
    with (p / "model.onnx").open("ab") as out:
        out.write(b"x")


def _link(p: Path) -> None:
    (p / "model.onnx").rename(p.parent / "elsewhere")
    (p / "model.onnx").symlink_to(p.parent / "elsewhere")


def _linked_folder(p: Path) -> None:
    (p / "golden").rename(p.parent / "elsewhere")
    (p / "golden").symlink_to(p.parent / "elsewhere")


def _linked_manifest(p: Path) -> None:
    (p / "manifest.json").rename(p.parent / "elsewhere")
    (p / "manifest.json").symlink_to(p.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda p: (p / "model.onnx").unlink(),
    "extra": lambda p: (p / "setup.py").write_text("x"),
    "longer": _longer,
    "link": _link,
    "linked folder": _linked_folder,
    "linked manifest": _linked_manifest,
    "pipe": lambda p: os.mkfifo(p / "pipe"),
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "huge manifest": lambda p: (p / "manifest.json").write_bytes(b" " * (4 * 1024 * 1024 + 1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_folders_that_are_refused(tmp_path: Path, damage: str) -> None:
    package = colors(tmp_path / "p")
    DAMAGES[damage](package.path)
    with pytest.raises(PackageError):
        open_package(package.path)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "version 2": lambda r: r.update(format_version=2),
    "version true": lambda r: r.update(format_version=True),
    "version text": lambda r: r.update(format_version="1"),
    "unknown field": lambda r: r.update(hook="os.system"),
    "lacks task": lambda r: r.pop("task"),
    "task number": lambda r: r.update(task=1),
    "name": lambda r: r.update(name="../x"),
    "unknown graph field": lambda r: r["graphs"]["default"].update(custom_ops="x.so"),
    "unknown file field": lambda r: r["files"]["model.onnx"].update(url="http://x"),
    "unknown preprocess field": lambda r: r["preprocess"].update(gamma=2),
    "huge input": lambda r: r["preprocess"].update(width=10**9),
    "no default graph": lambda r: r.update(graphs={}),
    "path": lambda r: r["files"].update({"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}),
    "absolute": lambda r: r["files"].update({"/etc/passwd": {"sha256": "0" * 64, "size": 1}}),
    "graph elsewhere": lambda r: r["graphs"]["default"].update(file="../model.onnx"),
    "golden elsewhere": lambda r: r.update(golden=["../../secret"]),
    "negative size": lambda r: r["files"]["model.onnx"].update(size=-1),
    "size text": lambda r: r["files"]["model.onnx"].update(size="12"),
    "digest": lambda r: r["files"]["model.onnx"].update(sha256="x"),
    "labels twice": lambda r: r["labels"]["classes"][1].update(name=r["labels"]["classes"][0]["name"]),
    "threshold text": lambda r: r.update(thresholds={"score": "high"}),
    "files list": lambda r: r.update(files=[]),
    "too big": lambda r: r["files"]["model.onnx"].update(size=5 * 1024**3),
}


@pytest.mark.parametrize("edit", EDITS)
def test_manifests_that_are_refused(tmp_path: Path, edit: str) -> None:
    file = colors(tmp_path / "p").path / "manifest.json"
    record = json.loads(file.read_bytes())
    EDITS[edit](record)
    with pytest.raises(PackageError) as caught:
        Manifest.from_bytes(canonical(record))
    assert caught.value.code == "package_invalid"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 1_000_000,
    ],
    ids=range(12),
)
def test_bytes_that_are_no_manifest(data: bytes) -> None:
    with pytest.raises(PackageError):
        Manifest.from_bytes(data)


def test_one_content_has_one_form(tmp_path: Path) -> None:
    data = (colors(tmp_path / "p").path / "manifest.json").read_bytes()
    assert Manifest.from_bytes(data).to_bytes() == data
    with pytest.raises(PackageError, match="canonical"):
        Manifest.from_bytes(data + b"\n")
    with pytest.raises(PackageError, match="canonical"):
        Manifest.from_bytes(json.dumps(json.loads(data)).encode())


def test_reseal_gives_a_new_digest_in_the_same_place(tmp_path: Path) -> None:
    candidate = colors(tmp_path / "p")
    final = reseal(candidate, metrics=({"name": "accuracy", "value": 0.9},), extra={"report.html": b"<p>"})
    assert final.digest != candidate.digest
    assert open_package(tmp_path / "p").manifest.metrics[0]["value"] == 0.9
    assert (tmp_path / "p" / "report.html").read_bytes() == b"<p>"
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_full_disk_at_any_step_keeps_the_older_package(tmp_path: Path) -> None:
    class Full(Files):
        left = 0

        def step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        def write(self, file: Path, data: bytes) -> None:
            self.step()
            super().write(file, data)

        def rename(self, old: Path, new: Path) -> None:
            self.step()
            super().rename(old, new)

        def sync_folder(self, folder: Path) -> None:
            self.step()
            super().sync_folder(folder)

    candidate = colors(tmp_path / "p")
    for left in range(50):
        files = Full()
        files.left = left
        try:
            final = reseal(candidate, metrics=(), extra={"report.html": b"<p>"}, files=files)
            break
        except StorageError as error:
            assert error.code == "storage_full"  # noqa: PT017
            held = open_package(tmp_path / "p")
            assert held.digest == candidate.digest or "report.html" in held.manifest.files
            assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert left > 5
    assert open_package(tmp_path / "p").digest == final.digest


def test_a_writer_takes_only_names_of_the_format_and_no_foreign_folder(tmp_path: Path) -> None:
    writer = PackageWriter(tmp_path / "p")
    for name in ("../x", "/x", "golden/../x", "x.py", "golden/A.png", "variants/x", "manifest.json", ""):
        with pytest.raises(PackageError):
            writer.add(name, b"x")
    package = colors(tmp_path / "q")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    other = PackageWriter(tmp_path / "mine")
    other.add("model.onnx", b"x")
    with pytest.raises(PackageError):
        other.seal(package.manifest)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_the_page_is_enough_to_build_a_package(tmp_path: Path) -> None:
    """Only the JSON of the page, hashlib and json are used; the reader must agree."""
    text = PAGE.read_text(encoding="utf-8")
    [example] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    record = json.loads(example)
    source = colors(tmp_path / "source").path
    folder = tmp_path / "built"
    contents = {
        "model.onnx": (source / "model.onnx").read_bytes(),
        "golden/one.image": png(200, 100, 50),
        "golden/one.scores.npy": (source / "golden" / "one.scores.npy").read_bytes(),
    }
    assert set(contents) == set(record["files"])
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        record["files"][path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (folder / "manifest.json").write_bytes(canonical(record))
    package = open_package(folder)
    assert package.manifest.name == record["name"]
    assert package.digest == hashlib.sha256(canonical(record)).hexdigest()
    assert [g.name for g in package.golden()] == ["one"]
    for field in record:
        assert f"| `{field}` |" in text, f"the page does not explain {field}"


CERTIFIED = {
    "file": "variants/int8/certificate.json",
    "host": "a CPU, 2 cores",
    "latency_ms": {"1": 1.0, "8": 4},
    "default_ms": {"1": 2.0, "8": 9.5},
    "gain": 2.1,
    "allowed_difference": 0.02,
}


def with_variant(folder: Path, certified: Any) -> Path:
    """A package with a variant, written by hand."""
    colors(folder)
    (folder / "variants/int8").mkdir(parents=True)
    (folder / "variants/int8/model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (folder / "variants/int8/certificate.json").write_bytes(b"{}")
    record = json.loads((folder / "manifest.json").read_bytes())
    record["graphs"]["int8"] = record["graphs"]["default"] | {"file": "variants/int8/model.onnx"}
    if certified is not None:
        record["graphs"]["int8"]["certified"] = certified
    for file in ("variants/int8/model.onnx", "variants/int8/certificate.json"):
        data = (folder / file).read_bytes()
        record["files"][file] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (folder / "manifest.json").write_bytes(canonical(record))
    return folder


def test_a_variant_with_its_certificate_opens_and_reads_back_the_same(tmp_path: Path) -> None:
    package = open_package(with_variant(tmp_path / "p", CERTIFIED))
    known = package.manifest.graphs["int8"].certified
    assert known is not None
    assert (known.gain, known.latency_ms["8"], known.host) == (2.1, 4, "a CPU, 2 cores")
    assert package.manifest.to_bytes() == (tmp_path / "p/manifest.json").read_bytes()
    assert open_package(with_variant(tmp_path / "q", None)).manifest.graphs["int8"].certified is None


def test_a_certificate_may_name_the_version_of_its_runtime_and_need_not(tmp_path: Path) -> None:
    named = open_package(with_variant(tmp_path / "p", CERTIFIED | {"runtime_version": "1.23.2"}))
    known = named.manifest.graphs["int8"].certified
    assert known is not None
    assert known.runtime_version == "1.23.2"
    assert named.manifest.to_bytes() == (tmp_path / "p/manifest.json").read_bytes()
    older = open_package(with_variant(tmp_path / "q", CERTIFIED))
    known = older.manifest.graphs["int8"].certified
    assert known is not None
    assert known.runtime_version is None
    assert reseal(older).digest == older.digest, "written again as it was read, without the field"


@pytest.mark.parametrize(
    "certified",
    [
        {},
        [],
        CERTIFIED | {"more": 1},
        CERTIFIED | {"gain": "2"},
        CERTIFIED | {"gain": True},
        CERTIFIED | {"latency_ms": {"1": -1}},
        CERTIFIED | {"latency_ms": 3},
        CERTIFIED | {"allowed_difference": None},
        CERTIFIED | {"host": 5},
        CERTIFIED | {"file": "variants/int8/gone.json"},
        CERTIFIED | {"file": 7},
        CERTIFIED | {"runtime_version": 1.23},
        CERTIFIED | {"runtime_version": None},
    ],
)
def test_a_misstated_certificate_is_refused(tmp_path: Path, certified: Any) -> None:
    with pytest.raises(PackageError):
        open_package(with_variant(tmp_path / "p", certified))
