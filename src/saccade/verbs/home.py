"""Verbs of the home: push, pull, models, alias and fsck. A push makes the home; the others say so where none is."""

import os
from pathlib import Path
from typing import Any

from saccade.errors import RegistryError, UsageError
from saccade.package import reader
from saccade.registry.registry import Registry, existing_home, home_folder


def push(
    package: Path | str, *, name: str | None = None, alias: str | None = None, home: Path | None = None
) -> tuple[str, int]:
    """Puts a package into the home as the next version of `name`; the same package again keeps its version."""
    chosen = name or reader.open_package(package).manifest.name
    return chosen, Registry(home_folder(home)).push(Path(package), chosen, alias)


def pull(model: str, out: Path | str, *, home: Path | None = None) -> Path:
    """Copies a version, name or name@alias, into the new folder `out`."""
    return Registry(existing_home(home)).pull(model, Path(out))


def models(name: str | None = None, *, home: Path | None = None) -> list[dict[str, Any]]:
    """Name, task, versions and aliases of every model in the home, or of one."""
    return [entry.to_json() for entry in Registry(existing_home(home)).models(name)]


def alias(name: str, alias: str, version: int, *, home: Path | None = None) -> None:
    """Points a movable name at a version. Raises RegistryError when there is no such version."""
    Registry(existing_home(home)).set_alias(name, alias, version)


def fsck(*, home: Path | None = None) -> list[str]:
    """What does not hold in the home, in sentences; empty when all does."""
    return Registry(existing_home(home)).fsck()


def package_folder(given: Path | str, home: Path | None) -> Path:
    """A package folder, the package in a run folder, or what name[@alias] means in the home.

    Raises UsageError for a run that has not come to its package yet.
    """
    return package_place(given, home)[0]


def package_place(given: Path | str, home: Path | None) -> tuple[Path, str | None]:
    """The folder, and the name the package has in the home, None for one that was named by its folder. Raises as
    package_folder."""
    folder = Path(given)
    if (folder / "recipe.toml").is_file():
        if not (folder / "package" / "manifest.json").is_file():
            raise UsageError(f"the run {folder} has no package yet", hint=f"finish it with --resume {folder}")
        return folder / "package", None
    if folder.is_dir():
        return folder, None
    if isinstance(given, Path) or os.sep in given:
        raise UsageError(f"no package at {given}", hint="give the folder that holds manifest.json")
    try:
        registry = Registry(existing_home(home))
    except RegistryError as error:
        raise RegistryError(f"{given} is no folder, nor a name: {error.message}", hint=error.hint) from error
    name, _, place = registry.resolve(given)
    return place, name
