"""The server on a real socket: answers, refusals by size, time and name, hostile bodies, keys, drain."""

import base64
import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from saccade.client import messages
from saccade.limits import CALLER_LIMITS
from saccade.registry.registry import Registry
from saccade.server.keys import Keys
from saccade.testing.packages import colors, png

PREDICT = "/api/v1/models/colors/predict"
START = (
    "import sys, json; from saccade.server.serve import serve; "
    "sys.exit(serve([p for p in sys.argv[1:2] if p], **json.loads(sys.argv[2])))"
)


class Running:
    def __init__(self, package, home, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        given = {"port": self.port, "home": str(home), "drain_s": 0.3, **settings}
        self.began = time.monotonic()
        self.process = subprocess.Popen([sys.executable, "-c", START, str(package), json.dumps(given)], stderr=-1)

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def wait(self):
        while time.monotonic() - self.began < 30:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            assert self.process.poll() is None, self.process.stderr.read().decode()
            time.sleep(0.02)
        raise AssertionError("not ready")

    def raw(self, data, wait=8.0):
        """What comes back on a bare socket, and after how long the server closed."""
        began = time.monotonic()
        out = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            try:
                connection.sendall(data)
                while part := connection.recv(65536):
                    out += part
            except ConnectionError:
                pass
        return out, time.monotonic() - began

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    package = colors(folder / "package").path
    running = Running(package, folder / "home", body_grace_s=0.5, head_s=1.0, body_bytes=100_000).wait()
    yield running
    assert running.stop() == 0


def code(reply):
    status, headers, body = reply
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["request_id"] == headers["x-request-id"]
    return status, problem["code"]


def test_one_photo(server):
    status, headers, body = server.ask("POST", PREDICT + "?top_k=2", png(255, 0, 51), content_type="image/png")
    answer = json.loads(body)
    assert status == 200
    assert answer["image"] == {"width": 40, "height": 30}
    assert [(p["label"], round(p["score"], 6)) for p in answer["predictions"]] == [("red", 1.0), ("blue", 0.2)]
    assert headers["x-model-version"] == answer["version"] == "1"
    assert len(headers["x-model-digest"]) == 64
    assert [s.split(";")[0].strip() for s in headers["server-timing"].split(",")] == [
        "decode",
        "queue",
        "batch",
        "infer",
        "post",
    ]
    assert 'batch;desc="1: all that waited"' in headers["server-timing"]
    assert headers["x-content-type-options"] == "nosniff"
    own = server.ask("POST", PREDICT, png(0, 0, 0), x_request_id="mine-1")[1]
    assert own["x-request-id"] == "mine-1"


def test_marked_images_from_many_threads(server):
    def ask(mark):
        body = json.loads(server.ask("POST", PREDICT, png(mark, 0, 0))[2])
        return round({p["label"]: p["score"] for p in body["predictions"]}["red"] * 255)

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(200))) == list(range(200))


def test_typed_refusals(server):
    image = png(1, 2, 3)
    assert code(server.ask("POST", PREDICT.replace("colors", "nobody"), image)) == (404, "not_found")
    assert code(server.ask("POST", PREDICT + "?topk=3", image)) == (400, "unknown_field")
    assert code(server.ask("POST", PREDICT + "?top_k=3&top_k=3", image)) == (400, "unknown_field")
    assert code(server.ask("POST", PREDICT + "?top_k", image)) == (400, "malformed_http")
    assert code(server.ask("POST", PREDICT, b"{}", content_type="application/json")) == (400, "unknown_field")
    assert code(server.ask("POST", PREDICT, image, content_encoding="gzip")) == (415, "content_encoding_unsupported")
    assert code(server.ask("POST", PREDICT, image, host="evil.example")) == (400, "bad_host")
    assert code(server.ask("POST", PREDICT, image, x_request_timeout_ms="soon")) == (400, "invalid_value")
    assert code(server.ask("POST", PREDICT, image, x_priority="first")) == (400, "invalid_value")
    assert server.ask("POST", PREDICT, image, x_priority="batch")[0] == 200
    assert code(server.ask("GET", "/nowhere")) == (404, "not_found")
    assert code(server.ask("GET", "/api/v1/models?x=1")) == (400, "unknown_field")
    assert code(server.ask("POST", PREDICT, b"")) == (422, "image_undecodable")
    refused = server.ask("TRACE", PREDICT)
    assert code(refused) == (405, "method_not_allowed")
    assert refused[1]["allow"] == "POST"


