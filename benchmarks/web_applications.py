"""A model inside a web application beside a server of its own: requests per second, latency, and memory.

    python -m benchmarks.web_applications [--seconds 8] [--connections 8] [--workers 2]

The application is the one of examples/flask under gunicorn with gthread workers; the picture is the package of
benchmarks/sealed.py. Three ways take turns: packages in the workers, the application before `saccade serve`, and that
server alone, the baseline. Memory is the proportional set size (PSS) of all processes of a way: shared pages count
once.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import machine, sealed
from benchmarks.interop.stage import free
from saccade.bench.load import Load, Target, closed

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


@contextmanager
def started(command: list[str], port: int, ready: str, **environment: str) -> Iterator[int]:
    """A process that answers at `ready`; its id. Raises RuntimeError when it does not in a minute."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(port, ready)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def wait(port: int, path: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {path}")


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(each for child in children for each in family(int(child)))]


def pss_mb(pid: int) -> float:
    """Memory of a process and those below it; a page that several share counts once."""
    total = 0
    for each in family(pid):
        text = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii")
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1])  # type: ignore[index]
    return total / 1000


def gunicorn(port: int, workers: int) -> list[str]:
    app = ROOT / "examples" / "flask"
    bind = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--pythonpath",
        str(app),
        "-c",
        str(app / "gunicorn.conf.py"),
        *bind,
        "app:app",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web_applications", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    package, photo = sealed.mobilenet(), sealed.photo()
    served, inside, remote = free(), free(), free()
    serve = [sys.executable, "-m", "saccade", "serve", str(package), "--port", str(served)]
    with (
        tempfile.TemporaryDirectory() as home,
        started([*serve, "--home", home], served, "/readyz") as server,
        started(gunicorn(inside, options.workers), inside, "/saccade/readyz", PACKAGES=str(package)) as own,
        started(
            gunicorn(remote, options.workers),
            remote,
            "/saccade/readyz",
            SACCADE_SERVER=f"http://127.0.0.1:{served}",
        ) as before,
    ):
        with urllib.request.urlopen(f"http://127.0.0.1:{served}/api/v1/models", timeout=10) as told:
            name = json.load(told)["models"][0]["name"]
        ways = {
            "server alone": (served, "", [server]),
            f"in {options.workers} workers": (inside, "/saccade", [own]),
            f"{options.workers} workers before the server": (remote, "/saccade", [before, server]),
        }
        targets = {
            way: Target.at(f"http://127.0.0.1:{port}{prefix}/api/v1/models/{name}/predict", photo, "image/jpeg")
            for way, (port, prefix, _) in ways.items()
        }
        for target in targets.values():
            closed(target, options.connections, 1.0)
        found: dict[str, list[Load]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, target in targets.items():
                found[way].append(closed(target, options.connections, options.seconds / ROUNDS))
        memory = {way: sum(pss_mb(pid) for pid in pids) for way, (_, _, pids) in ways.items()}
    print(machine.describe())
    print(
        f"{package.parent.name}, a JPEG of {len(photo)} bytes, {options.connections} connections, "
        f"{ROUNDS} rounds of {options.seconds / ROUNDS:.1f} s each, ways in turn"
    )
    print(
        f"\n{'way':30} {'requests/s':>10} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} {'n':>6} {'errors':>6} {'PSS MB':>7}"
    )
    base = rate(found["server alone"], options.seconds)
    for way, loads in found.items():
        times = 1e3 * np.concatenate([load.latencies_s for load in loads])
        errors = sum(load.errors for load in loads)
        per_s = rate(loads, options.seconds)
        p50, p99 = np.percentile(times, (50, 99))
        print(
            f"{way:30} {per_s:10.0f} {per_s / base:6.2f} {p50:7.1f} {p99:7.1f} {len(times):6} {errors:6} {memory[way]:7.0f}"
        )
    return 0


def rate(loads: list[Load], seconds: float) -> float:
    return sum(len(load.latencies_s) for load in loads) / seconds


if __name__ == "__main__":
    sys.exit(main())
