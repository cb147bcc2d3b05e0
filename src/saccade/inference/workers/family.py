"""A process and those below it, as /proc tells: a graph whose library runs in a process of its own
is more than its worker."""

import contextlib
import os
from pathlib import Path

from saccade import process


def members(pid: int) -> list[int]:
    """The process, what it started, what those started. Only itself where /proc does not tell."""
    found = [pid]
    for one in found:  # grows as it is walked
        with contextlib.suppress(OSError, ValueError):
            for file in Path(f"/proc/{one}/task").glob("*/children"):
                found += [int(child) for child in file.read_text("ascii").split()]
    return found


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes of all members now, and the sum of the most that each of them had: no less than
    they ever had together."""
    told = [process.memory_of(one) for one in members(pid)]
    return sum(now for now, _ in told), sum(peak for _, peak in told)


def hurry(usual: int) -> None:
    """Raises those below this process to a nice value, as `process.raise_priority` does with this process itself."""
    for one in members(os.getpid())[1:]:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                if os.getpriority(os.PRIO_PROCESS, int(thread.name)) > usual:
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), usual)