@pytest.mark.parametrize(("extra", "status"), [(-1, 415), (0, 415), (1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_size(server, extra, status, chunked):
    data = b"x" * (100_000 + extra)
    if chunked:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        out, _ = server.raw(head.encode() + f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
        assert out.split()[1] == str(status).encode()
    else:
        assert server.ask("POST", PREDICT, data)[0] == status


def test_head_size(server):
    assert code(server.ask("GET", "/livez", x_pad="a" * 17_000)) == (431, "headers_too_large")
    assert code(server.ask("GET", "/livez?" + "a" * 8200)) == (414, "uri_too_long")
    assert code(server.ask("GET", "/livez", **{f"x_{i}": "1" for i in range(70)})) == (431, "headers_too_large")


def test_slow_bodies_and_heads_are_closed_in_time(server):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\nabc".encode()
    out, took = server.raw(head)
    assert out.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in out
    assert 0.4 < took < 3
    out, took = server.raw(b"GET /livez HTTP/1.1\r\nHo")
    assert took < 4


def test_bytes_that_are_no_request(server):
    dice = random.Random(5)
    for _ in range(60):
        junk = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 200))) + b"\r\n\r\n"
        out, _ = server.raw(junk)
        assert b" 500 " not in out[:16]
    for head in ("Content-Length: 3\r\nContent-Length: 4", "Content-Length: -1", "Content-Length: 3x", "Bad Name: 1"):
        out, _ = server.raw(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\nabc".encode())
        assert out[:12] == b"HTTP/1.1 400"


def hostile():
    dice = random.Random(11)
    out = io.BytesIO()
    Image.effect_noise((60, 60), 90).convert("RGB").save(out, "JPEG")
    jpeg = out.getvalue()
    bomb = io.BytesIO()
    Image.new("1", (16_000, 16_000)).save(bomb, "PNG")
    yield from (jpeg[: len(jpeg) * i // 20] for i in range(20))
    for _ in range(60):
        data = bytearray(png(9, 9, 9) if dice.random() < 0.5 else jpeg)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        yield bytes(data)
    yield bomb.getvalue()
    yield b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield b"%!PS-Adobe"
    yield b"GIF89a" + bytes(200)
    yield b"II*\x00" + bytes(200)


def test_hostile_images_are_answers_or_typed_refusals(server):
    for data in hostile():
        began = time.monotonic()
        reply = server.ask("POST", PREDICT, data, content_type="image/jpeg")
        assert reply[0] == 200 or code(reply)[0] in (413, 415, 422)
        assert time.monotonic() - began < 2
    assert server.ask("GET", "/livez")[0] == 200


def test_pages_probes_and_metrics(server):
    for path in ("/livez", "/readyz", "/startupz", "/docs", "/docs/errors", "/openapi.json"):
        assert server.ask("GET", path)[0] == 200, path
    assert "default-src 'none'" in server.ask("GET", "/docs")[1]["content-security-policy"]
    status, _, body = server.ask("HEAD", "/docs")
    assert (status, body) == (200, b"")
    server.ask("POST", PREDICT, png(0, 0, 0))
    text = server.ask("GET", "/metrics")[2].decode()
    for stage in ("decode", "queue", "infer", "post"):
        assert f'saccade_stage_seconds_count{{model="colors",version="1",stage="{stage}"}}' in text
    assert 'saccade_model_ready{model="colors",version="1"} 1' in text
    entry = json.loads(server.ask("GET", "/api/v1/models/colors")[2])
    assert [c["name"] for c in entry["labels"]["classes"]] == ["red", "green", "blue"]


def test_terminating_finishes_what_was_accepted(tmp_path):
    server = Running(colors(tmp_path / "p").path, tmp_path / "home", drain_s=0.8).wait()
    statuses, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                statuses.append(server.ask("POST", PREDICT, png(1, 1, 1))[0])
            except (ConnectionRefusedError, ConnectionResetError):
                return  # reset: the kernel had a connection in its queue that the server never saw

    threads = [threading.Thread(target=ask) for _ in range(4)]
    [t.start() for t in threads]
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert code(server.ask("GET", "/readyz")) == (503, "draining")
    assert server.process.wait(20) == 0
    stop.set()
    [t.join() for t in threads]
    server.process.stderr.close()
    assert set(statuses) == {200}


def test_who_was_let_in_before_the_end_may_still_ask(tmp_path):
    server = Running(colors(tmp_path / "p").path, tmp_path / "home", drain_s=0.1).wait()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    time.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        server.ask("GET", "/livez")
    connection.request("POST", PREDICT, png(1, 1, 1), {"content-type": "image/png"})
    assert connection.getresponse().status == 200
    connection.close()
    assert server.process.wait(20) == 0
    server.process.stderr.close()


def test_keys_are_asked_for_once_there_is_one(tmp_path):
    keys = Keys(tmp_path / "home")
    key = keys.make("phone")
    server = Running(colors(tmp_path / "p").path, tmp_path / "home").wait()
    try:
        assert code(server.ask("POST", PREDICT, png(1, 1, 1))) == (401, "unauthenticated")
        assert code(server.ask("GET", "/metrics")) == (401, "unauthenticated")
        assert code(server.ask("GET", "/api/v1/models", authorization="Bearer " + key[:-1])) == (401, "unauthenticated")
        assert server.ask("POST", PREDICT, png(1, 1, 1), authorization="Bearer " + key)[0] == 200
        assert server.ask("GET", "/livez")[0] == 200
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("change", "word"), [({"host": "0.0.0.0"}, "insecure_listen"), ({"prot": 1}, "unknown settings")]
)
def test_starts_that_are_refused(tmp_path, change, word):
    server = Running(colors(tmp_path / "p").path, tmp_path / "home", **change)
    _, said = server.process.communicate(timeout=20)
    assert server.process.returncode == 1
    assert "needs an API key" in said.decode() or word in said.decode()


def test_a_package_that_lies_is_not_served(tmp_path):
    server = Running(colors(tmp_path / "p", lie=True).path, tmp_path / "home")
    _, said = server.process.communicate(timeout=20)
    assert server.process.returncode == 1
    assert "golden" in said.decode()


def test_the_application_opens_without_heavy_neighbours():
    heavy = ["torch", "keras", "tensorflow", "starlette", "saccade.training", "saccade.verbs", "saccade.data"]
    code = f"import sys, saccade.server.build; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert out.stdout.strip() == "[]"


def test_a_refusal_before_the_body_reaches_a_caller_who_is_still_sending(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for _ in range(3):  # and the connection lives on
        connection.request("POST", "/api/v1/models/nobody/predict", bytes(90_000), {"content-type": "image/png"})
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["code"]) == (404, "not_found")
    connection.close()


def workers(running):
    told = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(running.process.pid)], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in told.stdout.splitlines() if "saccade:colors" in line]


def test_a_killed_worker_is_seen_and_replaced_and_none_is_left_behind(tmp_path):
    running = Running(colors(tmp_path / "p").path, tmp_path, isolation="process").wait()
    [pid] = workers(running)
    assert running.ask("POST", PREDICT, png(9, 0, 0))[0] == 200
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while 'saccade_workers_lost_total{model="colors",version="1"} 1' not in running.ask("GET", "/metrics")[2].decode():
        assert time.monotonic() < end
    while (status := running.ask("POST", PREDICT, png(9, 0, 0))[0]) != 200:
        assert status == 503
        assert time.monotonic() < end
    assert running.ask("GET", "/readyz")[2] == b"ready\n"
    [other] = workers(running)
    assert running.stop() == 0
    assert not Path(f"/proc/{other}").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "same-origin", "origin": "https://behind-a-proxy.example"}, 200),
        ({"origin": "http://127.0.0.1:PORT"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:PORT"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_asks_nothing_of_a_server_without_keys(server, headers, status):
    """The browser of whoever runs the server can reach it, and so can every page in that browser."""
    given = {name: value.replace("PORT", str(server.port)) for name, value in headers.items()}
    assert server.ask("POST", PREDICT, png(1, 1, 1), **given)[0] == status
    assert server.ask("POST", "/v2/repository/models/nobody/unload", b"", **given)[0] == (404 if status == 200 else 403)
    assert server.ask("GET", "/api/v1/models", **given)[0] == 200


def red(prediction):
    return round({p["label"]: p["score"] for p in prediction["predictions"]}["red"] * 255)


def test_pictures_in_a_form_and_in_json_are_answered_in_their_order(server):
    marks = [7, 200, 31]
    kind, form = messages.form([png(mark, 0, 0) for mark in marks])
    texts = [base64.b64encode(png(mark, 0, 0)).decode() for mark in marks]
    for content_type, body in ((kind, form), ("application/json", json.dumps({"images": texts}).encode())):
        status, _, answer = server.ask("POST", PREDICT, body, content_type=content_type)
        assert status == 200
        assert [red(one) for one in json.loads(answer)["results"]] == marks
    kind, form = messages.form([png(9, 0, 0)])
    for content_type, body in ((kind, form), ("application/json", json.dumps({"image": texts[0]}).encode())):
        status, _, answer = server.ask("POST", PREDICT, body, content_type=content_type)
        assert status == 200
        assert red(json.loads(answer)) == (9 if "multipart" in content_type else 7)


def test_a_bad_picture_in_a_form_costs_no_other_its_answer(server):
    kind, form = messages.form([png(7, 0, 0), b"no picture", png(9, 0, 0)])
    status, _, answer = server.ask("POST", PREDICT, form, content_type=kind)
    first, bad, last = json.loads(answer)["results"]
    assert status == 200
    assert (red(first), red(last)) == (7, 9)
    assert bad["error"]["code"] == "image_format_unsupported"


def test_beyond_loopback_a_server_wants_a_key_and_tls_or_to_be_told_otherwise(tmp_path):
    package = colors(tmp_path / "p").path
    Keys(tmp_path / "keyed").make("phone")
    server = Running(package, tmp_path / "keyed", host="0.0.0.0")
    _, said = server.process.communicate(timeout=20)
    assert server.process.returncode == 1
    assert b"insecure" in said, "a key without TLS would be read on the way"
    open_to_all = Running(package, tmp_path / "home", host="0.0.0.0", insecure=True, decode_isolation="none").wait()
    try:
        elsewhere = {"origin": "https://app.example", "sec_fetch_site": "cross-site"}
        assert open_to_all.ask("POST", PREDICT, png(1, 1, 1), **elsewhere)[0] == 200, "who stands in front decides"
    finally:
        assert open_to_all.stop() == 0


def test_a_server_that_follows_a_home_serves_what_is_pushed_and_pointed_to(tmp_path):
    """Without a restart, over HTTP, as an operator does it from the command line."""
    home = tmp_path / "home"
    registry = Registry(home)
    registry.push(colors(tmp_path / "1").path, alias="stable")
    server = Running("", home).wait()
    try:

        def version(name="colors"):
            status, headers, _ = server.ask("POST", f"/api/v1/models/{name}/predict", png(1, 1, 1))
            return int(headers["x-model-version"]) if status == 200 else status

        def becomes(wanted, name="colors"):
            end = time.monotonic() + 20
            while version(name) != wanted:
                assert time.monotonic() < end, (name, version(name))
                time.sleep(0.05)

        becomes(1)
        registry.push(colors(tmp_path / "2", reverse=True).path)
        becomes(2)
        assert version("colors@stable") == 1
        registry.set_alias("colors", "stable", 2)
        becomes(2, "colors@stable")
        assert version("other") == 404
        registry.push(colors(tmp_path / "3").path, name="other")
        becomes(1, "other")
    finally:
        assert server.stop() == 0


def test_a_server_slows_who_sends_rubbish_and_nobody_else(tmp_path):
    keys = Keys(tmp_path / "home")
    rude, polite = ({"authorization": "Bearer " + keys.make(name)} for name in ("rude", "polite"))
    server = Running(colors(tmp_path / "p").path, tmp_path / "home").wait()
    try:
        rubbish = json.dumps({"images": ["AA=="] * CALLER_LIMITS.max_bad_images}).encode()
        status, _, body = server.ask("POST", PREDICT, rubbish, content_type="application/json", **rude)
        assert status == 200, body
        assert all("error" in p for p in json.loads(body)["results"])
        server.ask("POST", PREDICT, png(1, 1, 1), **rude)
        refused = server.ask("POST", PREDICT, png(1, 1, 1), **rude)
        assert code(refused) == (429, "too_many_bad_images")
        assert int(refused[1]["retry-after"]) == 1
        assert server.ask("GET", "/api/v1/models", **rude)[0] == 200, "what costs no picture is answered"
        for _ in range(3):
            assert server.ask("POST", PREDICT, png(1, 1, 1), **polite)[0] == 200
    finally:
        assert server.stop() == 0


def test_metrics_and_loading_have_a_listener_of_their_own_where_the_operator_says_so(tmp_path):
    keys = Keys(tmp_path / "home")
    use, control = ({"authorization": "Bearer " + keys.make(scope, scope=scope)} for scope in ("use", "control"))
    Registry(tmp_path / "home").push(colors(tmp_path / "p").path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        admin_port = probe.getsockname()[1]
    server = Running("", tmp_path / "home", admin_port=admin_port).wait()
    public, unload = server.port, "/v2/repository/models/colors/unload"
    try:
        page = server.ask("GET", "/")[2]
        assert b"/docs" in page
        assert b"/metrics" not in page, "the console points to nothing that is not there"
        assert server.ask("POST", PREDICT, png(1, 1, 1), **use)[0] == 200
        for method, path in (("GET", "/metrics"), ("POST", unload)):
            assert server.ask(method, path, **control)[0] == 404, "not even with the operator's key"
        server.port = admin_port
        assert server.ask("GET", "/metrics")[0] == 401
        status, _, text = server.ask("GET", "/metrics", **use)
        assert status == 200
        assert b'saccade_images_total{model="colors",version="1",outcome="ok"} 1' in text, "of both listeners"
        assert {server.ask("GET", path)[0] for path in ("/livez", "/readyz", "/startupz")} == {200}
        for method, path in (("POST", PREDICT), ("GET", "/api/v1/models"), ("GET", "/"), ("GET", "/docs")):
            assert server.ask(method, path, **control)[0] == 404
        assert server.ask("POST", unload, **use)[0] == 403
        assert server.ask("POST", unload, **control)[0] == 200
        server.port = public
        assert server.ask("POST", PREDICT, png(1, 1, 1), **use)[0] in (404, 503)
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"admin_port": 1, "admin_host": "0.0.0.0"}, b"needs an API key"),
        ({"host": "0.0.0.0", "insecure": True, "strict": True, "decode_isolation": "none"}, b"admin_port"),
        ({"grpc_port": 7, "admin_port": 7}, b"grpc_port and admin_port are both 7"),
    ],
)
def test_an_operators_listener_is_held_to_the_same_rules(tmp_path, given, word):
    server = Running(colors(tmp_path / "p").path, tmp_path / "home", **given)
    _, said = server.process.communicate(timeout=20)
    assert server.process.returncode == 1
    assert word in said


