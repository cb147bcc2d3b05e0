"""The gRPC listener on a real socket, asked by grpc's own client: keys, limits, deadlines, callers that leave,
drain."""

import asyncio
import contextlib
import gzip
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from saccade.errors import ServerError, UsageError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.promise import Promise
from saccade.inference.request import Request
from saccade.limits import BODY_LIMITS, CALLER_LIMITS
from saccade.server.app import App
from saccade.server.build import build
from saccade.server.grpc import Grpc
from saccade.server.health import MAX_WATCHERS
from saccade.server.keys import Keys
from saccade.server.serve import beside
from saccade.server.settings import Settings
from saccade.testing.packages import colors, png
from saccade.wire import schema

OIP = schema.service("inference.GRPCInferenceService")
ROW = np.full((1, 32, 32, 3), (255, 0, 51), np.uint8)
SCORES = [1.0, 0.0, 0.2]


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def listening(app: App) -> Iterator[str]:
    """The listener of an application, in a thread and loop of its own; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Grpc:
        listener = Grpc(app)
        await listener.start()
        return listener

    try:
        listener = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
        try:
            yield f"127.0.0.1:{app.settings.grpc_port}"
        finally:
            asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Refuses nobody because a machine with other work is slow."""
    engine, folder = Engine(Options(max_wait_s=None)), tmp_path_factory.mktemp("grpc")
    engine.load(colors(folder / "package").path, "colors", 1)
    yield engine
    engine.close(0)


@pytest.fixture(scope="module")
def app(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> App:
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        grpc_port=free(),
        grpc_reflection=True,
        body_bytes=1024 * 1024,
        body_s=1.0,
        finish_s=0.2,
    )
    return build(settings, engine)


@pytest.fixture(scope="module")
def channel(app: App) -> Iterator[grpc.Channel]:
    with listening(app) as address, grpc.insecure_channel(address) as channel:
        yield channel


