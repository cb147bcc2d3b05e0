"""A home's registry as a source: of every model the newest version and those with an alias."""

import logging
from collections.abc import Hashable, Sequence
from pathlib import Path

from saccade.errors import SaccadeError, UsageError
from saccade.registry.registry import Entry, Registry
from saccade.server.source import Wanted

log = logging.getLogger("saccade.server")


class Home:
    """models: `name` or `name@alias`; none means all. A `name@alias` serves that alias's version alone."""

    def __init__(self, home: Path, models: Sequence[str] = ()) -> None:
        self._registry = Registry(home)
        self._models = tuple(models)
        self._told: dict[tuple[str, int], str] = {}
        """What was last said of versions that cannot be read, once and not at every look."""
        for model in models:
            if "@" not in model and ":" in model:
                raise UsageError(
                    f"a server follows names and aliases, got {model!r}",
                    hint="give the version an alias, and serve that",
                )
            self._registry.find(model)

    def revision(self) -> Hashable:
        return self._registry.revision()

    def names(self) -> Sequence[str]:
        return [entry.name for entry in self._registry.models() if self._numbers(entry)]

    def wanted(self) -> Wanted:
        versions: dict[str, dict[int, Path]] = {}
        aliases: dict[str, dict[str, int]] = {}
        unreadable: dict[tuple[str, int], SaccadeError] = {}
        for entry in self._registry.models():
            numbers = self._numbers(entry)
            if not numbers:
                continue
            versions[entry.name] = {}
            for number in numbers:
                try:
                    versions[entry.name][number] = self._registry.path(entry.name, number)
                except SaccadeError as error:
                    # One damaged version must not keep the others from being served.
                    unreadable[entry.name, number] = error
            aliases[entry.name] = {a: v for a, v in entry.aliases.items() if v in numbers}
        told = {key: str(fault) for key, fault in unreadable.items()}
        for key, text in told.items():
            if text != self._told.get(key):
                log.error("%s version %d cannot be read: %s", *key, text)
        self._told = told
        return Wanted(versions, aliases, unreadable)

    def _numbers(self, entry: Entry) -> set[int]:
        asked = [model for model in self._models if model.partition("@")[0] == entry.name]
        if not self._models or entry.name in asked:
            return {entry.versions[-1].version, *entry.aliases.values()}
        named = {model.partition("@")[2] for model in asked}
        return {version for alias, version in entry.aliases.items() if alias in named}
