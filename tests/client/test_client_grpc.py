"""The client over gRPC against the real listener: the same answers, errors and deadlines as over HTTP."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from saccade.client.answer import Answer
from saccade.client.client import AsyncClient, Client
from saccade.errors import ImageError, InferenceError, ServerError, UsageError
from saccade.inference.engine import Engine
from saccade.integrations.models import Models
from saccade.server.app import App
from saccade.server.build import build
from saccade.server.grpc import Grpc
from saccade.server.keys import Keys
from saccade.server.settings import Settings
from saccade.testing.packages import boxes, colors, masks, png


@contextmanager
def listening(app: App) -> Iterator[str]:
    """The listener of an application, in a thread and loop of its own; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = Grpc(app)
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result(20)
    try:
        yield f"grpc://127.0.0.1:{app.settings.grpc_port}"
    finally:
        asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("packages")
    return [kind(folder / kind.__name__).path for kind in (colors, boxes, masks)]


@pytest.fixture(scope="module")
def app(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    engine = Engine()
    for package in packages:
        engine.load(package, package.name, 1)
    engine.set_aliases("colors", {"stable": 1})
    settings = Settings(home=tmp_path_factory.mktemp("home"), grpc_port=free(), body_bytes=1_000_000, finish_s=0.2)
    yield build(settings, engine)
    engine.close(0)


@pytest.fixture(scope="module")
def url(app: App) -> Iterator[str]:
    with listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def http(packages: list[Path]) -> Iterator[Client]:
    """The same packages by the handlers of the native API."""
    models = Models(*packages)
    yield models.client
    models.close()


def said(answer: Answer) -> dict[str, Any]:
    return {k: v for k, v in answer.items() if k != "prediction_id"}


WISHES: list[dict[str, Any]] = [
    {},
    {"top_k": 1},
    {"threshold": 0.9},
    {"mask": "rle"},
    {"mask": "none"},
    {"confidence": True},
    {"version": 1},
]


@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        *((name, wishes) for name in ("colors", "boxes", "masks") for wishes in WISHES),
        *((name, {"tile": tile}) for name in ("boxes", "masks") for tile in (True, 2, 1.5)),
    ],
)
def test_the_same_answer_as_over_http(url: str, http: Client, name: str, wishes: Any) -> None:
    picture = png(255, 120, 51, 100, 40)
    with Client(url) as client:
        assert said(client.predict(name, picture, **wishes)) == said(http.predict(name, picture, **wishes))


def test_lists_folders_and_drawings(url: str, tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.png").write_bytes(b"no picture" if n == 3 else png(n, 0, 200))
    with Client(url) as client:
        found = client.predict("colors@stable", sorted(tmp_path.iterdir()))
        assert [a.error is not None for a in found] == [False, False, False, True, False]
        assert found[3].error is not None
        assert found[3].error["code"] == "image_format_unsupported"
        walked = [step.answer for step in client.predict_folder("colors", tmp_path)]
        assert [a.rows()[:1] for a in walked] == [a.rows()[:1] for a in found]
        assert found[0].draw().ndim == 3
        assert client.predict("colors", [png(1, 2, 3)])[0].predictions

    async def main() -> list[Answer]:
        async with AsyncClient(url) as client:
            assert await client.ready()
            return await asyncio.gather(*(client.predict("colors", png(0, n, 0)) for n in range(1, 9)))

    assert [a["predictions"][0]["label"] for a in asyncio.run(main())] == ["green"] * 8


def test_what_is_told_and_what_is_not(url: str) -> None:
    with Client(url) as client:
        assert client.health() == {"live": True, "ready": True}
        listed = {m["name"]: m["versions"] for m in client.models()}
        assert listed == {n: [{"version": "1", "state": "ready"}] for n in ("colors", "boxes", "masks")}
        with pytest.raises(ServerError) as error:
            client.model("colors")
        assert error.value.code == "not_implemented"


@pytest.mark.parametrize(
    ("model", "picture", "wishes", "kind", "code"),
    [
        ("none", png(1, 2, 3), {}, InferenceError, "not_found"),
        ("colors@none", png(1, 2, 3), {}, InferenceError, "not_found"),
        ("colors", png(1, 2, 3), {"version": 7}, InferenceError, "not_found"),
        ("colors", b"no picture", {}, ImageError, "image_format_unsupported"),
        ("colors", b"", {}, ImageError, "image_format_unsupported"),
        ("colors", png(1, 2, 3), {"tile": True}, ServerError, "invalid_value"),
        ("colors", png(1, 2, 3), {"top_k": 0}, ServerError, "invalid_value"),
        ("colors", png(1, 2, 3), {"threshold": 7.0}, ServerError, "invalid_value"),
        ("colors", png(1, 2, 3), {"mask": "gif"}, ServerError, "invalid_value"),
        ("colors", bytes(2_000_000), {}, ServerError, "payload_too_large"),
    ],
)
def test_refusals_have_their_codes(url: str, model: str, picture: bytes, wishes: Any, kind: Any, code: str) -> None:
    with Client(url, retries=0) as client, pytest.raises(kind) as error:
        client.predict(model, picture, **wishes)
    assert error.value.code == code


def test_a_key_travels_as_metadata(packages: list[Path], tmp_path: Path) -> None:
    keys, engine = Keys(tmp_path), Engine()
    key = keys.make("me")
    engine.load(packages[0], "colors", 1)
    with listening(build(Settings(home=tmp_path, grpc_port=free(), finish_s=0.2), engine, keys=keys)) as url:
        with Client(url, key=key) as client:
            assert client.predict("colors", png(9, 1, 1)).predictions
        with Client(url) as client, pytest.raises(ServerError) as error:
            client.models()
        assert (error.value.code, error.value.details["status"]) == ("unauthenticated", 401)
    engine.close(0)


def test_nobody_there_and_nobody_answering() -> None:
    with Client(f"grpc://127.0.0.1:{free()}", timeout_s=5, retries=1) as client, pytest.raises(ServerError) as away:
        client.predict("m", b"x")
    assert away.value.code == "unreachable"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, timeout_s=0.5, retries=0) as client, pytest.raises(ServerError) as late:
            client.predict("m", b"x")
    assert late.value.code in ("answer_timeout", "unreachable")


