"""What every keeper of storage/blobs.py must do: subclass BlobSuite in a test and give it a store."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from saccade.errors import PackageError, StorageError
from saccade.storage.blobs import BlobStore


class BlobSuite(ABC):
    @abstractmethod
    def make(self, folder: Path) -> BlobStore:
        """An empty store, or the same one again for the same folder."""

    @abstractmethod
    def damage(self, store: BlobStore, digest: str) -> None:
        """Changes a byte of a blob behind the store's back."""

    def _put(self, store: BlobStore, folder: Path, data: bytes) -> str:
        file, digest = folder / "source", hashlib.sha256(data).hexdigest()
        file.write_bytes(data)
        store.put(file, digest)
        return digest

    @pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 10_000])
    def test_what_goes_in_comes_out(self, tmp_path: Path, data: bytes) -> None:
        store = self.make(tmp_path / "store")
        digest = self._put(store, tmp_path, data)
        again = self.make(tmp_path / "store")
        assert again.has(digest)
        assert again.verify(digest)
        assert again.read(digest) == data
        for own in (True, False):
            again.fetch(digest, tmp_path / f"out{own}", own=own)
            assert (tmp_path / f"out{own}").read_bytes() == data
        assert list(again.digests()) == [digest]

    def test_a_copy_of_ones_own_may_be_changed(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / "store")
        digest = self._put(store, tmp_path, b"one")
        store.fetch(digest, tmp_path / "mine", own=True)
        (tmp_path / "mine").write_bytes(b"two")
        assert store.read(digest) == b"one"

    def test_another_digest_is_refused_and_leaves_nothing(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / "store")
        (tmp_path / "source").write_bytes(b"two")
        with pytest.raises(PackageError) as changed:
            store.put(tmp_path / "source", hashlib.sha256(b"one").hexdigest())
        assert changed.value.code == "digest_mismatch"
        assert list(store.digests()) == []

    def test_a_missing_and_a_damaged_blob_are_told_apart_from_a_good_one(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / "store")
        none = "0" * 64
        assert not store.has(none)
        assert not store.verify(none)
        with pytest.raises(StorageError):
            store.read(none)
        with pytest.raises(StorageError):
            store.fetch(none, tmp_path / "out")
        digest = self._put(store, tmp_path, b"one")
        self.damage(store, digest)
        assert not store.verify(digest)
        with pytest.raises(StorageError):
            store.read(digest)
        self._put(store, tmp_path, b"one")  # mends it
        assert store.verify(digest)

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
    def test_what_is_no_digest_becomes_no_path(self, tmp_path: Path, digest: str) -> None:
        store = self.make(tmp_path / "store")
        with pytest.raises(StorageError):
            store.read(digest)
        with pytest.raises(StorageError):
            store.has(digest)

    def test_a_sweep_removes_what_is_old_and_not_kept(self, tmp_path: Path) -> None:
        store = self.make(tmp_path / "store")
        kept, lost = self._put(store, tmp_path, b"one"), self._put(store, tmp_path, b"two")
        assert store.sweep({kept}, 3600) == []
        assert store.sweep({kept}, -1) == [lost]
        assert list(store.digests()) == [kept]
        assert store.read(kept) == b"one"
