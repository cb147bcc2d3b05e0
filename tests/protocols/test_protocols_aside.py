"""A large body is read, and a large answer written, beside the event loop, which meanwhile serves the others."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from saccade.errors import InferenceError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.promise import Promise
from saccade.protocols import method, protocol
from saccade.protocols.native import messages as native
from saccade.protocols.native.http import Native
from saccade.protocols.open_inference import messages as oip
from saccade.protocols.open_inference import protobuf as oip_protobuf
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Protocol
from saccade.protocols.tensors import of
from saccade.protocols.tf_serving import messages as tfs
from saccade.protocols.tf_serving import protobuf as tfs_protobuf
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.testing.packages import colors
from saccade.testing.protocols import asked_once, refusal
from saccade.wire import schema
from saccade.wire.names import TENSORFLOW_STRING

SMALL, LARGE = (np.full((rows, 32, 32, 3), 200, np.uint8) for rows in (1, 32))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine()
    engine.load(colors(tmp_path_factory.mktemp("aside") / "a").path, "colors", 1)
    yield engine
    engine.close()


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[bool]]:
    """Watches a function: of each call, whether it ran beside the loop."""

    def watch(module: Any, name: str) -> list[bool]:
        seen: list[bool] = []
        real = getattr(module, name)

        def watched(*given: Any, **named: Any) -> Any:
            seen.append(threading.current_thread() is not threading.main_thread())
            return real(*given, **named)

        monkeypatch.setattr(module, name, watched)
        return seen

    return watch


def send(engine: Engine, protocol: Protocol, pattern: str, body: Any, **headers: str) -> int:
    route = next(r for r in protocol.routes(engine) if (r.method, r.pattern) == ("POST", pattern))
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(protocol, route, json.dumps(body).encode(), given, name="colors").status


def test_large_json_of_the_open_inference_protocol(engine: Engine, beside: Any) -> None:
    seen = beside(oip, "infer")
    for rows in (SMALL, LARGE):
        tensor = {"name": "image", "shape": list(rows.shape), "datatype": "UINT8", "data": rows.ravel().tolist()}
        assert send(engine, OpenInference(), "/v2/models/{name}/infer", {"inputs": [tensor]}) == 200
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("verb", "key", "reads"),
    [("predict", "instances", "predict"), ("classify", "examples", "examples"), ("regress", "examples", "examples")],
)
def test_large_json_of_tensorflow_serving(engine: Engine, beside: Any, verb: str, key: str, reads: str) -> None:
    seen = beside(tfs, reads)
    for rows in (SMALL, LARGE):
        body = {key: [{"image": row} for row in rows.tolist()]}
        status = send(engine, TensorFlowServing(), f"/v1/models/{{name}}:{verb}", body)
        assert status == (501 if verb == "regress" else 200)
    assert seen == ([] if verb == "regress" else [False, True])  # regress is refused before its body is read


def test_large_json_of_the_native_api(engine: Engine, beside: Any) -> None:
    seen = beside(native, "images")
    for size in (8, 70_000):
        body = {"images": ["a" * size]}
        # Several pictures answer one by one, each in its own words.
        assert send(engine, Native(), "/api/v1/models/{name}/predict", body, content_type="application/json") == 200
    assert seen == [False, True]


def test_large_answers(engine: Engine, beside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import saccade.protocols.tf_serving.http as tfs_http

    monkeypatch.setattr(oip, "HEAVY", 2)
    monkeypatch.setattr(tfs_http, "HEAVY", 2)
    written = beside(oip, "response"), beside(tfs, "answer")
    tensor = {"name": "image", "shape": list(SMALL.shape), "datatype": "UINT8", "data": SMALL.ravel().tolist()}
    assert send(engine, OpenInference(), "/v2/models/{name}/infer", {"inputs": [tensor]}) == 200
    assert send(engine, TensorFlowServing(), "/v1/models/{name}:predict", {"instances": SMALL.tolist()}) == 200
    assert written == ([True], [True])


def test_large_examples_over_grpc(engine: Engine, beside: Any) -> None:
    seen = beside(tfs_protobuf, "examples")
    method = next(m for m in TensorFlowServing().methods(engine) if m.path.endswith("/Classify"))
    for rows in (SMALL, LARGE):
        request = schema.message("tensorflow.serving.ClassificationRequest")()
        request.model_spec.name = "colors"
        for row in rows:
            example = request.input.example_list.examples.add()
            example.features.feature["image"].int64_list.value.extend(row.ravel().tolist())
        asked_once(method, request)
    assert seen == [False, True]


def test_each_tensor_counts_for_how_heavy_a_message_is() -> None:
    typed, content = (tfs_protobuf.tensor(of("image", LARGE)) for _ in range(2))
    del content.int_val[:]
    content.tensor_content = LARGE.tobytes()
    texts = tfs_protobuf.TensorProto(dtype=TENSORFLOW_STRING, tensor_content=b"x")
    texts.string_val.extend([b""] * 70_000)
    for tensors, heavy in (
        ([content], False),
        ([typed], True),
        ([content, typed], True),
        ([texts], True),
    ):
        request = schema.message("tensorflow.serving.PredictRequest")()
        for i, tensor in enumerate(tensors):
            request.inputs[str(i)].CopyFrom(tensor)
        assert tfs_protobuf.heavy(request) is heavy
    for datatype, heavy in (("UINT8", False), ("BYTES", True)):
        asked = schema.message("inference.ModelInferRequest")(raw_input_contents=[bytes(100_000)])
        asked.inputs.add(name="x", datatype=datatype, shape=[25_000])
        assert oip_protobuf.heavy(asked) is heavy


def test_an_answer_that_is_at_work_for_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that hangs answers nobody; whoever asked is told when his time is over."""
    monkeypatch.setattr(protocol, "LATE_S", 0.05)

    async def story() -> str:
        future: Promise[Any] = Promise()
        future.set_running_or_notify_cancel()  # at work: cancelling changes nothing
        with pytest.raises(InferenceError) as caught:
            await asyncio.wait_for(protocol.settled(future, None, 0.05), 10)
        return caught.value.code

    assert asyncio.run(story()) == "deadline_exceeded"


