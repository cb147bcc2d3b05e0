"""Requests over gRPC: the native API's questions put to the Open Inference Protocol, whose `prediction` is its answer.

Every picture is a call of its own on one connection, so that a damaged one fails alone; the server batches them.
"""

import json
import os
import re
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from saccade.client import messages
from saccade.client.messages import Reply, Request
from saccade.errors import ServerError, UsageError

try:
    import grpc

    from saccade.wire import schema
except ImportError as error:
    raise UsageError("asking over gRPC needs grpcio and protobuf", hint="pip install 'saccade[grpc]'") from error

MAX_ANSWER = 64 * 1024 * 1024
PREDICT = re.compile(r"/api/v1/models/(?P<name>[^/]+)(?:/versions/(?P<version>\d+))?/predict")
CARRIED = ("authorization", "x-request-id")
"""Headers that become metadata; the time a caller gives is the call's own."""
STATUSES = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
EXHAUSTED = {"payload_too_large": 413, "tensor_too_large": 413, "storage_full": 507}
"""Codes of RESOURCE_EXHAUSTED that waiting does not cure."""
JSON, PROBLEM = {"content-type": "application/json"}, {"content-type": "application/problem+json"}


class Grpc:
    """url: grpc://host:port, or grpcs:// with TLS against the system's authorities. Safe from several threads.

    The channel is opened when it is first needed, in the process that needs it: it would not survive a fork.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            wrong = not parts.hostname or not parts.port or parts.path.strip("/") or parts.query or "@" in url
        except ValueError:
            wrong = True
        if wrong:
            raise UsageError(f"a server's address is grpc(s)://host:port, got {url!r}", hint="grpc://127.0.0.1:8001")
        self._address, self._tls = parts.netloc, parts.scheme == "grpcs"
        self._held: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def send(self, request: Request, timeout_s: float) -> Reply:
        """Raises ServerError: unreachable, answer_timeout, unexpected_answer."""
        path, _, query = request.target.partition("?")
        metadata = [(name, request.headers[name]) for name in CARRIED if name in request.headers]
        asking = PREDICT.fullmatch(path)
        try:
            if asking is not None:
                wishes = dict(parse_qsl(query))
                name, version = unquote(asking["name"]), asking["version"] or ""
                return self._predict(name, version, request.pictures, wishes, metadata, timeout_s)
            if path == "/livez":
                return _probe(self._call("ServerLive", {}, metadata, timeout_s).result().live)
            if path == "/readyz":
                return _probe(self._call("ServerReady", {}, metadata, timeout_s).result().ready)
            if path == "/api/v1/models":
                return _models(self._call("RepositoryIndex", {}, metadata, timeout_s).result())
        except grpc.RpcError as error:
            return _refusal(error)
        told = {"code": "not_implemented", "detail": "this is told over HTTP alone; ask http://host:port"}
        return Reply(501, PROBLEM, json.dumps(told).encode())

    def close(self) -> None:
        with self._lock:
            held, self._held = self._held, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    def _predict(
        self,
        name: str,
        version: str,
        pictures: Sequence[bytes],
        wishes: dict[str, str],
        metadata: list[tuple[str, str]],
        timeout_s: float,
    ) -> Reply:
        asked = []
        for picture in pictures:
            output = {"name": "prediction", "parameters": {k: {"string_param": v} for k, v in wishes.items()}}
            head = {"model_name": name, "model_version": version, "outputs": [output]}
            head["inputs"] = [{"name": "image", "datatype": "BYTES", "shape": [1]}]
            asked.append(self._call("ModelInfer", head, metadata, timeout_s, picture))
        replies = []
        for one in asked:
            try:
                replies.append(Reply(200, JSON, _element(one.result())))
            except grpc.RpcError as error:
                replies.append(_refusal(error))
        if len(replies) == 1:
            return replies[0]
        results: list[Any] = []
        for reply in replies:
            record = json.loads(reply.body)
            if reply.status != 200 and not messages.own(messages.problem(record, reply.status)):
                return reply
            results.append(record if reply.status == 200 else {"error": record})
        return Reply(200, JSON, json.dumps({"results": results}).encode())

    def _call(
        self,
        name: str,
        record: dict[str, Any],
        metadata: list[tuple[str, str]],
        timeout_s: float,
        raw: bytes | None = None,
    ) -> Any:
        """A call under way; its result() gives the message or raises RpcError."""
        rpc = schema.service("inference.GRPCInferenceService")[name]
        message = schema.fill(rpc.request, record)
        if raw is not None:
            message.raw_input_contents.append(len(raw).to_bytes(4, "little") + raw)
        asked = self._channel().unary_unary(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        return asked.future(message, timeout=timeout_s, metadata=metadata)

    def _channel(self) -> Any:
        with self._lock:
            if self._held is None or self._held[0] != os.getpid():
                options = [("grpc.max_receive_message_length", MAX_ANSWER), ("grpc.max_send_message_length", -1)]
                if self._tls:
                    made = grpc.secure_channel(self._address, grpc.ssl_channel_credentials(), options)
                else:
                    made = grpc.insecure_channel(self._address, options)
                self._held = os.getpid(), made
            return self._held[1]


def _element(message: Any) -> bytes:
    """The one string of the one output."""
    if len(message.raw_output_contents) == 1:
        raw = message.raw_output_contents[0]
        if len(raw) >= 4 and int.from_bytes(raw[:4], "little") == len(raw) - 4:
            return bytes(raw[4:])
    raise ServerError("the answer holds no prediction", hint="check the address", code="unexpected_answer")


def _probe(yes: bool) -> Reply:
    return Reply(200 if yes else 503, {"content-type": "text/plain"}, b"")


def _models(message: Any) -> Reply:
    """Names, versions and their states, as far as this protocol tells them."""
    found: dict[str, list[dict[str, str]]] = {}
    for entry in message.models:
        found.setdefault(entry.name, []).append({"version": entry.version, "state": entry.state.lower()})
    told: list[dict[str, Any]] = [
        {"name": name, "task": None, "versions": versions, "aliases": {}} for name, versions in found.items()
    ]
    return Reply(200, JSON, json.dumps({"models": told}).encode())


def _refusal(error: Any) -> Reply:
    """A server's refusal as the native API says it. Raises ServerError for what no server said."""
    status = error.code().name
    told: dict[str, str] = dict(error.trailing_metadata() or ())
    if "x-error-code" not in told:
        if status == "UNAVAILABLE":
            raise ServerError(
                "the server cannot be reached over gRPC",
                hint="check that it runs, its address and port",
                code="unreachable",
            ) from error
        if status in ("DEADLINE_EXCEEDED", "CANCELLED"):
            raise ServerError(
                "the server did not answer in time", hint="raise timeout_s, or ask again later", code="answer_timeout"
            ) from error
    if status == "RESOURCE_EXHAUSTED" and "x-error-code" not in told:
        told["x-error-code"] = "rate_limited" if "retry-after" in told else "payload_too_large"
    number = STATUSES.get(status, 500)
    number = EXHAUSTED.get(told.get("x-error-code", ""), number) if status == "RESOURCE_EXHAUSTED" else number
    after = {"retry-after": told["retry-after"]} if "retry-after" in told else {}
    record = {"code": told.get("x-error-code", "unexpected_answer"), "detail": error.details() or "", "status": number}
    return Reply(number, PROBLEM | after, json.dumps(record).encode())
