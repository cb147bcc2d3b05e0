"""What the process of a graph takes of memory: measured where it ran, and asked for before it is started again."""

import json
from pathlib import Path

from saccade import process
from saccade.errors import InferenceError
from saccade.inference import tuning
from saccade.package.reader import Package
from saccade.storage.files import Files

HEADROOM = 1.1
BARE = 64 * 1024 * 1024
"""Bytes that a worker with no graph takes."""


def check(package: Package, variant: str, folder: Path | None, processes: int = 1) -> None:
    """Raises InferenceError(not_enough_memory) when what is free is less than what these processes will take.

    That is what was measured here; before the first time at least the bytes of the graph and of a bare process.
    """
    measured = read(folder, package.digest, variant) if folder else None
    needed = int((measured or BARE + _weights(package, variant)) * HEADROOM) * processes
    free = process.free_memory()
    if free is not None and needed > free:
        how = "was measured" if measured else "its files say"
        raise InferenceError(
            f"{package.manifest.name} ({variant}) needs {_told(needed)} of memory as {how}, {_told(free)} are free",
            hint="unload another model, or give the machine or its control group more",
            code="not_enough_memory",
            details={"needed_bytes": needed, "free_bytes": free},
        )


def read(folder: Path, digest: str, variant: str) -> int | None:
    """The peak in bytes of one process; None when it was never measured here."""
    try:
        found = json.loads(place(folder, digest, variant).read_bytes())["peak_bytes"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if type(found) is int and found > 0 else None


def write(folder: Path, digest: str, variant: str, peak: int) -> None:
    """Keeps the largest that was seen."""
    if peak > (read(folder, digest, variant) or 0):
        folder.mkdir(parents=True, exist_ok=True)
        Files().replace(place(folder, digest, variant), json.dumps({"peak_bytes": peak}).encode())


def place(folder: Path, digest: str, variant: str) -> Path:
    return tuning.place(folder, digest, variant).with_suffix(".memory.json")


def _weights(package: Package, variant: str) -> int:
    """Bytes of the graph's files: an .xml has its weights beside it."""
    file = package.manifest.graphs[variant].file
    stem = file.rpartition(".")[0]
    return sum(entry.size for name, entry in package.manifest.files.items() if name.rpartition(".")[0] == stem)


def _told(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
