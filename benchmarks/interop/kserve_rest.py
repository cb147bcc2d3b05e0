"""KServe's own clients, InferenceRESTClient and InferenceGRPCClient, against a running server.

Runs in an environment of its own (kserve_rest.txt). Prints a JSON line for each call: protocol, call, ok, said.
"""

import argparse
import asyncio
import base64
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

# The library reads the command line when it is imported.
GIVEN, sys.argv = sys.argv[1:], sys.argv[:1]

import httpx  # noqa: E402
import numpy as np  # noqa: E402
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: E402
from kserve.protocol.infer_type import RequestedOutput  # noqa: E402


class Case:
    """What is asked and what must come."""

    def __init__(self, file: str, model: str) -> None:
        record = np.load(file)
        self.model = model
        self.picture, self.rows = record["picture"].tobytes(), record["rows"]
        self.outputs = [n.removeprefix("picture_") for n in record.files if n.startswith("picture_")]
        self.expected = {n: record[n] for n in record.files}

    def right(self, kind: str, response: Any, names: list[str] | None = None) -> bool:
        got = {output.name: output.as_numpy() for output in response.outputs}
        wanted = names or self.outputs
        return all(np.allclose(got[n], self.expected[f"{kind}_{n}"], atol=1e-6, rtol=1e-6) for n in wanted)

    def request(self, data: Any, datatype: str, binary: bool, **more: Any) -> InferRequest:
        given = InferInput(name="image", shape=list(data.shape), datatype=datatype)
        given.set_data_from_numpy(data, binary_data=binary)
        return InferRequest(model_name=self.model, infer_inputs=[given], **more)


def tell(protocol: str, call: str, ok: bool, said: str = "") -> None:
    print(json.dumps({"protocol": protocol, "call": call, "ok": ok, "said": said[:300]}), flush=True)


async def judge(
    protocol: str, call: str, ask: Callable[[], Awaitable[Any]], right: Callable[[Any], bool], status: int = 0
) -> None:
    """status: of the refusal that must come instead of an answer."""
    try:
        value = await ask()
    except httpx.HTTPStatusError as error:
        tell(protocol, call, error.response.status_code == status, str(error))
        return
    except Exception as error:
        tell(protocol, call, False, repr(error))
        return
    try:
        tell(protocol, call, not status and bool(right(value)), str(value))
    except Exception as error:
        tell(protocol, call, False, repr(error))


async def rest(base: str, case: Case) -> None:
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        name, model = "kserve v2", case.model

        def infer(request: Any, **more: Any) -> Callable[[], Awaitable[Any]]:
            return lambda: client.infer(base, request, **{"model_name": model, **more})

        rows, pictures = case.rows, np.array([case.picture], dtype=np.object_)
        await judge(name, "is_server_live", lambda: client.is_server_live(base), bool)
        await judge(name, "is_server_ready", lambda: client.is_server_ready(base), bool)
        await judge(name, "is_model_ready", lambda: client.is_model_ready(base, model), bool)
        await judge(
            name, "is_model_ready, unknown", lambda: client.is_model_ready(base, "nobody"), lambda r: r is False
        )
        for binary in (True, False):
            kind = "binary" if binary else "JSON"
            request = case.request(rows, "UINT8", binary, request_id="mine")
            await judge(name, f"infer, {kind}", infer(request), lambda r: case.right("rows", r) and r.id == "mine")
        wanted = [RequestedOutput(n, {"binary_data": True}) for n in case.outputs]
        request = case.request(rows, "UINT8", True, request_outputs=wanted)
        await judge(name, "infer, binary answer", infer(request), lambda r: case.right("rows", r))
        headers: dict[str, str] = {}
        request = case.request(rows, "UINT8", True)
        await judge(
            name, "infer, headers of the answer", infer(request, response_headers=headers),
            lambda r: headers["x-model-version"] == "1",
        )  # fmt: skip
        request = case.request(pictures, "BYTES", True)
        await judge(name, "infer, picture", infer(request), lambda r: case.right("picture", r))
        request = case.request(rows[:, :-1], "UINT8", True)
        await judge(name, "infer, wrong shape", infer(request), bool, 400)
        request = case.request(rows, "UINT8", True)
        await judge(name, "infer, unknown model", infer(request, model_name="nobody"), bool, 404)
    async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=60)) as client:
        encoded = {"b64": base64.b64encode(case.picture).decode()}

        def right(answer: Any) -> bool:
            found = answer["predictions"][0]
            found = found if isinstance(found, dict) else {case.outputs[0]: found}
            return all(np.allclose(found[n], case.expected[f"picture_{n}"][0], atol=1e-6) for n in case.outputs)

        await judge(
            "kserve v1", "infer, picture", lambda: client.infer(base, {"instances": [encoded]}, case.model), right
        )
        await judge(
            "kserve v1",
            "infer, unknown model",
            lambda: client.infer(base, {"instances": [encoded]}, "nobody"),
            bool,
            404,
        )


async def grpc(address: str, case: Case) -> None:
    client, name = InferenceGRPCClient(address), "kserve grpc"
    await judge(name, "is_server_live", client.is_server_live, bool)
    await judge(name, "is_server_ready", client.is_server_ready, bool)
    await judge(name, "is_model_ready", lambda: client.is_model_ready(case.model), bool)
    for binary in (True, False):
        request = case.request(case.rows, "UINT8", binary)
        kind = "raw" if binary else "typed"
        await judge(name, f"infer, {kind}", lambda r=request: client.infer(r), lambda r: case.right("rows", r))
    request = case.request(np.array([case.picture], dtype=np.object_), "BYTES", True)
    await judge(name, "infer, picture", lambda: client.infer(request), lambda r: case.right("picture", r))
    await client.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--http", "--grpc", "--model", "--case"):
        parser.add_argument(name, required=True)
    options = parser.parse_args(GIVEN)
    logging.disable()
    case = Case(options.case, options.model)
    asyncio.run(rest(f"http://{options.http}", case))
    asyncio.run(grpc(options.grpc, case))
    return 0


if __name__ == "__main__":
    sys.exit(main())
