"""A home of the oldest kind opens with today's registry."""

from pathlib import Path

from saccade.registry import catalog
from saccade.registry.catalog import Version
from saccade.registry.registry import Registry
from saccade.storage.database import Sqlite, migrate


def test_from_the_oldest_database(tmp_path: Path) -> None:
    assert [name for name, _ in catalog.MIGRATIONS] == ["versions_and_aliases", "change_count"]
    database = Sqlite(tmp_path / "saccade.db")
    migrate(database, "registry", catalog.MIGRATIONS[:1])
    with database.write() as connection:
        catalog.add_version(connection, Version("cells", 1, "0" * 64, "a task", "accuracy 0.9", "2026-01-01"))
        catalog.set_alias(connection, "cells", "stable", 1)
    registry = Registry(tmp_path)
    assert registry.find("cells@stable").digest == "0" * 64
    before = registry.revision()
    registry.set_alias("cells", "canary", 1)
    assert registry.revision() != before
