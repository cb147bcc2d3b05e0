"""The rows of the registry: versions, aliases, and a count that moves with every change."""

from dataclasses import dataclass

from saccade.storage.database import Connection, Migration


@dataclass(frozen=True)
class Version:
    """digest: of the package, SHA-256 of its manifest. metric: the headline in words. created: UTC, ISO 8601."""

    name: str
    version: int
    digest: str
    task: str
    metric: str
    created: str


def _versions_and_aliases(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE versions (name TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, "
        "task TEXT NOT NULL, metric TEXT NOT NULL, created TEXT NOT NULL, "
        "PRIMARY KEY (name, version), UNIQUE (name, digest))"
    )
    connection.execute(
        "CREATE TABLE aliases (name TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL, "
        "PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES versions (name, version))"
    )


def _change_count(connection: Connection) -> None:
    connection.execute("CREATE TABLE changes (count INTEGER NOT NULL)")
    connection.execute("INSERT INTO changes SELECT COUNT(*) FROM versions")


MIGRATIONS: tuple[Migration, ...] = (
    ("versions_and_aliases", _versions_and_aliases),
    ("change_count", _change_count),
)
"""Only ever appended to: a database may stand at any of them."""


def versions(connection: Connection, name: str | None = None) -> list[Version]:
    """By name, oldest first."""
    where, values = ("WHERE name = ? ", (name,)) if name is not None else ("", ())
    columns = "name, version, digest, task, metric, created"
    rows = connection.execute(f"SELECT {columns} FROM versions {where}ORDER BY name, version", values)  # noqa: S608
    return [Version(*row) for row in rows]


def add_version(connection: Connection, row: Version) -> None:
    values = (row.name, row.version, row.digest, row.task, row.metric, row.created)
    connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)", values)


def aliases(connection: Connection, name: str) -> dict[str, int]:
    rows = connection.execute("SELECT alias, version FROM aliases WHERE name = ? ORDER BY alias", (name,))
    return dict(rows)


def set_alias(connection: Connection, name: str, alias: str, version: int) -> None:
    delete_alias(connection, name, alias)
    connection.execute("INSERT INTO aliases VALUES (?, ?, ?)", (name, alias, version))


def delete_alias(connection: Connection, name: str, alias: str) -> None:
    connection.execute("DELETE FROM aliases WHERE name = ? AND alias = ?", (name, alias))


def count(connection: Connection) -> int:
    return int(connection.execute("SELECT count FROM changes")[0][0])


def count_up(connection: Connection) -> None:
    connection.execute("UPDATE changes SET count = count + 1")
