"""Graphs that another server runs: a real listener of this house, and a scripted one for what servers do wrong."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.errors import InferenceError, PackageError, UsageError
from saccade.inference import remote, remote_keys, runtimes
from saccade.inference.batcher import Batcher
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.remote import Remote
from saccade.inference.request import Request
from saccade.inference.runtime import OpenGraph
from saccade.inference.runtimes import tf_serving, triton
from saccade.package.reader import Package
from saccade.server.build import build
from saccade.server.grpc import Grpc
from saccade.server.metrics import Metrics
from saccade.server.settings import Settings
from saccade.server.state import State
from saccade.testing.packages import boxes, colors, masks, png
from saccade.testing.runtimes import check
from saccade.verbs.imports import import_model
from saccade.wire import schema
from saccade.wire.names import TENSORFLOW

OIP = schema.service("inference.GRPCInferenceService")
RED = png(255, 0, 51)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(package: Package, port: int, home: Path) -> Iterator[str]:
    """Our own gRPC listener over a package: the model server that is asked."""
    engine = Engine()
    engine.load(package.path, package.manifest.name)
    app = build(Settings(home=home, grpc_port=port), engine)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Grpc:
        listener = Grpc(app)
        await listener.start()
        return listener

    listener = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        engine.close()


class Scripted:
    """A server of the dialect whose answers a test writes itself: 4 numbers in, 4 numbers out."""

    def __init__(self, infer: Callable[[Any, Any], Any], most: int = 0) -> None:
        self.infer, self.most = infer, most
        self.asked: list[tuple[Any, float]] = []
        self.config = True
        self.ready: grpc.StatusCode | None = None
        self.bearers: list[str | None] = []

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        rpc = OIP[name]

        def answer(request: Any, context: Any) -> Any:
            self.bearers.append(dict(context.invocation_metadata()).get("authorization"))
            if name == "ModelInfer":
                self.asked.append((request, context.time_remaining()))
                return self.infer(request, context)
            if name == "ModelConfig" and self.config:
                return rpc.reply(config={"max_batch_size": self.most})
            if name == "ModelMetadata":
                tensor = {"datatype": "FP32", "shape": [-1, 4]}
                return rpc.reply(inputs=[{"name": "x", **tensor}], outputs=[{"name": "y", **tensor}])
            if name == "ModelReady" and self.ready:
                context.abort(self.ready, "secret of 10.0.0.7")
            if name == "ModelReady":
                return rpc.reply(ready=True)
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")

        return grpc.unary_unary_rpc_method_handler(answer, rpc.request.FromString, rpc.reply.SerializeToString)


@contextmanager
def scripted(script: Scripted, folder: Path) -> Iterator[OpenGraph]:
    """The graph of a scripted server, open."""
    with served(script) as address:
        graph = opened(address, folder)
        try:
            yield graph
        finally:
            graph.close()


@contextmanager
def served(script: Scripted, port: int = 0) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[script])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def opened(address: str, folder: Path) -> OpenGraph:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "remote.json").write_bytes(Remote(address, "m").to_bytes())
    return runtimes.find("triton").open(folder / "remote.json")


def echo(request: Any, context: Any) -> Any:
    """What came, doubled."""
    values = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
    reply = OIP["ModelInfer"].reply(model_name="m")
    reply.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
    reply.raw_output_contents.append(values.tobytes())
    return reply


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises((InferenceError, PackageError, UsageError)) as caught:
        call()
    return caught.value.code


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# The runtime


@pytest.mark.parametrize("name", ["triton", "tf_serving"])
def test_it_keeps_the_contract_of_runtimes(tmp_path: Path, name: str) -> None:
    package = colors(tmp_path / "p")
    with serving(package, free(), tmp_path / "home") as address:

        def make(file: Path) -> Path:
            file.write_bytes(Remote(address, "colors").to_bytes())
            return file

        check(runtimes.find(name), tmp_path, make)


def test_the_deadline_goes_along(tmp_path: Path) -> None:
    script = Scripted(echo)
    with scripted(script, tmp_path) as graph:
        rows = np.ones((2, 4), np.float32)
        assert graph.run_until({"x": rows}, time.monotonic() + 3)["y"].tolist() == (rows * 2).tolist()
        assert 1 < script.asked[0][1] < 4
        assert code_of(lambda: graph.run_until({"x": rows}, time.monotonic())) == "deadline_exceeded"
        assert len(script.asked) == 1


def test_a_run_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    gone = threading.Event()

    def slow(request: Any, context: Any) -> Any:
        context.add_callback(gone.set)
        assert gone.wait(20)
        return echo(request, context)

    with scripted(Scripted(slow), tmp_path) as graph:
        began = time.monotonic()
        rows = {"x": np.ones((1, 4), np.float32)}
        assert code_of(lambda: graph.run_until(rows, began + 0.3)) == "deadline_exceeded"
        assert gone.wait(20)


def test_more_rows_than_the_server_takes_are_asked_in_turn(tmp_path: Path) -> None:
    script = Scripted(echo, most=3)
    with scripted(script, tmp_path) as graph:
        rows = np.arange(32, dtype=np.float32).reshape(8, 4)
        np.testing.assert_array_equal(graph.run({"x": rows})["y"], rows * 2)
        assert [list(request.inputs[0].shape) for request, _ in script.asked] == [[3, 4], [3, 4], [2, 4]]


def test_a_server_without_configurations_takes_any_number(tmp_path: Path) -> None:
    script = Scripted(echo, most=3)
    script.config = False
    with scripted(script, tmp_path) as graph:
        assert graph.run({"x": np.ones((8, 4), np.float32)})["y"].shape == (8, 4)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, "dependency_unavailable"),
        (grpc.StatusCode.NOT_FOUND, "dependency_unavailable"),
        (grpc.StatusCode.UNAUTHENTICATED, "dependency_unavailable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded"),
        (grpc.StatusCode.INVALID_ARGUMENT, "inference_failed"),
        (grpc.StatusCode.INTERNAL, "inference_failed"),
    ],
)
def test_a_refusal_is_typed_tells_no_secret_and_is_not_sent_again(
    tmp_path: Path, status: grpc.StatusCode, code: str
) -> None:
    script = Scripted(lambda request, context: context.abort(status, "secret of 10.0.0.7"))
    with scripted(script, tmp_path) as graph:
        with pytest.raises(InferenceError) as caught:
            graph.run({"x": np.ones((1, 4), np.float32)})
        assert caught.value.code == code
        assert "secret" not in str(caught.value)
        assert "secret" in str(caught.value.__cause__)
        assert len(script.asked) == 1


def output(**fields: Any) -> Callable[[Any, Any], Any]:
    raw = fields.pop("raw", None)

    def answer(request: Any, context: Any) -> Any:
        reply = OIP["ModelInfer"].reply()
        reply.outputs.add(**{"name": "y", "datatype": "FP32", "shape": [1, 4], **fields})
        reply.raw_output_contents.extend([] if raw is None else [raw])
        return reply

    return answer


@pytest.mark.parametrize(
    "wrong",
    [
        output(raw=bytes(16), name="z"),
        output(raw=bytes(16), datatype="FP128"),
        output(raw=bytes(32), datatype="FP64"),
        output(raw=bytes(15)),
        output(raw=bytes(32), shape=[2, 4]),
        output(raw=bytes(16), shape=[4]),
        output(raw=bytes(20), shape=[1, 5]),
        output(raw=bytes(16), shape=[-1, 4]),
        output(),
        output(contents={"fp32_contents": [1.0]}),
        output(contents={"uint_contents": [300, 1, 1, 1]}, datatype="UINT8"),
        lambda request, context: OIP["ModelInfer"].reply(),
    ],
)
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, wrong: Callable[[Any, Any], Any]) -> None:
    with scripted(Scripted(wrong), tmp_path) as graph:
        rows = {"x": np.ones((1, 4), np.float32)}
        assert code_of(lambda: graph.run(rows)) == "inference_failed"
        assert graph.fault() is None


def test_an_answer_in_the_fields_of_its_type_is_read(tmp_path: Path) -> None:
    with scripted(Scripted(output(contents={"fp32_contents": [1, 2, 3, 4]})), tmp_path) as graph:
        assert graph.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[1, 2, 3, 4]]


def test_it_notices_when_the_server_goes_and_when_it_comes_back(tmp_path: Path) -> None:
    port, rows = free(), {"x": np.ones((1, 4), np.float32)}
    with served(Scripted(echo), port) as address:
        graph = opened(address, tmp_path)
        assert graph.run(rows)["y"].sum() == 8
    try:
        until(lambda: graph.fault() is not None)
        assert code_of(lambda: graph.run(rows)) == "dependency_unavailable"
        with served(Scripted(echo), port):
            until(lambda: graph.fault() is None)
            assert graph.run(rows)["y"].sum() == 8
    finally:
        graph.close()


def test_a_server_that_restarts_between_two_calls_is_reached_again(tmp_path: Path) -> None:
    port, rows = free(), {"x": np.ones((1, 4), np.float32)}
    with served(Scripted(echo), port) as address:
        graph = opened(address, tmp_path)
    try:
        again = Scripted(echo)
        with served(again, port):
            until(lambda: _asks(graph, rows))
            assert len(again.asked) == 1
    finally:
        graph.close()


def _asks(graph: OpenGraph, rows: Mapping[str, Any]) -> bool:
    try:
        return bool(graph.run(rows)["y"].sum() == 8)
    except InferenceError as error:
        if error.code != "dependency_unavailable":
            raise
        return False


def test_nobody_there_is_found_out_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    assert code_of(lambda: opened(f"127.0.0.1:{free()}", tmp_path)) == "dependency_unavailable"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", ["INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_a_server_that_fails_when_looked_at_is_away(
    tmp_path: Path, status: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote, "LOOK_S", 0.02)
    monkeypatch.setattr(remote, "AGAIN_S", 0.02)
    script = Scripted(echo)
    with caplog.at_level("WARNING", "saccade.inference"), scripted(script, tmp_path) as graph:
        script.ready = grpc.StatusCode[status]
        until(lambda: graph.fault() is not None)
        fault = graph.fault()
        assert fault
        assert fault.code == "dependency_unavailable"
        assert fault.__cause__
        assert "secret" not in str(fault)
        assert "secret" in caplog.text
        script.ready = None
        until(lambda: graph.fault() is None)


def test_connecting_counts_in_the_time_of_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(echo)
    with scripted(script, tmp_path) as graph:
        monkeypatch.setattr(triton.Line, "_connect", lambda line, timeout_s: time.sleep(1))
        monkeypatch.setattr(graph._line, "_ready", False)  # type: ignore[attr-defined]
        graph.run_until({"x": np.ones((1, 4), np.float32)}, time.monotonic() + 10)
        assert script.asked[0][1] < 9.5


# Its key


def test_a_key_goes_to_its_own_address_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"x": np.ones((1, 4), np.float32)}
    known, stranger = Scripted(echo), Scripted(echo)
    with served(known) as mine, served(stranger) as other:
        monkeypatch.setenv("SACCADE_REMOTE_KEY", f"{mine}=mine=, gpu:8001=far")
        for address in (mine, other):
            graph = opened(address, tmp_path)
            graph.run(rows)
            graph.close()
    assert set(known.bearers) == {"Bearer mine="}
    assert set(stranger.bearers) == {None}


@pytest.mark.parametrize("name", ["triton", "tf_serving"])
@pytest.mark.parametrize("text", ["secret", "gpu:8001=", "=secret", "gpu=secret", "gpu:8001=se cret", "a:1=x,secret"])
def test_a_key_without_an_address_goes_nowhere(
    tmp_path: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Scripted(echo)
    with served(script) as address:
        (tmp_path / "remote.json").write_bytes(Remote(address, "m").to_bytes())
        monkeypatch.setenv("SACCADE_REMOTE_KEY", text)
        with pytest.raises(UsageError, match="HOST:PORT=KEY") as caught:
            runtimes.find(name).open(tmp_path / "remote.json")
    assert "secret" not in str(caught.value)
    assert not script.bearers


@pytest.mark.parametrize("address", ["gpu:8001", "10.0.0.7:8001", "127.0.0.1.example.org:8001", "[2001:db8::1]:8001"])
def test_a_key_leaves_this_machine_encrypted_or_not_at_all(address: str) -> None:
    given = {"SACCADE_REMOTE_KEY": f"{address}=secret"}
    with pytest.raises(UsageError, match=r"without TLS; .*\+tls") as caught:
        remote_keys.key_of(Remote(address, "m"), given)
    assert "secret" not in str(caught.value)
    assert remote_keys.key_of(Remote(address, "m", tls=True), given) == "secret"
    assert remote_keys.key_of(Remote("gpu:8002", "m"), given) is None


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.1:1", "127.8.0.1:1", "[::1]:1"])
def test_a_key_may_go_to_this_machine_in_clear(address: str) -> None:
    assert remote_keys.key_of(Remote(address, "m"), {"SACCADE_REMOTE_KEY": f"{address}=secret"}) == "secret"


# Where it is


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("triton://gpu:8001/waste", ("triton", Remote("gpu:8001", "waste"))),
        ("triton+tls://a.b-c:1/m.1_x/versions/12", ("triton", Remote("a.b-c:1", "m.1_x", "12", True))),
        ("tfs://[::1]:8500/m", ("tf_serving", Remote("[::1]:8500", "m"))),
    ],
)
def test_an_address_is_read(url: str, found: Any) -> None:
    assert remote.is_remote(url)
    assert remote.parse(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "triton://", "triton://gpu/waste", "triton://gpu:8001", "triton://gpu:8001/", "triton://gpu:99999/m",
        "triton://gpu:8001/m/versions/x", "triton://gpu:8001/m/versions", "triton://gpu:8001/m/v/1",
        "triton://u:p@gpu:8001/m", "triton+ssl://gpu:8001/m", "triton://unix:8001:1/m", "triton://gpu:8001/../m",
        "http://gpu:8001/m", "triton://gpu:8001/m?x=1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="names no model of a server"):
        remote.parse(url)


GOOD = json.loads(Remote("a:1", "m").to_bytes())


@pytest.mark.parametrize(
    "record",
    [
        {**GOOD, "address": "unix:/run/x"}, {**GOOD, "tls": 1}, {**GOOD, "more": ""}, {"address": "a:1"}, [], None,
        {**GOOD, "model": "../up"}, {**GOOD, "version": "-1"}, {**GOOD, "model": "m" * 5000},
    ],
)  # fmt: skip
def test_a_file_that_holds_no_address_is_refused(tmp_path: Path, record: Any) -> None:
    (tmp_path / "remote.json").write_text(json.dumps(record))
    assert code_of(lambda: Remote.read(tmp_path / "remote.json")) == "onnx_invalid"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_address_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(data)
    assert code_of(lambda: Remote.read(file)) == "onnx_invalid"


# A package of it


@pytest.mark.parametrize("scheme", ["triton", "tfs"])
def test_a_package_answers_as_the_one_whose_graph_is_served_elsewhere(tmp_path: Path, scheme: str) -> None:
    for make in (colors, masks, boxes):
        package = make(tmp_path / make.__name__ / "p")
        with serving(package, free(), tmp_path / "home") as address:
            url = f"{scheme}://{address}/{package.manifest.name}"
            made = import_model(url, tmp_path / make.__name__ / "far", like=package.path, name="far")
            assert made.golden == 1
            with Model.open(package.path) as near, Model.open(made.package) as far:
                expected, got = near.outputs([RED, RED]), far.outputs([RED, RED])
            for name, value in expected.items():
                np.testing.assert_allclose(got[name], value, atol=1e-6)


def test_a_graph_elsewhere_is_imported_with_a_description(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "how.toml").write_text('color = "rgb"\nscale = 1\nmode = "stretch"\ntail = "none"\n')
    package = colors(tmp_path / "p", exclusive=True)
    with serving(package, free(), tmp_path / "home") as address:
        made = import_model(
            f"triton://{address}/colors", tmp_path / "far", task=package.manifest.task, labels=tmp_path / "labels.txt",
            preprocess=tmp_path / "how.toml",
        )  # fmt: skip
        assert (made.golden, made.labels.names) == (2, ("red", "green", "blue"))
        assert address in made.notes[0]
        engine = Engine()
        engine.load(made.package, "m")
        [answer] = engine.submit(Request("m", (RED,))).result().results
        assert answer.scores.tolist() == pytest.approx([1.0, 0.2, 0.0])  # type: ignore[union-attr]
        engine.close()
        tensors = import_model(f"triton://{address}/colors", tmp_path / "tensors")
        assert tensors.golden == 1


def test_what_is_served_elsewhere_must_be_what_the_package_says(tmp_path: Path) -> None:
    package, other = colors(tmp_path / "p"), colors(tmp_path / "q", network=True)
    with serving(other, free(), tmp_path / "home") as address:
        url = f"triton://{address}/colors"
        with pytest.raises(UsageError, match="the package has 'boxes' float32"):
            import_model(url, tmp_path / "far", like=boxes(tmp_path / "b").path)
        assert code_of(lambda: import_model(url, tmp_path / "far", like=package.path)) == "golden_mismatch"
        with pytest.raises(UsageError, match="everything else is the package's"):
            import_model(url, tmp_path / "far", like=package.path, tail="softmax")
        with pytest.raises(InferenceError, match="no such model"):
            import_model(f"triton://{address}/nobody", tmp_path / "far", like=package.path)
    assert not (tmp_path / "far").exists()
    with pytest.raises(InferenceError, match="nobody answers there"):
        import_model(url, tmp_path / "far", like=package.path)
    with pytest.raises(UsageError, match="goes with the address of a model server"):
        import_model(tmp_path / "m.onnx", tmp_path / "far", like=package.path)


def test_a_dead_server_is_seen_everywhere_and_its_return_too(tmp_path: Path) -> None:
    package, port, engine, metrics, state = colors(tmp_path / "p"), free(), Engine(), Metrics(), State()
    state.started, state.engine = True, engine
    with serving(package, port, tmp_path / "home") as address:
        far = import_model(f"triton://{address}/colors", tmp_path / "far", like=package.path, name="far").package
        engine.load(far, "far")
        state.check()
    until(lambda: engine.versions("far")[1].state == "away")
    assert code_of(lambda: engine.submit(Request("far", (RED,))).result()) == "dependency_unavailable"
    assert 'saccade_model_ready{model="far",version="1"} 0' in metrics.text(engine)
    assert [entry.name for entry in state.away()] == ["far"]
    with pytest.raises(Exception, match="what runs the models is away"):
        state.check()
    engine.load(package.path, "near")
    state.check()
    with serving(package, port, tmp_path / "home"):
        until(lambda: engine.versions("far")[1].state == "ready")
        assert engine.submit(Request("far", (RED,))).result().results
        assert 'saccade_model_ready{model="far",version="1"} 1' in metrics.text(engine)
    engine.close()


# The batcher


def test_an_error_of_the_server_is_not_asked_for_row_by_row() -> None:
    runs: list[int] = []

    def run(arrays: Any, deadline: float) -> Any:
        runs.append(len(arrays["x"]))
        raise remote.away()

    batcher = Batcher(run, max_batch=8)
    rows = [batcher.submit({"x": np.zeros(1)}, time.monotonic() + 60) for _ in range(5)]
    batcher.start()
    assert {code_of(row.result) for row in rows} == {"dependency_unavailable"}
    assert runs == [5]
    batcher.close()


def test_the_nearest_deadline_counts_and_the_others_run_again() -> None:
    now = [100.0]
    runs: list[tuple[int, float]] = []

    def run(arrays: Any, deadline: float) -> Any:
        runs.append((len(arrays["x"]), deadline))
        if deadline < 105:
            now[0] = deadline
            raise InferenceError("too late", code="deadline_exceeded")
        return {"y": arrays["x"]}

    batcher = Batcher(run, max_batch=8, clock=lambda: now[0])
    rows = [batcher.submit({"x": np.full(1, i)}, 100.0 + due) for i, due in enumerate((9, 1, 8, 3))]
    batcher.start()
    assert [code_of(rows[i].result) for i in (1, 3)] == ["deadline_exceeded"] * 2
    assert [float(rows[i].result().outputs["y"][0]) for i in (0, 2)] == [0.0, 2.0]
    assert runs == [(4, 101.0), (3, 103.0), (2, 108.0)]
    batcher.close()


# Tensors of TensorFlow


@given(
    st.sampled_from(["float32", "float64", "float16", "int32", "uint8", "int64", "bool", "uint64"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.booleans(),
)
def test_a_tensor_of_tensorflow_is_read_raw_or_value_by_value(dtype: str, shape: list[int], raw: bool) -> None:
    value = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    _, number, held = TENSORFLOW[dtype]
    tensor = schema.message("tensorflow.TensorProto")(dtype=number)
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    if raw:
        tensor.tensor_content = value.tobytes()
    else:
        plain = value.view("uint16") if dtype == "float16" else value
        getattr(tensor, held).extend(plain.ravel().tolist())
    found = tf_serving._read(tensor)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 7, "string_val": [b"x"]},
        {"dtype": 1, "tensor_content": bytes(5), "tensor_shape": {"dim": [{"size": 1}]}},
        {"dtype": 1, "float_val": [1, 2, 3], "tensor_shape": {"dim": [{"size": 2}]}},
        {"dtype": 1, "float_val": [1], "tensor_shape": {"dim": [{"size": -1}]}},
        {"dtype": 1, "float_val": [1], "tensor_shape": {"dim": [{"size": 1 << 20}, {"size": 1 << 20}]}},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2}]}},
        {"dtype": 4, "int_val": [300], "tensor_shape": {"dim": [{"size": 1}]}},
    ],
)
def test_a_tensor_that_is_none_is_an_error(fields: dict[str, Any]) -> None:
    assert code_of(lambda: tf_serving._read(schema.message("tensorflow.TensorProto")(**fields))) == "inference_failed"


def test_a_repeated_value_fills_its_tensor() -> None:
    fields = {"dtype": 1, "float_val": [1, 2], "tensor_shape": {"dim": [{"size": 4}]}}
    assert tf_serving._read(schema.message("tensorflow.TensorProto")(**fields)).tolist() == [1, 2, 2, 2]
