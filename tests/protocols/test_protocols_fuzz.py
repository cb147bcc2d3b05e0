"""Bodies that lie, near the valid ones of every dialect: each is answered or refused in words, never broken by."""

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import saccade
from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.protocols import tensors
from saccade.protocols.native.http import Native
from saccade.protocols.native.messages import strict_json
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Call, Protocol, Reply
from saccade.protocols.shims.torchserve import TorchServe
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.testing import packages
from saccade.testing.graphs import foreign

INFER = "/v2/models/{name}/infer"
ROWS = "/v1/models/{name}:predict"
CLASSES = "/v1/models/{name}:classify"
SHIM = "/predictions/{name}"
NATIVE = "/api/v1/models/{name}/predict"
SPOKEN: dict[str, Protocol] = {
    INFER: OpenInference(),
    ROWS: TensorFlowServing(),
    CLASSES: TensorFlowServing(),
    SHIM: TorchServe(),
    NATIVE: Native(),
}
LENGTH = "inference-header-content-length"
PNG = packages.png(255, 0, 51)
TEXT = base64.b64encode(PNG).decode()
CASES = int(os.environ.get("SACCADE_CASES", "60"))
"""Of each property; python -m benchmarks.bodies asks for many."""
few = settings(
    max_examples=CASES, deadline=None, derandomize=CASES == 60, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("fuzz")
    engine.load(packages.colors(folder / "a").path, "colors", 1)
    engine.load(packages.masks(folder / "b").path, "masks", 1)
    engine.load(packages.boxes(folder / "c").path, "boxes", 1)
    yield engine
    engine.close()


def send(
    engine: Engine,
    pattern: str,
    body: bytes,
    name: str = "colors",
    headers: Mapping[str, str] | None = None,
    query: list[tuple[str, str]] | None = None,
) -> Reply:
    """Raises whatever is no typed refusal, and AssertionError for an answer that no caller may see."""
    spoken = SPOKEN[pattern]
    route = next(r for r in spoken.routes(engine) if (r.method, r.pattern) == ("POST", pattern))

    async def parts() -> AsyncIterator[bytes]:
        yield body

    async def run() -> Reply:
        given = {"content-type": "application/octet-stream", **(headers or {})}
        return await route.handler(Call("POST", pattern, {"name": name}, given, query or [], parts(), "r"))

    try:
        reply = asyncio.run(run())
    except SaccadeError as error:
        reply = spoken.refuse(error, "r")
    assert reply.status < 500 or reply.status in (501, 503, 504), (reply, body[:500])
    if reply.status != 200:
        assert isinstance(json.loads(reply.body), dict)
        assert not re.search(rb'Traceback|\.py"|/src/', reply.body), reply.body
    return reply


def dumped(record: Any) -> bytes:
    """JSON with the numbers that the strategies name by text: 1e400 and wider have no Python form."""
    return re.sub(r'"number:([^"]+)"', r"\1", json.dumps(record)).encode()


numbers = st.sampled_from(
    [0, 1, -1, 255, 256, 2**31, 2**63, 2**64 - 1, 0.5, -0.0, *(f"number:{n}" for n in ("1e400", "NaN", "-Infinity"))]
)
leaves = st.one_of(numbers, st.none(), st.booleans(), st.sampled_from(["", "1", "\ud800", "\x00", TEXT, "!!", "é"]))
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["b64", "image", "name", "parameters", "other"]), inner, max_size=3),
    ),
    max_leaves=12,
)
deep = st.integers(1, 60).map(lambda n: json.loads("[" * n + "]" * n))
strange = values | deep
ZEROS = [0] * (32 * 32 * 3)
ROW = np.zeros((32, 32, 3), int).tolist()
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 32, -1, 2**31, 2**31 + 1, 2**63, True, 1.5]), max_size=10)
flags = st.fixed_dictionaries(
    {},
    optional={
        "binary_data": strange | st.booleans(),
        "binary_data_output": strange | st.booleans(),
        "binary_data_size": strange | st.integers(-2, 3200),
        "classification": strange | st.integers(-1, 4),
        "timeout": strange,
        "shared_memory_region": leaves,
    },
)
data_of_images = st.sampled_from([ZEROS, [ROW], ["a"], [TEXT], [*ZEROS[:-1], 256], [*ZEROS[:-1], "1"]])
inputs = st.fixed_dictionaries(
    {"name": st.just("image") | leaves, "shape": st.sampled_from([[1, 32, 32, 3], [1], [1, 1]]) | shapes | strange},
    optional={
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP16", "FP32", "BOOL", "INT64", "x"]) | leaves,
        "data": data_of_images | strange,
        "parameters": flags | strange,
    },
)
wanted = st.fixed_dictionaries(
    {"name": st.sampled_from(["scores", "prediction", "nothing"]) | leaves}, optional={"parameters": flags | strange}
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(inputs, max_size=2) | strange},
    optional={"outputs": st.lists(wanted, max_size=3) | strange, "parameters": flags | strange, "id": leaves},
)


@few
@given(record=requests)
def test_open_inference_json(engine: Engine, record: Any) -> None:
    send(engine, INFER, dumped(record))


@few
@given(
    shape=st.just([1, 32, 32, 3]) | st.just([1]) | shapes,
    datatype=st.sampled_from(["UINT8", "BYTES", "BOOL", "FP64"]),
    tail=st.sampled_from([bytes(3072), len(PNG).to_bytes(4, "little") + PNG, b"\xff\xff\xff\x7fx"]) | st.binary(),
    size_off=st.sampled_from([0, 0, 0, 1, -1, 2**31, 2**63, -(10**9)]),
    length_off=st.sampled_from([0, 0, 0, 1, -1, 10**9, -(10**9)]),
)
def test_open_inference_binary(
    engine: Engine, shape: Any, datatype: str, tail: bytes, size_off: int, length_off: int
) -> None:
    parameters = {"binary_data_size": len(tail) + size_off}
    head = json.dumps(
        {"inputs": [{"name": "image", "shape": shape, "datatype": datatype, "parameters": parameters}]}
    ).encode()
    send(engine, INFER, head + tail, headers={LENGTH: str(len(head) + length_off)})


