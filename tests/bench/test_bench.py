"""Load on real sockets: what is counted, what a slow server shows, and the command from package to figures."""

import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest

from saccade import process
from saccade.bench import curves, energy, open_inference, wrk
from saccade.bench import load as loads
from saccade.bench.figures import SHARES, cpu_s, figures, peak_mib
from saccade.bench.load import Load, Target, closed, poisson
from saccade.bench.served import served
from saccade.bench.tune import shared
from saccade.cli.main import main
from saccade.errors import ServerError, UsageError
from saccade.inference import tuning
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.tuning import Tuned
from saccade.package import reader
from saccade.testing.packages import colors, png
from saccade.verbs import bench


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    got: ClassVar[list] = []
    delay_s = 0.0
    slow = 0
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).got.append((self.path, self.headers["content-type"], self.headers.get("authorization"), body))
        late = self.slow and len(self.got) % self.slow == 0
        time.sleep(self.delay_s * (10 if late else 1))
        if self.path == "/hang-up":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(self.status)
        if self.path == "/chunks":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\nok\r\n0\r\n\r\n")
            return
        self.send_header("content-length", "2")
        if self.path == "/one-a-connection":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")
        if self.path == "/no-word":
            self.close_connection = True

    def log_message(self, *words): ...


@pytest.fixture
def server():
    handler = type("Own", (Answer,), {"got": []})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # a client that left in the middle is no news
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("path", ["/one?top_k=1", "/chunks"])
def test_closed_loop_counts_every_answer(server, path):
    handler, url = server
    load = closed(Target.at(url + path, b"pixels", "image/png", "secret"), 3, 0.3)
    assert load.statuses[200] == len(load.latencies_s) > 3
    assert load.errors == 0
    assert set(handler.got) == {(path, "image/png", "Bearer secret", b"pixels")}
    assert 0 <= len(handler.got) - load.statuses[200] <= 3, "at most those on their way at the end"


def test_errors_and_broken_connections_are_counted(server):
    handler, url = server
    handler.status = 503
    load = closed(Target.at(f"{url}/busy", b"x", "image/png"), 2, 0.2)
    assert load.statuses[503] == load.errors > 0
    assert load.latencies_s == []
    broken = closed(Target.at(f"{url}/hang-up", b"x", "image/png"), 2, 0.2)
    assert broken.statuses[0] == broken.errors > 0
    assert figures(broken).p99_ms is None


def test_a_server_that_ends_each_connection_is_no_error(server):
    _, url = server
    aim = Target.at(f"{url}/one-a-connection", b"x", "image/png", headers={"X-Length": "7"})
    load = closed(aim, 2, 0.3)
    assert load.statuses[200] > 4
    assert load.errors == 0
    assert b"\r\nX-Length: 7\r\n" in aim.request
    with pytest.raises(UsageError):
        Target.at(url, b"x", "image/png", headers={"X": "1\r\nY: 2"})


needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="there is no wrk on this machine (apt install wrk)")


@needs_wrk
@pytest.mark.parametrize("slow", [0, 7])
def test_wrk_sends_the_same_bytes_and_measures_as_ours_does(server, slow):
    handler, url = server
    handler.delay_s, handler.slow = 0.004, slow  # one answer in so many takes ten times as long
    target = Target.at(f"{url}/plain", b"hello", "image/png", "secret")
    theirs = wrk.closed(target, 3, 1.0)
    assert set(handler.got) == {("/plain", "image/png", "Bearer secret", b"hello")}
    assert theirs.statuses == {200: len(theirs.latencies_s)}
    assert 0 < len(theirs.latencies_s) <= len(handler.got), "no answer is made up"
    assert min(theirs.latencies_s) >= 0.004
    ours = closed(target, 3, 1.0)
    one, other = figures(theirs), figures(ours)
    assert one.per_s == pytest.approx(other.per_s, rel=0.5)
    assert one.p50_ms == pytest.approx(other.p50_ms, rel=0.5)
    assert one.p99_ms == pytest.approx(other.p99_ms, rel=0.7)


