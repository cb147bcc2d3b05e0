"""Every address on every listener against the committed table, and every one of them asked by every kind of caller."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from saccade.errors import UsageError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import Control
from saccade.server.app import App
from saccade.server.build import build, speak
from saccade.server.grpc import Grpc
from saccade.server.keys import Keys
from saccade.server.settings import Settings
from saccade.testing.packages import colors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "07-protocols.md"


def told() -> set[tuple[str, str, str, str]]:
    """The table of docs/07-protocols.md: listener, method, address, needs."""
    text = PAGE.read_text(encoding="utf-8").split("## Every address")[1]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| `([^`]+)` \| (\w+) \|$", text, re.MULTILINE)
    assert len(rows) == len(set(rows))
    return set(rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routes")


@pytest.fixture(scope="module")
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture(scope="module")
def keys(home: Path, clock: list[float]) -> Keys:
    return Keys(home, clock=lambda: clock[0])


@pytest.fixture(scope="module")
def app(home: Path, keys: Keys) -> Iterator[App]:
    engine = Engine()
    engine.load(colors(home / "package").path, "colors", 1)
    every = (*Settings.protocols, "custom_vision")
    yield build(Settings(home=home, protocols=every, grpc_reflection=True, finish_s=0.1), engine, keys=keys)
    engine.close(0)


@pytest.fixture(scope="module")
def roles(keys: Keys, clock: list[float]) -> dict[str, str]:
    """Caller to the header he sends."""
    made = {name: keys.make(name, scope=scope) for name, scope in (("use", "use"), ("control", "control"))}
    made["expired"] = keys.make("expired", days=1)
    made["revoked"] = keys.make("revoked", scope="control")
    keys.revoke(next(k.id for k in keys.list() if k.name == "revoked"))
    clock[0] += 2 * 86400
    made["garbage"] = made["use"][:-1] + ("x" if made["use"][-1] != "x" else "y")
    return {"anonymous": "", **{name: f"Bearer {key}" for name, key in made.items()}}


ALLOWED = {"open": {"anonymous", "garbage", "expired", "revoked", "use", "control"}, "use": {"use", "control"}}
ALLOWED["control"] = {"control"}


def asked(app: App, method: str, pattern: str, authorization: str, **more: str) -> tuple[int, dict[str, str], bytes]:
    """The application's answer, without a socket."""
    parts = {"name": "colors", "version": "1", "label": "stable", "file": "console.css", "region": "r"}
    path = re.sub(r"\{(\w+)(?::path)?\}", lambda m: parts.get(m[1], "x"), pattern)
    headers = [(b"host", b"localhost"), *([(b"authorization", authorization.encode())] if authorization else [])]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    sent: list[dict[str, Any]] = []

    given = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        # A caller who stays: after his body nothing comes.
        return next(given, None) or await asyncio.Event().wait()  # type: ignore[func-returns-value]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"]


def test_every_address_is_in_the_table_and_none_is_invented(app: App) -> None:
    methods = Grpc(app).methods
    real = {("HTTP", route.method, route.pattern, route.needs) for route in app.routes}
    real |= {("gRPC", "POST", method.path, method.needs) for method in methods}
    assert len(real) == len(app.routes) + len(methods)
    page = told()
    assert real - page == set(), "docs/07-protocols.md lacks rows: add them"
    assert page - real == set(), "docs/07-protocols.md has rows that the code does not have: remove them"


def test_every_address_asks_every_caller_for_what_the_table_says(app: App, roles: dict[str, str]) -> None:
    for listener, method, pattern, needs in sorted(told()):
        if listener != "HTTP":
            continue
        for role, authorization in roles.items():
            status, headers, body = asked(app, method, pattern, authorization)
            expected = role in ALLOWED[needs]
            refused = 403 if role == "use" else 401
            refused_by_key = status in (401, 403) and b"are not fetched" not in body
            assert refused_by_key is not expected, (method, pattern, role, status)
            if not expected:
                assert status == refused, (method, pattern, role, status)
                assert json.loads(body)
                assert ("www-authenticate" in headers) is (status == 401)


