"""The Open Inference Protocol without a socket: bodies in every form, its refusals, its records of models."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.protocols.open_inference import messages
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Call, Control, Reply
from saccade.testing.packages import colors, masks, png
from saccade.testing.protocols import refusal

LENGTH = "inference-header-content-length"
ROWS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
SCORES = ROWS.mean((1, 2)) / 255


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("oip")
    engine.load(colors(folder / "a", exclusive=True).path, "colors", 1)
    engine.load(colors(folder / "b", logarithm=True).path, "logs", 1)
    engine.load(colors(folder / "c", reverse=True).path, "colors", 2)
    engine.set_aliases("colors", {"old": 1})
    yield engine
    engine.close()


def send(
    engine: Engine,
    pattern: str,
    body: Any = b"",
    *,
    protocol: OpenInference | None = None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    **parameters: str,
) -> Reply:
    spoken = protocol or OpenInference()
    route = next(r for r in spoken.routes(engine) if (r.method, r.pattern) == (method, pattern))
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal(spoken, route, data, headers or {}, **parameters)


def infer(engine: Engine, body: Any, *, name: str = "colors", **headers: str) -> Reply:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return send(engine, "/v2/models/{name}/infer", body, headers=given, name=name)


def get(engine: Engine, pattern: str, **parameters: str) -> Any:
    reply = send(engine, pattern, method="GET", **parameters)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def tensor(data: Any, **changes: Any) -> dict[str, Any]:
    given = {"name": "image", "shape": list(ROWS.shape), "datatype": "UINT8", "data": data, **changes}
    return {k: v for k, v in given.items() if v is not None}


def outputs(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    return {o["name"]: o for o in json.loads(reply.body)["outputs"]}


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.ravel().tolist()], ids=["nested", "flat"])
def test_json_tensors_nested_or_flat(engine: Engine, data: Any) -> None:
    reply = infer(engine, {"id": "mine", "inputs": [tensor(data)]})
    record = json.loads(reply.body)
    assert (record["model_name"], record["model_version"], record["id"]) == ("colors", "2", "mine")
    scores = outputs(reply)["scores"]
    assert (scores["datatype"], scores["shape"]) == ("FP32", [2, 3])
    np.testing.assert_allclose(np.reshape(scores["data"], (2, 3)), SCORES, atol=1e-6)
    assert "id" not in json.loads(infer(engine, {"inputs": [tensor(data)]}).body)
    assert "prediction" not in outputs(reply)
    assert dict(reply.headers)["x-model-version"] == "2"


def test_binary_tensors_in_and_out(engine: Engine) -> None:
    data = ROWS.tobytes()
    for wish, request_wide in (({"binary_data": True}, False), ({}, True)):
        head = json.dumps(
            {
                "inputs": [tensor(None, parameters={"binary_data_size": len(data)})],
                "outputs": [{"name": "scores", "parameters": wish}, {"name": "prediction", "parameters": wish}],
                "parameters": {"binary_data_output": request_wide},
            }
        ).encode()
        reply = infer(engine, head + data, inference_header_content_length=str(len(head)))
        headers = dict(reply.headers)
        length = int(headers[LENGTH])
        assert headers["content-type"] == "application/octet-stream"
        first, second = json.loads(reply.body[:length])["outputs"]
        assert "data" not in first
        size = first["parameters"]["binary_data_size"]
        got = np.frombuffer(reply.body[length : length + size], "<f4").reshape(first["shape"])
        np.testing.assert_allclose(got, SCORES, atol=1e-6)
        texts = messages.tensors.strings(reply.body[length + size :], 2, "x")
        assert len(reply.body) == length + size + second["parameters"]["binary_data_size"]
        assert [json.loads(t)["image"] for t in texts] == [{"width": 32, "height": 32}] * 2


def test_one_output_may_stay_json_beside_a_binary_one(engine: Engine) -> None:
    wanted = [{"name": "scores", "parameters": {"binary_data": False}}]
    body = {"inputs": [tensor(ROWS.tolist())], "outputs": wanted, "parameters": {"binary_data_output": True}}
    reply = infer(engine, body)
    assert LENGTH not in dict(reply.headers)
    assert len(outputs(reply)["scores"]["data"]) == 6


def test_a_raw_body_is_a_picture_or_one_row(engine: Engine) -> None:
    photo = infer(engine, png(255, 0, 51), inference_header_content_length="0")
    pixels = infer(engine, ROWS[0].tobytes(), inference_header_content_length="0")
    for reply, expected in ((photo, [1.0, 0.0, 0.2]), (pixels, SCORES[0])):
        length = int(dict(reply.headers)[LENGTH])
        np.testing.assert_allclose(np.frombuffer(reply.body[length : length + 12], "<f4"), expected, atol=1e-6)
    assert infer(engine, ROWS[0].tobytes()[:-1], inference_header_content_length="0").status == 400


def test_classes_by_name(engine: Engine) -> None:
    wish = [{"name": "scores", "parameters": {"classification": 2}}]
    found = outputs(infer(engine, {"inputs": [tensor(ROWS.tolist())], "outputs": wish}))["scores"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 2])
    best = int(np.argmax(SCORES[0]))
    labels = ("blue", "green", "red")  # version 2 has them in this order
    assert found["data"][0] == f"{np.float32(SCORES[0, best]):.6f}:{best}:{labels[best]}"
    wish[0]["parameters"] = {"classification": 99}
    assert outputs(infer(engine, {"inputs": [tensor(ROWS.tolist())], "outputs": wish}))["scores"]["shape"] == [2, 3]
    wish[0] = {"name": "prediction", "parameters": {"classification": 1}}
    assert infer(engine, {"inputs": [tensor(ROWS.tolist())], "outputs": wish}).status == 400


def test_numbers_that_are_not_finite(engine: Engine) -> None:
    found = outputs(infer(engine, {"inputs": [tensor(np.zeros_like(ROWS).tolist())]}, name="logs"))["scores"]
    assert found["data"] == [None] * 6
    assert found["parameters"] == {"nonfinite": True}


def test_timeouts_and_versions(engine: Engine) -> None:
    body = {"inputs": [tensor(ROWS.tolist())], "parameters": {"timeout": 1, "priority": 1}}
    assert infer(engine, body).status == 504
    good = {"inputs": [tensor(ROWS.tolist())]}
    path = "/v2/models/{name}/versions/{version}/infer"
    assert json.loads(send(engine, path, good, name="colors", version="1").body)["model_version"] == "1"
    assert json.loads(infer(engine, good, name="colors@old").body)["model_version"] == "1"
    for version in ("3", "x", "-1", "1e3", "", "٣", "9" * 30):
        if version:
            assert send(engine, path, good, name="colors", version=version).status == 404, version


GOOD = {"inputs": [tensor(ROWS.tolist())]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [tensor(ROWS.tolist())] * 2},
        {"inputs": [tensor(ROWS.tolist(), name="other")]},
        {"inputs": [tensor(ROWS.tolist(), name=1)]},
        {"inputs": [tensor(ROWS.tolist(), datatype="UINT9")]},
        {"inputs": [tensor(ROWS.tolist(), datatype=["UINT8"])]},
        {"inputs": [tensor(ROWS.tolist(), datatype="FP32")]},
        {"inputs": [tensor(ROWS.tolist(), datatype="FP16")]},
        {"inputs": [tensor(ROWS.tolist(), datatype="BYTES")]},
        {"inputs": [tensor(ROWS.tolist(), shape=[2, 32, 32])]},
        {"inputs": [tensor(ROWS.tolist(), shape=[2, 32, 32, 4])]},
        {"inputs": [tensor([], shape=[0, 32, 32, 3])]},
        {"inputs": [tensor(ROWS.tolist(), shape=[-1, 32, 32, 3])]},
        {"inputs": [tensor(ROWS.tolist(), shape=[True, 32, 32, 3])]},
        {"inputs": [tensor(ROWS.tolist(), shape="2")]},
        {"inputs": [tensor(ROWS.tolist(), shape=[1] * 9)]},
        {"inputs": [tensor([[1], [1, 2]])]},
        {"inputs": [tensor([256] * ROWS.size)]},
        {"inputs": [tensor([0.5] * ROWS.size)]},
        {"inputs": [tensor(["1"] * ROWS.size)]},
        {"inputs": [tensor(None)]},
        {"inputs": [tensor(ROWS.tolist(), parameters=[])]},
        {"inputs": [tensor(ROWS.tolist(), parameters={"binary_data_size": 1})]},
        {"inputs": [tensor(None, parameters={"binary_data_size": -1})]},
        {"inputs": [tensor(None, parameters={"binary_data_size": "1"})]},
        {"inputs": [tensor(None, parameters={"binary_data_size": ROWS.size})]},
        {**GOOD, "outputs": [{"name": "scores"}, {"name": "scores"}]},
        {**GOOD, "outputs": [{"name": "nothing"}]},
        {**GOOD, "outputs": [{"name": 1}]},
        {**GOOD, "outputs": ["scores"]},
        {**GOOD, "outputs": [{"name": "scores", "parameters": {"classification": -1}}]},
        {**GOOD, "outputs": [{"name": "scores", "parameters": {"binary_data": 1}}]},
        {**GOOD, "parameters": {"timeout": "soon"}},
        {**GOOD, "parameters": {"priority": "first"}},
        {**GOOD, "parameters": {"priority": -1}},
        {**GOOD, "id": 7},
        {"inputs": [tensor(["!!"], shape=[1], datatype="BYTES")]},
        {"inputs": [tensor(["aGk="] * 2, shape=[1], datatype="BYTES")]},
        {"inputs": [tensor([], shape=[0], datatype="BYTES")]},
        b'{"inputs":[],"inputs":[]}',
        b'{"inputs":[{"name":"image","shape":[1],"datatype":"FP32","data":[NaN]}]}',
    ],
    ids=lambda body: body.decode() if isinstance(body, bytes) else None,
)
def test_mistakes_are_400(engine: Engine, body: Any) -> None:
    reply = infer(engine, body)
    assert reply.status == 400, reply.body
    assert set(json.loads(reply.body)) == {"error"}


@pytest.mark.parametrize("value", ["-1", "x", "1e2", "99999999999", "9" * 400, " ", "0x5", "+1"])
def test_a_wrong_header_length_is_400(engine: Engine, value: str) -> None:
    assert infer(engine, GOOD, inference_header_content_length=value).status == 400


def test_bytes_beyond_and_short_are_400(engine: Engine) -> None:
    data = ROWS.tobytes()
    head = json.dumps({"inputs": [tensor(None, parameters={"binary_data_size": len(data)})]}).encode()
    for body in (head + data + b"x", head + data[:-1]):
        assert infer(engine, body, inference_header_content_length=str(len(head))).status == 400
    text = json.dumps(GOOD).encode()
    assert infer(engine, text, inference_header_content_length=str(len(text) - 1)).status == 400


@pytest.mark.parametrize("data", [b"\x05\0\0\0abc", b"\xff\xff\xff\xff", b"\0\0\0", b"\0\0\0\0\0\0\0\0"])
def test_strings_that_lie_about_their_length_are_400(engine: Engine, data: bytes) -> None:
    head = json.dumps(
        {"inputs": [tensor(None, shape=[1], datatype="BYTES", parameters={"binary_data_size": len(data)})]}
    ).encode()
    assert infer(engine, head + data, inference_header_content_length=str(len(head))).status == 400


@pytest.mark.parametrize(("rows", "status"), [(63, 200), (64, 200), (65, 400)])
def test_the_most_rows(engine: Engine, rows: int, status: int) -> None:
    data = np.repeat(ROWS[:1], rows, 0)
    given = tensor(None, shape=list(data.shape), parameters={"binary_data_size": data.size})
    head = json.dumps({"inputs": [given]}).encode()
    assert infer(engine, head + data.tobytes(), inference_header_content_length=str(len(head))).status == status


def test_huge_shapes_allocate_nothing(engine: Engine) -> None:
    for shape, status in (([2**31, 2**31], 413), ([2**27], 413), ([2**31 + 1], 400), ([2**63], 400)):
        assert infer(engine, {"inputs": [tensor([1], shape=shape)]}).status == status


def test_shared_memory_and_loading_by_content_are_501(engine: Engine) -> None:
    given = tensor(None, parameters={"shared_memory_region": "a", "shared_memory_byte_size": 4})
    assert infer(engine, {"inputs": [given]}).status == 501
    load = "/v2/repository/models/{name}/load"
    assert send(engine, load, {"parameters": {"config": "{}"}}, name="colors").status == 501
    assert send(engine, load, name="colors").status == 501, "a house without a registry cannot load"
    assert send(engine, "/v2/systemsharedmemory/status", method="GET").status == 501


def test_what_is_told_of_models(engine: Engine) -> None:
    assert {"statistics", "binary_tensor_data", "classification"} <= set(get(engine, "/v2")["extensions"])
    assert get(engine, "/v2/health/live") == {"live": True}
    assert get(engine, "/v2/models/{name}/ready", name="colors") == {"name": "colors", "ready": True}
    assert get(engine, "/v2/models") == {"models": ["colors", "logs"]}
    record = get(engine, "/v2/models/{name}", name="colors")
    assert record["versions"] == ["1", "2"]
    assert record["platform"] == "onnxruntime_onnx"
    assert record["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert record["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    config = get(engine, "/v2/models/{name}/config", name="colors")
    assert (config["input"][0]["dims"], config["input"][0]["data_type"]) == ([32, 32, 3], "TYPE_UINT8")
    assert config["max_batch_size"] == 64
    index = json.loads(send(engine, "/v2/repository/index").body)
    assert {(e["name"], e["version"], e["state"]) for e in index} == {
        ("colors", "1", "READY"),
        ("colors", "2", "READY"),
        ("logs", "1", "READY"),
    }


def test_statistics_count_rows_runs_and_failures(engine: Engine) -> None:
    def now() -> dict[str, Any]:
        stats: dict[str, Any] = get(engine, "/v2/models/{name}/versions/{version}/stats", name="logs", version="1")
        found: dict[str, Any] = stats["model_stats"][0]
        return found

    before = now()
    assert infer(engine, GOOD, name="logs").status == 200
    assert infer(engine, b"GIF89a" + bytes(50), name="logs", inference_header_content_length="0").status == 415
    assert infer(engine, png(1, 1, 1)[:-9], name="logs", inference_header_content_length="0").status == 400
    after = now()
    assert after["inference_count"] - before["inference_count"] == 2
    assert 1 <= after["execution_count"] - before["execution_count"] <= 2
    kinds = before["inference_stats"], after["inference_stats"]
    assert [kinds[1][k]["count"] - kinds[0][k]["count"] for k in ("success", "fail", "queue")] == [1, 2, 1]
    assert sum(b["batch_size"] * b["compute_infer"]["count"] for b in after["batch_stats"]) == after["inference_count"]
    assert after["last_inference"] > 0
    assert len(get(engine, "/v2/models/stats")["model_stats"]) == 3


class Away(Control):
    def ready(self) -> None:
        raise ServerError("models are being loaded", code="not_ready")


def test_not_ready_in_both_styles(engine: Engine) -> None:
    ready = "/v2/health/ready"
    ours = send(engine, ready, protocol=OpenInference(control=Away()), method="GET")
    triton = send(engine, ready, protocol=OpenInference(control=Away(), style="triton"), method="GET")
    assert (ours.status, set(json.loads(ours.body))) == (503, {"error"})
    assert (triton.status, triton.body) == (400, b"")
    well = send(engine, "/v2/health/live", protocol=OpenInference(style="triton"), method="GET")
    assert (well.status, well.body) == (200, b"")


def test_a_stranger_is_told_nothing_of_the_inside() -> None:
    reply = OpenInference().refuse(SaccadeError("/etc/secret broke", code="internal"), "r")
    assert (reply.status, b"secret" in reply.body) == (500, False)


def test_who_names_no_version_is_answered_by_the_one_in_service_when_the_body_has_come(tmp_path: Path) -> None:
    """A body may take seconds, in which another version takes over and the first one leaves."""
    engine = Engine()
    engine.load(colors(tmp_path / "1").path, "colors", 1)
    protocol = OpenInference()
    route = next(r for r in protocol.routes(engine) if r.pattern == "/v2/models/{name}/infer")
    body = json.dumps({"inputs": [tensor(ROWS.tolist())]}).encode()

    async def slowly() -> AsyncIterator[bytes]:
        engine.load(colors(tmp_path / "2", reverse=True).path, "colors", 2)
        engine.unload("colors", 1)
        yield body

    call = Call(
        route.method, route.pattern, {"name": "colors"}, {"content-type": "application/json"}, [], slowly(), "r"
    )
    reply = asyncio.run(route.handler(call))  # type: ignore[arg-type]
    assert reply.status == 200, reply.body
    assert json.loads(reply.body)["model_version"] == "2"
    engine.close()


def test_tiles_have_no_tensors_of_their_own(tmp_path: Path) -> None:
    engine = Engine()
    engine.load(masks(tmp_path / "m").path, "masks", 1)
    picture = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(png(1, 2, 3)).decode()]}
    wish = {"name": "prediction", "parameters": {"tile": True}}

    def asked(*outputs: Any) -> Reply:
        return infer(engine, {"inputs": [picture], "outputs": list(outputs)}, name="masks")

    assert asked(wish).status == 200
    refused_reply = asked({"name": "mask"}, wish)
    assert refused_reply.status == 400
    assert b"no tensors of its own" in refused_reply.body
    engine.close()
