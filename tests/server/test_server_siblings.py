"""Several servers on one port: shared requests, one set of numbers, a lost one comes back, all end together."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saccade.server import siblings
from saccade.server.settings import Settings
from saccade.server.siblings import merge, shared
from saccade.testing.packages import colors, png

START = (
    "import sys, json; from saccade.server.serve import serve; sys.exit(serve(sys.argv[2:], **json.loads(sys.argv[1])))"
)
PREDICT = "/api/v1/models/colors/predict"


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    found = "".join(f.read_text() for f in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in found.split()]


def eventually(what, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def count(port: int) -> int:
    status, text = ask(port, "GET", "/metrics")
    assert status == 200
    lines = [line for line in text.decode().splitlines() if line.startswith("saccade_requests_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the children of a process are read from /proc")
def test_two_servers_answer_as_one(tmp_path):
    colors(tmp_path / "p")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"port": port, "home": str(tmp_path / "home"), "drain_s": 0.2, "processes": 2}
    parent = subprocess.Popen([sys.executable, "-c", START, json.dumps(given), str(tmp_path / "p")], stderr=-1)
    try:
        eventually(lambda: ask(port, "GET", "/readyz")[0] == 200)
        pair = eventually(lambda: (c := children(parent.pid)) and len(c) == 2 and c)

        def asked(n: int) -> None:
            for _ in range(n):
                status, body = ask(port, "POST", PREDICT, png(10, 200, 30))
                assert status == 200
                assert json.loads(body)["predictions"][0]["label"] == "green"

        # New connections reach both, and whichever is asked for numbers says what both have done.
        eventually(lambda: b"\nsaccade_processes 2\n" in ask(port, "GET", "/metrics")[1])
        asked(30)
        assert {count(port) for _ in range(12)} == {30}
        status, body = ask(port, "POST", "/v2/repository/models/colors/unload", b"{}")
        assert status == 501, body

        os.kill(pair[0], signal.SIGKILL)
        # Connections that the dead one had not yet taken are lost with it; after that all are answered.
        eventually(lambda: not Path(f"/proc/{pair[0]}").exists() or pair[0] not in children(parent.pid), 10)
        asked(10)
        eventually(lambda: b"\nsaccade_processes 2\n" in ask(port, "GET", "/metrics")[1])
        assert pair[1] in children(parent.pid)
        asked(10)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(40) == 0
    finally:
        parent.kill()
        said = parent.stderr.read().decode()
        parent.stderr.close()
    assert "started again" in said


def test_a_package_that_cannot_be_served_is_told_once_and_ends_all(tmp_path):
    colors(tmp_path / "p", lie=True)
    given = {"port": 0, "home": str(tmp_path / "home"), "processes": 2}
    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps(given), str(tmp_path / "p")], capture_output=True, timeout=100
    )
    assert done.returncode == 1
    assert b"golden" in done.stderr or b"differ" in done.stderr
    absent = subprocess.run(
        [sys.executable, "-c", START, json.dumps(given), "./none"], capture_output=True, timeout=100
    )
    assert absent.returncode == 1
    assert absent.stderr.count(b"no package at ./none") == 1


def test_they_end_with_whoever_started_them(tmp_path):
    colors(tmp_path / "p")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"port": port, "home": str(tmp_path / "home"), "drain_s": 0.0, "processes": 2}
    parent = subprocess.Popen(
        [sys.executable, "-c", START, json.dumps(given), str(tmp_path / "p")], stderr=subprocess.DEVNULL
    )
    eventually(lambda: ask(port, "GET", "/readyz")[0] == 200)
    pair = children(parent.pid)
    parent.kill()
    parent.wait(10)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pair))


def test_cores_are_shared_out_where_nobody_set_a_number(monkeypatch):
    monkeypatch.setattr("saccade.process.cores", lambda: 8)
    found = shared(Settings(processes=2))
    assert (found.decode_threads, found.runners, found.graph_threads) == (8, 2, 2)
    found = shared(Settings(processes=16, graph_threads=3))
    assert (found.decode_threads, found.runners, found.graph_threads) == (2, 1, 3)


def test_texts_are_added_up_by_hand():
    one = (
        "# HELP saccade_requests_total R.\n# TYPE saccade_requests_total counter\n"
        'saccade_requests_total{model="a b",outcome="ok"} 3\n'
        "# HELP saccade_model_ready M.\n# TYPE saccade_model_ready gauge\n"
        'saccade_model_ready{model="a b"} 1\n'
        "# HELP saccade_expected_wait_seconds W.\n# TYPE saccade_expected_wait_seconds gauge\n"
        'saccade_expected_wait_seconds{model="a b"} 0.25\n'
    )
    two = one.replace("} 3", "} 4").replace("} 1\n", "} 0\n").replace("0.25", "0.5")
    two = two.replace(
        "# HELP saccade_model", 'saccade_requests_total{model="a b",outcome="late"} 2\n# HELP saccade_model'
    )
    assert merge([one, two]).splitlines() == [
        "# HELP saccade_requests_total R.",
        "# TYPE saccade_requests_total counter",
        'saccade_requests_total{model="a b",outcome="ok"} 7',
        'saccade_requests_total{model="a b",outcome="late"} 2',
        "# HELP saccade_model_ready M.",
        "# TYPE saccade_model_ready gauge",
        'saccade_model_ready{model="a b"} 0',
        "# HELP saccade_expected_wait_seconds W.",
        "# TYPE saccade_expected_wait_seconds gauge",
        'saccade_expected_wait_seconds{model="a b"} 0.5',
    ]


def test_one_that_listened_and_ended_in_order_did_not_fail_to_start(tmp_path):
    child = siblings._Child({"room": str(tmp_path)}, 0)
    child._process = type("Ended", (), {"poll": lambda self: None})()
    child._socket.touch()
    assert not child.failed()
    child._socket.unlink()
    child._process = type("Ended", (), {"poll": lambda self: 0})()
    assert not child.failed(), "it is started again"
    never = siblings._Child({"room": str(tmp_path)}, 1)
    never._process = child._process
    assert never.failed()