def test_every_grpc_call_asks_every_caller_for_what_the_table_says(app: App, roles: dict[str, str]) -> None:
    """Over a socket: what a listener does on its own account, it does there."""

    async def asked(channel: Any, path: str, authorization: str) -> str:
        """The error's code, empty for an answer. Once is asked: what streams for ever is left."""
        metadata = (("authorization", authorization),) if authorization else ()
        # The message goes along with the head: a client that writes it after a refusal calls that its own failure.
        found = channel.unary_stream(path)(b"", metadata=metadata, timeout=20)
        try:
            await found.read()
            found.cancel()
            return ""
        except grpc.RpcError as error:
            return str(dict(error.trailing_metadata()).get("x-error-code") or error)

    async def everything() -> None:
        listener = Grpc(app)
        port = await listener.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for kind, _, path, needs in sorted(told()):
                for role, authorization in roles.items() if kind == "gRPC" else ():
                    code = await asked(channel, path, authorization)
                    expected = role in ALLOWED[needs]
                    assert (code in ("unauthenticated", "forbidden")) is not expected, (path, role, code)
                    if not expected:
                        assert code == ("forbidden" if role == "use" else "unauthenticated"), (path, role)
        await listener.stop()

    asyncio.run(everything())


def test_refusals_speak_the_dialect_of_their_address(app: App, roles: dict[str, str]) -> None:
    for path in ("/v2", "/v2/nothing", "/v2/models/nobody"):
        status, headers, body = asked(app, "GET", path, "")
        assert set(json.loads(body)) == {"error"}
        assert headers["content-type"] == "application/json"
    status, headers, body = asked(app, "DELETE", "/v2/models/colors", roles["use"])
    assert (status, headers["allow"], set(json.loads(body))) == (405, "GET, HEAD", {"error"})
    assert asked(app, "GET", "/v2/nothing", roles["use"])[0] == 404
    status, headers, body = asked(app, "GET", "/v2x", roles["use"])
    assert (status, headers["content-type"]) == (404, "application/problem+json")


def test_a_dialect_may_have_a_header_of_its_own_for_the_key(app: App, roles: dict[str, str]) -> None:
    key = roles["use"].removeprefix("Bearer ")
    address = "/customvision/v3.1/prediction/p/classify/iterations/colors/image"
    for headers, status in (
        ({"prediction-key": key}, 400),  # the key will do, an empty body will not
        ({"prediction-key": roles["garbage"].removeprefix("Bearer ")}, 401),
        ({"prediction-key": ""}, 401),
    ):
        assert asked(app, "POST", address, "", **headers)[0] == status
    assert asked(app, "POST", address, "Bearer x", **{"prediction-key": key})[0] == 401
    assert asked(app, "POST", "/predictions/colors", "", **{"prediction-key": key})[0] == 401


DIALECTS = {
    "open_inference": ("/v2", "inference."),
    "tf_serving": ("/v1/models", "tensorflow.serving."),
    "torchserve": ("/predictions", ""),
    "custom_vision": ("/customvision", ""),
}
"""Protocol to where its addresses begin, and its services over gRPC."""


def test_every_protocol_that_can_be_switched_off_is_tried(home: Path) -> None:
    with pytest.raises(UsageError) as caught:
        speak(Settings(home=home, protocols=("nobody",)), Control())
    assert str(caught.value).endswith(f"there are {', '.join(DIALECTS)}")


@pytest.mark.parametrize("off", DIALECTS)
def test_a_protocol_can_be_switched_off(home: Path, off: str) -> None:
    engine = Engine()
    kept = tuple(name for name in DIALECTS if name != off)
    every, rest = (build(Settings(home=home, protocols=names), engine) for names in (tuple(DIALECTS), kept))
    paths = [{route.pattern for route in app.routes} for app in (every, rest)]
    calls = [{method.path for method in Grpc(app).methods} for app in (every, rest)]
    engine.close(0)
    gone, services = paths[0] - paths[1], calls[0] - calls[1]
    for name, (start, service) in DIALECTS.items():
        assert any(path.startswith(start) for path in gone) is (name == off)
        assert any(path.startswith(start) for path in paths[1]) is (name != off)
        if service:
            assert any(path.startswith(f"/{service}") for path in services) is (name == off)
            assert any(path.startswith(f"/{service}") for path in calls[1]) is (name != off)
    spoken = next(protocol for protocol in every.protocols if protocol.name == off)
    assert gone == {route.pattern for route in spoken.routes(engine)}
    assert services == {method.path for method in spoken.methods(engine)}
    assert asked(rest, "GET", DIALECTS[off][0], "")[0] == 404
    assert asked(rest, "GET", "/livez", "")[0] == 200
