"""The keepers of storage pass their suites; files are replaced whole."""

import errno
from pathlib import Path

import pytest

from saccade.errors import StorageError
from saccade.storage.blobs import BlobStore, FolderBlobs
from saccade.storage.database import Database, Sqlite
from saccade.storage.files import Files
from saccade.testing.blobs import BlobSuite
from saccade.testing.databases import DatabaseSuite


class TestSqlite(DatabaseSuite):
    def make(self, folder: Path) -> Database:
        return Sqlite(folder / "suite.db")

    def test_commits_are_synced_and_readers_do_not_wait(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        with database.write() as writer:
            assert writer.execute("PRAGMA journal_mode") == [("wal",)]
            assert writer.execute("PRAGMA synchronous") == [(2,)]
            writer.execute("CREATE TABLE t (x INTEGER)")
            with self.make(tmp_path).read() as reader:
                assert reader.execute("SELECT name FROM sqlite_master") == []

    def test_a_refusal_names_its_own_cure(self, tmp_path: Path) -> None:
        (tmp_path / "damaged.db").write_bytes(b"this is no database" * 200)
        with pytest.raises(StorageError, match="bring it back from a backup"):
            Sqlite(tmp_path / "damaged.db").read().__enter__()
        with self.make(tmp_path).write(), pytest.raises(StorageError, match="another process holds it"):
            Sqlite(tmp_path / "suite.db", wait_s=0.0).write().__enter__()
        with pytest.raises(StorageError, match="can be read and written"):
            Sqlite(tmp_path / "nowhere" / "a.db").read().__enter__()


class TestFolderBlobs(BlobSuite):
    def make(self, folder: Path) -> BlobStore:
        return FolderBlobs(folder)

    def damage(self, store: BlobStore, digest: str) -> None:
        assert isinstance(store, FolderBlobs)
        file = store.root / digest[:2] / digest
        file.chmod(0o644)
        file.write_bytes(b"x" + file.read_bytes()[1:])


@pytest.mark.parametrize("step", ["write", "rename"])
def test_replace_that_fails_keeps_the_old_file(tmp_path: Path, step: str) -> None:
    class Full(Files):
        def write(self, file: Path, data: bytes) -> None:
            if step == "write":
                file.write_bytes(data[:2])
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(file, data)

        def rename(self, old: Path, new: Path) -> None:
            raise OSError(errno.EIO, "Input/output error")

    file = tmp_path / "state.json"
    Files().replace(file, b"old")
    with pytest.raises(OSError):
        Full().replace(file, b"new one")
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
    assert file.read_bytes() == b"old"
