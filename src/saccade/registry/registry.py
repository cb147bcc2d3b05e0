"""The registry of one home folder: push, pull, resolve, promote.

    home/saccade.db   versions and aliases      home/blobs/     every file, by digest
    home/packages/    versions as folders, by the package's digest, made when first asked for

A push keeps the files first and writes the row last, in one transaction: readers see rows only, so a push that dies
leaves at most files that no row names.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saccade.errors import PackageError, RegistryError, SaccadeError, StorageError, UsageError
from saccade.package.manifest import NAME, Manifest
from saccade.package.reader import open_package
from saccade.registry import catalog
from saccade.registry.catalog import Version
from saccade.storage.blobs import BlobStore, FolderBlobs, refused
from saccade.storage.database import Database, Sqlite, migrate
from saccade.storage.files import Files
from saccade.types import names_text

RESERVED = ("stats",)
"""Names that a protocol uses as a path of its own."""
DATABASE = "saccade.db"
ORPHAN_S = 24 * 3600.0
log = logging.getLogger("saccade.registry")


def home_folder(home: Path | str | None = None) -> Path:
    """The home: as given, else $SACCADE_HOME, else ~/.saccade."""
    return Path(home or os.environ.get("SACCADE_HOME") or Path.home() / ".saccade").expanduser()


def existing_home(home: Path | str | None = None) -> Path:
    """As home_folder, for who only reads, and so makes none. Raises RegistryError(not_found) where there is no home, or
    one that nothing was ever pushed to."""
    folder = home_folder(home)
    if not (folder / DATABASE).is_file():
        raise RegistryError(
            f"nothing was pushed to the home {folder} yet" if folder.is_dir() else f"there is no home at {folder}",
            hint="saccade push PACKAGE makes one; --home or $SACCADE_HOME names another",
        )
    return folder


@dataclass(frozen=True)
class Entry:
    """A model: its versions, oldest first, and its aliases."""

    name: str
    versions: tuple[Version, ...]
    aliases: Mapping[str, int]

    @property
    def task(self) -> str:
        return self.versions[-1].task

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "task": self.task,
            "versions": [asdict(v) for v in self.versions],
            "aliases": dict(self.aliases),
        }


class Registry:
    """Safe from several threads and processes at once. files, database, blobs: other keepers, or ones that fail."""

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        files: Files | None = None,
        database: Database | None = None,
        blobs: BlobStore | None = None,
    ) -> None:
        self.home = home_folder(home)
        self._files = files or Files()
        self._given = database
        self._database: Database | None = None
        self._blobs = blobs or FolderBlobs(self.home / "blobs", self._files)

    def push(self, package: Path, name: str | None = None, alias: str | None = None) -> int:
        """Keeps a sealed package as the next version of `name` (default: its own name), and points `alias` at it.

        The same package under the same name again keeps its version, and mends what was damaged of it. Raises
        PackageError, RegistryError(name_invalid), StorageError.
        """
        sealed = open_package(package)
        name = check_name(name or sealed.manifest.name)
        if alias is not None:
            check_name(alias)
        database = self._open()
        for path, entry in sorted(sealed.manifest.files.items()):
            self._blobs.put(sealed.path / path, entry.sha256)
        self._blobs.put(sealed.path / "manifest.json", sealed.digest)
        mended = self._drop_damaged(sealed.digest)
        with database.write() as connection:
            held = catalog.versions(connection, name)
            version = next((v.version for v in held if v.digest == sealed.digest), None)
            if version is None:
                version = held[-1].version + 1 if held else 1
                now = datetime.now(UTC).isoformat(timespec="seconds")
                metric = _headline(sealed.manifest)
                row = Version(name, version, sealed.digest, sealed.manifest.task, metric, now)
                catalog.add_version(connection, row)
                catalog.count_up(connection)
            if mended:
                catalog.count_up(connection)  # a server that could not load it looks again
            if alias is not None and catalog.aliases(connection, name).get(alias) != version:
                catalog.set_alias(connection, name, alias, version)
                catalog.count_up(connection)
        try:
            self.sweep()
        except SaccadeError as error:
            # The version is there; what an older push left behind can wait for the next.
            log.warning("files that no version names could not be removed: %s", error)
        return version

    def sweep(self, age_s: float = ORPHAN_S) -> list[str]:
        """Removes files that no version names and nobody put within age_s: what pushes that died left. Their digests.

        Raises StorageError, also when a manifest cannot be read: then nobody knows what its version needs.
        """
        keep: set[str] = set()
        for entry in self.models():
            for row in entry.versions:
                manifest = Manifest.from_bytes(self._blobs.read(row.digest))
                keep |= {row.digest, *(file.sha256 for file in manifest.files.values())}
        return self._blobs.sweep(keep, age_s)

    def models(self, name: str | None = None) -> list[Entry]:
        """Every model, or the one named. Raises RegistryError(not_found)."""
        with self._open().read() as connection:
            rows = catalog.versions(connection, name)
            if name is not None and not rows:
                raise _unknown(name, catalog.versions(connection))
            names = sorted({row.name for row in rows})
            return [Entry(n, tuple(r for r in rows if r.name == n), catalog.aliases(connection, n)) for n in names]

    def find(self, model: str) -> Version:
        """`name@alias`, `name:version`, or `name` for its newest version. Raises RegistryError(not_found)."""
        name, at, alias = model.partition("@")
        number = ""
        if not at:
            name, _, number = model.partition(":")
        entry = self.models(name)[0]
        wanted: int | None = entry.versions[-1].version
        if at:
            wanted = entry.aliases.get(alias)
        elif model != name:
            wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else None
        for row in entry.versions:
            if row.version == wanted:
                return row
        aliases = names_text([f"{name}@{a}" for a in entry.aliases]) or "no alias"
        raise RegistryError(
            f"there is no {model}", hint=f"{name} has versions 1 to {entry.versions[-1].version} and {aliases}"
        )

    def resolve(self, model: str) -> tuple[str, int, Path]:
        """Name, version, and a folder that holds the package. Raises RegistryError, StorageError, PackageError."""
        row = self.find(model)
        return row.name, row.version, self._folder(row.digest)

    def path(self, name: str, version: int) -> Path:
        """The folder of one version. Raises like resolve."""
        return self.resolve(f"{name}:{version}")[2]

    def pull(self, model: str, out: Path) -> Path:
        """Copies a version into the new folder `out`, which appears whole. Raises like resolve, and UsageError."""
        if out.exists():
            raise UsageError(f"{out} is there already", hint="name a new folder")
        self._assemble(self.find(model).digest, out, own=True)
        return out

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points an alias at a version, at once for every reader. Raises RegistryError: not_found, name_invalid."""
        check_name(alias)
        self.find(f"{name}:{version}")
        with self._open().write() as connection:
            if catalog.aliases(connection, name).get(alias) != version:
                catalog.set_alias(connection, name, alias, version)
                catalog.count_up(connection)

    def delete_alias(self, name: str, alias: str) -> None:
        """Raises RegistryError(not_found)."""
        self.find(f"{name}@{alias}")
        with self._open().write() as connection:
            catalog.delete_alias(connection, name, alias)
            catalog.count_up(connection)

    def revision(self) -> int:
        """Another number after every change, the same one otherwise."""
        with self._open().read() as connection:
            return catalog.count(connection)

    def fsck(self) -> list[str]:
        """Reads every byte of every version; a sentence for each that does not hold."""
        faults = []
        verified: dict[str, bool] = {}
        for entry in self.models():
            for row in entry.versions:
                where = f"{row.name} version {row.version}"
                try:
                    manifest = Manifest.from_bytes(self._blobs.read(row.digest))
                except SaccadeError as error:
                    faults.append(f"{where}: manifest.json: {error.message}")
                    continue
                for path, file in sorted(manifest.files.items()):
                    if file.sha256 not in verified:
                        verified[file.sha256] = self._blobs.verify(file.sha256)
                    if not verified[file.sha256]:
                        faults.append(f"{where}: {path} is missing or damaged")
                folder = self._place(row.digest)
                try:
                    if folder.exists() and open_package(folder).digest != row.digest:
                        faults.append(f"{where}: {folder} holds another package")
                except PackageError as error:
                    faults.append(f"{where}: {folder}: {error.message}")
            held = {row.version for row in entry.versions}
            faults += [f"{entry.name}@{a} points at no version" for a, v in entry.aliases.items() if v not in held]
        return faults

    def _open(self) -> Database:
        if self._database is None:
            try:
                self.home.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"the home {self.home} cannot be made: {error.strerror}",
                    hint="give --home, or set SACCADE_HOME to a folder that can be written",
                    code="dependency_unavailable",
                ) from error
            database = self._given or Sqlite(self.home / DATABASE)
            migrate(database, "registry", catalog.MIGRATIONS)
            self._database = database
        return self._database

    def _place(self, digest: str) -> Path:
        return self.home / "packages" / digest

    def _folder(self, digest: str) -> Path:
        folder = self._place(digest)
        if not folder.is_dir():
            self._assemble(digest, folder, own=False)
        return folder

    def _drop_damaged(self, digest: str) -> bool:
        """Takes a version's folder away when it does not hold, and says so: its files are links to blobs, and keep the
        damage when the blobs are made anew. Whoever asks for the version next gets a folder of these."""
        folder = self._place(digest)
        try:
            if not folder.exists() or open_package(folder).digest == digest:
                return False
        except (PackageError, OSError) as error:
            log.warning("%s is made anew: %s", folder, error)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{digest[:40]}.", dir=folder.parent) as aside:
                self._files.rename(folder, Path(aside) / "damaged")
        except FileNotFoundError:
            return True  # another push was quicker
        except OSError as error:
            raise refused(error) from error
        return True

    def _assemble(self, digest: str, out: Path, *, own: bool) -> None:
        """A package from its blobs: made beside its place, verified, moved there in one step."""
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{out.name[:40]}.", dir=out.parent))
        except OSError as error:
            raise refused(error) from error
        try:
            draft.chmod(0o755)
            manifest = Manifest.from_bytes(self._blobs.read(digest))
            for path, entry in manifest.files.items():
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                self._blobs.fetch(entry.sha256, draft / path, own=own)
            self._blobs.fetch(digest, draft / "manifest.json", own=own)
            if open_package(draft).digest != digest:
                raise StorageError("the registry gave another package", code="dependency_unavailable")
            try:
                self._files.rename(draft, out)
            except OSError:
                # Another process was quicker: what lies there is the same package.
                if own or not out.is_dir():
                    raise
        except OSError as error:
            raise refused(error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def check_name(name: str) -> str:
    """A name of a model or alias. Raises RegistryError(name_invalid)."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise RegistryError(
            f"a name has letters, digits, . _ - and begins with a letter or digit, got {name[:140]!r}",
            hint=f"at most 128 characters, and not {', '.join(RESERVED)}",
            code="name_invalid",
        )
    return name


def _headline(manifest: Manifest) -> str:
    for number in manifest.metrics[:1]:
        value = number.get("value")
        if isinstance(value, int | float):
            return f"{number.get('name', '')} {value:.4g}"
    return ""


def _unknown(name: str, rows: list[Version]) -> RegistryError:
    names = sorted({row.name for row in rows})
    hint = f"there are {names_text(names)}" if names else "saccade push PACKAGE puts one here"
    return RegistryError(f"the registry has no model {name!r}", hint=hint)
