"""The same recipe on both engines: do two trainers that share no arithmetic agree within noise?

    python -m benchmarks.twins DATA [--seeds 0 1 2] [--epochs 30] [--size 64] [--set key=value]

Trains every seed with each engine in a process of its own, on the splits of the data, and measures the sealed packages
on its test split. Per seed: does each engine's number lie in the other's 95 % interval, and how do the two differ on
the same pictures? Over the seeds: the difference of the means with its 95 % interval (Welch). The engines agree when
that interval holds 0: two runs of one engine with other seeds differ on the same pictures too, so a single pair says
little.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.machine import describe, save
from saccade.evaluation.compare import Comparison
from saccade.types import Number
from saccade.verbs import judge

ENGINES = ("torch", "keras")


def trained(data: Path, engine: str, seed: int, options: argparse.Namespace, folder: Path) -> float:
    """Seconds that a run took."""
    command = [
        sys.executable,
        "-m",
        "saccade",
        "train",
        str(data),
        "--engine",
        engine,
        "--seed",
        str(seed),
        "--out",
        str(folder),
    ]
    for key in ("epochs", "budget", "size", "network"):
        if getattr(options, key) is not None:
            command += [f"--{key}", str(getattr(options, key))]
    for pair in options.set:
        command += ["--set", pair]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{engine}, seed {seed}: {done.stderr.strip() or done.stdout[-500:]}")
    return time.monotonic() - began


def within(one: Number, other: Number) -> bool:
    """Each value lies in the other's interval."""
    known = None not in (one.low, one.high, other.low, other.high)
    return known and other.low <= one.value <= other.high and one.low <= other.value <= one.high


def welch(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Difference of the means, and its 95 % interval."""
    a, b = np.array(first), np.array(second)
    gap = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        return gap, float("-inf"), float("inf")
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return gap, gap, gap
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    reach = float(stats.t.ppf(0.975, freedom)) * float(np.sqrt(va + vb))
    return gap, gap - reach, gap + reach


def told(found: Comparison) -> str:
    one, other = (s.card.headline for s in found.sides)
    sides = ", ".join(
        f"{engine} {n.value:.4f} ({n.low:.4f} to {n.high:.4f})" for engine, n in zip(ENGINES, (one, other), strict=True)
    )
    main = found.differences[0]
    paired = f"p = {main.p:.2f}" if main.p is not None else f"paired {main.low:+.4f} to {main.high:+.4f}"
    return f"{one.name}: {sides}; {'within' if within(one, other) else 'outside'} each other's interval; {paired}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--budget")
    parser.add_argument("--size", type=int)
    parser.add_argument("--network")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    options = parser.parse_args()
    print(describe())
    numbers: dict[str, list[float]] = {e: [] for e in ENGINES}
    took: dict[str, list[float]] = {e: [] for e in ENGINES}
    agree, comparisons, headlines = 0, [], []
    with tempfile.TemporaryDirectory() as temporary:
        home = options.keep or Path(temporary)
        for seed in options.seeds:
            runs = [home / f"{options.data.name}-{engine}-{seed}" for engine in ENGINES]
            for engine, run in zip(ENGINES, runs, strict=True):
                took[engine].append(trained(options.data, engine, seed, options, run))
            found = judge.compare(*runs, options.data)
            comparisons.append(json.loads(json.dumps([asdict(d) for d in found.differences])))
            for engine, side in zip(ENGINES, found.sides, strict=True):
                numbers[engine].append(side.card.headline.value)
            agree += within(*(s.card.headline for s in found.sides))
            headlines.append([s.card.headline for s in found.sides])
            print(f"seed {seed}  {told(found)}", flush=True)
    gap, low, high = welch(*(numbers[e] for e in ENGINES))
    means = ", ".join(f"{e} {np.mean(numbers[e]):.4f}" for e in ENGINES)
    seconds = ", ".join(f"{e} {np.median(took[e]):.0f} s" for e in ENGINES)
    same = low <= 0 <= high
    print(f"means    {means}; difference {gap:+.4f} ({low:+.4f} to {high:+.4f}); {seconds} a run")
    print(f"twins    the engines {'agree' if same else 'do NOT agree'} within noise on {options.data.name}: "
          f"{agree} of {len(options.seeds)} seeds within each other's intervals")  # fmt: skip
    sides = [[asdict(n) for n in pair] for pair in headlines]
    record = {"within": agree, "agree": same, "headlines": sides}
    record |= {
        "options": {k: str(v) for k, v in {**vars(options), "data": options.data.name}.items()},
        "numbers": numbers,
        "seconds": took,
    }
    save(f"twins_{options.data.name}", {**record, "difference": [gap, low, high], "comparisons": comparisons})
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
