"""A small database behind one connection; its tables are made by named, ordered migrations.

SQLite keeps it in one file. SQL is written in the words that SQLite and PostgreSQL share: `?` for values, no dialect.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from saccade.errors import StorageError

Row = tuple[Any, ...]


class Connection(ABC):
    """Inside one transaction."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Runs one statement; the rows it gives, if any. Raises StorageError."""


class Database(ABC):
    """Keepers: Sqlite. Their common suite: saccade.testing.databases. Safe from several threads and processes."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment. Raises StorageError(dependency_unavailable)."""

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """A transaction alone with the data: what it read stays true until it ends.

        Durable when the block has ended; undone when the block raises. Raises StorageError: storage_full,
        dependency_unavailable.
        """


Migration = tuple[str, Callable[[Connection], None]]


def migrate(database: Database, subject: str, migrations: Sequence[Migration]) -> list[str]:
    """Applies the migrations of a subject that a database lacks, all or none; gives their names.

    Raises StorageError when the database has migrations that this saccade does not know.
    """
    with database.write() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(subject TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (subject, position))"
        )
        rows = connection.execute("SELECT name FROM migrations WHERE subject = ? ORDER BY position", (subject,))
        done, known = [row[0] for row in rows], [name for name, _ in migrations]
        if done != known[: len(done)]:
            raise StorageError(
                f"the database has the {subject} migrations {done}, this saccade knows {known}",
                hint="install the saccade that wrote it, or a newer one",
                code="dependency_unavailable",
            )
        for position, (name, change) in list(enumerate(migrations))[len(done) :]:
            change(connection)
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (subject, position, name))
    return known[len(done) :]


class Sqlite(Database):
    """One file, WAL, every commit synced (synchronous FULL). The folder must exist.

    A connection lives as long as its transaction: nothing to close, nothing that a fork could share.
    """

    def __init__(self, file: Path, wait_s: float = 30.0) -> None:
        self.file = file
        self._wait_s = wait_s

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._session("BEGIN") as connection:
            yield _SqliteConnection(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._session("BEGIN IMMEDIATE") as connection:
            yield _SqliteConnection(connection)
            self.commit(connection)

    def commit(self, connection: sqlite3.Connection) -> None:
        """The durable step of a write. Tests make it fail."""
        connection.execute("COMMIT")

    @contextmanager
    def _session(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.file, timeout=self._wait_s, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute(begin)
                yield connection  # closing an open transaction undoes it
        except sqlite3.Error as error:
            raise _refused(error) from error


class _SqliteConnection(Connection):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise _refused(error) from error


DAMAGED = "the file is damaged: bring it back from a backup, or move it away and push the packages again"
CURES = {
    sqlite3.SQLITE_BUSY: "another process holds it: try again when that has ended",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
"""By SQLite's primary result code; what has no cure of its own is a matter of rights, or of the disk."""


def _refused(error: sqlite3.Error) -> StorageError:
    # Errors that the Python module raises itself carry no code of SQLite's. The low byte is the primary code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageError("the disk is full, the database kept its old state", hint="free some disk space")
    return StorageError(
        f"the database refused: {error}",
        hint=CURES.get(code, "see that its folder and files can be read and written"),
        code="dependency_unavailable",
    )