garbage = st.one_of(
    st.binary(max_size=200),
    st.binary(min_size=3072, max_size=3072),
    st.binary(max_size=40).map(lambda tail: PNG[:40] + tail),
    st.integers(0, len(PNG)).map(lambda n: PNG[:n]),
    st.sampled_from([b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0"]).map(lambda head: head + bytes(40)),
)


@few
@given(
    body=garbage,
    name=st.sampled_from(["colors", "masks", "boxes"]),
    kind=st.sampled_from(["image/png", "application/json", "multipart/form-data; boundary=b", ";;=", '"', "a/b;" * 99]),
)
def test_raw_bodies(engine: Engine, body: bytes, name: str, kind: str) -> None:
    send(engine, INFER, body, name, {LENGTH: "0"})
    for pattern in (SHIM, NATIVE):
        send(engine, pattern, body, name, {"content-type": kind})
    part = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + body + b"\r\n--b--\r\n"
    send(engine, SHIM, part, name, {"content-type": "multipart/form-data; boundary=b"})


pictures = st.fixed_dictionaries({"b64": st.sampled_from([TEXT, TEXT[:-3], "", "!!", "\ud800", "é", 1])})
cells = st.one_of(pictures, st.just(ROW), strange)
tables = st.one_of(
    st.lists(cells, max_size=3), st.lists(st.fixed_dictionaries({"image": cells}), max_size=3), pictures, strange
)


@few
@given(
    record=st.dictionaries(st.sampled_from(["instances", "inputs", "examples"]), tables, max_size=1),
    signature=st.sampled_from([{}, {}, {}, {"signature_name": "other"}, {"signature_name": []}]),
    name=st.sampled_from(["colors", "masks", "boxes"]),
)
def test_tensorflow_serving(engine: Engine, record: Any, signature: Any, name: str) -> None:
    for pattern in (ROWS, CLASSES):
        send(engine, pattern, dumped({**record, **signature}), name)


@few
@given(
    side=st.tuples(st.integers(1, 150), st.integers(1, 150)) | st.sampled_from([(1, 3000), (3000, 1), (700, 700)]),
    name=st.sampled_from(["colors", "masks", "boxes"]),
    mask=st.sampled_from(["polygons", "rle", "png", "none", "x", "\ud800"]),
    tile=st.sampled_from(["true", "true", "false", "TRUE", "2", "16", "1.5", "0.5", "17", "nan", "1e1", "\u0663"]),
    sure=st.sampled_from(["true", "false", "1"]),
)
def test_tiles_and_polygons(engine: Engine, side: tuple[int, int], name: str, mask: str, tile: str, sure: str) -> None:
    body = packages.png(255, 0, 51, *side)
    reply = send(engine, NATIVE, body, name, query=[("mask", mask), ("tile", tile), ("confidence", sure)])
    if reply.status == 200:
        assert json.loads(reply.body)["image"] == {"width": side[0], "height": side[1]}


# What was broken once


def test_texts_are_refused_before_they_are_an_array() -> None:
    for data in (["a" * 1_000_000] + [""] * 1_000_000, [1, "a" * 1_000_000] + [2] * 1_000_000):
        with pytest.raises(ServerError, match="not all uint8"):
            tensors.from_json(data, "uint8", None, "x")


def test_an_empty_side_hides_no_huge_one(engine: Engine) -> None:
    for shape in ([2**31, 0], [0, 2**31], [2**31, 0, 32, 3]):
        given = {"name": "image", "shape": shape, "datatype": "UINT8", "data": []}
        assert send(engine, INFER, json.dumps({"inputs": [given]}).encode()).status == 413


def test_half_a_surrogate_pair_is_refused() -> None:
    assert strict_json(b'{"id":"\\ud83d\\ude00"}') == {"id": "\U0001f600"}
    for text in (b'{"id":"\\ud800"}', b'{"\\uDFFF":1}'):
        with pytest.raises(ServerError, match="surrogate"):
            strict_json(text)


@pytest.mark.parametrize("end", [b"", b"\\", b"\\\\"])
def test_a_text_without_an_end_is_read_once(end: bytes) -> None:
    """A second look at each of its quotes would take days."""
    with pytest.raises(ServerError) as caught:
        strict_json(b'"' + b'\\"' * 2_000_000 + end)
    assert caught.value.code == "malformed_json"


def test_rows_of_a_graph_with_free_sides_are_counted_first(tmp_path: Path) -> None:
    file = foreign(tmp_path / "m.onnx", [("Relu", ["x"], ["y"], {})], {"x": ["N", "K"]}, {"y": ["N", "K"]}, {})
    engine = Engine()
    try:
        engine.load(saccade.import_model(file, tmp_path / "p").package, "colors", 1)
        for shape, status in (([64, 2], 200), ([65, 2], 400), ([10**6, 1], 400), ([2**25, 0], 400), ([0, 2], 400)):
            size = 4 * shape[0] * shape[1]
            given = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}
            head = json.dumps({"inputs": [given]}).encode()
            assert send(engine, INFER, head + bytes(size), headers={LENGTH: str(len(head))}).status == status, shape
        for body, status in ((bytes(16), 200), (b"", 400), (b"\0\0\0", 400)):
            assert send(engine, INFER, body, headers={LENGTH: "0"}).status == status
    finally:
        engine.close()
