"""A package leaves the house, in the form another server loads: export."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from saccade.errors import PackageError, UsageError
from saccade.export import exporters
from saccade.export.exporter import Wish, Written
from saccade.package import reader
from saccade.package.manifest import NAME, NAME_WORDS
from saccade.storage.blobs import refused
from saccade.storage.files import Files
from saccade.verbs.home import package_place


@dataclass(frozen=True)
class Exported:
    """folder: the new one; files: in it, sorted; digest: of the package it was made from."""

    folder: Path
    files: tuple[str, ...]
    digest: str
    written: Written


def export(
    kind: str,
    package: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    version: int = 1,
    settings: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> Exported:
    """Writes a package for another server into a new folder, which appears whole or not at all.

    kind: an exporter's name. name: of the model there, else its name in the home, else the package's. settings: of the
    exporter's own. Raises UsageError, PackageError, StorageError; PackageError(already_exists) when `out` is there.
    """
    exporter, place = exporters.find(kind), Path(out)
    chosen = exporters.settled(exporter, settings or {})
    if version < 1 or (name is not None and not NAME.fullmatch(name)):
        raise UsageError(f"a version counts from 1 and a name is {NAME_WORDS}, got {version} and {name!r}")
    if place.exists():
        raise PackageError(f"{place} is already there", hint="name a new folder", code="already_exists")
    source, known = package_place(package, home)
    opened = reader.open_package(source)
    wish = Wish(name or known or opened.manifest.name, version, chosen)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        draft.chmod(0o755)
        written = exporter.write(opened, draft, wish)
        files = tuple(sorted(p.relative_to(draft).as_posix() for p in draft.rglob("*") if p.is_file()))
        Files().rename(draft, place)
    except OSError as error:
        raise refused(error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(place, files, opened.digest, written)