def test_what_wrk_adds_is_taken_away_again():
    dice = np.random.default_rng(0)
    for _ in range(20):
        times = Counter(int(t) for t in dice.exponential(2000, 500) + 500)
        times[int(dice.integers(40_000, 90_000))] += 2
        connections, requests = 4, times.total()
        took = sum(t * n for t, n in times.items()) // connections
        expected, told = took // (requests // connections), Counter(times)
        for late in range(2 * expected, max(times) + 1):  # stats_correct of wrk 4.1, stats.c
            count, at = told[late], late - expected
            while count and at > expected:
                told[at] += count
                at -= expected
        told = +told
        assert told.total() > requests
        assert wrk.measured(told, took, requests, connections) == times
    assert wrk.measured(Counter({900: 3}), 2700, 3, 1) == {900: 3}
    with pytest.raises(UsageError, match="not known here"):
        wrk.measured(Counter({900: 3}), 2700, 5, 1)


@needs_wrk
def test_what_wrk_cannot_tell_is_said(server, monkeypatch):
    handler, url = server
    handler.status = 302
    with pytest.raises(UsageError, match="answers 302"):
        wrk.closed(Target.at(f"{url}/plain", b"x", "image/png"), 2, 1.0)
    handler.status = 503
    monkeypatch.setattr(wrk.own, "closed", lambda *given: Load("one"))
    with pytest.raises(UsageError, match="no success"):
        wrk.closed(Target.at(f"{url}/plain", b"x", "image/png"), 2, 1.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(ServerError, match="unable to connect"):
        wrk.closed(Target.at(away, b"x", "image/png"), 2, 1.0)


def test_a_client_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="no wrk"):
        bench.bench("http://127.0.0.1:9/x", client="wrk")
    with pytest.raises(UsageError, match="own or wrk"):
        bench.bench("http://127.0.0.1:9/x", client="ab")
    assert main(["bench", str(tmp_path), "--tune", "--client", "own"]) == 2
    assert "does nothing with --client" in capsys.readouterr().err


@needs_wrk
def test_a_package_is_loaded_by_wrk(tmp_path, capsys):
    package = colors(tmp_path / "package").path
    asked = ["bench", str(package), "--client", "wrk", "--seconds", "1", "--concurrency", "2", "--json"]
    assert main([*asked, "--home", str(tmp_path / "home")]) == 0
    one, two, random_ones = json.loads(capsys.readouterr().out)["figures"]
    assert (one["load"], two["load"]) == ("closed, 1 at once, by wrk", "closed, 2 at once, by wrk")
    assert random_ones["load"].startswith("Poisson")
    assert one["answered"] > 10
    assert two["cpu_s"] > 0


def test_open_loop_latency_counts_from_the_arrival(server):
    handler, url = server
    handler.delay_s = 0.02
    load = poisson(Target.at(f"{url}/one", b"x", "image/png"), 100, 0.5, seed=1)
    assert load.statuses[200] == len(handler.got)
    assert 20 < len(handler.got) < 90
    assert min(load.latencies_s) >= 0.02
    again = poisson(Target.at(f"{url}/one", b"x", "image/png"), 100, 0.5, seed=1)
    assert again.statuses == load.statuses, "the same seed, the same arrivals"


def test_a_server_that_hangs_up_on_an_idle_connection_costs_no_request(server):
    handler, url = server
    load = poisson(Target.at(f"{url}/no-word", b"x", "image/png"), 5, 1.6, seed=0)
    assert load.statuses[200] == len(handler.got) > 3
    assert load.errors == 0


