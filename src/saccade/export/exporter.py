"""The contract of an exporter: from a sealed package to a folder that another server loads. Keepers:
export/exporters/*."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saccade.package.reader import Package


@dataclass(frozen=True)
class Wish:
    """What was asked for. name: the model's name there; version: its number, from 1; settings: a value for each of
    Exporter.settings."""

    name: str
    version: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """notes: what was found out and decided, in sentences. difference: the largest one between the answers of
    what was written and those of the package, as its task measures it; None when nothing here could run it.
    allowed: how large it may be."""

    notes: tuple[str, ...] = ()
    difference: float | None = None
    allowed: float | None = None


class Exporter(ABC):
    """name: on the command line. needs: library to the extra that brings it. settings: name to default and meaning, of
    what --set may say."""

    name: str
    needs: Mapping[str, str] = {}
    settings: Mapping[str, tuple[str, str]] = {}

    @abstractmethod
    def write(self, package: Package, folder: Path, wish: Wish) -> Written:
        """folder: empty; it becomes what was asked for when this returns. The module opens without `needs`.

        Whoever can run what was written compares it with the package before returning. Raises UsageError for a wish or
        a package that has no form there, naming what; PackageError(golden_mismatch) for answers too far apart.
        """
