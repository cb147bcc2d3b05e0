"""What every protocol must keep: plain routes, names that never become paths, typed refusals, and the same answer.

A Mouth says how a picture is asked about in a dialect and how its answer is read; `check` holds one mouth to the
contract, `agree` demands of all of them the same scores.
"""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.native.http import Native
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Call, Protocol, Reply, Route
from saccade.protocols.shims.custom_vision import BASE, CustomVision
from saccade.protocols.shims.torchserve import TorchServe
from saccade.protocols.tf_serving.http import TensorFlowServing

Scores = Mapping[str, float]
"""Label to score."""


@dataclass(frozen=True)
class Asked:
    """A body and the headers that go with it."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Mouth:
    """pattern: of the route that answers, `{name}` in it. say: a picture as a body. read: scores of an answer."""

    name: str
    protocol: Protocol
    pattern: str
    say: Callable[[bytes], Asked]
    read: Callable[[Reply, Sequence[str]], Scores]

    def route(self, engine: Engine) -> Route:
        """Raises AssertionError when the protocol has no such route."""
        found = [r for r in self.protocol.routes(engine) if r.pattern == self.pattern and r.method == "POST"]
        assert len(found) == 1, f"{self.name} has {len(found)} routes {self.pattern}"
        return found[0]


async def _body(data: bytes) -> AsyncIterator[bytes]:
    yield data


def ask(route: Route, data: bytes = b"", headers: Mapping[str, str] | None = None, **parameters: str) -> Reply:
    """Calls a handler without a socket. Raises what the handler raises."""
    given = {"content-type": "application/octet-stream", **(headers or {})}
    call = Call(route.method, route.pattern, parameters, given, [], _body(data), "r")

    async def run() -> Reply:
        return await route.handler(call)

    return asyncio.run(run())


def refusal(protocol: Protocol, route: Route, data: bytes, headers: Mapping[str, str], **parameters: str) -> Reply:
    """The answer, or the refusal in the dialect's own words."""
    try:
        return ask(route, data, headers, **parameters)
    except SaccadeError as error:
        return protocol.refuse(error, "r")


def check(mouth: Mouth, engine: Engine, model: str, image: bytes) -> None:
    """Raises AssertionError where a mouth breaks the contract. model: ready in the engine; image: readable."""
    routes = mouth.protocol.routes(engine)
    assert len({(r.method, r.pattern) for r in routes}) == len(routes)
    route = mouth.route(engine)
    assert route.max_bytes > 0
    assert route.needs == "use"
    asked = mouth.say(image)
    assert ask(route, asked.body, asked.headers, name=model).status == 200
    for name in ("nobody", "../" + model, model + "@nobody", "", "\x00", "a" * 10_000):
        assert refusal(mouth.protocol, route, asked.body, asked.headers, name=name).status == 404, name
    for data in (b"", b"\x00", image[: len(image) // 2], b"\xff\xd8\xff" + b"\x00" * 64, b"GIF89a" + b"\x00" * 64):
        for body in (Asked(data, asked.headers), mouth.say(data)):
            answer = refusal(mouth.protocol, route, body.body, body.headers, name=model)
            assert 400 <= answer.status < 500, (mouth.name, data, answer)
            assert not any(word in answer.body.decode() for word in ("Traceback", "/src/", ".py")), answer.body


def agree(mouths: Sequence[Mouth], engine: Engine, model: str, image: bytes, labels: Sequence[str]) -> None:
    """Raises AssertionError unless every mouth gives each label the same score, to 1e-6."""
    said = {}
    for mouth in mouths:
        asked = mouth.say(image)
        said[mouth.name] = mouth.read(ask(mouth.route(engine), asked.body, asked.headers, name=model), labels)
    first = said[mouths[0].name]
    assert set(first) == set(labels)
    for name, scores in said.items():
        assert set(scores) == set(first), name
        assert all(abs(scores[label] - first[label]) <= 1e-6 for label in first), (name, scores, first)


# The mouths of the house


def mouths() -> list[Mouth]:
    """Every way over HTTP in which an encoded picture can be asked about, the native one first."""
    native, oip, tfs = Native(), OpenInference(), TensorFlowServing()
    rows, classes = "/v1/models/{name}:predict", "/v1/models/{name}:classify"
    predict, infer = "/api/v1/models/{name}/predict", "/v2/models/{name}/infer"
    return [
        Mouth("native", native, predict, lambda i: Asked(i, {"content-type": "image/png"}), _native),
        Mouth("native, JSON", native, predict, _native_json, _native),
        Mouth("open inference, raw", oip, infer, lambda i: Asked(i, {"inference-header-content-length": "0"}), _binary),
        Mouth("open inference, binary", oip, infer, _oip_binary, _binary),
        Mouth("open inference, JSON", oip, infer, _oip_json, _oip_scores),
        Mouth("open inference, decisions", oip, infer, _oip_json, _oip_decisions),
        Mouth("tensorflow serving, rows", tfs, rows, lambda i: _tfs(i, "instances", True), _tfs_rows),
        Mouth("tensorflow serving, named rows", tfs, rows, lambda i: _tfs(i, "instances", True, True), _tfs_rows),
        Mouth("tensorflow serving, columns", tfs, rows, lambda i: _tfs(i, "inputs", True), _tfs_columns),
        Mouth("tensorflow serving, classify", tfs, classes, lambda i: _tfs(i, "examples", True, True), _tfs_classes),
        Mouth("torchserve", TorchServe(), "/predictions/{name}", lambda i: Asked(i, {}), _torchserve),
        Mouth(
            "custom vision", CustomVision(), f"{BASE}/classify/iterations/{{name}}/image", lambda i: Asked(i, {}), _tags
        ),
    ]


def _native_json(image: bytes) -> Asked:
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    return Asked(body, {"content-type": "application/json"})


def _native(reply: Reply, labels: Sequence[str]) -> Scores:
    return {p["label"]: p["score"] for p in json.loads(reply.body)["predictions"]}


def _oip_binary(image: bytes) -> Asked:
    element = len(image).to_bytes(4, "little") + image
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Asked(head + element, {"inference-header-content-length": str(len(head))})


def _oip_json(image: bytes) -> Asked:
    text = base64.b64encode(image).decode()
    body = json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}]})
    return Asked(body.encode(), {"content-type": "application/json"})