def call(channel: grpc.Channel, name: str, request: Any = None, **options: Any) -> Any:
    rpc = OIP[name]
    asked = channel.unary_unary(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
    return asked.with_call(rpc.request() if request is None else request, timeout=20, **options)


def refused(channel: grpc.Channel, name: str, request: Any = None, **options: Any) -> tuple[str, str]:
    """The status and the error's code."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, name, request, **options)
    error = caught.value
    assert not any(word in (error.details() or "") for word in ("Traceback", "/src/", ".py"))
    told = dict(error.trailing_metadata() or ())
    return error.code().name, told.get("x-error-code", "")


def picture(data: bytes | None = None, model: str = "colors", **fields: Any) -> Any:
    request = OIP["ModelInfer"].request(model_name=model, **fields)
    request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        png(255, 0, 51) if data is None else data
    )
    return request


def test_a_picture_is_answered_and_the_answer_is_marked(channel: grpc.Channel, app: App) -> None:
    reply, ended = call(channel, "ModelInfer", picture(), metadata=(("x-request-id", "mine"),))
    assert [output.name for output in reply.outputs] == ["scores", "prediction"]
    np.testing.assert_allclose(reply.outputs[0].contents.fp32_contents, SCORES, atol=1e-6)
    told = dict(ended.trailing_metadata())
    assert (told["x-request-id"], told["x-model-version"]) == ("mine", "1")
    assert told["server-timing"].startswith("decode;dur=")
    text = app.metrics.text(app.engine)
    assert 'saccade_grpc_requests_total{method="/inference.GRPCInferenceService/ModelInfer",status="OK"}' in text


def test_errors_have_a_status_a_code_and_no_inside(channel: grpc.Channel) -> None:
    assert refused(channel, "ModelInfer", picture(model="nobody")) == ("NOT_FOUND", "not_found")
    assert refused(channel, "ModelInfer", picture(b"GIF89a")) == ("INVALID_ARGUMENT", "image_format_unsupported")
    assert refused(channel, "ModelInfer", OIP["ModelInfer"].request(model_name="colors"))[0] == "INVALID_ARGUMENT"
    assert refused(channel, "SystemSharedMemoryStatus") == ("UNIMPLEMENTED", "not_implemented")
    load = OIP["RepositoryModelLoad"].request(model_name="colors")
    assert refused(channel, "RepositoryModelLoad", load) == ("UNIMPLEMENTED", "not_implemented")
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(OIP["ModelInfer"].path)(b"\x0b", timeout=20)
    assert dict(caught.value.trailing_metadata())["x-error-code"] == "malformed_protobuf"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_messages_and_metadata_have_their_limits(channel: grpc.Channel) -> None:
    just, over = bytes(1024 * 1024 - 200), bytes(1024 * 1024)
    assert refused(channel, "ModelInfer", picture(just)) == ("INVALID_ARGUMENT", "image_format_unsupported")
    assert refused(channel, "ModelInfer", picture(over)) == ("RESOURCE_EXHAUSTED", "")
    assert refused(channel, "ServerLive", metadata=(("x-long", "a" * 20_000),)) == ("RESOURCE_EXHAUSTED", "")


def test_compressed_messages_are_refused(channel: grpc.Channel) -> None:
    """A small one could unpack to more than the memory."""
    assert len(gzip.compress(bytes(2**20))) < 2_000
    status, _ = refused(channel, "ModelInfer", picture(bytes(2**19)), compression=grpc.Compression.Gzip)
    assert status == "UNIMPLEMENTED"


@pytest.mark.parametrize("path", [OIP["ServerLive"].path, OIP["ModelStreamInfer"].path, "/grpc.health.v1.Health/Watch"])
def test_a_message_that_never_comes_is_not_waited_for(channel: grpc.Channel, path: str) -> None:
    """Else a few connections that say nothing would take every place, and health asks for no key."""
    never: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(path)(iter(never.get, None), timeout=20))
    never.put(None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(caught.value.trailing_metadata())["x-error-code"] == "request_timeout"
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(path)(iter(()), timeout=20))
    assert dict(caught.value.trailing_metadata())["x-error-code"] == "malformed_protobuf"


def test_who_watches_leaves_room_for_others(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watching = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(MAX_WATCHERS)]
    assert [next(one).status for one in watching] == [1] * MAX_WATCHERS
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(channel, "ServerLive")[0].live
    for one in watching:
        one.cancel()


def test_a_deadline_reaches_the_queue(channel: grpc.Channel) -> None:
    request = picture()
    request.parameters["timeout"].int64_param = 1
    assert refused(channel, "ModelInfer", request) == ("DEADLINE_EXCEEDED", "deadline_exceeded")


def test_a_stream_answers_in_order_and_goes_on_after_a_refusal(channel: grpc.Channel) -> None:
    rpc = OIP["ModelStreamInfer"]
    names = ["colors"] * 400
    names[7] = "nobody"
    requests = iter([picture(model=name, id=str(i)) for i, name in enumerate(names)])
    asked = channel.stream_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
    replies = list(asked(requests, timeout=20))
    assert "no such model" in replies.pop(7).error_message
    assert [r.error_message for r in replies if r.error_message] == []
    assert [r.infer_response.id for r in replies] == [str(i) for i in range(400) if i != 7]


def test_messages_count_among_the_bodies_that_all_callers_may_hold(channel: grpc.Channel, app: App) -> None:
    rpc = OIP["ModelStreamInfer"]
    asked = channel.stream_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
    with app.held.share(BODY_LIMITS.max_held_bytes):
        assert refused(channel, "ModelInfer", picture()) == ("UNAVAILABLE", "overloaded")
        [reply] = asked(iter([picture()]), timeout=20)
        assert "ask again later" in reply.error_message
    call(channel, "ModelInfer", picture())
    [reply] = asked(iter([picture()]), timeout=20)
    assert not reply.error_message
    with app.held.share(BODY_LIMITS.max_held_bytes):
        pass  # all of it was given back


class Held:
    """The engine's promise that nothing settles, and whether it was cancelled."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.promise = Promise[Any]()
        self.asked = threading.Event()

        def ask(_: Any, **how: Any) -> Promise[Any]:
            self.asked.set()
            return self.promise

        monkeypatch.setattr(engine, "ask", ask)


@pytest.mark.parametrize("name", ["ModelInfer", "ModelStreamInfer"])
def test_the_work_of_a_caller_who_leaves_is_dropped(
    channel: grpc.Channel, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    held, rpc = Held(engine, monkeypatch), OIP[name]
    if rpc.streams:
        asked: Any = channel.stream_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        waiting = asked(iter([picture()]))
    else:
        asked = channel.unary_unary(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        waiting = asked.future(picture())
    assert held.asked.wait(20)
    waiting.cancel()
    end = time.monotonic() + 20
    while not held.promise.cancelled():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_health_as_its_own_client_asks(channel: grpc.Channel, app: App) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService", "grpc.health.v1.Health"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert stub.List(health_pb2.HealthListRequest(), timeout=20).statuses[""].status == 1
    watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watching).status == 1
    app.state.draining = True
    try:
        assert next(watching).status == 2
    finally:
        app.state.draining = False
    assert next(watching).status == 1
    watching.cancel()
    assert next(stub.Watch(health_pb2.HealthCheckRequest(service="nothing"), timeout=20)).status == 3


def test_reflection_as_its_own_client_asks(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "inference.GRPCInferenceService" in database.get_services()
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName("ModelInfer")
    assert method.input_type.fields_by_name["raw_input_contents"].number == 7
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("inference.Nothing")


def test_reflection_is_off_by_default(engine: Engine, tmp_path: Path) -> None:
    paths = {method.path for method in Grpc(build(Settings(home=tmp_path), engine)).methods}
    assert not [path for path in paths if "reflection" in path]
    assert "/grpc.health.v1.Health/Check" in paths


def test_keys_over_gRPC(engine: Engine, tmp_path: Path) -> None:  # noqa: N802
    use, control = Keys(tmp_path).make("use"), Keys(tmp_path).make("control", scope="control")
    app = build(Settings(home=tmp_path, grpc_port=free(), finish_s=0.2), engine)
    with listening(app) as address, grpc.insecure_channel(address) as channel:
        load = OIP["RepositoryModelLoad"].request(model_name="colors")

        def ask(name: str, request: Any = None, *metadata: tuple[str, str]) -> str:
            return refused(channel, name, request, metadata=metadata)[1]

        assert call(channel, "ServerLive")[0].live
        assert ask("ModelInfer", picture()) == "unauthenticated"
        assert ask("ModelInfer", picture(), ("authorization", use)) == "unauthenticated"
        twice = (("authorization", f"Bearer {use}"), ("authorization", "Bearer other"))
        assert ask("ModelInfer", picture(), *twice) == "malformed_http"
        for head in (("authorization", f"Bearer {use}"), ("x-api-key", use)):
            assert call(channel, "ModelInfer", picture(), metadata=(head,))[0].outputs
            assert ask("RepositoryModelLoad", load, head) == "forbidden"
        assert ask("RepositoryModelLoad", load, ("x-api-key", control)) == "not_implemented"


def test_a_key_that_is_slow_over_http_is_slow_over_grpc(engine: Engine, tmp_path: Path) -> None:
    rude, polite = (("x-api-key", Keys(tmp_path).make(name)) for name in ("rude", "polite"))
    app = build(Settings(home=tmp_path, grpc_port=free(), finish_s=0.2), engine)
    with listening(app) as address, grpc.insecure_channel(address) as channel:
        for _ in range(CALLER_LIMITS.max_bad_images):
            assert (
                refused(channel, "ModelInfer", picture(b"rubbish"), metadata=(rude,))[1] == "image_format_unsupported"
            )
        found = [refused(channel, "ModelInfer", picture(b"rubbish"), metadata=(rude,)) for _ in range(3)]
        assert ("RESOURCE_EXHAUSTED", "too_many_bad_images") in found
        assert call(channel, "ModelInfer", picture(), metadata=(polite,))[0].outputs
        for _ in range(3):
            assert call(channel, "ModelReady", OIP["ModelReady"].request(name="colors"), metadata=(rude,))[0].ready
        rpc = OIP["ModelStreamInfer"]
        stream = channel.stream_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        told = [reply.error_message for reply in stream(iter([picture(b"rubbish")] * 4), metadata=(rude,), timeout=20)]
        assert sum("answered once a second" in words for words in told) >= 3, "a stream is no way around it"


def test_an_operators_listener_takes_loading_from_grpc_too(engine: Engine, tmp_path: Path) -> None:
    app = build(Settings(home=tmp_path, grpc_port=free(), admin_port=free()), engine)
    assert not [method.path for method in Grpc(app).methods if method.needs == "control"]

    async def made() -> list[str]:
        return [type(listener).__name__ for listener in beside(app)]

    assert asyncio.run(made()) == ["Listener", "Grpc"]


def test_who_asks_how_urgently_and_until_when_reaches_the_queue(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(tmp_path)
    mine = ("x-api-key", keys.make("mine"))
    own_id = keys.list()[0].id
    app = build(Settings(home=tmp_path, grpc_port=free(), finish_s=0.2), engine)
    seen: list[tuple[str | None, bool | None]] = []
    deadlines_s: list[float] = []
    ask = engine.ask

    def noted(request: Request, **how: Any) -> Any:
        seen.append((request.caller, request.urgent))
        deadlines_s.append(request.deadline_s)
        return ask(request, **how)

    monkeypatch.setattr(engine, "ask", noted)
    with listening(app) as address, grpc.insecure_channel(address) as channel:
        first, later = picture(), picture()
        first.parameters["priority"].uint64_param = 1
        later.parameters["priority"].uint64_param = 2
        call(channel, "ModelInfer", picture(), metadata=(mine,))
        call(channel, "ModelInfer", picture(), metadata=(mine, ("x-priority", "batch")))
        call(channel, "ModelInfer", first, metadata=(mine, ("x-priority", "batch")))
        call(channel, "ModelInfer", later, metadata=(mine,))
        assert refused(channel, "ModelInfer", picture(), metadata=(mine, ("x-priority", "now")))[1] == "invalid_value"
        rpc = OIP["ModelInfer"]
        channel.unary_unary(rpc.path, rpc.request.SerializeToString)(picture(), metadata=(mine,))
    assert seen == [(own_id, None), (own_id, False), (own_id, True), (own_id, False), (own_id, None)]
    assert all(10 < left <= 21 for left in deadlines_s[:-1]), "20 s, which grpc rounds up on the way"
    assert deadlines_s[-1] == 10


def test_a_taken_port_is_said(engine: Engine, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        app = build(Settings(home=tmp_path, grpc_port=other.getsockname()[1]), engine)
        with pytest.raises(ServerError) as caught, listening(app):
            pass
        assert caught.value.code == "port_taken"


def test_without_the_extra_the_cure_is_told(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "saccade.server.grpc")
    with pytest.raises(UsageError, match=r"gRPC needs grpc, .* pip install 'saccade\[grpc\]'"):
        beside(build(Settings(home=tmp_path, grpc_port=1), engine))
    assert beside(build(Settings(home=tmp_path), engine)) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
        bytes(range(256)) * 64,
    ],
    ids=["HTTP/1", "empty frames", "a frame too large", "noise"],
)
def test_what_is_no_grpc_is_hung_up_on(channel: grpc.Channel, app: App, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", app.settings.grpc_port), timeout=20) as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass
    assert call(channel, "ServerLive")[0].live


def test_two_listeners_need_two_ports() -> None:
    with pytest.raises(UsageError, match="both 9000"):
        Settings(port=9000, grpc_port=9000)


# In a process of its own


@contextmanager
def process(package: Path, home: Path, *options: str, **environment: str) -> Iterator[tuple[Any, int, int]]:
    port, grpc_port = free(), free()
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--home", str(home), *options]
    given = {**os.environ, "SACCADE_DRAIN_S": "0.3", **environment}
    running = subprocess.Popen(
        [*command, "--port", str(port), "--grpc-port", str(grpc_port)], stderr=subprocess.PIPE, env=given
    )
    try:
        yield running, port, grpc_port
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def ready(channel: grpc.Channel) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(grpc.RpcError):
            if call(channel, "ServerReady", wait_for_ready=True)[0].ready:
                return
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_was_accepted_is_answered_while_the_server_stops(tmp_path: Path) -> None:
    package = colors(tmp_path / "package").path
    with (
        process(package, tmp_path / "home") as (running, _, port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        ready(channel)
        rpc = OIP["ModelStreamInfer"]
        asked = channel.stream_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stream = asked(iter(sent.get, None))
        sent.put(picture())
        assert next(stream).infer_response.outputs
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        stop = threading.Event()

        def ask_on(_: int) -> tuple[int, list[str]]:
            answered, lost = 0, []
            while not stop.is_set():
                try:
                    answered += bool(call(channel, "ModelInfer", picture())[0].outputs)
                except grpc.RpcError as error:
                    lost.append(f"{error.code().name} {error.details()}")
                    return answered, lost
            return answered, lost

        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(ask_on, i) for i in range(4)]
            time.sleep(0.5)
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
            stop.set()
            for answered, lost in (one.result() for one in asking):
                assert answered > 0
                assert all(said.startswith("UNAVAILABLE") for said in lost), lost
        assert list(stream) == [], "an idle stream is ended, and ended well"
        assert [health.status for health in watching] == [1, 2]
        sent.put(None)
        assert b"stopped" in running.stderr.read()


def test_tls_is_that_of_http(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    made += ["-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not here to make a certificate")
    key.chmod(0o600)
    package = colors(tmp_path / "package").path
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    with process(package, tmp_path / "home", *options) as (_, _, port):
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", trusted) as channel:
            ready(channel)
            reply, _ = call(channel, "ModelInfer", picture())
            assert json.loads(reply.outputs[1].contents.bytes_contents[0])["model"] == "colors"
        with grpc.insecure_channel(f"localhost:{port}") as plain, pytest.raises(grpc.RpcError):
            call(plain, "ServerLive")
        renewed(cert, key, made)
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", trusted, options=ALONE) as channel:
            assert call(channel, "ServerLive")[0].live, "the next connection sees the renewed certificate"
        cert.write_text("no certificate")
        with grpc.secure_channel(f"localhost:{port}", trusted, options=ALONE) as channel:
            assert call(channel, "ServerLive")[0].live, "one that cannot be used changes nothing"


ALONE = [("grpc.use_local_subchannel_pool", 1)]
"""No connection of an earlier channel is used again."""


def renewed(cert: Path, key: Path, made: list[str]) -> None:
    subprocess.run([*made[:-4], "-keyout", f"{key}.new", "-out", f"{cert}.new"], check=True, capture_output=True)
    Path(f"{key}.new").chmod(0o600)
    Path(f"{key}.new").replace(key)
    Path(f"{cert}.new").replace(cert)
