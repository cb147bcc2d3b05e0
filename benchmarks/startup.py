"""How long the doors take to open, and what a serving-only install weighs.

python -m benchmarks.startup [--install]    --install builds the serving environment afresh and weighs it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

REPOSITORY = Path(__file__).resolve().parents[1]


def median_ms(command: list[str], n: int) -> tuple[float, float, float]:
    """Median, least and most of n runs of a whole process, in milliseconds."""
    times = []
    for _ in range(n):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), min(times), max(times)


def weigh_serving_install() -> tuple[float, bool, int]:
    """MB on disk of a fresh environment that can serve, whether torch is in it, how many distributions."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        python = str(venv / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "-c", str(REPOSITORY / "constraints.txt"), f"{REPOSITORY}[server]"], check=True, capture_output=True
        )
        size = sum(f.stat().st_size for f in venv.rglob("*") if f.is_file() and not f.is_symlink())
        site = next(venv.glob("lib/python*/site-packages"))
        return size / 1e6, (site / "torch").exists(), len(list(site.glob("*.dist-info")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--install", action="store_true")
    parser.add_argument("-n", type=int, default=15)
    options = parser.parse_args()
    print(describe())
    bare = median_ms([sys.executable, "-c", "pass"], options.n)
    face = median_ms([sys.executable, "-c", "import saccade"], options.n)
    door = median_ms([sys.executable, "-m", "saccade", "--help"], options.n)
    print(f"n={options.n}, whole processes, median (least to most)")
    print(f"python -c pass         {bare[0]:6.0f} ms ({bare[1]:.0f} to {bare[2]:.0f})   baseline")
    print(f"import saccade         {face[0] - bare[0]:6.0f} ms above the baseline          bar  60 ms")
    print(f"saccade --help         {door[0]:6.0f} ms ({door[1]:.0f} to {door[2]:.0f})   bar 250 ms")
    if options.install:
        size, torch, count = weigh_serving_install()
        print(
            f"serving install        {size:6.0f} MB, {count} distributions, torch: {'yes' if torch else 'no'}   bar 350 MB"
        )


if __name__ == "__main__":
    main()
