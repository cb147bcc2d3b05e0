"""Opens a package folder and verifies every digest before anything in it is used."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from saccade.errors import PackageError
from saccade.package.manifest import MAX_BYTES, Manifest
from saccade.types import Array

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Golden:
    """A picture and what the graph answered when the package was sealed; expected[name] has no batch axis.

    A graph that answers tensors only has arrays instead of a picture, also without batch axis.
    """

    name: str
    image_bytes: bytes
    expected: dict[str, Array]
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Package:
    """A verified package. digest: SHA-256 (hex) of manifest.json, which holds the digests of everything else."""

    path: Path
    manifest: Manifest
    digest: str

    def graph_path(self, variant: str = "default") -> Path:
        """Raises PackageError when there is no such variant."""
        if variant not in self.manifest.graphs:
            raise PackageError(f"no variant {variant!r}; there are {sorted(self.manifest.graphs)}")
        return self.path / self.manifest.graphs[variant].file

    def golden(self) -> list[Golden]:
        """The golden samples. Raises PackageError when an array is no plain array."""
        asked, answered = self.manifest.golden_files
        graph, adapter = self.manifest.graphs["default"], self.manifest.adapter
        outputs = adapter.answers if adapter and adapter.outputs else [spec.name for spec in graph.outputs]
        found = []
        for name in self.manifest.golden:
            expected = {o: self._array(f"{name}.{end}") for o, end in zip(outputs, answered, strict=True)}
            if asked != ("image",):
                arrays = {s.name: self._array(f"{name}.{end}") for s, end in zip(graph.inputs, asked, strict=True)}
                found.append(Golden(name, b"", expected, arrays))
                continue
            image = self.path / "golden" / f"{name}.image"
            if not image.is_file():
                raise PackageError(f"golden picture {image.name} is missing")
            found.append(Golden(name, image.read_bytes(), expected))
        return found

    def _array(self, name: str) -> Array:
        file = self.path / "golden" / name
        try:
            return np.asarray(np.load(io.BytesIO(file.read_bytes()), allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise PackageError(f"golden array {file.name} cannot be read: {error}") from error


def open_package(path: Path | str) -> Package:
    """Reads the manifest and checks size and SHA-256 of every file, that none is missing, and none is there beyond.

    Raises PackageError: package_invalid, digest_mismatch.
    """
    folder = Path(path)
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        older = waiting(folder)
        hint = f"its older content waits at {older[0]}: move it back" if older else "give the folder that train sealed"
        raise PackageError(f"{folder} is no package: it has no manifest.json", hint=hint)
    if file.stat().st_size > MAX_BYTES:
        raise PackageError(f"manifest.json is {file.stat().st_size} bytes, limit {MAX_BYTES}")
    data = file.read_bytes()
    manifest = Manifest.from_bytes(data)
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    extra = sorted(present - set(manifest.files) - {MANIFEST})
    if extra:
        raise PackageError(f"{extra[0]!r} is not in the manifest", hint="remove it, or seal the package again")
    for name, entry in manifest.files.items():
        _verify(folder / name, name, entry.sha256, entry.size)
    return Package(folder, manifest, hashlib.sha256(data).hexdigest())


def digest_of(folder: Path) -> str:
    """What `Package.digest` would be, of a folder that is not looked into any further. Raises OSError."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def is_package(folder: Path) -> bool:
    """Whether a folder says that it is a package, sound or not: its manifest.json speaks of a format version. Data may
    have a manifest.json of their own."""
    file = folder / MANIFEST
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return b'"format_version"' in stream.read(MAX_BYTES)
    except OSError:
        return False


def waiting(folder: Path) -> list[Path]:
    """What lay at a folder that is gone because a writer was killed while replacing it."""
    if folder.exists() or not folder.parent.is_dir():
        return []
    # Spelled out rather than globbed: a folder's name may hold characters that a pattern reads otherwise.
    beside = (p / "package" for p in folder.parent.iterdir() if p.name.startswith(f".{folder.name}.old."))
    return sorted(p for p in beside if p.is_dir())


def _verify(file: Path, name: str, sha256: str, size: int) -> None:
    if file.is_symlink() or not file.is_file():
        raise PackageError(f"{name} is missing from the package", hint="copy the package again")
    if file.stat().st_size != size:
        raise PackageError(
            f"{name} has {file.stat().st_size} bytes, sealed with {size}",
            hint="copy the package again",
            code="digest_mismatch",
        )
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise PackageError(
            f"{name} was changed after sealing: its SHA-256 is {found[:12]}..., sealed with {sha256[:12]}...",
            hint="copy the package again",
            code="digest_mismatch",
        )
