"""Requests per second for one 512x384 JPEG and MobileNetV3-small: a bare loop, our server, FastAPI as users write it.

python -m benchmarks.serving [--seconds 5] [--rounds 3] [--connections 8]

Closed loop from a process of its own, on the same cores; contestants take turns; medians of the rounds are printed. The
bare loop decodes, preprocesses and runs in one thread per core and does nothing else: no server can be faster. FastAPI
runs in an environment of its own (rivals/fastapi.txt), built once, with the same graph and the same picture. The CPU
time a picture costs the process (Linux) says the same as the rate, but is hardly moved by whatever else the machine does.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import environment, sealed
from benchmarks.machine import describe, save

RIVALS = Path(__file__).parent / "rivals"
FORM = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


def bare(model: Path, data: bytes, seconds: float) -> dict:
    """Rate and CPU time of decode, preprocess, run, one after another in one thread per core."""
    import onnxruntime

    from saccade.images.preprocess import PreprocessSpec, load
    from saccade.process import cores

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the threads below fill the cores; more would only wait for each other
    session, spec = (
        onnxruntime.InferenceSession(model / "model.onnx", options),
        PreprocessSpec(sealed.SIDE, sealed.SIDE),
    )
    counts = [0] * cores()
    session.run(None, {"image": load(data, spec)[0][None]})
    cpu, end = time.process_time(), time.perf_counter() + seconds

    def work(i: int) -> None:
        while time.perf_counter() < end:
            session.run(None, {"image": load(data, spec)[0][None]})
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(counts))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return {"per_s": sum(counts) / seconds, "cpu_ms": 1e3 * (time.process_time() - cpu) / max(1, sum(counts))}


def load(server: "Server", path: str, body: bytes, kind: str, connections: int, seconds: float) -> dict:
    """What `benchmarks.load` measured, after half a second of warming. Raises RuntimeError when a request failed."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body)
        command = [sys.executable, "-m", "benchmarks.load", str(server.port), path, file.name, kind, str(connections)]
        subprocess.run([*command, "0.5"], check=True, capture_output=True)
        cpu = server.cpu_s()
        found = json.loads(subprocess.run([*command, str(seconds)], check=True, capture_output=True).stdout)
        cpu = server.cpu_s() - cpu
    if found["failures"] or not found["per_s"]:
        raise RuntimeError(f"{path}: {found}")
    return {**found, "cpu_ms": 1e3 * cpu / (found["per_s"] * seconds)}


class Server:
    """A server in its own process, ready when the block begins, stopped when it ends."""

    def __init__(self, command: list[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        quick = {**os.environ, "SACCADE_DRAIN_S": "0.1"}  # stopping is not what is measured
        self.process = subprocess.Popen([*command, str(self.port)], stderr=subprocess.DEVNULL, env=quick)
        end = time.monotonic() + 60
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start")
            time.sleep(0.02)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def cpu_s(self) -> float:
        """CPU seconds the process has used so far, 0 where /proc does not tell."""
        file = Path(f"/proc/{self.process.pid}/stat")
        if not file.is_file():
            return 0.0
        ticks = file.read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory now, 0 where /proc does not tell."""
        file = Path(f"/proc/{self.process.pid}/statm")
        return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if file.is_file() else 0.0

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def ours(model: Path) -> list[str]:
    return [sys.executable, "-m", "saccade", "serve", str(model), "--port"]


def theirs(model: Path) -> list[str]:
    python = environment.python_of(RIVALS / "fastapi.txt")
    return [str(python), str(RIVALS / "fastapi_server.py"), str(model / "model.onnx")]


def measure(model: Path, data: bytes, connections: int, seconds: float, rounds: int) -> dict[str, list[dict]]:
    """Every contestant's figures, one record a round."""
    form, multipart = FORM + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"

    def over_http(command: list[str], path: str, body: bytes, kind: str) -> Callable[[], dict]:
        def once() -> dict:
            with Server(command) as server:
                return load(server, path, body, kind, connections, seconds)

        return once

    predict = f"/api/v1/models/{sealed.NETWORK}/predict"
    contestants: dict[str, Callable[[], dict]] = {
        "bare loop": lambda: bare(model, data, seconds),
        "saccade, raw body": over_http(ours(model), predict, data, "image/jpeg"),
        "saccade, multipart": over_http(ours(model), predict, form, multipart),
        "fastapi, raw body": over_http(theirs(model), "/raw", data, "image/jpeg"),
        "fastapi, multipart": over_http(theirs(model), "/upload", form, multipart),
    }
    found: dict[str, list[dict]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, once in contestants.items():
            found[name].append(once())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    found = measure(sealed.mobilenet(), sealed.photo(), options.connections, options.seconds, options.rounds)
    print(describe())
    print((RIVALS / "fastapi.txt").read_text().replace("\n", ", ").rstrip(", "))
    print(f"{sealed.NETWORK} {sealed.SIDE} px, a 512x384 JPEG, {options.connections} connections, n={options.rounds}")
    middle = {name: statistics.median(r["per_s"] for r in rows) for name, rows in found.items()}
    base, rival = middle["bare loop"], max(v for name, v in middle.items() if name.startswith("fastapi"))
    for name, rows in found.items():
        rates = [row["per_s"] for row in rows]
        cpu = statistics.median(row["cpu_ms"] for row in rows)
        line = f"{name:<19}{middle[name]:7.1f}/s ({min(rates):.0f} to {max(rates):.0f})  {middle[name] / base:.2f} of the loop"
        line += f"  CPU {cpu:.2f} ms"
        if "p50_ms" in rows[0]:
            p50, p99 = (statistics.median(row[key] for row in rows) for key in ("p50_ms", "p99_ms"))
            line += f"  {middle[name] / rival:.2f} of the best fastapi  p50 {p50:.1f} ms  p99 {p99:.1f} ms"
        print(line)
    save("serving", {"connections": options.connections, "seconds": options.seconds, "figures": found})


if __name__ == "__main__":
    main()
