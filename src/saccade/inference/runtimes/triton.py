"""Graphs that a server of the Open Inference Protocol runs (Triton, KServe, saccade itself), over gRPC."""

import threading
import time
from collections.abc import Mapping
from typing import Any, Self

import grpc
import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference import remote, remote_keys
from saccade.inference.remote import Remote, RemoteGraph, RemoteRuntime
from saccade.types import Array, TensorSpec
from saccade.wire import schema
from saccade.wire.names import DATATYPES, OPEN_INFERENCE

CONNECT_S = 2.0
"""How long a call waits for a connection; it has not been sent until then."""
LEARN_S = 5.0
MAX_ANSWER = 1 << 30
CODES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "deadline_exceeded",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "overloaded",
    grpc.StatusCode.INVALID_ARGUMENT: "inference_failed",
    grpc.StatusCode.INTERNAL: "inference_failed",
    grpc.StatusCode.UNKNOWN: "inference_failed",
    grpc.StatusCode.OUT_OF_RANGE: "inference_failed",
}
"""gRPC's status to our code; any other means that this server cannot be asked for this model."""
WORDS = {
    "deadline_exceeded": "the server that runs this model did not answer in time",
    "overloaded": "the server that runs this model has more work than it can do in time",
    "inference_failed": "the server that runs this model failed on this input",
}
OIP = schema.service("inference.GRPCInferenceService")


class Line:
    """A connection that all threads share and that comes back by itself. Raises UsageError for
    a key that may not go."""

    def __init__(self, where: Remote) -> None:
        key = remote_keys.key_of(where)
        options = [
            ("grpc.max_receive_message_length", MAX_ANSWER),
            ("grpc.max_send_message_length", -1),
            # Retries of the library's own would also send again what may have been run.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A proxy of the environment would make loopback another machine's.
            ("grpc.enable_http_proxy", 0 if where.loopback else 1),
        ]
        if where.tls:
            self._channel = grpc.secure_channel(where.address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(where.address, options)
        self._metadata = [("authorization", f"Bearer {key}")] if key else None
        self._ready = False
        self._closed = False
        self._asks: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._channel.subscribe(self._told)

    def _told(self, state: grpc.ChannelConnectivity) -> None:
        self._ready = state is grpc.ChannelConnectivity.READY

    def call(self, rpc: schema.Rpc, request: Any, until: float, connect_s: float = CONNECT_S) -> Any:
        """The answer, by `until` of time.monotonic, connecting included. Nothing is sent before the connection stands,
        and nothing is sent twice. Raises InferenceError."""
        if self._closed:
            raise InferenceError("the graph is closed", code="not_ready")
        if not self._ready:
            self._connect(min(connect_s, until - time.monotonic()))
        ask = self._asks.get(rpc.path)
        if ask is None:
            ask = self._channel.unary_unary(
                rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.reply.FromString
            )
            self._asks[rpc.path] = ask
        try:
            return ask(request, timeout=until - time.monotonic(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise fault(error) from error
        except ValueError as error:
            raise InferenceError("the graph is closed", code="not_ready") from error

    def _connect(self, timeout_s: float) -> None:
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout_s)
        except grpc.FutureTimeoutError as error:
            raise remote.away() from error
        except ValueError as error:
            raise InferenceError("the graph is closed", code="not_ready") from error
        finally:
            ready.cancel()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._channel.unsubscribe(self._told)
        self._channel.close()


def fault(error: Any) -> InferenceError:
    """A call's failure in our words; the server's own stay in the cause, for the log."""
    code = CODES.get(error.code())
    return InferenceError(WORDS[code], code=code) if code else remote.away()


class _Graph(RemoteGraph):
    def __init__(self, where: Remote) -> None:
        super().__init__(where)
        self._line = Line(where)

    def learn(self) -> Self:
        """Asks what goes in and what comes out. Raises InferenceError, PackageError."""
        named = {"name": self.remote.model, "version": self.remote.version}
        told = self._call("ModelMetadata", named, time.monotonic() + LEARN_S, LEARN_S)
        self.inputs = tuple(_spec(t) for t in told.inputs)
        self.outputs = tuple(_spec(t) for t in told.outputs)
        try:
            config = self._call("ModelConfig", named, time.monotonic() + LEARN_S).config
        except InferenceError as error:
            cause = error.__cause__
            if not isinstance(cause, grpc.RpcError) or cause.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        else:
            self.most = int(config.max_batch_size)
        return self

    def _call(self, name: str, fields: Mapping[str, Any], until: float, connect_s: float = CONNECT_S) -> Any:
        rpc = OIP[name]
        return self._line.call(rpc, rpc.request(**fields), until, connect_s)

    def alive(self, until: float) -> None:
        named = {"name": self.remote.model, "version": self.remote.version}
        if not self._call("ModelReady", named, until).ready:
            raise remote.away()

    def ask(self, arrays: Mapping[str, Array], until: float) -> dict[str, Array]:
        request = OIP["ModelInfer"].request(model_name=self.remote.model, model_version=self.remote.version)
        for spec in self.inputs:
            value = arrays[spec.name]
            request.inputs.add(name=spec.name, datatype=DATATYPES[value.dtype.name], shape=value.shape)
            request.raw_input_contents.append(np.ascontiguousarray(value).tobytes())
        for spec in self.outputs:
            request.outputs.add(name=spec.name)
        return _read(self._line.call(OIP["ModelInfer"], request, until))

    def close(self) -> None:
        super().close()
        self._line.close()


def _spec(told: Any) -> TensorSpec:
    if told.datatype not in OPEN_INFERENCE:
        raise PackageError(
            f"the server's tensor {told.name!r} has type {told.datatype}, expected numbers", code="onnx_invalid"
        )
    return TensorSpec(told.name, OPEN_INFERENCE[told.datatype], tuple(None if s < 0 else int(s) for s in told.shape))


def _read(reply: Any) -> dict[str, Array]:
    """The outputs, sent raw or in the fields of their types. Raises InferenceError when they are not what they say."""
    raw = reply.raw_output_contents
    try:
        found = {}
        for i, output in enumerate(reply.outputs):
            dtype = OPEN_INFERENCE[output.datatype]
            if raw:
                value = np.frombuffer(raw[i], dtype)
            else:
                [(_, values)] = output.contents.ListFields()
                value = np.array(list(values), dtype)
            # Its own memory: the message would live as long as any row of it.
            shape = tuple(output.shape)
            if min(shape, default=0) < 0:
                raise ValueError("a side is negative")
            found[output.name] = np.array(value.reshape(shape))
        return found
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise InferenceError("the server that runs this model gave no tensors") from error


class _Triton(RemoteRuntime):
    name = "triton"
    graph = _Graph


RUNTIME = _Triton()
