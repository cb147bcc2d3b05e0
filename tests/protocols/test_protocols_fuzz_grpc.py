"""Messages that lie, near the valid ones of every gRPC method: each is answered or refused in words, never broken
by."""

import asyncio
import os
import re
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.method import Invocation, Method
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import grpc_status, said
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.testing import packages
from saccade.wire import schema

CASES = int(os.environ.get("SACCADE_CASES", "60"))
"""Of each property; python -m benchmarks.bodies asks for many."""
few = settings(
    max_examples=CASES, deadline=None, derandomize=CASES == 60, database=None, suppress_health_check=list(HealthCheck)
)
Infer = schema.message("inference.ModelInferRequest")
Predict = schema.message("tensorflow.serving.PredictRequest")
Classification = schema.message("tensorflow.serving.ClassificationRequest")
PNG = packages.png(255, 0, 51)
ROW = bytes(32 * 32 * 3)
MODELS = st.sampled_from(["colors", "masks", "boxes"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("fuzz")
    engine.load(packages.colors(folder / "a").path, "colors", 1)
    engine.load(packages.masks(folder / "b").path, "masks", 1)
    engine.load(packages.boxes(folder / "c").path, "boxes", 1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def methods(engine: Engine) -> dict[str, Method]:
    spoken = [*OpenInference().methods(engine), *TensorFlowServing().methods(engine)]
    return {method.path.rpartition("/")[2]: method for method in spoken}


def send(method: Method, data: bytes) -> str:
    """The status, OK for an answer. Raises whatever is no typed refusal, and AssertionError for what no caller may
    see."""

    async def run() -> Any:
        request, call = schema.read(method.request, data), Invocation("r")
        if not method.streams:
            return (await method.handler(call, request)).SerializeToString()  # type: ignore[misc]

        async def one() -> AsyncIterator[Any]:
            yield request

        return [reply.SerializeToString() async for reply in method.handler(call, one())]  # type: ignore[union-attr]

    status, words = "OK", ""
    try:
        asyncio.run(run())
    except SaccadeError as error:
        status, words = grpc_status(error.code), said(error)
    assert status != "INTERNAL", (method.path, data[:500])
    assert not re.search(r'Traceback|\.py"|/src/', words), words
    return status


numbers = st.sampled_from([0, 1, 2, 3, 32, 255, 256, -1, 2**31 - 1, -(2**31), 2**31, 2**31 + 1, 2**63 - 1, -(2**63)])
shapes = st.sampled_from([[1, 32, 32, 3], [1], [1, 1], [2]]) | st.lists(numbers, max_size=10)
texts = st.sampled_from(["image", "scores", "prediction", "", "é", "\x00", "a" * 300]) | st.text(max_size=5)
strings = st.sampled_from([PNG, PNG[:40], b"", b"\xff\xd8\xff", len(PNG).to_bytes(4, "little") + PNG, ROW])
raws = strings | st.binary(max_size=12) | st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7fx"])
KEYS = st.sampled_from(["timeout", "priority", "classification", "binary_data", "shared_memory_region", "other"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool_param": st.booleans(),
    "int64_param": numbers.filter(lambda n: n < 2**63),
    "string_param": texts,
    "double_param": st.floats(),
    "uint64_param": st.integers(0, 2**64 - 1),
}
parameters = st.lists(
    st.tuples(KEYS, st.sampled_from(list(VALUES)).flatmap(lambda k: VALUES[k].map(lambda v: (k, v)))), max_size=2
)
CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    "bool_contents": st.booleans(),
    "int_contents": numbers.filter(lambda n: -(2**31) <= n < 2**31),
    "int64_contents": numbers.filter(lambda n: n < 2**63),
    "uint_contents": numbers.filter(lambda n: 0 <= n < 2**32),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": raws,
}


def described(target: Any, pairs: list[tuple[str, tuple[str, Any]]]) -> None:
    for key, (kind, value) in pairs:
        setattr(target[key], kind, value)


@st.composite
def infers(draw: st.DrawFn) -> Any:
    request = Infer(model_name=draw(MODELS), model_version=draw(st.sampled_from(["", "", "1", "2", "x"])), id="a")
    described(request.parameters, draw(parameters))
    raw = draw(st.booleans())
    for _ in range(draw(st.integers(0, 3) | st.just(1))):
        tensor = request.inputs.add(name=draw(st.just("image") | texts))
        tensor.datatype = draw(st.sampled_from(["UINT8", "BYTES", "FP16", "FP32", "BOOL", "INT64", "INT8", "x", ""]))
        tensor.shape.extend([n for n in draw(shapes) if -(2**63) <= n < 2**63])
        described(tensor.parameters, draw(parameters))
        if raw:
            request.raw_input_contents.append(draw(raws))
        if not raw or draw(st.integers(0, 9)) == 0:
            kind = draw(st.sampled_from(list(CONTENTS)))
            values = [0] * 3072 if kind == "uint_contents" and draw(st.booleans()) else None
            getattr(tensor.contents, kind).extend(values or draw(st.lists(CONTENTS[kind], max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        described(request.outputs.add(name=draw(texts)).parameters, draw(parameters))
    return request


@few
@given(request=infers())
def test_open_inference(methods: dict[str, Method], request: Any) -> None:
    data = request.SerializeToString()
    status = send(methods["ModelInfer"], data)
    assert status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
    assert send(methods["ModelStreamInfer"], data) == "OK", "a stream says it in its answer"


VALS: dict[str, st.SearchStrategy[Any]] = {
    "half_val": st.integers(-(2**31), 2**31 - 1),
    "float_val": st.floats(width=32),
    "double_val": st.floats(),
    "int_val": CONTENTS["int_contents"],
    "string_val": raws,
    "int64_val": CONTENTS["int64_contents"],
    "bool_val": st.booleans(),
    "uint32_val": CONTENTS["uint_contents"],
    "uint64_val": CONTENTS["uint64_contents"],
}


@st.composite
def predicts(draw: st.DrawFn) -> Any:
    request = Predict()
    specified(request.model_spec, draw)
    for _ in range(draw(st.integers(0, 2) | st.just(1))):
        tensor = request.inputs[draw(st.just("image") | texts)]
        tensor.dtype = draw(st.sampled_from([4, 7, 1, 19]) | st.integers(-1, 60))
        tensor.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
        for side in draw(shapes):
            tensor.tensor_shape.dim.add(size=max(-(2**63), min(side, 2**63 - 1)))
        if draw(st.booleans()):
            tensor.tensor_content = draw(raws | st.sampled_from([ROW]))
        for kind in draw(st.lists(st.sampled_from(list(VALS)), max_size=2)):
            getattr(tensor, kind).extend(draw(st.lists(VALS[kind], max_size=3)))
    request.output_filter.extend(draw(st.lists(texts, max_size=2)))
    return request


def specified(spec: Any, draw: st.DrawFn) -> None:
    spec.name = draw(MODELS | texts)
    spec.signature_name = draw(st.sampled_from(["", "", "serving_default", "other"]))
    if draw(st.booleans()):
        spec.version.value = draw(st.sampled_from([1, 0, -1, 2**63 - 1]))
    elif draw(st.booleans()):
        spec.version_label = draw(texts)


@few
@given(request=predicts())
def test_tensorflow_serving(methods: dict[str, Method], request: Any) -> None:
    send(methods["Predict"], request.SerializeToString())
    for name in ("GetModelStatus", "GetModelMetadata"):
        asked = methods[name].request()
        asked.model_spec.CopyFrom(request.model_spec)
        send(methods[name], asked.SerializeToString())


@st.composite
def classifications(draw: st.DrawFn) -> Any:
    request = Classification()
    specified(request.model_spec, draw)
    many = draw(st.sampled_from(["example_list", "example_list_with_context"]))
    target = getattr(request.input, many)
    examples = [target.examples.add() for _ in range(draw(st.integers(0, 3)))]
    for example in [*examples, *([target.context] if "context" in many else [])]:
        for name in draw(st.lists(st.just("image") | texts, max_size=2)):
            feature = example.features.feature[name]
            match draw(st.integers(0, 4)):
                case 0:
                    feature.bytes_list.value.extend(draw(st.lists(raws, max_size=2)))
                case 1:
                    feature.float_list.value.extend(draw(st.lists(st.floats(width=32), max_size=3)))
                case 2:
                    feature.int64_list.value.extend(draw(st.lists(CONTENTS["int64_contents"], max_size=3)))
                case 3:
                    feature.int64_list.value.extend([0] * 3072)
    return request


@few
@given(request=classifications())
def test_examples(methods: dict[str, Method], request: Any) -> None:
    for name in ("Classify", "Regress"):
        send(methods[name], request.SerializeToString())


def valid() -> list[tuple[str, bytes]]:
    infer = Infer(model_name="colors", id="a")
    infer.parameters["timeout"].int64_param = 9_000_000
    infer.inputs.add(name="image", datatype="UINT8", shape=[1, 32, 32, 3])
    infer.outputs.add(name="scores").parameters["classification"].int64_param = 2
    infer.raw_input_contents.append(ROW)
    predict = Predict(output_filter=["scores"])
    predict.model_spec.name, predict.model_spec.version.value = "colors", 1
    predict.inputs["image"].dtype = "DT_STRING"
    predict.inputs["image"].tensor_shape.dim.add(size=1)
    predict.inputs["image"].string_val.append(PNG)
    classify = Classification()
    classify.model_spec.name = "colors"
    classify.input.example_list.examples.add().features.feature["image"].bytes_list.value.append(PNG)
    named = {"ModelInfer": infer, "Predict": predict, "Classify": classify}
    return [(name, message.SerializeToString()) for name, message in named.items()]


def test_what_is_broken_below_is_valid_whole(methods: dict[str, Method]) -> None:
    for name, data in valid():
        assert send(methods[name], data) == "OK", name


@few
@given(
    which=st.sampled_from(valid()),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400) | st.none(),
    more=st.binary(max_size=12),
)
def test_bytes_that_changed_on_the_way(
    methods: dict[str, Method], which: tuple[str, bytes], changes: list[tuple[int, int]], cut: int | None, more: bytes
) -> None:
    name, data = which
    broken = bytearray(data)
    for at, byte in changes:
        broken[at % len(broken)] = byte
    whole = bytes(broken if cut is None else broken[:cut]) + more
    send(methods[name], whole)
    for other in ("GetModelMetadata", "RepositoryIndex", "ModelConfig", "ModelStatistics", "RepositoryModelLoad"):
        send(methods[other], whole[:60])


# Memory


@pytest.mark.parametrize("rest", [b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x22\x00"])
def test_a_message_of_nothing_but_fields_costs_nothing(methods: dict[str, Method], rest: bytes) -> None:
    data = b"\x0a\x06colors" + rest * 4_000_000
    tracemalloc.start()
    try:
        assert send(methods["ModelInfer"], data) == "INVALID_ARGUMENT"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_values_left_out_make_no_huge_tensor(methods: dict[str, Method]) -> None:
    request = Predict()
    request.model_spec.name = "colors"
    tensor = request.inputs["image"]
    tensor.dtype, tensor.int_val[:] = 4, [7]
    tensor.tensor_shape.dim.add(size=2**26)
    tracemalloc.start()
    try:
        assert send(methods["Predict"], request.SerializeToString()) == "RESOURCE_EXHAUSTED"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    del tensor.tensor_shape.dim[:]
    for side in (1, 32, 32, 3):
        tensor.tensor_shape.dim.add(size=side)
    assert send(methods["Predict"], request.SerializeToString()) == "OK"
