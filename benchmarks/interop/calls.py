"""The same calls of tritonclient, whatever server is asked: what came of each, its status and its arrays.

Runs in the environment of tritonclient (triton.txt). Prints a JSON line for each call: protocol, call, status ("ok" or
the error's), facts (what is compared as it is), arrays (name to dtype, shape and base64, compared to 1e-6).
"""

import argparse
import asyncio
import base64
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

Read = Callable[[Any], Any]
Ask = tuple[str, Callable[[], Any], Read]


class Case:
    """model: takes tensors. pictures: takes encoded ones, of this shape. outputs: the graph's, with their shapes."""

    def __init__(self, options: argparse.Namespace) -> None:
        record = np.load(options.case)
        self.model, self.pictures = options.model, options.pictures
        self.shape = [int(side) for side in options.shape.split(",")]
        self.picture, self.rows = record["picture"].tobytes(), record["rows"]
        self.outputs = [n.removeprefix("picture_") for n in record.files if n.startswith("picture_")]


def field(record: Any, name: str) -> Any:
    return record[name] if isinstance(record, dict) else getattr(record, name)


def tensors(record: Any) -> list[Any]:
    return [[field(t, "name"), field(t, "datatype"), [int(s) for s in field(t, "shape")]] for t in record]


def arrays(result: Any, names: list[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        value = result.as_numpy(name)
        if value is None:
            continue
        if value.dtype == np.object_:
            found[name] = {"dtype": "bytes", "shape": list(value.shape), "text": [v.decode() for v in value.ravel()]}
        else:
            data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
            found[name] = {"dtype": str(value.dtype), "shape": list(value.shape), "data": data}
    return found


def asks(client: Any, lib: Any, case: Case, http: bool) -> Iterator[Ask]:
    model, rows, names = case.model, case.rows, case.outputs

    def given(data: Any, datatype: str = "UINT8", name: str = "image", binary: bool = True) -> list[Any]:
        made = lib.InferInput(name, list(data.shape), datatype)
        made.set_data_from_numpy(data, binary_data=binary) if http else made.set_data_from_numpy(data)
        return [made]

    def wanted(*chosen: str, classes: int = 0, binary: bool = True) -> list[Any]:
        more = {"binary_data": binary} if http else {}
        return [lib.InferRequestedOutput(name, class_count=classes, **more) for name in chosen]

    def answer(result: Any) -> Any:
        response = result.get_response()
        facts = [field(response, "model_name"), str(field(response, "model_version"))]
        return facts, arrays(result, names)

    def plain(value: Any) -> Any:
        return value, {}

    def nothing(value: Any) -> Any:
        return None, {}

    picture = np.array([case.picture], dtype=np.object_).reshape(case.shape)
    yield "is_server_live", client.is_server_live, plain
    yield "is_server_ready", client.is_server_ready, plain
    yield "is_model_ready", lambda: client.is_model_ready(model), plain
    yield "is_model_ready, version", lambda: client.is_model_ready(model, "1"), plain
    yield "is_model_ready, no such version", lambda: client.is_model_ready(model, "9"), plain
    yield "is_model_ready, unknown", lambda: client.is_model_ready("nobody"), plain
    yield (
        "get_server_metadata",
        client.get_server_metadata,
        lambda r: ({"binary_tensor_data", "classification", "statistics"} <= set(field(r, "extensions")), {}),
    )
    yield (
        "get_model_metadata",
        lambda: client.get_model_metadata(model),
        lambda r: (
            [
                field(r, "name"), list(field(r, "versions")),
                tensors(field(r, "inputs")), tensors(field(r, "outputs")),
            ],
            {},
        ),
    )  # fmt: skip
    yield "get_model_metadata, unknown", lambda: client.get_model_metadata("nobody"), nothing

    def config(record: Any) -> Any:
        held = record if http else record.config
        sides = []
        for side in ("input", "output"):
            for one in field(held, side):
                kind = field(one, "data_type")
                kind = (
                    kind
                    if isinstance(kind, str)
                    else held.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[kind].name
                )
                sides.append([field(one, "name"), kind, [int(d) for d in field(one, "dims")]])
        return [field(held, "name"), int(field(held, "max_batch_size")) > 0, sides], {}

    yield "get_model_config", lambda: client.get_model_config(model), config
    yield "get_model_config, unknown", lambda: client.get_model_config("nobody"), nothing

    def index(record: Any) -> Any:
        held = record if http else record.models
        return [[field(m, "version"), field(m, "state")] for m in held if field(m, "name") == model], {}

    yield "get_model_repository_index", client.get_model_repository_index, index
    yield "infer", lambda: client.infer(model, given(rows)), answer
    yield "infer, one row", lambda: client.infer(model, given(rows[:1])), answer
    yield "infer, outputs named", lambda: client.infer(model, given(rows), outputs=wanted(*reversed(names))), answer
    yield "infer, version", lambda: client.infer(model, given(rows), model_version="1"), answer
    yield "infer, no such version", lambda: client.infer(model, given(rows), model_version="9"), nothing
    yield (
        "infer, id",
        lambda: client.infer(model, given(rows), request_id="mine"),
        lambda r: (field(r.get_response(), "id"), {}),
    )
    yield "infer, priority and timeout", lambda: client.infer(model, given(rows), priority=1, timeout=9_000_000), answer
    yield "infer, parameters", lambda: client.infer(model, given(rows), parameters={"mine": 1}), answer
    yield "infer, encoded picture", lambda: client.infer(case.pictures, given(picture, "BYTES")), (
        lambda r: (None, arrays(r, names))
    )  # fmt: skip
    broken = np.array([b"no picture"], dtype=np.object_).reshape(case.shape)
    yield "infer, encoded picture that is none", lambda: client.infer(case.pictures, given(broken, "BYTES")), nothing
    if names == ["scores"]:
        yield (
            "infer, classification",
            lambda: client.infer(model, given(rows), outputs=wanted("scores", classes=2)),
            answer,
        )
    yield "infer, unknown model", lambda: client.infer("nobody", given(rows)), nothing
    yield "infer, wrong shape", lambda: client.infer(model, given(rows[:, :-1])), nothing
    yield "infer, wrong rank", lambda: client.infer(model, given(rows[0])), nothing
    yield "infer, wrong type", lambda: client.infer(model, given(rows.astype(np.float32), "FP32")), nothing
    yield "infer, unknown input", lambda: client.infer(model, given(rows, name="picture")), nothing
    yield "infer, an input twice", lambda: client.infer(model, given(rows) * 2), nothing
    yield "infer, unknown output", lambda: client.infer(model, given(rows), outputs=wanted("nothing")), nothing
    yield "infer, too many rows", lambda: client.infer(model, given(np.repeat(rows, 65, 0))), nothing
    if http:
        yield (
            "infer, JSON both ways",
            lambda: client.infer(model, given(rows, binary=False), outputs=wanted(*names, binary=False)),
            answer,
        )
        yield (
            "infer, compressed request",
            lambda: client.infer(model, given(rows), request_compression_algorithm="gzip"),
            answer,
        )

    def statistics(record: Any) -> Any:
        [one] = field(record, "model_stats")
        success = field(field(one, "inference_stats"), "success")
        counted = int(field(success, "count")) > 0 and int(field(one, "inference_count")) > 0
        return [field(one, "name"), field(one, "version"), counted], {}

    yield "get_inference_statistics", lambda: client.get_inference_statistics(model), statistics
    yield "get_inference_statistics, unknown", lambda: client.get_inference_statistics("nobody"), nothing
    yield "unload_model", lambda: client.unload_model(model), nothing
    yield "is_model_ready, unloaded", lambda: _soon(client, model), plain
    yield "infer, unloaded", lambda: client.infer(model, given(rows)), nothing
    yield "load_model", lambda: client.load_model(model), nothing
    yield "infer, loaded again", lambda: client.infer(model, given(rows)), answer
    yield "load_model, unknown", lambda: client.load_model("nobody"), nothing
    yield "get_trace_settings", client.get_trace_settings, nothing
    yield "get_log_settings", client.get_log_settings, nothing
    yield "get_system_shared_memory_status", client.get_system_shared_memory_status, nothing


def _soon(client: Any, model: str) -> Any:
    """Whether the model is ready, asked until it is not: Triton answers an unload before it has happened."""
    import time

    asked = client.is_model_ready(model)
    if inspect.isawaitable(asked):

        async def later() -> Any:
            ready = await asked
            for _ in range(50):
                if not ready:
                    break
                await asyncio.sleep(0.1)
                ready = await client.is_model_ready(model)
            return ready

        return later()
    for _ in range(50):
        if not asked:
            break
        time.sleep(0.1)
        asked = client.is_model_ready(model)
    return asked


def tell(protocol: str, call: str, status: str, facts: Any = None, found: Any = None, said: str = "") -> None:
    record = {"protocol": protocol, "call": call, "status": status, "facts": facts, "arrays": found or {}}
    print(json.dumps({**record, "said": said[:200]}), flush=True)


def told(protocol: str, call: str, read: Read, value: Any) -> None:
    try:
        tell(protocol, call, "ok", *read(value))
    except Exception as error:
        tell(protocol, call, "unreadable", said=repr(error))


def failed(protocol: str, call: str, error: Exception) -> None:
    if isinstance(error, InferenceServerException):
        tell(protocol, call, str(error.status()).removeprefix("StatusCode."), said=str(error.message()))
    else:
        tell(protocol, call, "client error", said=repr(error))


def blocking(protocol: str, client: Any, lib: Any, case: Case, http: bool) -> None:
    for call, ask, read in asks(client, lib, case, http):
        try:
            value = ask()
        except Exception as error:
            failed(protocol, call, error)
            continue
        told(protocol, call, read, value)
    client.close()


async def waiting(protocol: str, client: Any, lib: Any, case: Case, http: bool) -> None:
    for call, ask, read in asks(client, lib, case, http):
        try:
            made = ask()
            value = await made if inspect.isawaitable(made) else made
        except Exception as error:
            failed(protocol, call, error)
            continue
        told(protocol, call, read, value)
    await client.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--http", "--grpc", "--model", "--pictures", "--shape", "--case"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    case = Case(options)
    blocking("http", http_client.InferenceServerClient(options.http, concurrency=4), http_client, case, True)
    blocking("grpc", grpc_client.InferenceServerClient(options.grpc), grpc_client, case, False)

    async def later() -> None:
        await waiting("http aio", http_aio.InferenceServerClient(options.http), http_aio, case, True)
        await waiting("grpc aio", grpc_aio.InferenceServerClient(options.grpc), grpc_aio, case, False)

    asyncio.run(later())
    return 0


if __name__ == "__main__":
    sys.exit(main())
