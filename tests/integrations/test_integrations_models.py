"""Models in this process and on a server: forks, failures, keys, and that an application cannot tell them apart."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saccade.client.messages import Reply, Request
from saccade.errors import PackageError, RegistryError, ServerError, UsageError
from saccade.inference.engine import Engine
from saccade.integrations.inside import Inside, Settings
from saccade.integrations.models import ADDRESSES, Models
from saccade.protocols.native.http import Native
from saccade.registry.registry import Registry
from saccade.testing.packages import boxes, colors, png

PREDICT = "/api/v1/models/colors/predict"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colors(tmp_path_factory.mktemp("packages") / "colors").path


@pytest.fixture(scope="module")
def inside(package: Path) -> Iterator[Models]:
    models = Models(package)
    yield models
    models.close()


def ask(models: Models, method: str, path: str, data: bytes = b"", query: str = "", **headers: str) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return models.reply(method, path, query, given, lambda limit: ("image/png", data))


def code(reply: Reply) -> str:
    assert reply.headers["content-type"] == "application/problem+json"
    return str(json.loads(reply.body)["code"])


def test_the_mounted_addresses_are_the_native_ones() -> None:
    engine = Engine()
    native = {(r.method, r.pattern) for r in Native().routes(engine) if r.pattern.startswith("/api/")}
    engine.close(0)
    probes = {("GET", "/livez"), ("GET", "/readyz")}
    assert set(ADDRESSES.values()) == native | probes


# In this process


def test_nothing_is_opened_before_it_is_asked(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saccade.integrations")
    models = Models(package)
    assert not caplog.messages
    models.open()
    models.open()
    (told,) = caplog.messages
    assert re.fullmatch(rf"process {os.getpid()} opened colors in [\d.]+ s, \d+ MB resident", told)
    models.close()
    assert models.client.predict("colors", png(9, 1, 1))["predictions"][0]["label"] == "red"  # opened again
    models.close()


def test_many_threads_open_it_once(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saccade.integrations")
    models, said = Models(package), []
    threads = [
        threading.Thread(target=lambda n=n: said.append(models.client.predict("colors", png(n, 0, 0)).rows()[0][1]))
        for n in range(10, 90, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    models.close()
    assert sorted(said) == pytest.approx([n / 255 for n in range(10, 90, 10)], abs=1e-6)
    assert len(caplog.messages) == 1


FORKS = """
import os, sys
from saccade.integrations.models import Models
from saccade.testing.packages import png

models = Models(sys.argv[1])
if sys.argv[2] == "opened":
    models.client.predict("colors", png(9, 1, 1))
