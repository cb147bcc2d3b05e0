"""What a load came to: rates, percentiles, and what it cost the process that served."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saccade.bench.load import Load

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Figures:
    """Times in ms. cpu_s: of the server for one image; None where it is not ours to ask. joules: of this machine's
    processors for one image, None where the kernel does not tell. quantiles_ms: the latency of each of SHARES, empty
    without an answer.
    """

    load: str
    per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    answered: int
    errors: int
    cpu_s: float | None = None
    joules: float | None = None
    quantiles_ms: tuple[float, ...] = ()


def figures(load: Load, cpu_s: float | None = None, joules: float | None = None) -> Figures:
    """cpu_s: of the server during the whole load. joules: of the machine."""
    n = len(load.latencies_s)
    p50, p95, p99 = (1e3 * float(v) for v in np.quantile(load.latencies_s, (0.5, 0.95, 0.99))) if n else (None,) * 3
    each, work = (total / n if total is not None and n else None for total in (cpu_s, joules))
    curve = tuple(1e3 * float(v) for v in np.quantile(load.latencies_s, SHARES)) if n else ()
    return Figures(load.name, n / load.seconds, p50, p95, p99, n, load.errors, each, work, curve)


def cpu_s(pid: int) -> float | None:
    """CPU seconds a process and its children took so far; None where the system does not say."""
    try:
        ticks = 0.0
        for one in [pid, *_children(pid)]:
            fields = Path(f"/proc/{one}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def peak_mib(pid: int) -> float | None:
    """The most memory a process and its children held, each at its own moment."""
    try:
        found = 0.0
        for one in [pid, *_children(pid)]:
            for line in Path(f"/proc/{one}/status").read_text("ascii", "replace").splitlines():
                if line.startswith("VmHWM:"):
                    found += int(line.split()[1]) / 1024
        return found
    except (OSError, ValueError, IndexError):
        return None


def _children(pid: int) -> list[int]:
    text = "".join(f.read_text("ascii") for f in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]
