"""TensorFlow Serving's REST API and TorchServe's, without a socket: forms of a body, records of models, refusals."""

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from saccade.inference.engine import Engine
from saccade.protocols.protocol import Protocol, Reply
from saccade.protocols.shims.torchserve import TorchServe
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.testing.packages import colors, png
from saccade.testing.protocols import refusal

ROWS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
SCORES = ROWS.mean((1, 2)) / 255
B64 = {"b64": base64.b64encode(png(255, 0, 51)).decode()}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine, folder = Engine(), tmp_path_factory.mktemp("tfs")
    engine.load(colors(folder / "a").path, "colors", 1)
    engine.load(colors(folder / "b", reverse=True).path, "colors", 2)
    engine.load(colors(folder / "c", logarithm=True).path, "logs", 1)
    engine.set_aliases("colors", {"stable": 1})
    yield engine
    engine.close()


def send(
    engine: Engine,
    pattern: str,
    body: Any = b"",
    method: str = "POST",
    protocol: Protocol | None = None,
    headers: dict[str, str] | None = None,
    **parameters: str,
) -> Reply:
    spoken = protocol or TensorFlowServing()
    route = next(r for r in spoken.routes(engine) if (r.method, r.pattern) == (method, pattern))
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal(spoken, route, data, headers or {}, **{"name": "colors", **parameters})


def predicted(engine: Engine, body: Any, pattern: str = "/v1/models/{name}:predict", **parameters: str) -> Any:
    reply = send(engine, pattern, body, **parameters)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"instances": ROWS.tolist()}, "predictions"),
        ({"instances": [{"image": row} for row in ROWS.tolist()]}, "predictions"),
        ({"signature_name": "serving_default", "inputs": ROWS.tolist()}, "outputs"),
        ({"inputs": {"image": ROWS.tolist()}}, "outputs"),
    ],
    ids=["rows", "named rows", "columns", "named columns"],
)
def test_tensors_in_rows_and_columns(engine: Engine, body: Any, key: str) -> None:
    np.testing.assert_allclose(predicted(engine, body)[key], SCORES, atol=1e-6)


def test_versions_and_labels_in_the_path(engine: Engine) -> None:
    body = {"examples": [{"image": B64}]}
    at = "/v1/models/{name}/versions/{version}:classify"
    assert predicted(engine, body, at, version="2")["results"][0][0] == ["blue", 1.0]
    labelled = "/v1/models/{name}/labels/{label}:classify"
    assert predicted(engine, body, labelled, label="stable")["results"][0][0] == ["red", 1.0]
    assert send(engine, labelled, body, label="nobody").status == 404
    for version in ("3", "x", "-1", "9" * 30):
        assert send(engine, at, body, version=version).status == 404


def test_numbers_that_are_not_finite_stand_bare(engine: Engine) -> None:
    reply = send(engine, "/v1/models/{name}:predict", {"inputs": np.zeros_like(ROWS).tolist()}, name="logs")
    assert b"-Infinity" in reply.body
    assert json.loads(reply.body)["outputs"][0] == [-math.inf] * 3


def test_what_is_told_of_models(engine: Engine) -> None:
    states = json.loads(send(engine, "/v1/models/{name}", method="GET").body)["model_version_status"]
    assert [(s["version"], s["state"], s["status"]["error_code"]) for s in states] == [
        ("2", "AVAILABLE", "OK"),
        ("1", "AVAILABLE", "OK"),
    ]
    one = json.loads(send(engine, "/v1/models/{name}/labels/{label}", method="GET", label="stable").body)
    assert [s["version"] for s in one["model_version_status"]] == ["1"]
    assert send(engine, "/v1/models/{name}", method="GET", name="nobody").status == 404
    record = json.loads(send(engine, "/v1/models/{name}/metadata", method="GET").body)
    assert record["model_spec"] == {"name": "colors", "signature_name": "", "version": "2"}
    signature = record["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image"]["dtype"] == "DT_UINT8"
    assert [d["size"] for d in signature["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "32", "32", "3"]
    assert signature["outputs"]["scores"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {},
        {"instances": []},
        {"instances": {}},
        {"instances": 1},
        {"instances": ROWS.tolist(), "inputs": ROWS.tolist()},
        {"instances": [{"image": B64}, {"other": B64}]},
        {"instances": [B64, ROWS[0].tolist()]},
        {"instances": [{"b64": 1}]},
        {"instances": [{"b64": "!!"}]},
        {"instances": [{"other": B64}]},
        {"inputs": None},
        {"inputs": "text"},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [[1], [1, 2]]},
        {"inputs": (ROWS / 2.0).tolist()},
        {"inputs": (ROWS.astype(int) + 256).tolist()},
        {"inputs": ROWS[:, :-1].tolist()},
    ],
    ids=lambda body: body.decode() if isinstance(body, bytes) else None,
)
def test_mistakes_are_400(engine: Engine, body: Any) -> None:
    reply = send(engine, "/v1/models/{name}:predict", body)
    assert reply.status == 400, reply.body
    assert set(json.loads(reply.body)) == {"error"}


def test_mistakes_are_said_in_the_sentences_of_old(engine: Engine) -> None:
    def said(pattern: str, body: Any, **parameters: str) -> tuple[int, str]:
        reply = send(engine, pattern, body, **parameters)
        return reply.status, json.loads(reply.body)["error"]

    predict, one = "/v1/models/{name}:predict", {"instances": [B64]}
    at = "/v1/models/{name}/versions/{version}:predict"
    assert said(predict, b"") == (400, "JSON Parse error: The document is empty")
    assert said(predict, {}) == (400, "Missing 'inputs' or 'instances' key")
    assert said(predict, one, name="nobody") == (404, "Servable not found for request: Latest(nobody)")
    assert said(at, one, version="7") == (404, "Servable not found for request: Specific(colors, 7)")
    for pattern in ("/v1/models/{name}", "/v1/models/{rest:path}"):
        status, words = said(pattern, one)
        assert (status, words.startswith("Malformed request: POST /v1/models/")) == (400, True)


def test_other_signatures_and_torchserve(engine: Engine) -> None:
    other = {"signature_name": "other", "instances": [B64]}
    assert send(engine, "/v1/models/{name}:predict", other).status == 404
    shim = TorchServe()
    assert json.loads(send(engine, "/ping", method="GET", protocol=shim).body) == {"status": "Healthy"}
    part = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n' + png(255, 0, 51) + b"\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    at = "/predictions/{name}/{version}"
    one = send(engine, at, part + b"--b--\r\n", protocol=shim, headers=kind, version="1")
    assert {k: round(v, 6) for k, v in json.loads(one.body).items()} == {"red": 1.0, "blue": 0.2, "green": 0.0}
    two = send(engine, at, part + part + b"--b--\r\n", protocol=shim, headers=kind, version="1")
    assert (two.status, json.loads(two.body)["type"]) == (400, "batch_too_large")
    lost = json.loads(send(engine, "/predictions/{name}", png(1, 1, 1), protocol=shim, name="nobody").body)
    assert (lost["code"], lost["type"]) == (404, "not_found")
