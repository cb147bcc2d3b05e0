"""A push that is killed, or meets a full disk, at any durable step leaves the old state or the new one."""

import errno
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from saccade.errors import StorageError
from saccade.package.reader import Package, open_package
from saccade.registry.registry import Registry
from saccade.storage.database import Sqlite
from saccade.storage.files import Files
from saccade.testing.packages import colors

PUSH = """
import os, signal, sys
from pathlib import Path
from saccade.registry.registry import Registry
from saccade.storage.database import Sqlite
from saccade.storage.files import Files

home, package, fatal, after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "after"
steps = 0

def step(do):
    global steps
    steps += 1
    if steps == fatal and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = do()
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

class Steps(Files):
    def copy(self, file, target): step(lambda: super(Steps, self).copy(file, target))
    def write(self, file, data): step(lambda: super(Steps, self).write(file, data))
    def rename(self, old, new): step(lambda: old.replace(new)); self.sync_folder(new.parent)
    def sync_folder(self, folder): step(lambda: super(Steps, self).sync_folder(folder))

class Commits(Sqlite):
    def commit(self, connection): step(lambda: super(Commits, self).commit(connection))

registry = Registry(home, files=Steps(), database=Commits(home / "saccade.db"))
version = registry.push(package, "cells", alias="stable")
registry.resolve("cells@stable")
print(version, steps, flush=True)
"""


class Full(Files):
    """A disk that is full at the n-th step and after."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def copy(self, file: Path, target: Path) -> None:
        self.step()
        super().copy(file, target)

    def rename(self, old: Path, new: Path) -> None:
        self.step()
        super().rename(old, new)

    def sync_folder(self, folder: Path) -> None:
        self.step()
        super().sync_folder(folder)


class FullDatabase(Sqlite):
    def __init__(self, file: Path, disk: Full) -> None:
        super().__init__(file)
        self.disk = disk

    def commit(self, connection: sqlite3.Connection) -> None:
        try:
            self.disk.step()
        except OSError as error:
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full from error
        super().commit(connection)


def old_home(folder: Path) -> tuple[Package, Package]:
    """A home with version 1, alias stable; and the package that shall become version 2."""
    old, new = colors(folder / "old"), colors(folder / "new", reverse=True, logarithm=True)
    assert Registry(folder / "home").push(old.path, "cells", alias="stable") == 1
    return old, new


def check(home: Path, old: Package, new: Package) -> int:
    """The invariants; gives the version that stable points at."""
    registry = Registry(home)
    assert registry.fsck() == []
    entry = registry.models("cells")[0]
    digests = [v.digest for v in entry.versions]
    assert digests in ([old.digest], [old.digest, new.digest])
    assert entry.aliases["stable"] == len(digests)
    assert open_package(registry.resolve("cells@stable")[2]).digest == digests[-1]
    assert open_package(registry.resolve("cells:1")[2]).digest == old.digest
    return len(digests)


def push(home: Path, package: Path, fatal: int, when: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PUSH, str(home), str(package), str(fatal), when]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_sigkill_at_every_durable_step(tmp_path: Path) -> None:
    old, new = old_home(tmp_path / "whole")
    done = push(tmp_path / "whole" / "home", new.path, 0, "before")
    assert done.returncode == 0, done.stderr
    total = int(done.stdout.split()[1])
    assert total > 10
    seen = []
    for fatal in range(1, total + 1):
        folder = tmp_path / str(fatal)
        old, new = old_home(folder)
        killed = push(folder / "home", new.path, fatal, "after" if fatal == total else "before")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        seen.append(check(folder / "home", old, new))
        assert Registry(folder / "home").push(new.path, "cells", alias="stable") == 2
        assert check(folder / "home", old, new) == 2
    assert seen == sorted(seen)
    assert {1, 2} == set(seen)


def test_a_disk_that_is_full_at_every_durable_step(tmp_path: Path) -> None:
    old, new = old_home(tmp_path)
    home = tmp_path / "home"
    for left in range(100):
        disk = Full(left)
        registry = Registry(home, files=disk, database=FullDatabase(home / "saccade.db", disk))
        try:
            registry.push(new.path, "cells", alias="stable")
            break
        except StorageError as error:
            assert error.code == "storage_full"  # noqa: PT017
            assert check(home, old, new) == 1
    assert left > 3
    assert check(home, old, new) == 2


def test_sqlite_that_has_no_room_says_storage_full(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "a.db")
    with database.write() as connection:
        connection.execute("CREATE TABLE t (x TEXT)")

    def fill() -> None:
        with database.write() as connection:
            connection.execute("PRAGMA max_page_count = 3")
            for _ in range(100):
                connection.execute("INSERT INTO t VALUES (?)", ("x" * 4000,))

    with pytest.raises(StorageError) as full:
        fill()
    assert full.value.code == "storage_full"
    with database.read() as connection:
        assert connection.execute("SELECT COUNT(*) FROM t") == [(0,)]


def test_pushes_from_several_processes_get_distinct_versions(tmp_path: Path) -> None:
    packages = []
    for i in range(4):
        package = colors(tmp_path / f"p{i}", name=f"colors{i}")
        packages.append(package)
    command = [sys.executable, "-c", PUSH, str(tmp_path / "home")]
    running = [
        subprocess.Popen(
            [*command, str(p.path), "0", "before"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for p in packages
    ]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert sorted(int(out.split()[0]) for out, _ in said) == [1, 2, 3, 4]
    assert Registry(tmp_path / "home").fsck() == []
