"""How long the doors take to open, and what a serving-only install weighs.

python -m benchmarks.startup [-n 11] [--no-install]

Whole processes, baseline and contestants in turn, so that all see the same neighbours on the machine; the least of the
runs is what the program itself needs, the median what it took here. The first answer is a real picture's, from a server
that was started for it. The install is built afresh with this machine's pip, and weighed before and after byte code.
"""

import argparse
import compileall
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import environment, sealed
from benchmarks.machine import describe, save

REPOSITORY = Path(__file__).resolve().parents[1]
BARS_MS = {"import saccade": 60, "saccade --help": 250, "serve, first answer": 2000}
BAR_MB = 350


def process_ms(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - began)


def first_answer_ms(package: Path, data: bytes) -> float:
    """From the start of `saccade serve PACKAGE` to the last byte of a prediction. Raises RuntimeError after 30 s."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--port", str(port)]
    environ = {**os.environ, "SACCADE_DRAIN_S": "0.05"}
    began = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ)
    try:
        while time.perf_counter() - began < 30:
            if ask(port, data) == 200:
                return 1e3 * (time.perf_counter() - began)
            time.sleep(0.01)
        raise RuntimeError("no answer within 30 s")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def ask(port: int, data: bytes) -> int:
    """The status of one prediction, 0 when nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/api/v1/models/{sealed.NETWORK}/predict", data, {"Content-Type": "image/jpeg"})
        reply = connection.getresponse()
        reply.read()
        return reply.status
    except OSError:
        return 0
    finally:
        connection.close()


def doors(n: int) -> dict[str, list[float]]:
    """Milliseconds of each run."""
    package, data = sealed.mobilenet(), sealed.photo()
    contestants: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: process_ms("-c", "pass"),
        "import saccade": lambda: process_ms("-c", "import saccade"),
        "saccade --help": lambda: process_ms("-m", "saccade", "--help"),
        "serve, first answer": lambda: first_answer_ms(package, data),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(n):
        for name, once in contestants.items():
            found[name].append(once())
    return found


def serving_install() -> dict:
    """MB of a fresh environment that can serve, without and with byte code; what is largest in it; whether it has
    torch."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        environment.install(venv, ["-c", str(REPOSITORY / "constraints.txt"), f"{REPOSITORY}[server]"])
        site = next(venv.glob("lib/python*/site-packages"))
        largest = sorted(((weight(p), p.name) for p in site.iterdir()), reverse=True)[:5]
        record = {"mb": weight(venv), "largest": largest, "distributions": len(list(site.glob("*.dist-info")))}
        record["torch"] = (site / "torch").exists()
        compileall.compile_dir(site, quiet=2, workers=0)
        return {**record, "mb_with_byte_code": weight(venv)}


def weight(path: Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=11, help="runs of each")
    parser.add_argument("--no-install", action="store_true", help="leave the install out: it downloads about 130 MB")
    options = parser.parse_args()
    print(describe())
    found = doors(options.n)
    base = found["python -c pass"]
    print(f"n={options.n}, whole processes, in turn: least, median and most")
    for name, times in found.items():
        above = base if name == "import saccade" else [0.0] * options.n
        own = [t - b for t, b in zip(times, above, strict=True)]
        least = min(times) - min(above)
        bar = f"   bar {BARS_MS[name]} ms" if name in BARS_MS else "   the baseline"
        note = " above the baseline" if name == "import saccade" else ""
        print(f"{name:<20}{least:7.0f} {statistics.median(own):7.0f} {max(own):7.0f} ms{note}{bar}", flush=True)
    record: dict = {"n": options.n, "ms": found}
    if not options.no_install:
        install = record["install"] = serving_install()
        parts = ", ".join(f"{name} {mb:.0f}" for mb, name in install["largest"])
        torch = "with torch" if install["torch"] else "without torch"
        print(
            f"serving install     {install['mb']:7.0f} MB, {install['distributions']} distributions, {torch}   bar {BAR_MB} MB"
        )
        print(f"  with byte code    {install['mb_with_byte_code']:7.0f} MB; largest: {parts}")
    save("startup", record)


if __name__ == "__main__":
    main()
