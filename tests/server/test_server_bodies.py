"""A body that comes together with its head and one that comes behind it are answered alike."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from saccade.errors import ServerError
from saccade.inference.engine import Engine
from saccade.inference.pressure import Pressure
from saccade.inference.stages import Stages
from saccade.limits import BODY_LIMITS
from saccade.protocols.protocol import Call
from saccade.server.app import App
from saccade.server.build import build
from saccade.server.http.listener import Listener
from saccade.server.settings import Settings
from saccade.testing.packages import colors, png

PICTURE = png(200, 0, 0)
KINDS = {
    "picture": "image/png",
    "form": "multipart/form-data; boundary=b",
    "json": "application/json",
    "text": "text/plain",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    engine = Engine()
    engine.load(colors(folder / "p").path, "colors")
    yield engine
    engine.close()


def told(app: App, *requests: tuple[bytes, bytes], apart: bool) -> list[tuple[int, str]]:
    """Status and code of each answer. apart: the body comes 50 ms behind its head."""

    def ask(port: int, head: bytes, body: bytes) -> tuple[int, str]:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            if apart:
                connection.sendall(head)
                time.sleep(0.05)
                connection.sendall(body)
            else:
                connection.sendall(head + body)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        about, _, said = answer.partition(b"\r\n\r\n")
        problem = json.loads(said) if b"problem+json" in about else {}
        return int(about[9:12]), problem.get("code", "")

    async def all_of_them() -> list[tuple[int, str]]:
        listener = Listener(app, app.settings)
        await listener.start()
        try:
            return [await asyncio.to_thread(ask, listener.port, *request) for request in requests]
        finally:
            await listener.stop()

    return asyncio.run(all_of_them())


def post(
    body: bytes, kind: str = "picture", model: str = "colors", more: str = "", query: str = ""
) -> tuple[bytes, bytes]:
    head = f"POST /api/v1/models/{model}/predict{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}"
    return f"{head}Content-Type: {KINDS[kind]}\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body


def chunked(path: str, body: bytes, method: str = "POST") -> tuple[bytes, bytes]:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode(), b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_right_and_what_is_wrong(engine: Engine, folder: Path, apart: bool) -> None:
    app = build(Settings(home=folder / "home", port=0, body_bytes=100_000), engine)
    form = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
    predict = "/api/v1/models/colors/predict"
    found = told(
        app,
        post(PICTURE),
        post(form, "form"),
        post(b""),
        post(b"", model="nobody"),
        post(PICTURE, "text"),
        post(PICTURE, "text", model="nobody"),
        post(b"{", "json"),
        post(PICTURE, more="X-Request-Timeout-Ms: 5000\r\n"),
        post(PICTURE, more="Accept: image/png\r\n", query="?confidence=true"),
        chunked(predict, PICTURE),
        chunked(predict, b"x" * 100_001),
        chunked("/livez", b"x", "GET"),
        apart=apart,
    )
    assert found == [
        (200, ""),
        (200, ""),
        (422, "image_undecodable"),
        (404, "not_found"),
        (415, "image_format_unsupported"),
        (404, "not_found"),
        (400, "malformed_json"),
        (200, ""),
        (406, "not_acceptable"),
        (200, ""),
        (413, "payload_too_large"),
        (200, ""),
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_a_body_for_which_there_is_no_room(engine: Engine, folder: Path, apart: bool) -> None:
    app = build(Settings(home=folder / "home", port=0), engine)
    with app.held.share(BODY_LIMITS.max_held_bytes - len(PICTURE) + 1):
        assert told(app, post(PICTURE), apart=apart) == [(503, "overloaded")]
    with app.held.share(BODY_LIMITS.max_held_bytes - len(PICTURE)):
        assert told(app, post(PICTURE), post(PICTURE), apart=apart) == [(200, "")] * 2
    with app.held.share(BODY_LIMITS.max_held_bytes):
        pass  # all of it was given back


@pytest.mark.parametrize("apart", [False, True])
def test_a_refusal_is_told_and_counted_once(
    engine: Engine, folder: Path, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = build(Settings(home=folder / "home", port=0), engine)
    # Too long for one picture, and not for what is not urgent.
    monkeypatch.setattr(Stages, "expected_wait_s", lambda *_: 2.0)
    found = told(
        app,
        post(PICTURE),
        post(PICTURE, "text"),
        post(PICTURE, more="X-Priority: batch\r\n"),
        post(PICTURE, "text", model="nobody"),
        apart=apart,
    )
    assert found == [(503, "overloaded"), (503, "overloaded"), (200, ""), (404, "not_found")]
    text = app.metrics.text(engine)
    assert 'saccade_requests_total{model="colors",version="",outcome="overloaded"} 2' in text
    assert 'saccade_errors_total{code="overloaded"} 2' in text
    assert 'saccade_requests_total{model="",version="",outcome="not_found"} 1' in text


def test_a_body_is_handed_out_once(engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads it again finds nothing, and does not wait for more."""
    app, read, found = build(Settings(home=folder / "home", port=0), engine), Call.read, list[bytes]()
    at_once: list[bool] = []

    async def twice(call: Call) -> bytes:
        at_once.append(call.data is not None)
        found.extend([await read(call), await read(call)])
        return found[-2]

    monkeypatch.setattr(Call, "read", twice)
    for apart in (False, True):
        assert told(app, post(PICTURE), apart=apart) == [(200, "")]
    assert found == [PICTURE, b""] * 2
    assert at_once[0], "what came together is there before the application begins"


def test_lines_of_the_metrics_appear_with_what_they_count(engine: Engine, folder: Path) -> None:
    app = build(Settings(home=folder / "home", port=0), engine)
    assert told(app, post(b"no picture"), apart=False) == [(415, "image_format_unsupported")]
    text = app.metrics.text(engine)
    of = 'model="colors",version="1"'
    assert f'saccade_images_total{{{of},outcome="image_format_unsupported"}} 1' in text
    assert f'saccade_images_total{{{of},outcome="ok"}}' not in text
    assert told(app, post(PICTURE), apart=False) == [(200, "")]
    assert f'saccade_images_total{{{of},outcome="ok"}} 1' in app.metrics.text(engine)


def test_a_route_is_found_again_and_an_error_is_an_error_again(engine: Engine, folder: Path) -> None:
    table = build(Settings(home=folder / "home", port=0), engine)._table
    first, again = (table.find("/api/v1/models/colors", method) for method in ("GET", "HEAD"))
    assert first[0] is again[0]
    assert dict(table.find("/api/v1/models/colors", "GET")[1]) == {"name": "colors"}
    with pytest.raises(TypeError):
        first[1]["name"] = "another"  # type: ignore[index]
    for _ in range(2):
        with pytest.raises(ServerError, match="nothing at this address"):
            table.find("/nowhere", "GET")
    assert table.find.cache_info().hits == 1
    assert table.find.cache_info().currsize == 2


def test_what_fails_in_a_look_at_what_waits_ends_no_other_look() -> None:
    class Noted(Pressure):
        kept = 0

        def keep(self) -> None:
            self.kept += 1
            raise ValueError("what tells of memory is odd today")

    pressure = Noted()
    engine = Engine(pressure=pressure)
    try:
        end = time.monotonic() + 10
        while pressure.kept < 3:
            assert time.monotonic() < end, "the looks go on"
            time.sleep(0.01)
    finally:
        engine.close()