UNCONFINED = """
import json, sys
from saccade import confine
from saccade.errors import UsageError
def check():
    raise UsageError("Landlock is missing", hint="")
confine.check = check
from saccade.cli.main import main
sys.exit(main(["serve", *json.loads(sys.argv[1])]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere decoders are never confined, which is warned of")
def test_where_decoders_cannot_be_confined_strangers_are_let_in_only_when_told_so(tmp_path):
    def start(*more):
        words = [
            str(colors(tmp_path / str(len(more))).path),
            "--home",
            str(tmp_path),
            "--host",
            "0.0.0.0",
            "--insecure",
        ]
        command = [sys.executable, "-c", UNCONFINED, json.dumps([*words, "--port", "0", *more])]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    refused = start()
    _, said = refused.communicate(timeout=30)
    assert refused.returncode != 0
    assert "Landlock is missing" in said
    assert "--decode-isolation none" in said
    told = start("--decode-isolation", "none")
    try:
        assert any("ready at" in line for line in iter(told.stderr.readline, "")), "it starts"
    finally:
        told.terminate()
        told.communicate(timeout=30)


def test_a_wish_for_a_range_is_answered_whole(server):
    """No address serves ranges, so whoever asks for ten thousand costs what he costs who asks for none (LIMITS A11)."""
    many = "bytes=" + ",".join(f"{i}-{i}" for i in range(1000))
    whole = server.ask("GET", "/console/console.css")
    assert server.ask("GET", "/console/console.css", range=many)[::2] == whole[::2]
    assert whole[0] == 200
    assert "accept-ranges" not in whole[1]
