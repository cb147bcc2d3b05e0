"""What every protocol must keep: plain routes, names that never become paths, typed refusals, and the same answer.

A Mouth says how a picture is asked about in a dialect over HTTP and how its answer is read, a Tongue the same over
gRPC; `check` and `check_method` hold one of them to the contract, `agree` demands of all of them the same scores.
"""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.method import Invocation, Method
from saccade.protocols.native.http import Native
from saccade.protocols.open_inference.http import OpenInference
from saccade.protocols.protocol import Call, Protocol, Reply, Route, grpc_status, said
from saccade.protocols.shims.custom_vision import BASE, CustomVision
from saccade.protocols.shims.torchserve import TorchServe
from saccade.protocols.tf_serving.http import TensorFlowServing
from saccade.wire import schema

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

    def scores(self, engine: Engine, model: str, image: bytes, labels: Sequence[str]) -> Scores:
        asked = self.say(image)
        return self.read(ask(self.route(engine), asked.body, asked.headers, name=model), labels)


@dataclass(frozen=True)
class Tongue:
    """path: of the method that answers. say: a picture and a model's name as a message. read: scores of an answer."""

    name: str
    protocol: Protocol
    path: str
    say: Callable[[bytes, str], Any]
    read: Callable[[Any, Sequence[str]], Scores]

    def method(self, engine: Engine) -> Method:
        """Raises AssertionError when the protocol has no such method."""
        found = [m for m in self.protocol.methods(engine) if m.path == self.path]
        assert len(found) == 1, f"{self.name} has {len(found)} methods {self.path}"
        return found[0]

    def scores(self, engine: Engine, model: str, image: bytes, labels: Sequence[str]) -> Scores:
        return self.read(asked_once(self.method(engine), self.say(image, model)), labels)


def asked_once(method: Method, message: Any, deadline_s: float = 10.0) -> Any:
    """Calls a method without a socket, through the bytes of its messages. Raises what the method raises."""

    async def run() -> Any:
        request = schema.read(method.request, message.SerializeToString())
        return await method.handler(Invocation("r", deadline_s), request)  # type: ignore[misc]

    return asyncio.run(run())


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


def check_method(tongue: Tongue, engine: Engine, model: str, image: bytes) -> None:
    """Raises AssertionError where a method breaks the contract. model: ready in the engine; image: readable."""
    methods = tongue.protocol.methods(engine)
    assert len({m.path for m in methods}) == len(methods)
    method = tongue.method(engine)
    assert method.needs == "use"
    assert isinstance(asked_once(method, tongue.say(image, model)), method.reply)
    for name in ("nobody", "../" + model, model + "@nobody", "\x00", "a" * 10_000):
        assert refused(method, tongue.say(image, name)) == "NOT_FOUND", name
    for data in (b"", b"\x00", image[: len(image) // 2], b"\xff\xd8\xff" + b"\x00" * 64, b"GIF89a" + b"\x00" * 64):
        assert refused(method, tongue.say(data, model)) == "INVALID_ARGUMENT", data


def refused(method: Method, message: Any) -> str:
    """The gRPC status a message is refused with, empty for an answer. Raises AssertionError for
    what tells of the inside."""
    words, status = "", ""
    try:
        asked_once(method, message)
    except SaccadeError as error:
        words, status = said(error), grpc_status(error.code)
    assert not any(word in words for word in ("Traceback", "/src/", ".py")), words
    return status


def agree(mouths: Sequence[Mouth | Tongue], engine: Engine, model: str, image: bytes, labels: Sequence[str]) -> None:
    """Raises AssertionError unless every mouth gives each label the same score, to 1e-6."""
    found = {mouth.name: mouth.scores(engine, model, image, labels) for mouth in mouths}
    first = found[mouths[0].name]
    assert set(first) == set(labels)
    for name, scores in found.items():
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


def tongues() -> list[Tongue]:
    """Every way over gRPC in which an encoded picture can be asked about."""
    oip, tfs = OpenInference(), TensorFlowServing()
    infer, prediction = "/inference.GRPCInferenceService/ModelInfer", "/tensorflow.serving.PredictionService/"
    return [
        Tongue("open inference, gRPC raw", oip, infer, lambda i, m: _infer(i, m, True), _infer_raw),
        Tongue("open inference, gRPC typed", oip, infer, lambda i, m: _infer(i, m, False), _infer_typed),
        Tongue("tensorflow serving, Predict", tfs, f"{prediction}Predict", _predict, _predicted),
        Tongue("tensorflow serving, Classify", tfs, f"{prediction}Classify", _classify, _classified),
    ]


def _infer(image: bytes, model: str, raw: bool) -> Any:
    request = schema.message("inference.ModelInferRequest")(model_name=model)
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    if raw:
        request.raw_input_contents.append(len(image).to_bytes(4, "little") + image)
    else:
        tensor.contents.bytes_contents.append(image)
    return request


def _infer_raw(reply: Any, labels: Sequence[str]) -> Scores:
    index = [output.name for output in reply.outputs].index("scores")
    return dict(zip(labels, np.frombuffer(reply.raw_output_contents[index], "<f4").tolist(), strict=True))


def _infer_typed(reply: Any, labels: Sequence[str]) -> Scores:
    output = next(output for output in reply.outputs if output.name == "scores")
    return dict(zip(labels, output.contents.fp32_contents, strict=True))


def _predict(image: bytes, model: str) -> Any:
    request = schema.message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = model
    tensor = request.inputs["image"]
    tensor.dtype = "DT_STRING"
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(image)
    return request


def _predicted(reply: Any, labels: Sequence[str]) -> Scores:
    return dict(zip(labels, reply.outputs["scores"].float_val, strict=True))


def _classify(image: bytes, model: str) -> Any:
    request = schema.message("tensorflow.serving.ClassificationRequest")()
    request.model_spec.name = model
    example = request.input.example_list.examples.add()
    example.features.feature["image"].bytes_list.value.append(image)
    return request


def _classified(reply: Any, labels: Sequence[str]) -> Scores:
    return {one.label: one.score for one in reply.result.classifications[0].classes}


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
