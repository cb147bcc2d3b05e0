"""What every keeper of storage/database.py must do: subclass DatabaseSuite in a test and give it a database."""

import threading
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from saccade.errors import StorageError
from saccade.storage.database import Connection, Database, migrate


def _one(connection: Connection) -> None:
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")


def _two(connection: Connection) -> None:
    connection.execute("ALTER TABLE things ADD COLUMN weight INTEGER NOT NULL DEFAULT 0")


def _broken(connection: Connection) -> None:
    connection.execute("CREATE TABLE half (id INTEGER)")
    connection.execute("this is no SQL")


class DatabaseSuite(ABC):
    @abstractmethod
    def make(self, folder: Path) -> Database:
        """An empty database, or the same one again for the same folder."""

    def test_what_is_written_is_read_by_another(self, tmp_path: Path) -> None:
        migrate(self.make(tmp_path), "suite", [("one", _one)])
        with self.make(tmp_path).write() as connection:
            connection.execute("INSERT INTO things VALUES (?, ?)", (1, "é'; DROP TABLE things; --"))
        with self.make(tmp_path).read() as connection:
            assert connection.execute("SELECT id, name FROM things") == [(1, "é'; DROP TABLE things; --")]

    def test_a_block_that_raises_changes_nothing(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        migrate(database, "suite", [("one", _one)])

        def fail() -> None:
            with database.write() as connection:
                connection.execute("INSERT INTO things VALUES (?, ?)", (1, "a"))
                raise KeyError("on purpose")

        with pytest.raises(KeyError):
            fail()
        with database.read() as connection:
            assert connection.execute("SELECT * FROM things") == []

    def test_a_broken_rule_is_a_storage_error(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        migrate(database, "suite", [("one", _one)])

        def twice() -> None:
            with database.write() as connection:
                connection.execute("INSERT INTO things VALUES (1, 'a')")
                connection.execute("INSERT INTO things VALUES (2, 'a')")

        with pytest.raises(StorageError):
            twice()

    def test_writers_wait_for_each_other(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        migrate(database, "suite", [("one", _one), ("two", _two)])
        with database.write() as connection:
            connection.execute("INSERT INTO things VALUES (1, 'a', 0)")

        def add() -> None:
            for _ in range(10):
                with database.write() as connection:
                    weight = connection.execute("SELECT weight FROM things")[0][0]
                    connection.execute("UPDATE things SET weight = ?", (weight + 1,))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as connection:
            assert connection.execute("SELECT weight FROM things") == [(40,)]

    def test_migrations_are_applied_once_and_in_order(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        assert migrate(database, "suite", [("one", _one)]) == ["one"]
        with database.write() as connection:
            connection.execute("INSERT INTO things VALUES (1, 'old')")
        assert migrate(database, "suite", [("one", _one), ("two", _two)]) == ["two"]
        assert migrate(self.make(tmp_path), "suite", [("one", _one), ("two", _two)]) == []
        with database.read() as connection:
            assert connection.execute("SELECT * FROM things") == [(1, "old", 0)]

    def test_a_broken_migration_leaves_nothing(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        with pytest.raises(StorageError):
            migrate(database, "suite", [("one", _one), ("broken", _broken)])
        assert migrate(database, "suite", [("one", _one), ("two", _two)]) == ["one", "two"]

    def test_a_database_from_the_future_is_refused(self, tmp_path: Path) -> None:
        database = self.make(tmp_path)
        migrate(database, "suite", [("one", _one), ("two", _two)])
        with pytest.raises(StorageError) as newer:
            migrate(database, "suite", [("one", _one)])
        assert newer.value.code == "dependency_unavailable"