def _binary(reply: Reply, labels: Sequence[str]) -> Scores:
    length = int(dict(reply.headers)["inference-header-content-length"])
    stream = io.BytesIO(reply.body[length:])
    for output in json.loads(reply.body[:length])["outputs"]:
        data = stream.read(output["parameters"]["binary_data_size"])
        if output["name"] == "scores":
            return dict(zip(labels, np.frombuffer(data, "<f4").tolist(), strict=True))
    raise AssertionError("no scores came")


def _oip_scores(reply: Reply, labels: Sequence[str]) -> Scores:
    scores = next(o for o in json.loads(reply.body)["outputs"] if o["name"] == "scores")
    return dict(zip(labels, scores["data"], strict=True))


def _oip_decisions(reply: Reply, labels: Sequence[str]) -> Scores:
    record = next(o for o in json.loads(reply.body)["outputs"] if o["name"] == "prediction")
    return {p["label"]: p["score"] for p in json.loads(record["data"][0])["predictions"]}


def _tfs(image: bytes, key: str, several: bool, named: bool = False) -> Asked:
    value: object = {"b64": base64.b64encode(image).decode()}
    value = {"image": value} if named else value
    return Asked(json.dumps({key: [value] if several else value}).encode(), {"content-type": "application/json"})


def _tfs_rows(reply: Reply, labels: Sequence[str]) -> Scores:
    return dict(zip(labels, json.loads(reply.body)["predictions"][0], strict=True))


def _tfs_columns(reply: Reply, labels: Sequence[str]) -> Scores:
    return dict(zip(labels, json.loads(reply.body)["outputs"][0], strict=True))


def _tfs_classes(reply: Reply, labels: Sequence[str]) -> Scores:
    return dict(json.loads(reply.body)["results"][0])


def _tags(reply: Reply, labels: Sequence[str]) -> Scores:
    scores = {p["tagName"]: p["probability"] for p in json.loads(reply.body)["predictions"]}
    return dict.fromkeys(labels, 0.0) | scores


def _torchserve(reply: Reply, labels: Sequence[str]) -> Scores:
    found: dict[str, float] = json.loads(reply.body)
    return found
