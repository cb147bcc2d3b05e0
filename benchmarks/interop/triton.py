"""Every call of tritonclient that applies, over HTTP and gRPC, blocking and asyncio, against a running server.

Runs in an environment of its own (triton.txt). Prints a JSON line for each call: protocol, call, ok, said.
"""

import argparse
import asyncio
import inspect
import json
import queue
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from described import differences
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, serialize_byte_tensor

Check = tuple[str, Callable[[], Any], Callable[[Any], bool]]

SERVICES = {service.full_name: service for service in service_pb2.DESCRIPTOR.services_by_name.values()}


class Case:
    """What is asked and what must come: the harness worked it out in this machine's own process."""

    def __init__(self, file: str, model: str) -> None:
        record = np.load(file)
        self.model = model
        self.picture = record["picture"].tobytes()
        self.rows = record["rows"]
        self.outputs = [n.removeprefix("picture_") for n in record.files if n.startswith("picture_")]
        self.expected = {n: record[n] for n in record.files}

    def right(self, kind: str, result: Any, names: list[str] | None = None) -> bool:
        return all(
            np.allclose(result.as_numpy(name), self.expected[f"{kind}_{name}"], atol=1e-6, rtol=1e-6)
            for name in names or self.outputs
        )


def refused(call: Callable[[], Any]) -> Callable[[], Any]:
    """The error that a call must end in, as its value."""

    async def later(made: Any) -> str:
        try:
            await made
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"
        return ""

    def run() -> Any:
        try:
            made = call()
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"
        return later(made) if inspect.isawaitable(made) else ""

    return run


def field(record: Any, name: str) -> Any:
    return record[name] if isinstance(record, dict) else getattr(record, name)


