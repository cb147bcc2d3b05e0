"""Assembles a package beside its place, then seals it: digests last, one rename makes it appear."""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from saccade.errors import PackageError
from saccade.package.manifest import PATH, FileEntry, GraphEntry, Manifest
from saccade.package.reader import Package, open_package, waiting
from saccade.storage.blobs import refused
from saccade.storage.files import Files
from saccade.types import Array


class PackageWriter:
    """Collects files for a new package folder. `seal` makes it appear whole; `drop` forgets everything, as does the end
    of a `with` that did not come to the seal."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.folder = folder
        self._files = files or Files()
        self._draft: Path | None = None

    def add(self, name: str, data: bytes) -> None:
        """Adds a file under a name that the format allows. Raises PackageError, StorageError."""
        if not PATH.fullmatch(name):
            raise PackageError(f"file names in a package follow a fixed pattern, got {name!r}")
        try:
            target = self._open() / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.write(target, data)
        except OSError as error:
            self.drop()
            raise refused(error) from error

    def add_json(self, name: str, record: Mapping[str, Any]) -> None:
        self.add(name, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode())

    def add_golden(self, name: str, image: bytes, expected: Mapping[str, Array]) -> None:
        """A golden sample: the encoded picture and the graph's outputs for it, without batch axis."""
        self.add(f"golden/{name}.image", image)
        for output, values in expected.items():
            self.add_array(f"golden/{name}.{output}.npy", values)

    def add_array(self, name: str, values: Array) -> None:
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
        self.add(name, buffer.getvalue())

    def seal(self, manifest: Manifest) -> Package:
        """Writes the manifest with every digest and moves the folder into place, replacing an older package there.

        Raises PackageError when something else is in the way, StorageError when the disk refuses.
        """
        draft = self._open()
        if self.folder.exists() and not (self.folder / "manifest.json").is_file():
            raise PackageError(f"{self.folder} is in the way and is no package", hint="name another folder")
        try:
            names = sorted(p for p in draft.rglob("*") if p.is_file())
            entries = {p.relative_to(draft).as_posix(): _entry(p) for p in names}
            sealed = replace(manifest, files=entries)
            data = sealed.to_bytes()
            Manifest.from_bytes(data)
            self._files.write(draft / "manifest.json", data)
            for folder in {p.parent for p in names} | {draft}:
                self._files.sync_folder(folder)
            self._move(draft)
        except OSError as error:
            self.drop()
            raise refused(error) from error
        return open_package(self.folder)

    def _move(self, draft: Path) -> None:
        if not self.folder.exists():
            self._files.rename(draft, self.folder)
            self._draft = None
            return
        if self._files.exchange(draft, self.folder):
            self.drop()
            return
        # Here a folder with content cannot be replaced in one step: the older package waits beside its place until the
        # new one lies there. After a kill between the two renames the next writer, or whoever reads the refusal, finds it.
        beside = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.old.", dir=self.folder.parent))
        self._files.rename(self.folder, beside / "package")
        try:
            self._files.rename(draft, self.folder)
            self._draft = None
        finally:
            if not self.folder.exists():
                (beside / "package").replace(self.folder)
            shutil.rmtree(beside, ignore_errors=True)

    def drop(self) -> None:
        """Removes what was assembled so far."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop()

    def _open(self) -> Path:
        if self._draft is None:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.folder.exists():
                for older in waiting(self.folder):
                    self._files.rename(older, self.folder)
                    older.parent.rmdir()
                    break
            self._draft = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
            self._draft.chmod(0o755)
        return self._draft


def reseal(
    package: Package,
    *,
    metrics: tuple[Mapping[str, Any], ...] | None = None,
    graphs: Mapping[str, GraphEntry] | None = None,
    extra: Mapping[str, bytes] | None = None,
    files: Files | None = None,
) -> Package:
    """The same package with other numbers, other graphs or further files: a new digest in the same place.

    Files of variants that `graphs` no longer names are left out.
    """
    extra = extra or {}
    kept = package.manifest.graphs if graphs is None else graphs
    numbers = package.manifest.metrics if metrics is None else metrics
    with PackageWriter(package.path, files) as writer:
        for name in package.manifest.files:
            variant = name.split("/")[1] if name.startswith("variants/") else "default"
            if name not in extra and variant in kept:
                writer.add(name, (package.path / name).read_bytes())
        for name, data in extra.items():
            writer.add(name, data)
        return writer.seal(replace(package.manifest, metrics=numbers, graphs=kept))


def _entry(file: Path) -> FileEntry:
    with file.open("rb") as stream:
        return FileEntry(hashlib.file_digest(stream, "sha256").hexdigest(), file.stat().st_size)