def test_a_request_that_cannot_be_sent_is_counted_and_the_load_goes_on(server, monkeypatch):
    handler, url = server
    send, tries = loads._Connection.send, itertools.count()

    def broken(one, began):
        if next(tries) % 3 == 0:
            raise BrokenPipeError(32, "Broken pipe")
        send(one, began)

    monkeypatch.setattr(loads._Connection, "send", broken)
    load = closed(Target.at(f"{url}/one", b"x", "image/png"), 2, 0.3)
    assert load.statuses[0] == load.errors > 0
    assert load.statuses[200] > 0
    again = poisson(Target.at(f"{url}/two", b"x", "image/png"), 50, 0.5, seed=1)
    dice = random.Random(1)
    arrivals = sum(at < 0.5 for at in itertools.accumulate(dice.expovariate(50) for _ in range(200)))
    assert again.statuses[200] == sum(path == "/two" for path, *_ in handler.got)
    assert again.statuses.total() == arrivals
    assert again.statuses[0] == again.errors > 0


FEW = """
import resource, sys
from saccade.bench.load import Target, closed
from saccade.errors import UsageError

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
try:
    closed(Target.at(sys.argv[1], b"x", "image/png"), 200, 1.0)
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_limit_of_open_files_is_not_called_a_server_that_is_away(server, host):
    _, url = server
    command = [sys.executable, "-c", FEW, url.replace("127.0.0.1", host)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "as many open files as it may have; lower --concurrency" in done.stdout, done.stderr


def test_figures_by_hand():
    load = Load("closed", seconds=2.0, latencies_s=[i / 1000 for i in range(1, 101)], lost=1)
    load.statuses.update({200: 100, 503: 2})
    found = figures(load, cpu_s=5.0)
    assert (found.per_s, found.errors, found.answered, found.cpu_s) == (50, 3, 100, 0.05)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((50.5, 99.01))


def test_what_a_process_costs_is_read():
    before = cpu_s(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert cpu_s(os.getpid()) - before >= 0.05
    assert peak_mib(os.getpid()) > 10
    assert cpu_s(2**22 + 1) is None


@pytest.mark.parametrize("url", ["https://h/x", "ftp://h", "http://", "http://h/\r\nx: y"])
def test_an_address_that_cannot_be_loaded(url):
    if "\r" in url:
        Target.at(url, b"", "image/png")  # urlsplit drops line ends
    else:
        with pytest.raises(UsageError):
            Target.at(url, b"", "image/png")
    with pytest.raises(ServerError, match="nothing answers"):
        closed(Target.at("http://127.0.0.1:9/x", b"", "image/png"), 1, 0.1)


def test_a_package_is_served_loaded_and_told(tmp_path, capsys):
    colors(tmp_path / "p")
    command = ["bench", str(tmp_path / "p"), "--seconds", "0.4", "--concurrency", "4", "--p99", "5s", "--json"]
    assert main([*command, "--home", str(tmp_path / "home")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["host"] == process.host()
    assert "graph default" in record["what"]
    assert all(f["answered"] > 0 and f["cpu_s"] > 0 for f in record["figures"])
    *closed, first = record["figures"][:3]
    assert [f["load"].split(",")[0] for f in record["figures"]] == ["closed"] * 2 + ["Poisson"] * (
        len(record["figures"]) - 2
    )
    assert all(f["errors"] == 0 for f in closed)
    held = [f for f in record["figures"][2:] if not f["errors"]]
    assert held, "some rate holds"
    assert (len(record["figures"]) == 3) == (held[0] is first), (
        "more rates are tried only where the first one was refused"
    )
    assert record["capacity_per_s"] == held[-1]["per_s"] > 0
    assert record["peak_mib"] > 10
    assert "images/s at p99 <= 5000 ms" in record["sentence"]
    assert main(["bench", "http://127.0.0.1:9"]) == 2
    assert main(["bench", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize(("most", "found", "asked"), [(1.0, 0.95, 1), (0.59, 0.5625, 7), (0.1, None, 6), (0.9, 0.9, 4)])
def test_a_capacity_is_looked_for_between_what_holds_and_what_does_not(most, found, asked):
    seen = []

    def holds(share):
        seen.append(share)
        return share <= most

    bench._search(holds)
    assert max((share for share in seen if share <= most), default=None) == pytest.approx(found)
    assert len(seen) == asked


def test_cores_are_shared_in_every_power_of_two():
    assert shared(1) == [(1, 1)]
    assert shared(2) == [(1, 2), (2, 1)]
    assert shared(6) == [(1, 6), (2, 3), (4, 1), (6, 1)]
    assert shared(16) == [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)]


def test_tuning_is_kept_in_the_home_and_used_by_it(tmp_path, capsys, caplog):
    package = colors(tmp_path / "p")
    (tmp_path / "one.png").write_bytes(png(1, 2, 3))
    home = tmp_path / "home"
    assert (
        main(["bench", str(tmp_path / "p"), "--tune", "--home", str(home), "--image", str(tmp_path / "one.png")]) == 0
    )
    told = capsys.readouterr().out
    assert "because" in told
    kept = tuning.read(home / "tuning", package.digest, "default")
    assert kept is not None
    assert kept.tried
    assert str(tuning.place(home / "tuning", package.digest, "default")) in told
    chosen = Tuned(package.digest, process.host(), "default", runners=3, threads=2, max_batch=5)
    tuning.write(home / "tuning", chosen)
    with Model.open(tmp_path / "p", options=Options(tuning=home / "tuning")) as model:
        assert (model.options.runners, model.options.threads, model.options.max_batch) == (3, 2, 5)
    with Model.open(tmp_path / "p", options=Options(tuning=home / "tuning", runners=1)) as model:
        assert (model.options.runners, model.options.threads, model.options.max_batch) == (1, 2, 5)
    with Model.open(tmp_path / "p") as model:
        assert model.options.max_batch == 16


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"digest": 1}', json.dumps({"runners": np.pi}), '{"runners": 0}']
)
def test_a_tuning_that_cannot_be_understood_is_left_alone(tmp_path, text, monkeypatch):
    good = Tuned("d" * 64, process.host(), "default", 1, 2, 4)
    file = tuning.write(tmp_path, good)
    assert tuning.read(tmp_path, "d" * 64, "default") == good
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | json.loads(text)) if text.startswith('{"r') else text)
    assert tuning.read(tmp_path, "d" * 64, "default") is None
    tuning.write(tmp_path, good)
    assert tuning.read(tmp_path, "e" * 64, "default") is None
    monkeypatch.setattr(process, "host", lambda: "another")
    assert tuning.read(tmp_path, "d" * 64, "default") is None


def described(inputs, extensions=("binary_tensor_data",)):
    """A server that describes one model and keeps what it was asked."""

    class Described(Answer):
        got: ClassVar[list] = []

        def do_GET(self):
            told = {"inputs": inputs} if self.path.endswith("/m") else {"extensions": list(extensions)}
            data = json.dumps(told if self.path != "/v2/models/odd" else ["no"]).encode()
            self.send_response(404 if self.path.endswith("/gone") else 200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Described


@pytest.fixture
def describing():
    running = []

    def start(*args, **words):
        handler = described(*args, **words)
        listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        running.append(listening)
        return handler, f"http://127.0.0.1:{listening.server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("kind", "shape", "sent"),
    [
        ("UINT8", [-1, 6, 8, 3], [1, 6, 8, 3]),
        ("FP32", [-1, 3, 6, 8], [1, 3, 6, 8]),
        ("FP16", [-1, -1, -1, 3], [1, 30, 40, 3]),
        ("FP32", [3, 6, 8], [3, 6, 8]),
        ("BYTES", [-1, 1], [1, 1]),
    ],
)
def test_an_open_inference_request_is_what_the_server_describes(describing, kind, shape, sent):
    handler, url = describing([{"name": "x", "datatype": kind, "shape": shape}])
    image = png(51, 102, 204)
    load = closed(open_inference.target(url, "m", image, "secret"), 1, 0.2)
    assert load.errors == 0
    path, form, key, body = handler.got[0]
    assert (path, form, key) == ("/v2/models/m/infer", "application/octet-stream", "Bearer secret")
    head, rest = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    (entry,), data = head["inputs"], body[rest:]
    assert (entry["name"], entry["datatype"], entry["shape"]) == ("x", kind, sent)
    assert entry["parameters"]["binary_data_size"] == len(data)
    if kind == "BYTES":
        assert data == len(image).to_bytes(4, "little") + image
    else:
        values = np.frombuffer(data, open_inference.NUMBERS[kind]).reshape(sent)
        spread = values.reshape(3, -1)[:, 0] if sent[-1] != 3 else values.reshape(-1, 3)[0]
        assert spread.tolist() == pytest.approx([51, 102, 204] if kind == "UINT8" else [0.2, 0.4, 0.8], rel=1e-3)


def test_a_server_without_binary_tensors_gets_json(describing):
    handler, url = describing([{"name": "x", "datatype": "UINT8", "shape": [-1, 2, 2, 3]}], extensions=())
    assert closed(open_inference.target(url, "m", png(1, 2, 3)), 1, 0.1).errors == 0
    _, form, _, body = handler.got[0]
    assert form == "application/json"
    assert json.loads(body)["inputs"][0]["data"] == [1, 2, 3] * 4


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([], "takes 0 inputs"),
        (None, "takes no inputs"),
        ([{"name": "a"}, {"name": "b"}], "takes 2 inputs"),
        ([{"name": "a", "datatype": "FP32", "shape": "x"}], "without a shape"),
        ([{"name": "a", "datatype": "FP32", "shape": [1, 10]}], "expected"),
        ([{"name": "a", "datatype": "BOOL", "shape": [1, 2, 2, 3]}], "takes BOOL"),
        ([{"name": "a", "datatype": "UINT8", "shape": [8, 2, 2, 3]}], "batches of 8"),
        ([{"name": "a", "datatype": "BYTES", "shape": [8, 1]}], "batches of 8"),
    ],
)
def test_a_model_that_takes_no_picture_is_refused(describing, inputs, told):
    _, url = describing(inputs)
    with pytest.raises((UsageError, ServerError), match=told):
        open_inference.target(url, "m", png(1, 2, 3))


def test_bytes_need_binary_tensors_and_a_description_must_be_one(describing):
    _, url = describing([{"name": "x", "datatype": "BYTES", "shape": [-1]}], extensions=())
    with pytest.raises(UsageError, match="no binary tensors"):
        open_inference.target(url, "m", b"x")
    for model, told in (("gone", "answers 404"), ("odd", "gives no description, but list")):
        with pytest.raises(ServerError, match=told):
            open_inference.target(url, model, b"x")
    with pytest.raises(ServerError, match=r"nothing answers at .*: connection refused"):
        open_inference.target("http://127.0.0.1:9", "m", b"x")


def test_our_own_server_is_loaded_through_open_inference(tmp_path, capsys):
    package = colors(tmp_path / "p").path
    (tmp_path / "one.png").write_bytes(png(1, 2, 3))
    with served(package, tmp_path / "home") as running:
        name = reader.open_package(package).manifest.name
        command = ["bench", running.url, "--model", name, "--image", str(tmp_path / "one.png"), "--seconds", "0.3"]
        plot = tmp_path / "load.svg"
        assert main([*command, "--protocol", "open_inference", "--plot", str(plot), "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert all(f["errors"] == 0 and f["answered"] > 0 for f in record["figures"])
        assert f"/v2/models/{name} with" in record["what"]
        assert main([*command, "--plot", str(plot)]) == 1
        assert "already there" in capsys.readouterr().err
    root = ElementTree.fromstring(plot.read_text())
    assert len(root.findall("{http://www.w3.org/2000/svg}path")) == 2 * len(record["figures"])
    for words in (["--protocol", "open_inference"], ["--protocol", "open_inference", "--model", "m"]):
        assert main(["bench", str(package), "--seconds", "0.1", *words]) == 2


def test_energy_is_read_where_the_kernel_tells(tmp_path):
    def zone(name, now, most=999_999):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "name").write_text({"intel-rapl:2": "psys", "intel-rapl:0:0": "core"}.get(name, "package-0"))
        (tmp_path / name / "energy_uj").write_text(f"{now}\n")
        (tmp_path / name / "max_energy_range_uj").write_text(f"{most}\n")

    assert energy.counters(tmp_path) == {}
    assert energy.spent_j({}, {}) is None
    zone("intel-rapl:0", 900_000)
    zone("intel-rapl:0:0", 5)
    zone("intel-rapl:1", 10)
    zone("intel-rapl:2", 10)  # the whole machine, with the packages in it
    before = energy.counters(tmp_path)
    assert sorted(p.name for p in before) == ["intel-rapl:0", "intel-rapl:1"], "what lies inside is not counted twice"
    zone("intel-rapl:0", 400_000)
    zone("intel-rapl:1", 500_010)
    assert energy.spent_j(before, energy.counters(tmp_path)) == pytest.approx(1.0), "one of them ran over"
    load = Load("closed", seconds=1.0, latencies_s=[0.01] * 4)
    assert figures(load, joules=1.0).joules == 0.25
    assert figures(load).joules is None


def test_a_curve_ends_where_nothing_was_measured():
    assert "<svg" in curves.draw("a < b", "host", [figures(Load("none", 1.0))])
    drawn = {
        n: curves.draw("a < b", "host", [figures(Load("l", 1.0, [0.001 * i for i in range(n)]))]) for n in (5, 10_000)
    }
    assert "a &lt; b" in drawn[5]
    points = {n: len(ElementTree.fromstring(svg)[-3].attrib["d"].split("L")) for n, svg in drawn.items()}
    assert points == {5: sum(s <= 0.8 for s in SHARES), 10_000: len(SHARES)}, "of five the slowest is the last fifth"
    assert "5 answers" in drawn[5]


def test_a_plot_that_cannot_be_written_is_told_before_the_load(tmp_path, capsys):
    colors(tmp_path / "p")
    assert main(["bench", str(tmp_path / "p"), "--seconds", "60", "--plot", str(tmp_path / "no" / "p.svg")]) == 1
    assert "no folder" in capsys.readouterr().err
    for words in (["--plot", "p.svg"], ["--protocol", "open_inference"]):
        assert main(["bench", str(tmp_path / "p"), "--tune", *words]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--concurrency", "0"],
        ["--concurrency", "10001"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--seconds", "inf"],
        ["--seconds", "3601"],
        ["--model", "m"],
        ["--key", "k"],
    ],
)
def test_what_a_load_of_a_package_cannot_be_is_refused(tmp_path, capsys, words):
    assert main(["bench", str(colors(tmp_path / "p").path), *words]) == 2
    assert words[0].removeprefix("--") in capsys.readouterr().err


def test_an_option_that_would_do_nothing_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SACCADE_KEY", "of another server")
    package, picture = colors(tmp_path / "p").path, tmp_path / "one.png"
    picture.write_bytes(png(1, 2, 3))
    for words in (["--p99", "80ms"], ["--concurrency", "4"], ["--seconds", "1"], ["--model", "m"], ["--key", "k"]):
        assert main(["bench", str(package), "--tune", *words]) == 2
        assert f"does nothing with {words[0]}" in capsys.readouterr().err
    command = ["bench", "http://127.0.0.1:9", "--image", str(picture), "--variant", "default"]
    assert main(command) == 2
    assert "--variant chooses a graph of a package" in capsys.readouterr().err
    assert main(command[:-2]) == 1, "nothing answers there"
    assert main(["bench", str(package), "--seconds", "0.1", "--home", str(tmp_path / "home")]) == 0