children = []
for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
    child = os.fork()
    if not child:
        os.write(1, (models.client.predict("colors", png(*color)).rows()[0][0] + os.linesep).encode())
        models.close()
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
print(models.client.predict("colors", png(9, 1, 1)).rows()[0][0])
models.close()
"""


@pytest.mark.parametrize("before", ["closed", "opened"])
def test_a_forked_child_has_models_of_its_own(package: Path, before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(package), before], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    *children, parent = done.stdout.split()
    assert sorted(children) == ["blue", "green", "red"]
    assert parent == "red"


def test_names_and_aliases_of_the_home(package: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.push(package, "waste", "stable")
    registry.push(colors(tmp_path / "other", reverse=True).path, "waste")
    for asked, label in (("waste@stable", "red"), ("waste", "blue"), ("waste:1", "red")):
        models = Models(asked, settings=Settings(home=tmp_path))
        name = "waste@stable" if "@" in asked else "waste"
        assert models.client.predict(name, png(200, 1, 1)).rows()[0][0] == label
        models.close()
    both = Models("waste@stable", "waste", settings=Settings(home=tmp_path))
    assert [v["version"] for v in both.client.model("waste")["versions"]] == ["1", "2"]
    both.close()


def test_what_cannot_be_opened(package: Path, tmp_path: Path) -> None:
    for packages, error in (
        ((tmp_path / "none",), UsageError),
        (("run/none",), UsageError),
        (("none@stable",), RegistryError),
        ((package, package), UsageError),
    ):
        with pytest.raises(error):
            Models(*packages, settings=Settings(home=tmp_path)).open()
    for wrong in ((), (package,)):
        with pytest.raises(UsageError):
            Models(*wrong, server="http://x" if wrong else None)
    torn = colors(tmp_path / "torn").path
    graph = next(torn.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    models = Models(torn)
    with pytest.raises(PackageError):
        models.open()
    refused = ask(models, "GET", "/api/v1/models")
    assert (refused.status, code(refused)) == (500, "internal")
    assert b"sealing" not in refused.body


def test_a_deadline_is_kept(inside: Models) -> None:
    late = ask(inside, "POST", PREDICT, png(1, 2, 3), x_request_timeout_ms="x")
    assert code(late) == "invalid_value"
    assert ask(inside, "POST", PREDICT, png(1, 2, 3), x_request_timeout_ms="9000").status == 200


def test_a_handler_that_breaks_is_bland(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside([package])
    monkeypatch.setattr(inside, "_opened", lambda: 1 / 0)
    reply = inside.send(Request("GET", "/api/v1/models"), 5.0)
    assert (reply.status, json.loads(reply.body)["detail"]) == (500, json.loads(reply.body)["title"])


# On a server

SERVE = (
    "import sys, json; from saccade.server.serve import serve; "
    "sys.exit(serve([sys.argv[1]], **json.loads(sys.argv[2])))"
)


@pytest.fixture(scope="module")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a real server and a key of it, which may also load and unload."""
    from saccade.server.keys import Keys

    home = tmp_path_factory.mktemp("home")
    key = Keys(home).make("application", scope="control")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"port": port, "home": str(home), "drain_s": 0.1}
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(package), json.dumps(given)], stderr=subprocess.PIPE)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
    probing = Models(server=url, retries=0)
    while ask(probing, "GET", "/readyz").status != 200:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    probing.close()
    yield url, key
    process.terminate()
    process.communicate(timeout=30)


def told(reply: Reply) -> Any:
    """What an answer says, without what differs from call to call."""
    record = json.loads(reply.body)
    for name in ("prediction_id", "request_id"):
        record.pop(name, None)
    return reply.status, record, sorted(reply.headers)


def test_an_application_cannot_tell_them_apart(inside: Models, server: tuple[str, str]) -> None:
    remote = Models(server=server[0], key=server[1])
    asked: list[Callable[[Models], Reply]] = [
        lambda m: ask(m, "GET", "/api/v1/models"),
        lambda m: ask(m, "GET", "/api/v1/models/none"),
        lambda m: ask(m, "GET", "/api/v1/models/a b/c"),
        lambda m: ask(m, "GET", "/nothing"),
        lambda m: ask(m, "GET", PREDICT),
        lambda m: ask(m, "POST", PREDICT, png(200, 100, 50), "top_k=2"),
        lambda m: ask(m, "POST", PREDICT, png(200, 100, 50), "top_k=0"),
        lambda m: ask(m, "POST", PREDICT, b"no picture"),
        lambda m: ask(m, "POST", PREDICT, b"x" * 17_000_000),
        lambda m: ask(m, "POST", "/api/v1/models/colors/versions/7/predict", png(1, 2, 3)),
    ]
    for question in asked:
        assert told(question(inside)) == told(question(remote))
    picture = png(3, 2, 1)
    here, there = (m.client.predict("colors", [picture, b"no picture"]) for m in (inside, remote))
    assert here[0]["predictions"] == there[0]["predictions"]
    assert here[1]["error"]["code"] == there[1]["error"]["code"]
    remote.close()