def test_work_is_dropped_when_its_caller_leaves_and_the_watch_ends_with_the_answer() -> None:
    async def story() -> list[str]:
        loop, ended = asyncio.get_running_loop(), []

        def leaves(gone: Callable[[], None]) -> Callable[[], object]:
            timer = loop.call_later(0.05, gone)
            return lambda: (timer.cancel(), ended.append("left"))

        def stays(gone: Callable[[], None]) -> Callable[[], object]:
            return lambda: ended.append("answered")

        waits: Promise[Any] = Promise()
        with pytest.raises(InferenceError, match="caller left"):
            await asyncio.wait_for(protocol.settled(waits, leaves), 10)
        assert waits.cancelled()
        soon: Promise[Any] = Promise()
        loop.call_later(0.05, soon.set_result, "answer")
        assert await asyncio.wait_for(protocol.settled(soon, stays), 10) == "answer"
        return ended

    assert asyncio.run(story()) == ["left", "answered"]


def test_what_may_take_minutes_holds_no_thread_that_others_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads that hang: answers that are written beside the loop still come, and the loop ends without them."""
    hang, begun = threading.Event(), threading.Semaphore(0)

    def load() -> str:
        begun.release()
        hang.wait(60)
        return "loaded"

    async def story() -> None:
        loads = [asyncio.ensure_future(method.apart(load)) for _ in range(method.MOST_APART)]
        await asyncio.sleep(0)
        for _ in loads:
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        with pytest.raises(ServerError) as error:
            await method.apart(load)
        assert error.value.code == "overloaded"
        assert await asyncio.wait_for(method.aside(True, lambda: 7), 20) == 7
        loads.pop().cancel()
        del loads[1:]

    asyncio.run(story())
    hang.set()

    async def after() -> None:
        while True:  # those that hung give their places back
            try:
                assert await method.apart(lambda: "loaded") == "loaded"
                break
            except ServerError:
                await asyncio.sleep(0.01)
        with pytest.raises(KeyError):
            await method.apart(lambda: {}["nothing"])

    asyncio.run(asyncio.wait_for(after(), 20))

    def no_thread(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def without() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(method.threading, "Thread", no_thread)
            for _ in range(2 * method.MOST_APART):
                with pytest.raises(ServerError, match="no thread"):
                    await method.apart(lambda: 1)
        assert await method.apart(lambda: 1) == 1

    asyncio.run(asyncio.wait_for(without(), 20))


def test_an_answer_of_thousands_of_classes_in_words_is_heavy() -> None:
    rows = of("scores", np.zeros((2, oip.LONG), np.float32))
    assert oip.heavy([rows], [oip.Wanted("scores", classes=5)])
    assert not oip.heavy([rows], [oip.Wanted("scores")])