def checks(client: Any, lib: Any, case: Case, http: bool) -> Iterator[Check]:
    """Calls that both transports and both styles share."""
    model, rows = case.model, case.rows

    def input_of(data: Any, datatype: str, binary: bool = True) -> list[Any]:
        given = lib.InferInput("image", list(data.shape), datatype)
        given.set_data_from_numpy(data, binary_data=binary) if http else given.set_data_from_numpy(data)
        return [given]

    def outputs(binary: bool = True, classes: int = 0) -> list[Any]:
        more = {"binary_data": binary} if http else {}
        return [lib.InferRequestedOutput(name, class_count=classes, **more) for name in case.outputs]

    pictures = np.array([case.picture], dtype=np.object_)
    yield "is_server_live", client.is_server_live, bool
    yield "is_server_ready", client.is_server_ready, bool
    yield "is_model_ready", lambda: client.is_model_ready(model), bool
    yield "is_model_ready, version", lambda: client.is_model_ready(model, "1"), bool
    yield "is_model_ready, unknown", lambda: client.is_model_ready("nobody"), lambda ready: ready is False
    yield "get_server_metadata", client.get_server_metadata, lambda r: "statistics" in field(r, "extensions")
    yield (
        "get_model_metadata",
        lambda: client.get_model_metadata(model),
        lambda r: field(field(r, "inputs")[0], "datatype") == "UINT8" and list(field(r, "versions")) == ["1"],
    )
    yield (
        "get_model_config",
        lambda: client.get_model_config(model),
        lambda r: field(r if http else r.config, "max_batch_size") > 0,
    )
    yield (
        "get_model_repository_index",
        client.get_model_repository_index,
        lambda r: any(field(m, "name") == model and field(m, "state") == "READY" for m in (r if http else r.models)),
    )
    yield "infer, tensor", lambda: client.infer(model, input_of(rows, "UINT8")), lambda r: case.right("rows", r)
    yield (
        "infer, outputs named",
        lambda: client.infer(model, input_of(rows, "UINT8"), outputs=outputs(), request_id="mine"),
        lambda r: case.right("rows", r) and field(r.get_response(), "id") == "mine",
    )
    yield (
        "infer, version, timeout, parameters",
        lambda: client.infer(
            model, input_of(rows, "UINT8"), model_version="1", priority=1, timeout=9_000_000, parameters={"mine": 1}
        ),
        lambda r: case.right("rows", r),
    )
    yield "infer, picture", lambda: client.infer(model, input_of(pictures, "BYTES")), lambda r: case.right("picture", r)
    yield (
        "infer, picture, decisions",
        lambda: client.infer(model, input_of(pictures, "BYTES"), outputs=[lib.InferRequestedOutput("prediction")]),
        lambda r: json.loads(r.as_numpy("prediction")[0])["image"]["width"] > 0,
    )
    if case.expected["rows_" + case.outputs[0]].ndim == 2 and case.outputs == ["scores"]:
        yield (
            "infer, classification",
            lambda: client.infer(model, input_of(rows, "UINT8"), outputs=outputs(classes=2)),
            lambda r: r.as_numpy("scores").shape == (len(rows), 2) and r.as_numpy("scores")[0, 0].count(b":") == 2,
        )
    yield (
        "get_inference_statistics",
        lambda: client.get_inference_statistics(model),
        lambda r: int(field(field(r, "model_stats")[0], "inference_count")) > 0,
    )
    yield "get_inference_statistics, all", client.get_inference_statistics, lambda r: len(field(r, "model_stats")) > 0
    yield "unload_model", lambda: client.unload_model(model), lambda r: True
    yield "is_model_ready, unloaded", lambda: client.is_model_ready(model), lambda ready: ready is False
    yield "infer, unloaded", refused(lambda: client.infer(model, input_of(rows, "UINT8"))), bool
    yield "load_model", lambda: client.load_model(model), lambda r: True
    yield "infer, loaded again", lambda: client.infer(model, input_of(rows, "UINT8")), lambda r: case.right("rows", r)
    yield "load_model, unknown", refused(lambda: client.load_model("nobody")), bool
    yield "load_model, config", refused(lambda: client.load_model(model, config="{}")), bool
    yield "infer, unknown model", refused(lambda: client.infer("nobody", input_of(rows, "UINT8"))), lambda s: bool(s)
    yield (
        "infer, wrong shape",
        refused(lambda: client.infer(model, input_of(rows[:, :-1], "UINT8"))),
        lambda s: "expected" in s,
    )
    yield (
        "infer, wrong type",
        refused(lambda: client.infer(model, input_of(rows.astype(np.float32), "FP32"))),
        lambda s: "expected" in s,
    )
    yield (
        "infer, unknown output",
        refused(lambda: client.infer(model, input_of(rows, "UINT8"), outputs=[lib.InferRequestedOutput("nothing")])),
        lambda s: "output" in s,
    )
    yield "infer, too many rows", refused(lambda: client.infer(model, input_of(np.repeat(rows, 65, 0), "UINT8"))), bool
    if http:
        yield (
            "infer, JSON both ways",
            lambda: client.infer(model, input_of(rows, "UINT8", binary=False), outputs=outputs(binary=False)),
            lambda r: case.right("rows", r),
        )
        yield (
            "infer, gzip",
            refused(lambda: client.infer(model, input_of(rows, "UINT8"), request_compression_algorithm="gzip")),
            lambda s: s.startswith("415"),
        )
    for name, call in (
        ("get_system_shared_memory_status", client.get_system_shared_memory_status),
        ("register_system_shared_memory", lambda: client.register_system_shared_memory("a", "/a", 8)),
        ("unregister_system_shared_memory", client.unregister_system_shared_memory),
        ("get_cuda_shared_memory_status", client.get_cuda_shared_memory_status),
        ("register_cuda_shared_memory", lambda: client.register_cuda_shared_memory("a", b"aa==", 0, 8)),
        ("unregister_cuda_shared_memory", client.unregister_cuda_shared_memory),
        ("get_trace_settings", client.get_trace_settings),
        ("update_trace_settings", lambda: client.update_trace_settings(settings={"trace_rate": "1"})),
        ("get_log_settings", client.get_log_settings),
        ("update_log_settings", lambda: client.update_log_settings({"log_info": True})),
    ):
        yield f"{name}, refused", refused(call), bool
    if not http:
        yield from only_grpc(client, lib, case)


def only_grpc(client: Any, lib: Any, case: Case) -> Iterator[Check]:
    """What the two styles of the gRPC client share beyond HTTP."""
    given = lib.InferInput("image", list(case.rows.shape), "UINT8")
    given.set_data_from_numpy(case.rows)
    yield (
        "get_model_metadata, as JSON",
        lambda: client.get_model_metadata(case.model, as_json=True),
        lambda r: r["versions"],
    )
    yield (
        "infer, typed contents",
        lambda: client.infer(case.model, [typed(lib, case.rows)]),
        lambda r: len(r.get_output("scores").contents.fp32_contents if "scores" in case.outputs else case.outputs),
    )
    yield (
        "infer, gzip",
        refused(lambda: client.infer(case.model, [given], compression_algorithm="gzip")),
        lambda said: "UNIMPLEMENTED" in said,
    )
    yield (
        "infer, no time left",
        refused(lambda: client.infer(case.model, [given], client_timeout=-1.0)),  # 1e-6 is rounded up to 1 ms: answered
        lambda said: "DEADLINE" in said.upper(),
    )
    yield "descriptions of messages", lambda: differences("inference", SERVICES), lambda found: found == []


def typed(lib: Any, rows: Any) -> Any:
    """An input whose values stand in the message itself, which the client cannot say by its own verbs."""
    given = lib.InferInput("image", list(rows.shape), "UINT8")
    given._get_tensor().contents.uint_contents.extend(rows.ravel().tolist())
    return given


