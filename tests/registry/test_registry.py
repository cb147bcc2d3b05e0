"""The registry: names, versions, aliases, folders, faults."""

import hashlib
import os
from pathlib import Path

import pytest

from saccade.errors import PackageError, RegistryError, StorageError, UsageError
from saccade.package.reader import open_package
from saccade.registry.registry import Registry, existing_home
from saccade.storage.blobs import FolderBlobs
from saccade.testing.packages import colors


def test_push_numbers_versions_and_knows_a_package_again(tmp_path: Path) -> None:
    one, two = colors(tmp_path / "one"), colors(tmp_path / "two", reverse=True)
    registry = Registry(tmp_path / "home")
    assert registry.push(one.path, "cells", alias="stable") == 1
    assert registry.push(two.path, "cells") == 2
    assert registry.push(one.path, "cells") == 1
    assert registry.push(one.path) == 1  # under its own name
    assert registry.find("cells").version == 2
    assert registry.find("cells@stable").version == 1
    assert registry.find("cells:1").digest == one.digest
    assert [e.name for e in registry.models()] == ["cells", "colors"]
    assert registry.models("cells")[0].to_json()["aliases"] == {"stable": 1}
    assert registry.fsck() == []


def test_resolve_gives_a_verified_folder_and_pull_a_copy_of_ones_own(tmp_path: Path) -> None:
    package = colors(tmp_path / "one")
    registry = Registry(tmp_path / "home")
    registry.push(package.path, "cells")
    name, version, folder = registry.resolve("cells")
    assert (name, version, open_package(folder).digest) == ("cells", 1, package.digest)
    assert registry.path("cells", 1) == folder
    pulled = registry.pull("cells", tmp_path / "pulled")
    (pulled / "model.onnx").write_bytes(b"mine")
    assert registry.fsck() == []
    with pytest.raises(UsageError):
        registry.pull("cells", pulled)


def test_revision_moves_with_every_change_only(tmp_path: Path) -> None:
    package = colors(tmp_path / "one")
    registry, watcher = Registry(tmp_path / "home"), Registry(tmp_path / "home")
    seen = [watcher.revision()]
    for change in (
        lambda: registry.push(package.path, "cells"),
        lambda: registry.set_alias("cells", "stable", 1),
        lambda: registry.delete_alias("cells", "stable"),
    ):
        change()
        seen.append(watcher.revision())
    assert len(set(seen)) == 4
    registry.push(package.path, "cells")
    assert watcher.revision() == seen[-1]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "stats", "a@b", "ü", "x" * 129, "a\n"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    package = colors(tmp_path / "one")
    registry = Registry(tmp_path / "home")
    with pytest.raises(RegistryError) as caught:
        registry.push(package.path, "cells", alias=name)
    assert caught.value.code == "name_invalid"
    if name:
        with pytest.raises(RegistryError):
            registry.push(package.path, name)
    assert registry.models() == []


@pytest.mark.parametrize("model", ["cells@nope", "cells:2", "cells:x", "cells:", "cells@", "other", "", "cells:1:1"])
def test_what_is_not_there(tmp_path: Path, model: str) -> None:
    registry = Registry(tmp_path / "home")
    registry.push(colors(tmp_path / "one").path, "cells")
    with pytest.raises(RegistryError) as caught:
        registry.resolve(model)
    assert caught.value.code == "not_found"


def test_a_changed_package_is_not_pushed(tmp_path: Path) -> None:
    package = colors(tmp_path / "one")
    file = package.path / "model.onnx"
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    registry = Registry(tmp_path / "home")
    with pytest.raises(PackageError) as caught:
        registry.push(package.path, "cells")
    assert caught.value.code == "digest_mismatch"
    assert registry.models() == []


def test_fsck_finds_a_changed_and_a_lost_file(tmp_path: Path) -> None:
    package = colors(tmp_path / "one")
    registry = Registry(tmp_path / "home")
    registry.push(package.path, "cells")
    digests = {path: entry.sha256 for path, entry in package.manifest.files.items()}
    blob = tmp_path / "home" / "blobs" / digests["model.onnx"][:2] / digests["model.onnx"]
    blob.chmod(0o644)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    assert registry.fsck() == ["cells version 1: model.onnx is missing or damaged"]
    with pytest.raises(PackageError):
        registry.resolve("cells")
    blob.unlink()
    with pytest.raises(StorageError):
        registry.resolve("cells")
    registry.push(package.path, "cells")  # mends it
    assert registry.fsck() == []


def test_a_push_mends_what_was_served_and_rotted(tmp_path: Path) -> None:
    package = colors(tmp_path / "one")
    registry = Registry(tmp_path / "home")
    registry.push(package.path, "cells")
    graph = registry.resolve("cells")[2] / "model.onnx"
    graph.chmod(0o644)
    graph.write_bytes(b"x" + graph.read_bytes()[1:])  # a link: the blob has rotted with it
    assert len(registry.fsck()) == 2
    before = registry.revision()
    assert registry.push(package.path, "cells") == 1
    assert registry.revision() != before, "a server that could not load it looks again"
    assert registry.fsck() == []
    assert open_package(registry.resolve("cells")[2]).digest == package.digest
    assert registry.fsck() == []
    assert [p.name for p in (tmp_path / "home" / "packages").iterdir()] == [package.digest]


def test_who_only_reads_is_told_that_there_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no home at"):
        existing_home(tmp_path / "bakcup")
    (tmp_path / "home").mkdir()
    with pytest.raises(RegistryError, match="nothing was pushed to the home"):
        existing_home(tmp_path / "home")
    Registry(tmp_path / "home").push(colors(tmp_path / "one").path)
    assert existing_home(tmp_path / "home") == tmp_path / "home"
    assert not (tmp_path / "bakcup").exists()


def test_what_a_dead_push_left_is_swept_a_day_later(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "home")
    orphan = tmp_path / "orphan"
    orphan.write_bytes(b"of a push that died")
    digest = hashlib.sha256(orphan.read_bytes()).hexdigest()
    blobs = FolderBlobs(tmp_path / "home" / "blobs")
    blobs.put(orphan, digest)
    package = colors(tmp_path / "one")
    registry.push(package.path, "cells")
    assert blobs.has(digest), "it is young: a push at work may still name it"
    place = tmp_path / "home" / "blobs" / digest[:2] / digest
    os.utime(place, (0, 0))
    registry.push(colors(tmp_path / "two").path, "cells")
    assert not blobs.has(digest)
    assert registry.fsck() == []


def test_nothing_is_swept_while_a_manifest_cannot_be_read(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "home")
    package = colors(tmp_path / "one")
    registry.push(package.path, "cells")
    (tmp_path / "home" / "blobs" / package.digest[:2] / package.digest).unlink()
    held = len(list((tmp_path / "home" / "blobs").glob("??/*")))
    with pytest.raises(StorageError):
        registry.sweep(-1)
    assert len(list((tmp_path / "home" / "blobs").glob("??/*"))) == held
