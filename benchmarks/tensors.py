"""Pictures per second through every mouth, of one server and the same picture, as a ratio of the native API's.

python -m benchmarks.tensors [--seconds 4] [--rounds 5] [--connections 8]

MobileNetV3-small, 224 px, a 512x384 JPEG: as a file (decoded by the server), or as the tensor that it becomes. Closed
loop from a process of its own on the same cores; the mouths take turns, medians of the rounds are printed. The server's
CPU time a picture (Linux) says the same as the rate without the client's share: grpc's client costs far more than the
bare sockets that ask over HTTP. The bar is 0.9 of the native API for tensors over gRPC and binary REST; exit code 1
below.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sealed
from benchmarks.interop.stage import free
from benchmarks.machine import describe, save
from benchmarks.serving.entrants import QUIET
from benchmarks.serving.host import Host
from benchmarks.serving.peers import Body
from saccade.images.preprocess import PreprocessSpec
from saccade.images.preprocess import load as preprocessed
from saccade.wire import schema

BAR = 0.9
HELD_TO_IT = ("open inference, binary tensor", "open inference gRPC, tensor", "tensorflow serving gRPC, tensor")
NATIVE = "native, JPEG"


@dataclass(frozen=True)
class Call:
    """A ready gRPC call."""

    method: str
    message: bytes


def requests(jpeg: bytes) -> dict[str, Body | Call]:
    """The same picture for every mouth, over HTTP or gRPC."""
    name = sealed.NETWORK
    pixels = preprocessed(jpeg, PreprocessSpec(sealed.SIDE, sealed.SIDE))[0][None]
    entry = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape)}
    head = json.dumps(
        {
            "inputs": [{**entry, "parameters": {"binary_data_size": pixels.size}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    text = json.dumps({"inputs": [{**entry, "data": pixels.ravel().tolist()}]}).encode()
    infer, octets = f"/v2/models/{name}/infer", "application/octet-stream"

    def tensor_of(data: bytes, json_bytes: int) -> Body:
        return Body(infer, octets, data, {"Inference-Header-Content-Length": str(json_bytes)})

    grpc_infer, predict = "/inference.GRPCInferenceService/ModelInfer", "/tensorflow.serving.PredictionService/Predict"
    tensor = schema.message("inference.ModelInferRequest")(model_name=name)
    tensor.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    tensor.raw_input_contents.append(pixels.tobytes())
    file = schema.message("inference.ModelInferRequest")(model_name=name)
    file.inputs.add(name="image", datatype="BYTES", shape=[1])
    file.outputs.add(name="scores")
    file.raw_input_contents.append(len(jpeg).to_bytes(4, "little") + jpeg)
    served = schema.message("tensorflow.serving.PredictRequest")()
    served.model_spec.name = name
    served.inputs["image"].dtype = "DT_UINT8"
    for side in pixels.shape:
        served.inputs["image"].tensor_shape.dim.add(size=side)
    served.inputs["image"].tensor_content = pixels.tobytes()
    return {
        NATIVE: Body(f"/api/v1/models/{name}/predict", "image/jpeg", jpeg),
        "open inference, JPEG": tensor_of(jpeg, 0),
        "open inference, binary tensor": tensor_of(head + pixels.tobytes(), len(head)),
        "open inference, JSON tensor": Body(infer, "application/json", text),
        "open inference gRPC, JPEG": Call(grpc_infer, file.SerializeToString()),
        "open inference gRPC, tensor": Call(grpc_infer, tensor.SerializeToString()),
        "tensorflow serving gRPC, tensor": Call(predict, served.SerializeToString()),
    }


def asked(host: Host, grpc_port: int, one: Body | Call, callers: int, seconds: float) -> dict:
    """What a client measured, after half a second of warming. Raises RuntimeError when a call failed."""
    with tempfile.NamedTemporaryFile() as file:
        if isinstance(one, Body):
            Path(file.name).write_bytes(one.at(host.port).request)
            words = ["benchmarks.serving.client", str(host.port), file.name, str(callers)]
        else:
            Path(file.name).write_bytes(one.message)
            words = ["benchmarks.serving.client_grpc", str(grpc_port), one.method, file.name, str(callers)]
        command = [sys.executable, "-m", *words]
        subprocess.run([*command, "0.5"], check=True, capture_output=True)
        cpu = host.cpu_s()
        found = json.loads(subprocess.run([*command, str(seconds)], check=True, capture_output=True).stdout)
        cpu = host.cpu_s() - cpu
    if found["errors"]:
        raise RuntimeError(f"{words}: {found} {host.said()}")
    if not found["answered"]:  # JSON on a crowded machine
        return {**found, "p50_ms": math.inf, "cpu_ms": math.inf}
    return {**found, "cpu_ms": 1e3 * cpu / found["answered"]}


def measure(model: Path, connections: int, seconds: float, rounds: int) -> dict[str, list[dict]]:
    """Every mouth's figures, one record a round."""
    mouths, port = requests(sealed.photo()), free()
    found: dict[str, list[dict]] = {name: [] for name in mouths}
    command = [sys.executable, "-m", "saccade", "serve", str(model), "--grpc-port", str(port), "--port", "{port}"]
    with tempfile.TemporaryDirectory() as home, Host(command, "/readyz", {**QUIET, "SACCADE_HOME": home}) as host:
        for _ in range(rounds):
            for name, one in mouths.items():
                found[name].append(asked(host, port, one, connections, seconds))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    found = measure(sealed.mobilenet(), options.connections, options.seconds, options.rounds)
    print(describe())
    print(f"{sealed.NETWORK} {sealed.SIDE} px, a 512x384 JPEG, {options.connections} connections, n={options.rounds}")

    def middle(name: str, key: str) -> float:
        return statistics.median(row[key] for row in found[name])

    below = []
    for name, rows in found.items():
        rates = [row["per_s"] for row in rows]
        # Of each round: what else the machine did then slowed both alike.
        ratio = statistics.median(r["per_s"] / n["per_s"] for r, n in zip(rows, found[NATIVE], strict=True))
        below += [name] if name in HELD_TO_IT and ratio < BAR else []
        client = f"  client {middle(name, 'client_cpu_ms'):.2f} ms" if "client_cpu_ms" in rows[0] else ""
        print(
            f"{name:<32}{middle(name, 'per_s'):7.1f}/s ({min(rates):.0f} to {max(rates):.0f})  {ratio:.2f} of native  "
            f"CPU {middle(name, 'cpu_ms'):.2f} ms{client}  p50 {middle(name, 'p50_ms'):.1f} ms"
        )
    save("tensors", {"connections": options.connections, "seconds": options.seconds, "figures": found})
    for name in below:
        print(f"BELOW THE BAR of {BAR}: {name}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
