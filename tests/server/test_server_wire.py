"""The listener itself: what two readers could take differently, TLS, HTTP/2, callers that leave, starts that fail."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from saccade.testing.packages import colors, png

PREDICT = "/api/v1/models/colors/predict"
NEXT = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
CURL, OPENSSL = shutil.which("curl"), shutil.which("openssl")


def start(*arguments: str, port: int = 0) -> tuple[subprocess.Popen[bytes], int]:
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", *arguments, "--port", str(port)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={"SACCADE_DRAIN_S": "0.1"}), port


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, said = process.communicate(timeout=30)
    return process.returncode, said.decode()


def until_ready(process: subprocess.Popen[bytes], *curl: str) -> None:
    end = time.monotonic() + 30
    while subprocess.run([str(CURL), "-sf", "-o", "/dev/null", *curl]).returncode:
        assert process.poll() is None, ended(process)
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(colors(tmp_path_factory.mktemp("wire") / "package").path)


@pytest.fixture(scope="module")
def port(package: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    process, port = start(package, "--home", str(tmp_path_factory.mktemp("home")))
    until_ready(process, f"http://localhost:{port}/readyz")
    yield port
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def spoken(port: int, data: bytes, patience_s: float = 0.5) -> tuple[list[int], bool]:
    """The statuses that came back, and whether the server closed."""
    out = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                out += part
        except TimeoutError:
            return statuses(out), False
        except ConnectionError:
            pass
    return statuses(out), True


def statuses(out: bytes) -> list[int]:
    return [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d{3})", out)]


def post(head: str, body: str) -> bytes:
    return f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{body}{NEXT}".encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked"
EMPTY, THREE = "0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 3\r\nContent-Length: 4", "abc"),
        ("Content-Length: 3, 3", "abc"),
        ("Content-Length: +3", "abc"),
        ("Content-Length: 0x3", "abc"),
        ("Content-Length: -1", ""),
        ("Content-Length: 3 3", "abc"),
        ("Content-Length: 99999999999999999999", ""),
        ("Transfer-Encoding: xchunked", EMPTY),
        ("Transfer-Encoding: chunked, identity", EMPTY),
        ("Transfer-Encoding: gzip, chunked", EMPTY),
        ("Transfer-Encoding: identity", EMPTY),
        (f"{CHUNKED}\r\nTransfer-Encoding: identity", EMPTY),
        (f"{CHUNKED}\r\n{CHUNKED}", EMPTY),
        ("Transfer-Encoding : chunked", EMPTY),
        ("Transfer-Encoding: \x0bchunked", EMPTY),
        ("Transfer-Encoding:\r\n chunked", EMPTY),
        ("X-Folded: a\r\n b\r\nContent-Length: 3", "abc"),
        ("X-Return: a\rContent-Length: 9\r\nContent-Length: 3", "abc"),
        ("X-Zero: a\0b\r\nContent-Length: 3", "abc"),
        ("Bad Name: 1\r\nContent-Length: 3", "abc"),
        (": 1\r\nContent-Length: 3", "abc"),
        ("Host: other\r\nContent-Length: 3", "abc"),
        (f"Content-Length: 4\r\n{CHUNKED}", THREE),
        (f"{CHUNKED}\r\nContent-Length: 4", THREE),
        ("X-A: b\nContent-Length: 3", "abc"),
        (CHUNKED, "3\nabc\n0\n\n"),
        (CHUNKED, "3 x\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "0x3\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "-3\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3;a=\nb\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3\r\nabcd0\r\n\r\n"),
        ("Content-Length: 3\r\nContent-Length: 3", "abc"),
        ("Content-Length: 3\r\ncontent-length: 4", "abc"),
        ("Content-Length: ", "abc"),
        ("Content-Length: 3;4", "abc"),
        ("Content-Length: 3.0", "abc"),
        ("Content-Length: 1e1", "abc"),
        ("Content-Length: \xb2", "abc"),
        ("Content-Length: \xa03", "abc"),
        ("Content-Length: 3\x0b", "abc"),
        ("Content-Length\t: 3", "abc"),
        ("Content_Length : 3", "abc"),
        ("\x00Content-Length: 3", "abc"),
        ("Content-Length: 3\r\n folded: 1", "abc"),
        ("Transfer-Encoding: chunked\r\n\t", EMPTY),
        ("Transfer-Encoding: CHUNKED, chunked", EMPTY),
        ('Transfer-Encoding: "chunked"', EMPTY),
        ("Transfer-Encoding: chunked;q=1", EMPTY),
        ("Transfer-Encoding: chunked\x00", EMPTY),
        ("Transfer-Encoding: \xa0chunked", EMPTY),
        ("Transfer-Encoding: chunk", EMPTY),
        ("Transfer-Encoding: ", EMPTY),
        (f"Content-Length: 0\r\n{CHUNKED}", EMPTY),
        ("Host: localhost\r\nContent-Length: 3", "abc"),
        ("X-A\xff: b\r\nContent-Length: 3", "abc"),
        ("X-A: b\x7f\r\nContent-Length: 3", "abc"),
        ("X(A): b\r\nContent-Length: 3", "abc"),
        ("no colon at all\r\nContent-Length: 3", "abc"),
        (CHUNKED, "3\r\nabc\n0\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r0\r\n\r\n"),
        (CHUNKED, "+3\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, " 3\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3g\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3\x00\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3_0\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\nBad Trailer\r\n\r\n"),
        (CHUNKED, "3;\x00\r\nabc\r\n0\r\n\r\n"),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(port: int, head: str, body: str) -> None:
    assert spoken(port, post(head, body)) == ([400], True)


@pytest.mark.parametrize(
    "line",
    [
        "GET /livez http/1.1",
        "GET /livez HTTP/3.1",
        "GET /livez HTTP/1.1.1",
        "GET /livez HTTP/1.",
        "GET /livez HTTP/01.1",
        "GET /livez HTTP /1.1",
        "GET /livez",
        "GET\t/livez\tHTTP/1.1",
        "G@T /livez HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\x00b HTTP/1.1",
    ],
)
def test_request_lines_that_break_the_rules(port: int, line: str) -> None:
    assert spoken(port, f"{line}\r\nHost: localhost\r\n\r\n".encode()) == ([400], True)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        (PREDICT.replace("colors", "nobody"), b"x", {}, 404, "not_found"),
        (PREDICT.replace("colors", "..%2f..%2fetc"), b"x", {}, 404, "not_found"),
        (PREDICT.replace("colors", "colors@gone"), b"x", {}, 404, "not_found"),
        (PREDICT.replace("predict", "versions/9/predict"), b"x", {}, 404, "not_found"),
        (PREDICT.replace("predict", "versions/-1/predict"), b"x", {}, 404, "not_found"),
        (PREDICT + "?top_k=0", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?top_k=%C2%B2", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?threshold=nan", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?threshold=inf", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?threshold=1e99", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?threshold=1.1", b"x", {}, 400, "invalid_value"),
        (PREDICT + "?colour=red", b"x", {}, 400, "unknown_field"),
        (PREDICT + "?" + "top_k=1&" * 70 + "top_k=1", b"x", {}, 400, "malformed_http"),
        (PREDICT, b"", {}, 422, "image_undecodable"),
        (PREDICT, b"x", {"content_type": "text/html"}, 415, "image_format_unsupported"),
        (PREDICT, b"x", {"content_type": "multipart/form-data"}, 400, "malformed_multipart"),
        (PREDICT, b"--b\r\n", {"content_type": "multipart/form-data; boundary=b"}, 400, "malformed_multipart"),
        (PREDICT, b'{"image": "@@@"}', JSON, 422, "image_undecodable"),
        (PREDICT, b'{"image": 5}', JSON, 400, "malformed_json"),
        (PREDICT, b'{"image": NaN}', JSON, 400, "malformed_json"),
        (PREDICT, b'{"image": "", "image": ""}', JSON, 400, "malformed_json"),
        (PREDICT, b'{"url": "http://127.0.0.1/"}', JSON, 400, "unknown_field"),
        (PREDICT, b"[" * 100_000, JSON, 400, "malformed_json"),
        (PREDICT, b'{"image": "' + b"\\" * 99_999, JSON, 400, "malformed_json"),
        (PREDICT, b'{"images": []}', JSON, 400, "batch_too_large"),
        (PREDICT, b'{"images": [' + b'"AA==",' * 64 + b'"AA=="]}', JSON, 400, "batch_too_large"),
        (PREDICT, b"\xff\xfe", JSON, 400, "malformed_json"),
    ],
)
def test_bad_requests_are_typed_and_say_nothing_of_the_inside(
    port: int, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    began = time.monotonic()
    found, head, answer = ask(port, "POST", path, body, **headers)
    record = json.loads(answer)
    assert (found, record["code"]) == (status, code), record
    assert head["content-type"] == "application/problem+json"
    assert not re.search(
        r"Traceback|\.py|/home|/tmp|/usr|site-packages|numpy|onnx|sqlite|0x[0-9a-f]{6}", answer.decode()
    )
    assert time.monotonic() - began < 2


def test_a_flood_of_heads_leaves_others_served(port: int) -> None:
    for i in range(40):
        fields = "".join(f"x-{j}: {'a' * 400}\r\n" for j in range(30 + i))
        spoken(port, f"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n".encode())
    assert ask(port, "POST", PREDICT, png(1, 2, 3))[0] == 200


def test_callers_that_leave_cost_no_answer(port: int) -> None:
    data = png(1, 2, 3)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    for i in range(60):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall((head + data)[: None if i % 2 else len(head) + 20])
        connection.close()
    for _ in range(100):
        waiting = re.search(rb"^saccade_expected_wait_seconds\{[^}]*\} (.*)$", ask(port, "GET", "/metrics")[2], re.M)
        assert waiting is not None
        if float(waiting.group(1)) == 0:
            break
        time.sleep(0.05)
    assert float(waiting.group(1)) == 0, "nothing is left behind in the queue"
    assert ask(port, "POST", PREDICT, data)[0] == 200


@pytest.mark.skipif(not CURL or not OPENSSL, reason="curl and openssl are not installed")
def test_tls_and_http2_with_a_real_client(package: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([str(OPENSSL), *make.split(), *names, *files], check=True, capture_output=True)
    secure = [package, "--home", str(tmp_path), "--tls-cert", str(certificate), "--tls-key", str(key)]
    key.chmod(0o644)
    code, said = ended(start(*secure)[0])
    assert code != 0
    assert "chmod 600" in said
    key.chmod(0o600)
    process, port = start(*secure)
    trust = ["--cacert", str(certificate)]
    until_ready(process, *trust, f"https://localhost:{port}/readyz")
    (tmp_path / "picture.png").write_bytes(png(255, 0, 51))
    body = ["--data-binary", f"@{tmp_path}/picture.png", "-H", "content-type: image/png"]

    def curl(*more: str) -> str:
        command = [str(CURL), "-s", *trust, *more, "-w", "\n%{http_version} %{http_code}"]
        return subprocess.run(command, capture_output=True, text=True).stdout

    for version, want in (("--http2", "2 200"), ("--http1.1", "1.1 200")):
        answer, _, line = curl(version, *body, f"https://localhost:{port}{PREDICT}").rpartition("\n")
        assert line == want
        assert json.loads(answer)["predictions"][0]["label"] == "red"
    assert curl("--http2", "-H", "x-pad: " + "a" * 17_000, f"https://localhost:{port}/livez").endswith("2 431")
    assert curl("--tls-max", "1.1", f"https://localhost:{port}/livez").endswith("0 000")
    assert curl(f"http://localhost:{port}/livez").endswith((" 000", " 400"))
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_a_taken_port_and_a_home_that_cannot_be_are_said_in_a_sentence(port: int, package: str, tmp_path: Path) -> None:
    code, said = ended(start(package, "--home", str(tmp_path), port=port)[0])
    assert code != 0
    assert f"port {port}" in said
    (tmp_path / "file").write_text("")
    code, said = ended(start("--home", str(tmp_path / "file" / "home"))[0])
    assert code != 0
    assert "SACCADE_HOME" in said
    assert "Traceback" not in said