@pytest.mark.parametrize("query", ["top_k=\xff", "top_k=1\x7f", "top_k=1 2", "a\r\nb=1", "top_k=\udc80", "top_k=€"])
def test_a_query_that_no_address_has_is_the_callers_fault(inside: Models, server: tuple[str, str], query: str) -> None:
    remote = Models(server=server[0], key=server[1])
    for models in (inside, remote):
        refused = ask(models, "POST", PREDICT, png(1, 2, 3), query)
        assert (refused.status, code(refused)) == (400, "malformed_http")
    assert ask(remote, "POST", PREDICT, png(1, 2, 3), "top_k=%32").status == 200
    remote.close()


def test_only_what_is_mounted_of_a_server_can_be_reached(server: tuple[str, str]) -> None:
    remote = Models(server=server[0], key=server[1])
    for method, path in (
        ("GET", "/metrics"),
        ("GET", "/"),
        ("POST", "/v2/repository/models/colors/unload"),
        ("POST", "/api/v1/models/../../../v2/repository/models/colors/unload"),
        ("POST", "/api/v1/models/x/../../../v2/repository/models/colors/unload"),
        ("GET", "/api/v1/models/%2e%2e/%2e%2e/metrics"),
        ("GET", "/api/v1/models/../metrics"),
    ):
        refused = ask(remote, method, path)
        assert code(refused) in ("not_found", "method_not_allowed"), path
    assert ask(remote, "GET", "/api/v1/models").status == 200
    remote.close()


class Page:
    """Something else at the server's address."""

    def send(self, request: Request, timeout_s: float) -> Reply:
        return Reply(200, {"content-type": "text/html"}, b"<p>127.0.0.1")

    def close(self) -> None: ...


def test_a_servers_key_and_address_are_not_the_callers_affair(server: tuple[str, str]) -> None:
    for models in (
        Models(server=server[0], key="sac_live_wrong", retries=0),
        Models(server="http://127.0.0.1:9", retries=0),
        Models(server="http://models", transport=Page()),
    ):
        refused = ask(models, "POST", PREDICT, png(1, 2, 3), authorization="Bearer of-the-caller", cookie="a=b")
        assert (refused.status, code(refused)) == (503, "dependency_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert b"127.0.0.1" not in refused.body
        models.close()


def test_a_caller_is_known_by_his_request_id_alone() -> None:
    seen: list[Request] = []

    class Wire:
        def send(self, request: Request, timeout_s: float) -> Reply:
            seen.append(request)
            return Reply(200, {"content-type": "application/json", "set-cookie": "a=b", "server": "x"}, b"{}")

        def close(self) -> None: ...

    models = Models(transport=Wire())
    sent = {"authorization": "Bearer x", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "x-request-id": "mine"}
    reply = models.reply("POST", PREDICT, "top_k=1", sent, lambda limit: ("image/png", b"x"))
    assert seen[0].target == PREDICT + "?top_k=1"
    assert set(seen[0].headers) == {"accept", "user-agent", "x-request-id", "x-request-timeout-ms", "content-type"}
    assert seen[0].headers["x-request-id"] == "mine"
    assert reply.headers == {"content-type": "application/json"}


def test_a_server_that_is_late_is_told_as_late() -> None:
    class Late:
        def send(self, request: Request, timeout_s: float) -> Reply:
            raise ServerError("late", code="answer_timeout")

        def close(self) -> None: ...

    refused = ask(Models(transport=Late()), "POST", PREDICT, png(1, 2, 3))
    assert (refused.status, code(refused)) == (504, "deadline_exceeded")


def test_two_packages_of_different_tasks(tmp_path: Path) -> None:
    models = Models(colors(tmp_path / "colors").path, boxes(tmp_path / "boxes").path)
    assert "box" in models.client.predict("boxes", png(255, 0, 0))["predictions"][0]
    assert "box" not in models.client.predict("colors", png(255, 0, 0))["predictions"][0]
    models.close()