def test_addresses_that_are_none() -> None:
    for url in (
        "grpc://",
        "grpc://x",
        "grpc://x:1/path",
        "grpc://u@x:1",
        "grpc://x:99999",
        "grpcs://x:y",
        "http+grpc://x:1",
    ):
        with pytest.raises(UsageError):
            Client(url)
    with pytest.raises(UsageError, match="http"):
        Models(server="grpc://x:1")


@pytest.mark.parametrize(
    ("metadata", "status", "code"),
    [
        ({}, 413, "payload_too_large"),
        ({"retry-after": "2"}, 429, "rate_limited"),
        ({"x-error-code": "payload_too_large"}, 413, "payload_too_large"),
        ({"x-error-code": "tensor_too_large"}, 413, "tensor_too_large"),
        ({"x-error-code": "storage_full"}, 507, "storage_full"),
        ({"x-error-code": "rate_limited"}, 429, "rate_limited"),
        ({"x-error-code": "concurrency_limited", "retry-after": "2"}, 429, "concurrency_limited"),
    ],
)
def test_what_is_exhausted_is_told_by_the_servers_code(metadata: dict[str, str], status: int, code: str) -> None:
    import grpc

    from saccade.client.grpc import _refusal

    error = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata.items())
    )
    reply = _refusal(error)
    assert (reply.status, json.loads(reply.body)["code"]) == (status, code)


FORK = """
import os, sys
from saccade.client.client import Client
from saccade.testing.packages import png

client = Client(sys.argv[1])
children = []
for color in ((255, 0, 0), (0, 255, 0)):
    child = os.fork()
    if not child:
        os.write(1, (client.predict("colors", png(*color)).rows()[0][0] + os.linesep).encode())
        client.close()
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
print(client.predict("colors", png(0, 0, 255)).rows()[0][0])
client.close()
"""


def test_a_channel_is_opened_in_the_process_that_asks(url: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["blue", "green", "red"]


def test_grpc_is_loaded_only_for_those_who_ask_over_it() -> None:
    code = "import sys; from saccade import Client; Client('http://x'); print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "False"
    without = (
        "import sys; sys.modules['grpc'] = None\nfrom saccade import Client, SaccadeError\n"
        "try:\n    Client('grpc://x:1')\nexcept SaccadeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True)
    assert "saccade[grpc]" in done.stdout


def test_wishes_are_parameters_for_every_client_of_the_protocol(app: App) -> None:
    """Over REST too: top_k beside the output that holds the native answer."""
    from saccade.protocols.open_inference.http import OpenInference
    from saccade.testing.protocols import ask

    route = next(r for r in OpenInference().routes(app.engine) if r.pattern == "/v2/models/{name}/infer")
    import base64

    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(png(9, 5, 1)).decode()]}
    for parameters, count in (({}, 3), ({"top_k": 2}, 2), ({"top_k": 1, "other": 1}, 1), ({"threshold": 0.03}, 1)):
        record = {"inputs": [picture], "outputs": [{"name": "prediction", "parameters": parameters}]}
        reply = ask(route, json.dumps(record).encode(), {"content-type": "application/json"}, name="colors")
        told = json.loads(json.loads(reply.body)["outputs"][0]["data"][0])
        assert len(told["predictions"]) == count
