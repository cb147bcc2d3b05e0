"""What faults and load cost a real server: workers killed, versions swapped, models unloaded, five times its capacity.

python -m benchmarks.faults [ROW...] [--short] [--isolation process]

rows: overhead, decoders, kill, swaps, memory, overload, poisson, objective, dawdle; none runs all. Every row says what was asked
of it and what came. The client runs on the same machine and takes its share of the cores. The long form kills every 2 s
for 2 minutes, swaps 1,000 times, serves 10 models, and loads for 20 s at a time.
"""

import argparse
import contextlib
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
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks import sealed
from benchmarks.machine import commit, describe, results, save
from saccade import process
from saccade.bench.figures import figures
from saccade.bench.load import Target, closed, poisson
from saccade.registry.registry import Registry
from saccade.testing.packages import colors, png

COLORS = {"colors": (200, 100, 50), "others": (20, 120, 220)}


class Server:
    """`saccade serve` in a process of its own over a home, ready when the block begins."""

    def __init__(self, home: Path, models: list[str], isolation: str, **settings: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        given = {"SACCADE_DRAIN_S": "0.1", "SACCADE_POLL_S": "0.05", "SACCADE_ISOLATION": isolation}
        given |= {f"SACCADE_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "saccade", "serve", *models, "--home", str(home), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **given})
        end = time.monotonic() + 120
        while self.ask("GET", "/readyz")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start")
            time.sleep(0.05)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; status 0 when nothing answered."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"content-type": "application/octet-stream"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def target(self, model: str, body: bytes, kind: str = "image/png") -> Target:
        return Target.at(f"http://127.0.0.1:{self.port}/api/v1/models/{model}/predict", body, kind)

    def family(self) -> list[int]:
        """This process and those it started."""
        found = [self.process.pid]
        for pid in found:  # grows as it is walked
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in file.read_text().split()]
        return found

    def workers(self, model: str) -> list[int]:
        """Processes that hold a graph of the model: they bear its name."""
        found = []
        for pid in self.family():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == f"saccade:{model}"[:15]:
                    found.append(pid)
        return found

    def memory_mb(self) -> float:
        """Proportional set size of server and children: pages that several share are counted once."""
        total = 0
        for pid in self.family():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Caller(threading.Thread):
    """Asks one thing over and over on one connection and looks at every answer."""

    def __init__(self, server: Server, model: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.model, self.stop_, self.found = server, model, stop, Counter[str]()
        self.wrong = 0
        self.times: list[tuple[float, float]] = []
        self.color = COLORS[model.partition("@")[0]]

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        body, due = png(*self.color), {n: v / 255 for n, v in zip(("red", "green", "blue"), self.color, strict=True)}
        while not self.stop_.is_set():
            began = time.perf_counter()
            try:
                connection.request("POST", f"/api/v1/models/{self.model}/predict", body, {"content-type": "image/png"})
                reply = connection.getresponse()
                told = json.loads(reply.read())
            except (OSError, ValueError):
                self.found["broken"] += 1
                connection.close()
                continue
            if reply.status == 200:
                scores = {row["label"]: row["score"] for row in told["predictions"]}
                self.wrong += any(abs(scores[name] - value) > 0.01 for name, value in due.items())
                self.times.append((began, time.perf_counter() - began))
            self.found[str(reply.status) if reply.status == 200 else told["code"]] += 1
        connection.close()


def calling(server: Server, callers: dict[str, int], act: Callable[[], None]) -> dict[str, list[Caller]]:
    """Runs act while so many callers ask each model."""
    stop = threading.Event()
    made = {model: [Caller(server, model, stop) for _ in range(n)] for model, n in callers.items()}
    for caller in (c for some in made.values() for c in some):
        caller.start()
    try:
        act()
    finally:
        stop.set()
        for caller in (c for some in made.values() for c in some):
            caller.join()
    return made


def p99_ms(callers: list[Caller], since: float, until: float) -> float:
    return float(np.quantile([s for c in callers for at, s in c.times if since <= at < until], 0.99)) * 1e3


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """kill -9 of a worker: only what it had at work is answered 503, no answer is wrong, others' p99 within 1.5
    times."""
    seconds, every = (12, 2) if options.short else (120, 2)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        for name in COLORS:
            Registry(home).push(colors(Path(folder) / name, name, network=False).path, name)
        with Server(home, [], "process", max_wait_s=2) as server:
            marks: list[float] = []

            def act() -> None:
                calm = min(20.0, seconds / 2)
                time.sleep(1)
                marks.append(time.perf_counter())
                time.sleep(calm)
                marks.append(time.perf_counter())
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    for pid in server.workers("colors"):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                    time.sleep(every)

            killed: list[int] = []
            made = calling(server, {"colors": 4, "others": 2}, act)
            done = time.perf_counter()
            began, calm_end = marks[0], marks[1]
            found = sum((c.found for c in made["colors"]), Counter[str]())
            others = sum((c.found for c in made["others"]), Counter[str]())
            before, during = p99_ms(made["others"], began, calm_end), p99_ms(made["others"], calm_end, done)
            record = {
                "kills": len(killed), "answers": dict(found), "others": dict(others), "wrong": sum(c.wrong for s in made.values() for c in s),
                "most_in_flight": 4 * len(killed), "others_p99_ms": [round(before, 2), round(during, 2)],
            }  # fmt: skip
    lost = found["worker_lost"]
    met = (
        set(found) <= {"200", "worker_lost"}
        and lost <= record["most_in_flight"]
        and set(others) == {"200"}
        and not record["wrong"]
        and during <= 1.5 * before
    )
    say("kill -9", f"{len(killed)} kills: {dict(found)}; wrong {record['wrong']}; the other model {dict(others)}, "
        f"p99 {before:.1f} ms before, {during:.1f} ms during ({during / before:.2f} times, bar 1.5)", met)  # fmt: skip
    return {**record, "met": met}


def swaps(options: argparse.Namespace) -> dict[str, Any]:
    """Hot swaps under load: no request fails, memory stays."""
    number = options.swaps or (20 if options.short else 1000)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        registry = Registry(home)
        for version in (1, 2):
            registry.push(colors(Path(folder) / str(version), "colors", exclusive=version == 2).path, "colors")
        registry.set_alias("colors", "live", 1)
        with Server(home, ["colors@live"], options.isolation, max_wait_s=2) as server:
            memory: list[float] = []

            def act() -> None:
                for i in range(number):
                    version = 2 - i % 2
                    registry.set_alias("colors", "live", version)
                    while _version(server) != str(version):
                        time.sleep(0.02)
                    if i in (min(9, number // 2), number - 1):
                        time.sleep(1)
                        memory.append(server.memory_mb())

            began = time.monotonic()
            made = calling(server, {"colors": 4}, act)
            took = time.monotonic() - began
        found = sum((c.found for c in made["colors"]), Counter[str]())
        wrong = sum(c.wrong for c in made["colors"])
    drift = memory[1] / memory[0] - 1
    met = set(found) == {"200"} and not wrong and drift <= 0.05
    say("hot swaps", f"{number} swaps in {took:.0f} s: {dict(found)}; wrong {wrong}; memory {memory[0]:.0f} to "
        f"{memory[1]:.0f} MB ({drift:+.1%}, at most 5 % more)", met)  # fmt: skip
    return {"swaps": number, "answers": dict(found), "wrong": wrong, "memory_mb": memory, "met": met}


def _version(server: Server) -> str:
    status, body = server.ask("POST", "/api/v1/models/colors@live/predict", png(*COLORS["colors"]))
    return str(json.loads(body)["version"]) if status == 200 else ""


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Models served, then unloaded: memory is back where it started."""
    number, image = 3 if options.short else 10, sealed.photo()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        registry = Registry(home)
        registry.push(sealed.mobilenet(), "net0")
        with Server(home, [], options.isolation) as server:

            def settle() -> float:
                time.sleep(6)
                return server.memory_mb()

            def serve(names: list[str]) -> None:
                for name in names:
                    load = closed(server.target(name, image, "image/jpeg"), 8, 1.0)
                    assert not load.errors, load.statuses

            # What the first model brings along (libraries, pools) is no model's: one is served throughout.
            names = [f"net{i}" for i in range(1, number + 1)]
            serve(["net0"])
            start = settle()
            for name in names:
                registry.push(sealed.mobilenet(), name)
                while server.ask("GET", f"/v2/models/{name}/ready")[0] != 200:
                    time.sleep(0.05)
            serve([*names, "net0"])
            full = settle()
            for name in names:
                assert server.ask("POST", f"/v2/repository/models/{name}/unload", b"{}")[0] == 200
            serve(["net0"])
            end = settle()
    drift = end / start - 1
    met = drift <= 0.05
    say(
        "memory",
        f"{number} models served, then unloaded: {start:.0f} MB, {full:.0f} MB, {end:.0f} MB ({drift:+.1%}, at most 5 % more)",
        met,
    )
    return {"models": number, "memory_mb": [start, full, end], "met": met}


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """MobileNetV3-small, a 512x384 JPEG: graphs in the server's process, and in their own, taking turns."""
    return _beside(options, "overhead", lambda wish: {"isolation": wish, "decode_isolation": "none"})


def decoders(options: argparse.Namespace) -> dict[str, Any]:
    """The same, where pictures are decoded in the server's process, and in confined ones."""
    return _beside(options, "decoders", lambda wish: {"isolation": "none", "decode_isolation": wish})


def _beside(options: argparse.Namespace, row: str, settings: Callable[[str], dict[str, str]]) -> dict[str, Any]:
    seconds, rounds, image = (2.0, 1, sealed.photo()) if options.short else (8.0, 3, sealed.photo())
    found: dict[str, list[tuple[float, float]]] = {"none": [], "process": []}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(rounds):
            for wish, figures_of in found.items():
                with Server(Path(home), [str(sealed.mobilenet())], **settings(wish)) as server:
                    target = server.target(sealed.NETWORK, image, "image/jpeg")
                    closed(target, 16, 1.0)
                    many = figures(closed(target, 16, seconds))
                    one = figures(closed(target, 1, seconds))
                    figures_of.append((many.per_s, one.p50_ms or 0.0))
    (rate, alone), (rate2, alone2) = (np.median(v, axis=0) for v in found.values())
    say(row, f"own process {rate2:.0f} img/s at 16, p50 {alone2:.2f} ms alone; server's process {rate:.0f} img/s, "
        f"{alone:.2f} ms: {rate2 / rate:.2f} times the rate, {alone2 - alone:+.2f} ms")  # fmt: skip
    return found


def _both(row: Callable[[argparse.Namespace, str], dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """A row of a server as it comes, with the graph in its own process, and beside it with graphs in theirs."""
    return {**row(options, "none"), "graphs_in_processes": row(options, "process")}


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """Five times the capacity of a 25 ms model: goodput at least 90 % of the peak, refusals quick, soon as before."""
    return _both(_overload, options)


def _overload(options: argparse.Namespace, isolation: str) -> dict[str, Any]:
    seconds, image = (4.0 if options.short else 20.0), png(200, 100, 50)
    with tempfile.TemporaryDirectory() as folder:
        package = slow(Path(folder))
        with Server(Path(folder) / "home", [str(package)], isolation) as server:
            target = server.target("slow", image)
            closed(target, 8, 1.0)
            peak = figures(closed(target, 8, seconds)).per_s
            service = figures(closed(target, 1, 2.0)).p50_ms or 0.0
            usual = figures(poisson(target, 0.5 * peak, seconds))
            probes: list[tuple[float, int, float]] = []
            stop = threading.Event()

            def probe() -> None:
                """Refusals, by the clock of one caller."""
                while not stop.is_set():
                    began = time.perf_counter()
                    status = server.ask("POST", "/api/v1/models/slow/predict", image)[0]
                    probes.append((began, status, time.perf_counter() - began))
                    time.sleep(0.01)

            thread = threading.Thread(target=probe, daemon=True)
            thread.start()
            storm = poisson(target, 5 * peak, seconds)
            ended = time.perf_counter()
            time.sleep(2.0)
            stop.set()
            thread.join()
            after = figures(poisson(target, 0.5 * peak, seconds))
    good = len(storm.latencies_s) / storm.seconds  # with the time in which the last ones were answered
    refusals = [s for at, status, s in probes if status == 503 and at < ended]
    refused = float(np.quantile(refusals, 0.99)) * 1e3 if refusals else float("nan")
    late = [s for at, status, s in probes if status != 200 and at > ended + 1.9]
    strange = {s: n for s, n in storm.statuses.items() if s not in (200, 503)}
    back = (after.p50_ms or 0.0) <= 1.5 * (usual.p50_ms or 0.0) and not late and not after.errors
    met = good >= 0.9 * peak and refused <= 50 and back and not strange
    say("overload", f"graphs in {WHERE[isolation]}: {service:.0f} ms model, peak {peak:.0f}/s; at 5 times: goodput {good:.0f}/s ({good / peak:.0%}, bar 90 %), "
        f"{dict(storm.statuses)}, refusals p99 {refused:.0f} ms (bar 50); p50 at half load {usual.p50_ms:.0f} ms before, "
        f"{after.p50_ms:.0f} ms from 2 s after", met if isolation == "none" else None)  # fmt: skip
    return {"peak_per_s": peak, "goodput_per_s": good, "refusals_p99_ms": refused, "statuses": dict(storm.statuses),
            "half_load_p50_ms": [usual.p50_ms, after.p50_ms], "met": met}  # fmt: skip


def random_load(options: argparse.Namespace) -> dict[str, Any]:
    """70 % of capacity, Poisson arrivals: p99 at most four times the service time, no error."""
    return _both(_random_load, options)


def _random_load(options: argparse.Namespace, isolation: str) -> dict[str, Any]:
    seconds, image = (4.0 if options.short else 30.0), sealed.photo()
    with (
        tempfile.TemporaryDirectory() as home,
        Server(Path(home), [str(sealed.mobilenet())], isolation) as server,
    ):
        target = server.target(sealed.NETWORK, image, "image/jpeg")
        closed(target, 16, 1.0)
        capacity = figures(closed(target, 16, seconds)).per_s
        service = figures(closed(target, 1, seconds / 2)).p50_ms or 0.0
        found = figures(poisson(target, 0.7 * capacity, seconds))
    ratio = (found.p99_ms or 0.0) / service
    met = ratio <= 4 and not found.errors
    say("70 % Poisson", f"graphs in {WHERE[isolation]}: capacity {capacity:.0f}/s, alone {service:.1f} ms; p50 {found.p50_ms:.1f}, p99 {found.p99_ms:.1f} ms: "
        f"{ratio:.1f} times (bar 4), {found.errors} errors", met if isolation == "none" else None)  # fmt: skip
    return {
        "capacity_per_s": capacity,
        "service_ms": service,
        "p99_ms": found.p99_ms,
        "errors": found.errors,
        "met": met,
    }


def objective(options: argparse.Namespace) -> dict[str, Any]:
    """`serve --p99` where half as much again as fits arrives at random: those that are answered are, in that time."""
    seconds, wanted_ms = (3.0 if options.short else 15.0), 80.0
    found: dict[str, Any] = {"wanted_ms": wanted_ms}
    offered = 0.0
    for name, settings in (("without", {}), ("with", {"p99_s": wanted_ms / 1e3})):
        with (
            tempfile.TemporaryDirectory() as home,
            Server(Path(home), [str(sealed.mobilenet())], "none", **settings) as server,
        ):
            target = server.target(sealed.NETWORK, sealed.photo(), "image/jpeg")
            closed(target, 16, 1.0)
            # Of the server without it: callers that ask again as soon as they are refused leave nothing to be measured.
            offered = offered or 1.5 * figures(closed(target, 16, 3.0)).per_s
            load = poisson(target, offered, seconds)
            told = figures(load)
            statuses = dict(load.statuses)
            found[name] = {"offered_per_s": offered, "per_s": told.per_s, "p99_ms": told.p99_ms, "statuses": statuses}
    one, other = found["without"], found["with"]
    found["met"] = (other["p99_ms"] or 0.0) <= wanted_ms and not set(other["statuses"]) - {200, 503}
    say("--p99 80ms", f"{other['offered_per_s']:.0f}/s offered, {other['per_s']:.0f}/s answered, p99 {other['p99_ms']:.0f} ms (asked {wanted_ms:g}), "
        f"{other['statuses'].get(503, 0)} refused; without it {one['per_s']:.0f}/s, p99 {one['p99_ms']:.0f} ms", found["met"])  # fmt: skip
    return found


def dawdle(options: argparse.Namespace) -> dict[str, Any]:
    """1,000 callers who give next to nothing: let go of on time, and the others served as before (LIMITS T11)."""
    number, seconds, image = (200 if options.short else 1000), 10.0, png(200, 100, 50)
    with tempfile.TemporaryDirectory() as folder:
        package = colors(Path(folder) / "package").path
        with Server(Path(folder) / "home", [str(package)], "none", connections=2 * number) as server:
            target = server.target("colors", image)
            closed(target, 4, 1.0)
            before = figures(closed(target, 4, seconds))
            command = [sys.executable, "-m", "benchmarks.dawdlers", str(server.port), str(number)]
            slow_ones = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            during = figures(closed(target, 4, seconds))
            told: dict[str, list[float | None]] = json.loads(slow_ones.communicate()[0])
            after = figures(closed(target, 4, seconds))
    # A body has 5 s of grace, then must have come at the floor; an answer that nobody reads is held for 30 s from when it was stuck, and looked for at 36.
    due = {"head": 10.5, "body": 5.5, "silent": 10.5, "unread": 37.0}
    late = {k: sum(t is None or t > due[k] for t in times) for k, times in told.items()}
    usual = statistics.mean([before.p99_ms or 0.0, after.p99_ms or 0.0])
    slower = (during.p99_ms or 0.0) / usual
    met = not any(late.values()) and not during.errors and slower <= 1.2
    ends = {k: max((t for t in times if t is not None), default=float("nan")) for k, times in told.items()}
    say("dawdle", f"{number} callers; the last let go of after {ends['head']:.1f} s (heads, bar 10.5), {ends['body']:.1f} (bodies, 5.5), "
        f"{ends['unread']:.1f} (unread answers, looked at after 36, 37); {sum(late.values())} late; others' p99 {usual:.2f} -> {during.p99_ms:.2f} ms: "
        f"{slower:.2f} times (bar 1.2), {during.errors} errors", met)  # fmt: skip
    return {"callers": number, "let_go_s": told, "late": late, "p99_ms": [before.p99_ms, during.p99_ms, after.p99_ms],
            "errors": during.errors, "met": met}  # fmt: skip


def slow(folder: Path, wanted_ms: float = 25.0) -> Path:
    """A sealed package whose graph takes about so long on one core here: `colors`, and convolutions that count for
    nothing."""
    from saccade.inference import runtimes

    layers = 2
    while True:
        file = folder / "slow.onnx"
        _convolutions(file, layers)
        graph = runtimes.find("onnxruntime").open(file, "cpu", 1)
        rows = {"image": np.zeros((1, 32, 32, 3), np.uint8)}
        times = []
        for _ in range(9):
            began = time.perf_counter()
            graph.run(rows)
            times.append(time.perf_counter() - began)
        graph.close()
        took = sorted(times)[2] * 1e3
        if took >= 0.9 * wanted_ms:
            break
        layers = max(layers + 1, int(layers * wanted_ms / took))
    return colors(folder / "slow", "slow", fault=lambda place: _convolutions(place, layers)).path


def _convolutions(file: Path, layers: int, channels: int = 64) -> Path:
    dice = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["shares"]),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["c0"], pads=[1, 1, 1, 1]),
    ]
    weights = [numpy_helper.from_array(dice.normal(0, 0.01, (channels, 3, 3, 3)).astype(np.float32), "first")]
    for i in range(layers):
        name = f"w{i}"
        weights.append(
            numpy_helper.from_array(dice.normal(0, 0.01, (channels, channels, 3, 3)).astype(np.float32), name)
        )
        nodes.append(helper.make_node("Conv", [f"c{i}", name], [f"c{i + 1}"], pads=[1, 1, 1, 1]))
    nodes += [
        helper.make_node("ReduceMean", [f"c{layers}", "all"], ["far"], keepdims=0),
        helper.make_node("Mul", ["far", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
        helper.make_node("Add", ["shares", "column"], ["scores"]),
    ]
    weights += [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "all"),
        numpy_helper.from_array(np.array([1], np.int64), "last"),
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    graph = helper.make_graph(
        nodes, "slow",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


ROWS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overhead": overhead, "decoders": decoders, "kill": kill, "swaps": swaps, "memory": memory, "overload": overload, "poisson": random_load, "objective": objective,
    "dawdle": dawdle,
}  # fmt: skip


CHOOSING = ("kill", "swaps", "memory", "dawdle")
"""Rows for which --isolation says where graphs run."""
MISSED: list[str] = []
WHERE = {"none": "the server", "process": "their own processes"}


def say(row: str, what: str, met: bool | None = None) -> None:
    """met: None where nothing is asked of the row."""
    mark = {None: "    ", True: "ok  ", False: "MISS"}[met]
    MISSED.extend([row] if met is False else [])
    print(f"{row:<13} {mark} {what}", flush=True)


def _kept(name: str) -> dict[str, Any]:
    """Rows of earlier runs: each stays until it is measured again, with the commit and the machine that gave it."""
    file = results() / f"{name}.json"
    return dict(json.loads(file.read_text()).get("rows", {})) if file.is_file() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--short", action="store_true", help="about three minutes in all")
    parser.add_argument("--swaps", type=int, metavar="N", help="default 20 in the short form, else 1,000")
    parser.add_argument("--isolation", choices=("none", "process"), default="process", help=f"of {', '.join(CHOOSING)}")
    options = parser.parse_args()
    strange = set(options.rows) - set(ROWS)
    if strange:
        parser.error(f"no row {sorted(strange)[0]!r}; there are {', '.join(ROWS)}")
    print(describe())
    results_name = "faults-short" if options.short else "faults"
    rows = _kept(results_name)
    for name, row in ROWS.items():
        if not options.rows or name in options.rows:
            chosen = {"isolation": options.isolation} if name in CHOOSING else {}
            about = {"short": options.short, "commit": commit(), "machine": process.host()}
            rows[name] = {**row(options), **chosen, **about}
            save(results_name, {"rows": rows})
    return int(bool(MISSED) and not options.short)


if __name__ == "__main__":
    sys.exit(main())