def streamed(client: Any, lib: Any, case: Case) -> list[Any]:
    """Eight requests of one stream, the third of them for nobody's model; answers and errors in the order they came."""
    given = lib.InferInput("image", list(case.rows.shape), "UINT8")
    given.set_data_from_numpy(case.rows)
    got: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.start_stream(lambda result, error: got.put(error or result))
    for i in range(8):
        client.async_stream_infer("nobody" if i == 2 else case.model, [given], request_id=str(i))
    found = [got.get(timeout=30) for _ in range(8)]
    client.stop_stream()
    return found


async def streamed_later(client: Any, lib: Any, case: Case) -> list[Any]:
    given = lib.InferInput("image", list(case.rows.shape), "UINT8")
    given.set_data_from_numpy(case.rows)

    async def asked() -> Any:
        for i in range(8):
            yield {"model_name": "nobody" if i == 2 else case.model, "inputs": [given], "request_id": str(i)}

    return [error or result async for result, error in client.stream_infer(asked())]


def in_order(case: Case, found: list[Any]) -> bool:
    lost = found.pop(2)
    ids = [one.get_response().id for one in found]
    return (
        "no such model" in str(lost)
        and ids == [str(i) for i in range(8) if i != 2]
        and all(case.right("rows", r) for r in found)
    )


def sync_only(client: Any, lib: Any, case: Case, http: bool) -> Iterator[Check]:
    given = lib.InferInput("image", list(case.rows.shape), np_to_triton_dtype(case.rows.dtype))
    given.set_data_from_numpy(case.rows)
    if http:
        yield (
            "async_infer",
            lambda: [client.async_infer(case.model, [given]) for _ in range(4)],
            lambda r: all(case.right("rows", one.get_result()) for one in r),
        )
        body, length = client.generate_request_body([given])
        yield "generate_request_body", lambda: (body, length), lambda r: r[1] is not None
        return
    got: list[Any] = []

    def answered(result: Any, error: Any) -> None:
        got.append(error or result)

    def wait() -> list[Any]:
        for _ in range(4):
            client.async_infer(case.model, [given], answered)
        for _ in range(500):
            if len(got) == 4:
                break
            __import__("time").sleep(0.01)
        return got

    yield "async_infer", wait, lambda r: len(r) == 4 and all(case.right("rows", one) for one in r)
    yield "async_stream_infer", lambda: streamed(client, lib, case), lambda r: in_order(case, r)


def tell(protocol: str, call: str, ok: bool, said: str = "") -> None:
    print(json.dumps({"protocol": protocol, "call": call, "ok": ok, "said": said[:300]}), flush=True)


def judge(protocol: str, call: str, value: Any, test: Callable[[Any], bool]) -> None:
    try:
        tell(protocol, call, bool(test(value)), str(value))
    except Exception as error:
        tell(protocol, call, False, repr(error))


def blocking(protocol: str, client: Any, lib: Any, case: Case, http: bool) -> None:
    for call, ask, test in [*checks(client, lib, case, http), *sync_only(client, lib, case, http)]:
        try:
            value = ask()
        except Exception as error:
            tell(protocol, call, False, repr(error))
            continue
        judge(protocol, call, value, test)
    client.close()


async def waiting(protocol: str, client: Any, lib: Any, case: Case, http: bool) -> None:
    later: list[Check] = [
        ("stream_infer", lambda: streamed_later(client, lib, case), lambda r: in_order(case, r)),
    ]
    for call, ask, test in [*checks(client, lib, case, http), *([] if http else later)]:
        try:
            made = ask()
            value = await made if inspect.isawaitable(made) else made
        except Exception as error:
            tell(protocol, call, False, repr(error))
            continue
        judge(protocol, call, value, test)
    await client.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", required=True)
    parser.add_argument("--grpc")
    parser.add_argument("--model", required=True)
    parser.add_argument("--case", required=True)
    options = parser.parse_args()
    case = Case(options.case, options.model)
    assert serialize_byte_tensor(np.array([b"x"], dtype=np.object_)).size
    blocking("http", http_client.InferenceServerClient(options.http, concurrency=4), http_client, case, True)

    async def http_later() -> None:
        await waiting("http aio", http_aio.InferenceServerClient(options.http), http_aio, case, True)

    async def grpc_later() -> None:
        await waiting("grpc aio", grpc_aio.InferenceServerClient(options.grpc), grpc_aio, case, False)

    asyncio.run(http_later())
    if options.grpc:
        blocking("grpc", grpc_client.InferenceServerClient(options.grpc), grpc_client, case, False)
        asyncio.run(grpc_later())
    return 0


if __name__ == "__main__":
    sys.exit(main())
