"""The client against the real application on a real socket, and against servers that misbehave."""

import asyncio
import io
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import numpy as np
import pytest

from saccade.client import client as clients
from saccade.client.client import AsyncClient, Client
from saccade.client.messages import Reply
from saccade.client.talks import Talks, Wait
from saccade.errors import ImageError, InferenceError, SaccadeError, ServerError, UsageError
from saccade.inference.engine import Engine
from saccade.protocols.native import http as native
from saccade.protocols.protocol import Call, problem, status
from saccade.testing.packages import colors, png


@contextmanager
def serving(handle: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on a free port; handle answers one request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            handle(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, number: int, body: bytes, kind: str, **headers: str) -> None:
    handler.send_response(number)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The native protocol over the real engine, mounted on the standard library's server."""
    engine = Engine()
    engine.load(colors(tmp_path_factory.mktemp("packages") / "colors").path, "colors", 1)
    engine.set_aliases("colors", {"stable": 1})
    routes = native.Native().routes(engine)

    def handle(handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        parts = path.split("/")

        async def stream() -> Any:
            yield body

        for route in routes:
            pattern = route.pattern.split("/")
            same = len(pattern) == len(parts) and all(
                p == q or p[:1] == "{" for p, q in zip(pattern, parts, strict=True)
            )
            if same and route.method == handler.command:
                found = {p[1:-1]: unquote(q) for p, q in zip(pattern, parts, strict=True) if p[:1] == "{"}
                headers = {k.lower(): v for k, v in handler.headers.items()}
                call = Call(handler.command, path, found, headers, parse_qsl(query), stream(), "id")
                try:
                    reply = asyncio.run(route.handler(call))
                except SaccadeError as error:
                    text = json.dumps(problem(error, "id")).encode()
                    say(handler, status(error.code), text, "application/problem+json")
                    return
                say(handler, reply.status, reply.body, dict(reply.headers)["content-type"])
                return
        say(handler, 200, b"ready\n", "text/plain")

    with serving(handle) as url:
        yield url
    engine.close()


def test_file_bytes_and_array_get_the_same_answer(house: str, tmp_path: Path) -> None:
    data = png(200, 100, 50)
    (tmp_path / "one.png").write_bytes(data)
    pixels = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    with Client(house) as client:
        answers = [client.predict("colors", i) for i in (tmp_path / "one.png", str(tmp_path / "one.png"), data, pixels)]
        assert [p["label"] for p in answers[0]["predictions"]] == ["red", "green", "blue"]
        assert all(a["predictions"] == answers[0]["predictions"] for a in answers)
        assert len(client.predict("colors@stable", data, top_k=1)["predictions"]) == 1
        assert len(client.predict("colors", data, version=1, threshold=0.3)["predictions"]) == 2


def test_a_list_gives_a_list_with_the_errors_in_place(house: str) -> None:
    with Client(house) as client:
        good, bad = client.predict("colors", [png(1, 2, 3), b"no image"])
        assert good["predictions"]
        assert bad["error"]["code"].startswith("image_")
        assert client.predict("colors", [png(1, 2, 3)])[0]["predictions"]
        assert client.predict("colors", [b"no image"])[0]["error"]["code"].startswith("image_")


def test_models_health_and_typed_errors(house: str) -> None:
    with Client(house) as client:
        assert [m["name"] for m in client.models()] == ["colors"]
        assert client.model("colors@stable")["version"] == "1"
        assert client.health() == {"live": True, "ready": True}
        with pytest.raises(InferenceError) as missing:
            client.predict("other", png(1, 2, 3))
        assert missing.value.code == "not_found"
        with pytest.raises(ImageError):
            client.predict("colors", b"no image")
        with pytest.raises(ServerError) as wrong:
            client.predict("colors", png(1, 2, 3), top_k=0)
        assert wrong.value.code == "invalid_value"
        assert wrong.value.details["status"] == 400


def test_the_async_client_asks_many_at_once(house: str) -> None:
    async def main() -> list[Any]:
        async with AsyncClient(house) as client:
            assert (await client.health())["ready"]
            assert (await client.models())[0]["name"] == "colors"
            assert (await client.model("colors"))["name"] == "colors"
            return await asyncio.gather(*(client.predict("colors", png(200, 100, n)) for n in range(8)))

    assert [a["predictions"][0]["label"] for a in asyncio.run(main())] == ["red"] * 8


def photos(folder: Path, count: int) -> list[Path]:
    """Pictures whose blue says their number, one of them damaged, among what is none."""
    for n in range(count):
        place = folder / f"{n % 3}" / f"{n:03}.png"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"no image" if n == 5 else png(0, 0, n))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.png").write_bytes(png(1, 2, 3))
    (folder / "notes.txt").write_text("no picture")
    return sorted(folder.glob("?/*.png"))


def blue(answer: Any) -> int:
    return round(255 * next(p["score"] for p in answer["predictions"] if p["label"] == "blue"))


def check_walk(steps: list[Any], paths: list[Path]) -> None:
    assert [s.path for s in steps] == paths
    assert [(s.done, s.total) for s in steps] == [(i + 1, len(paths)) for i in range(len(paths))]
    for step in steps:
        assert step.answer.picture == step.path
        if step.path.stem == "005":
            assert step.answer.error["code"].startswith("image_")
        else:
            assert blue(step.answer) == int(step.path.stem)


def test_a_folder_is_walked_with_progress(house: str, tmp_path: Path) -> None:
    paths = photos(tmp_path, 30)
    with Client(house) as client:
        check_walk(list(client.predict_folder("colors", tmp_path, workers=3)), paths)
        with pytest.raises(InferenceError):
            list(client.predict_folder("other", tmp_path))
        walk = client.predict_folder("colors", tmp_path)
        assert next(walk).done == 1
        walk.close()  # type: ignore[attr-defined]

    async def main() -> list[Any]:
        async with AsyncClient(house) as client:
            with pytest.raises(InferenceError):
                async for _ in client.predict_folder("other", tmp_path):
                    pass
            return [step async for step in client.predict_folder("colors", tmp_path, workers=3)]

    check_walk(asyncio.run(main()), paths)
    with Client("http://127.0.0.1:9") as client:
        for wrong in (tmp_path / "none", tmp_path / ".hidden" / "a.png", tmp_path / "empty"):
            (tmp_path / "empty").mkdir(exist_ok=True)
            with pytest.raises(UsageError):
                list(client.predict_folder("colors", wrong))
        with pytest.raises(UsageError):
            list(client.predict_folder("colors", tmp_path, workers=0))


def test_a_file_that_cannot_be_read_costs_no_other_picture_its_answer(
    house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted meanwhile, or without permission."""
    paths = [tmp_path / f"{n}.png" for n in range(4)]
    for n, path in enumerate(paths):
        path.write_bytes(png(0, 0, n))
    paths[2].unlink()
    monkeypatch.setattr(clients, "pictures", lambda folder: paths)
    with Client(house) as client:
        walked = [step.answer for step in client.predict_folder("colors", tmp_path)]
        listed = client.predict("colors", paths)
        alone = client.predict("colors", [paths[2]])
    for answers in (walked, listed):
        assert [blue(a) for a in answers if a.error is None] == [0, 1, 3]
        assert answers[2].error == {
            "code": "image_undecodable",
            "detail": f"{paths[2]} cannot be read: No such file or directory",
        }
        assert [a.picture for a in answers] == paths
    assert [a.error is None for a in alone] == [False]


def test_no_more_than_the_workers_ask_at_once(tmp_path: Path) -> None:
    photos(tmp_path, 20)
    lock, now, most = threading.Lock(), [0], [0]

    class Slow:
        def send(self, request: Any, timeout_s: float) -> Reply:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.005)
            with lock:
                now[0] -= 1
            return Reply(200, {"content-type": "application/json"}, b'{"predictions": []}')

        def close(self) -> None: ...

    class SlowToo(Slow):
        async def send(self, request: Any, timeout_s: float) -> Reply:  # type: ignore[override]
            return await asyncio.to_thread(Slow.send, self, request, timeout_s)

        async def close(self) -> None: ...  # type: ignore[override]

    assert len(list(Client(transport=Slow()).predict_folder("m", tmp_path, workers=3))) == 20
    assert most[0] == 3

    async def main() -> int:
        return len([s async for s in AsyncClient(transport=SlowToo()).predict_folder("m", tmp_path, workers=2)])

    most[0] = 0
    assert asyncio.run(main()) == 20
    assert most[0] == 2


def test_a_long_list_goes_in_parts_and_a_stingy_server_gets_halves() -> None:
    seen: list[int] = []

    class Stingy:
        def send(self, request: Any, timeout_s: float) -> Reply:
            count = request.body.count(b"Content-Disposition")
            seen.append(count)
            if count > 10:
                said = json.dumps({"code": "batch_too_large", "detail": "10 at most"}).encode()
                return Reply(400, {"content-type": "application/problem+json"}, said)
            numbers = [int(n) for n in re.findall(rb"photo (\d+)", request.body)]
            results: list[Any] = [{"number": n} for n in numbers]
            record = results[0] if count == 1 else {"results": results}
            return Reply(200, {"content-type": "application/json"}, json.dumps(record).encode())

        def close(self) -> None: ...

    with Client(transport=Stingy()) as client:
        answers = client.predict("m", [b"photo %d" % n for n in range(70)])
        assert [a["number"] for a in answers] == list(range(70))
        assert seen == [64, 32, 16, 8, 8, 16, 8, 8, 32, 16, 8, 8, 16, 8, 8, 6]
        seen.clear()
        large = [b"photo %d" % n + bytes(6_000_000) for n in range(5)]
        assert [a["number"] for a in client.predict("m", large)] == list(range(5))
        assert seen == [2, 2, 1]


def test_an_open_file_is_read_once_and_remembered(house: str) -> None:
    with Client(house) as client:
        answer = client.predict("colors", io.BytesIO(png(0, 9, 0)))
        assert answer.picture == png(0, 9, 0)
        assert answer.draw().ndim == 3
        first, second = client.predict("colors", [io.BytesIO(png(9, 0, 0)), png(0, 9, 0)])
        assert (first["predictions"][0]["label"], first.picture) == ("red", None)
        assert second.picture == png(0, 9, 0)


class Handed:
    """An upload as web frameworks have them: `read` is that of the file inside."""

    def __init__(self, data: bytes | str) -> None:
        self._stream = io.BytesIO(data) if isinstance(data, bytes) else io.StringIO(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_an_upload_that_hands_on_what_it_is_asked_is_read(house: str, tmp_path: Path) -> None:
    with Client(house) as client:
        assert client.predict("colors", Handed(png(0, 9, 0)))["predictions"][0]["label"] == "green"
        with tempfile.NamedTemporaryFile() as file:
            file.write(png(9, 0, 0))
            file.seek(0)
            assert client.predict("colors", file)["predictions"][0]["label"] == "red"
        with pytest.raises(UsageError, match=r"read\(\) of a picture gave str, expected bytes"):
            client.predict("colors", Handed("text"))  # type: ignore[arg-type]


def test_the_time_of_an_asynchronous_call_runs_while_it_waits_for_a_thread() -> None:
    """And its threads are its own: those of the loop stay free for the application."""
    busy, most, threads = 0, 0, set()
    lock = threading.Lock()

    class Wire:
        def send(self, request: Any, timeout_s: float) -> Reply:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
                threads.add(threading.current_thread().name)
            time.sleep(timeout_s)
            with lock:
                busy -= 1
            raise ServerError("the server did not answer in time", code="answer_timeout")

        def close(self) -> None: ...

    async def story() -> float:
        client = AsyncClient(timeout_s=0.4, retries=0)
        client._transport = clients._Threads(Wire(), client._pool)
        began = time.monotonic()
        found = await asyncio.gather(*(client.predict("m", b"x") for _ in range(200)), return_exceptions=True)
        assert {getattr(f, "code", None) for f in found} == {"answer_timeout"}
        took = time.monotonic() - began
        await client.close()
        return took

    took = asyncio.run(story())
    assert took < 1.2, "200 calls of 0.4 s by 64 threads, one after the other, would take 1.6"
    assert 6 < most <= 64
    assert all(name.startswith("saccade-client") for name in threads)


def test_a_call_may_have_a_time_of_its_own() -> None:
    given: list[float] = []

    class Wire:
        def send(self, request: Any, timeout_s: float) -> Reply:
            given.append(timeout_s)
            return Reply(200, {"content-type": "application/json"}, b"{}")

        def close(self) -> None: ...

    with Client(transport=Wire(), timeout_s=30) as client:
        client.predict("m", b"x")
        client.predict("m", b"x", timeout_s=5)
        assert 29 < given[0] <= 30
        assert 4 < given[1] <= 5
        for wrong in (0, -1, float("nan"), float("inf")):
            with pytest.raises(UsageError):
                client.predict("m", b"x", timeout_s=wrong)


def test_what_the_caller_gets_wrong(tmp_path: Path) -> None:
    for url in ("ftp://x", "127.0.0.1:8000", "http://", "http://u:p@x", "http://x:99999", "http://x?a=1"):
        with pytest.raises(UsageError):
            Client(url)
    client = Client("http://127.0.0.1:9")
    with pytest.raises(ImageError, match=r"none\.jpg cannot be read"):
        client.predict("m", tmp_path / "none.jpg")
    with pytest.raises(UsageError):
        client.predict("m", [])
    with pytest.raises(UsageError):
        client.predict("", b"x")
    with pytest.raises(ImageError):
        client.predict("m", np.zeros((3, 3), np.float32))


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    seen: list[tuple[float, str, int]] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers
        seen.append((time.monotonic(), given["x-request-id"], int(given["x-request-timeout-ms"])))
        if len(seen) == 1:
            body = json.dumps({"code": "overloaded", "detail": "busy", "status": 503}).encode()
            say(handler, 503, body, "application/problem+json", retry_after="1")
        else:
            say(handler, 200, b'{"models": []}', "application/json")

    with serving(handle) as url, Client(url) as client:
        assert client.models() == []
    (first, name, patience), (second, same, less) = seen
    assert second - first >= 1
    assert name == same
    assert 30_000 >= patience > less


def play(talks: Talks, told: Sequence[Reply | SaccadeError], clock: list[float]) -> tuple[Any, list[float]]:
    """What a talk about the models ends in, and the pauses it asked for; every send takes a second of the clock."""
    talk, given, pauses = talks.models(), iter(told), []
    step = next(talk)
    try:
        while True:
            if isinstance(step, Wait):
                pauses.append(step.seconds)
                clock[0] += step.seconds
                step = talk.send(None)
                continue
            clock[0] += 1.0
            said = next(given)
            step = talk.throw(said) if isinstance(said, SaccadeError) else talk.send(said)
    except StopIteration as end:
        return end.value, pauses
    except SaccadeError as error:
        return error, pauses


BUSY = Reply(503, {"content-type": "application/problem+json"}, b'{"code": "overloaded", "detail": "busy"}')
GOOD = Reply(200, {"content-type": "application/json"}, b'{"models": []}')


def test_what_is_sent_again_and_when() -> None:
    clock = [0.0]

    def talks(retries: int = 5, timeout_s: float = 30.0, chance: float = 1.0) -> Talks:
        clock[0] = 0.0
        return Talks(None, timeout_s, retries, clock=lambda: clock[0], now=lambda: 1e9, chance=lambda: chance)

    def named(after: str, number: int = 503) -> Reply:
        return Reply(number, {"content-type": "application/problem+json", "retry-after": after}, b'{"code": "x"}')

    away = ServerError("no", code="unreachable")
    assert play(talks(), [BUSY, away, Reply(502, {}, b""), GOOD], clock) == ([], [0.1, 0.2, 0.4])
    assert play(talks(chance=0.0), [BUSY, BUSY, GOOD], clock) == ([], [0.05, 0.1])
    assert play(talks(chance=0.5), [named("3"), named("0", 429), GOOD], clock) == ([], [3.5, 0.0])
    date = "Sun, 09 Sep 2001 01:46:47 GMT"  # 1e9 + 7
    assert play(talks(chance=0.0), [named(date), GOOD], clock) == ([], [7.0])
    assert play(talks(chance=0.0), [named("soon"), GOOD], clock) == ([], [0.05])
    # Not beyond the retries, nor when the answer would come after the deadline.
    for told, retries, timeout_s in (([BUSY] * 3, 2, 30.0), ([BUSY], 0, 30.0), ([named("9")], 5, 9.5)):
        error, pauses = play(talks(retries, timeout_s), told, clock)
        assert error.code in ("overloaded", "x")
        assert len(pauses) == len(told) - 1
    error, pauses = play(talks(1), [away, away], clock)
    assert (error, pauses) == (away, [0.1])
    # It may be working still, or it said what is wrong.
    for last in (
        ServerError("late", code="answer_timeout"),
        Reply(504, {}, b""),
        Reply(500, {}, b""),
        Reply(404, {}, b""),
    ):
        error, pauses = play(talks(), [last], clock)
        assert isinstance(error, SaccadeError)
        assert pauses == []


def test_connections_are_used_again_and_a_closed_one_is_replaced() -> None:
    ports: list[int] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        ports.append(handler.client_address[1])
        say(handler, 200, b'{"models": []}', "application/json")
        if len(ports) == 2:
            handler.close_connection = True  # without a word: the client finds out at its next request

    with serving(handle) as url, Client(url) as client:
        for _ in range(3):
            client.models()
            time.sleep(0.05)
    assert ports[0] == ports[1] != ports[2]


def test_a_forked_child_has_connections_of_its_own() -> None:
    ports: list[int] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        ports.append(handler.client_address[1])
        say(handler, 200, b'{"models": []}', "application/json")

    with serving(handle) as url:
        code = (
            "import os, sys; from saccade import Client; client = Client(sys.argv[1]); client.models(); child = os.fork()\n"
            "client.models()\n"
            "if not child: os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0; client.models(); client.close()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert len(ports) == 4
    assert len(set(ports)) == 2
    assert max(ports.count(port) for port in ports) == 3


def test_servers_that_misbehave() -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1.0)

    with serving(silent) as url, Client(url, timeout_s=0.2) as client:
        began = time.monotonic()
        with pytest.raises(ServerError) as late:
            client.models()
        assert late.value.code == "answer_timeout"
        assert time.monotonic() - began < 0.8

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        for _ in range(20):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            time.sleep(0.05)

    with serving(dripping) as url, Client(url, timeout_s=0.3) as client:
        with pytest.raises(ServerError) as slow:
            client.models()
        assert slow.value.code == "answer_timeout"

    def page(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 502, b"<html>", "text/html")

    with serving(page) as url, Client(url) as client:
        with pytest.raises(ServerError) as other:
            client.models()
        assert other.value.code == "unexpected_answer"
        assert client.ready() is False

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(ServerError) as away:
        Client(f"http://127.0.0.1:{free}").models()
    assert away.value.code == "unreachable"


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"{}", b'{"models": 3}', b"{", b"[" * 100_000])
def test_json_that_is_no_answer_is_told(body: bytes) -> None:
    class Odd:
        def send(self, request: Any, timeout_s: float) -> Reply:
            return Reply(200, {"content-type": "application/json"}, body)

        def close(self) -> None: ...

    with Client(transport=Odd()) as client:
        asked: list[Callable[[], Any]] = [client.models, lambda: client.predict("m", [b"x", b"y"])]
        if not body.endswith(b"}"):
            asked += [lambda: client.model("m"), lambda: client.predict("m", b"x")]
        for question in asked:
            with pytest.raises(ServerError) as error:
                question()
            assert error.value.code == "unexpected_answer"


def test_a_refusal_on_the_head_is_heard_though_the_body_was_not_read() -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"code": "payload_too_large", "detail": "too large", "max_bytes": 5}).encode()
        handler.send_response(413)
        handler.send_header("content-type", "application/problem+json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_WR)
        while handler.connection.recv(1 << 16):
            pass
        handler.close_connection = True

    with serving(refuse) as url, Client(url) as client:
        with pytest.raises(ServerError) as large:
            client.predict("m", b"x" * 30_000_000)
        assert large.value.code == "payload_too_large"
        assert large.value.details["max_bytes"] == 5


def test_the_key_is_sent_and_a_transport_can_stand_in() -> None:
    class Recorder:
        def send(self, request: Any, timeout_s: float) -> Any:
            assert request.headers["authorization"] == "Bearer sac_live_x"
            assert request.target == "/api/v1/models/a%2Fb@c/predict?top_k=2"
            return Reply(200, {"content-type": "application/json"}, b"{}")

        def close(self) -> None:
            pass

    with Client(key="sac_live_x", transport=Recorder()) as client:
        assert client.predict("a/b@c", b"x", top_k=2) == {}
    with pytest.raises(UsageError):
        Client(key="a\r\nb")
