"""Bodies and messages that lie, many of them: what the fuzzers of the test suite find in 100,000 cases instead of 60
each.

python -m benchmarks.bodies [--cases 100000] [--file tests/protocols/test_protocols_fuzz.py ...]

Each property of every dialect gets its share of the cases, drawn anew each time (a failure prints the case, and the
seed that repeats it). Prints the cases by property, the time, and the most memory the process had. Exit code 1 when a
case was neither answered nor refused by a typed error.
"""

import argparse
import math
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import describe, save

ROOT = Path(__file__).resolve().parents[1]
FILES = ("tests/protocols/test_protocols_fuzz.py", "tests/protocols/test_protocols_fuzz_grpc.py")
PROPERTY = re.compile(r"^@few\n.*?^def (test_\w+)", re.MULTILINE | re.DOTALL)
COUNTED = re.compile(r"(\d+) passing,? (?:and )?(\d+) failing,? and (\d+) invalid test cases")


def properties(files: list[Path]) -> list[tuple[Path, str]]:
    """File and name of every property, each of which takes SACCADE_CASES examples."""
    return [(file, name) for file in files for name in PROPERTY.findall(file.read_text(encoding="utf-8"))]


def run(file: Path, name: str, cases: int) -> tuple[int, int, str]:
    """How many cases a property met, pytest's exit code, and what it said."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--hypothesis-show-statistics",
        "--timeout",
        "0",
    ]
    given = {**os.environ, "SACCADE_CASES": str(cases)}
    done = subprocess.run([*command, f"{file}::{name}"], cwd=ROOT, env=given, capture_output=True, text=True)
    return sum(int(n) for counts in COUNTED.findall(done.stdout) for n in counts), done.returncode, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--file", type=Path, action="append", help="default: every fuzzer of protocols")
    options = parser.parse_args()
    chosen = properties([ROOT / file for file in options.file or FILES])
    print(describe(), flush=True)
    began, found, failed = time.monotonic(), {}, []
    for file, name in chosen:
        title = f"{file.stem.removeprefix('test_protocols_')} {name.removeprefix('test_')}"
        found[title], code, said = run(file, name, math.ceil(options.cases / len(chosen)))
        print(f"{title:<46}{found[title]:8,}  {'FAILED' if code or not found[title] else 'passed'}", flush=True)
        if code or not found[title]:
            failed.append(title)
            print(said[-6000:], flush=True)
    seconds = time.monotonic() - began
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{'all':<46}{sum(found.values()):8,}  in {seconds:.0f} s, at most {memory_mb:.0f} MB; {len(failed)} failed")
    save("bodies", {"cases": found, "seconds": seconds, "memory_mb": memory_mb, "failed": failed})
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
