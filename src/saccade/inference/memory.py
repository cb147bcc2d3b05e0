"""What the process of a graph takes of memory: measured where it ran, and asked for before it is started again."""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from saccade import process
from saccade.errors import InferenceError
from saccade.inference import tuning
from saccade.package.reader import Package
from saccade.storage.files import Files

log = logging.getLogger("saccade.inference")

HEADROOM = 1.1
MIB = 1024 * 1024
BARE = {"onnxruntime": 64 * MIB, "openvino": 128 * MIB, "torch": 352 * MIB, "tensorflow": 640 * MIB}
"""Bytes that the processes of one graph take by runtime, with its library and next to no graph."""
COPIES = {"onnxruntime": 3.0, "openvino": 2.0, "torch": 1.2, "tensorflow": 1.1}
"""How many times the weights come on top at the peak: as sealed, as read, as laid out anew for the kernels. Found
with 21 convolutions of 180 MB on a CPU; of 193 MB in products of matrices ONNX Runtime held 1.2 times, so there
this asks for too much."""
TURN_S = 600.0
LOOK_S = 0.02
"""How long one opening may hold up the others, and between two looks whether it is over."""
_here = threading.Lock()


@contextlib.contextmanager
def room(package: Package, variant: str, folder: Path | None, processes: int = 1) -> Iterator[None]:
    """As `check`, and held while what was asked for is opened: of several that load at the same time, in this process
    or in any that shares the folder, each sees what the one before it left."""
    with _turn(folder):
        check(package, variant, folder, processes)
        yield


def check(package: Package, variant: str, folder: Path | None, processes: int = 1) -> None:
    """Raises InferenceError(not_enough_memory) when what is free is less than what these processes will take.

    That is what was measured here, or `floor` before the first time.
    """
    measured = read(folder, package.digest, variant) if folder else None
    needed = int((measured or floor(package, variant)) * HEADROOM) * processes
    free = process.free_memory()
    if free is not None and needed > free:
        raise _short(package, variant, needed, free, "was measured" if measured else "its files say")


def check_here(package: Package, variant: str) -> None:
    """As `check`, for a graph in this process, which has its library already: what its weights take alone.

    Where it is less than that, opening it would have the kernel end this process, and every other model with it.
    """
    runtime = package.manifest.graphs[variant].runtime
    needed, free = int(COPIES.get(runtime, 1.0) * _weights(package, variant) * HEADROOM), process.free_memory()
    if free is not None and needed > free:
        raise _short(package, variant, needed, free, "its files say")


def floor(package: Package, variant: str) -> int:
    """What one process will take at its peak as far as files tell: what rows take between the layers comes on top."""
    runtime = package.manifest.graphs[variant].runtime
    copies = COPIES.get(runtime, 1.0)
    return BARE.get(runtime, min(BARE.values())) + int(copies * _weights(package, variant))


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
    """Bytes of the graph's files: all in its folder, or where it has none those of its name, an .xml and its .bin."""
    folder, _, file = package.manifest.graphs[variant].file.rpartition("/")
    stem = file.rpartition(".")[0]
    return sum(
        entry.size
        for name, entry in package.manifest.files.items()
        if (name.startswith(f"{folder}/") if folder else name.rpartition(".")[0] == stem)
    )


@contextlib.contextmanager
def _turn(folder: Path | None) -> Iterator[None]:
    """One at a time in this process, and among those that share the folder as far as it can be had and locked."""
    end = time.monotonic() + TURN_S
    mine = _here.acquire(timeout=TURN_S)
    try:
        with contextlib.ExitStack() as held:
            if folder is not None and sys.platform != "win32":
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    # The folder itself is locked: that needs no right to write in it, and leaves nothing behind.
                    handle = os.open(folder, os.O_RDONLY)
                    held.callback(os.close, handle)
                    _lock(handle, end)
                except OSError as error:
                    log.info("loading is not locked against other servers: %s", error)
            yield
    finally:
        if mine:
            _here.release()


def _lock(handle: int, end: float) -> None:
    """flock(2), which ends with the descriptor or the process. Goes on without it at that moment. Raises OSError."""
    import fcntl  # not on every system that opens this room

    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                log.warning("another opening has held up this one for %g s; it goes on", TURN_S)
                return
        time.sleep(LOOK_S)


def _short(package: Package, variant: str, needed: int, free: int, how: str) -> InferenceError:
    return InferenceError(
        f"{package.manifest.name} ({variant}) needs {_told(needed)} of memory as {how}, {_told(free)} are free",
        hint="unload another model, or give the machine or its control group more",
        code="not_enough_memory",
        details={"needed_bytes": needed, "free_bytes": free},
    )


def _told(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
