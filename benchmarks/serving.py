"""Requests per second for 512x384 JPEGs: the bare in-process loop, our server, and FastAPI as users write it.

Run: python -m benchmarks.serving [--seconds 5] [--rounds 3]. Closed loop, 16 connections, interleaved, medians.
The FastAPI server runs where fastapi and uvicorn are installed; elsewhere the line says so.
"""

import argparse
import http.client
import io
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from saccade import tasks
from saccade.images.preprocess import PreprocessSpec, load
from saccade.inference import runtimes
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.writer import PackageWriter
from saccade.types import Labels

CONNECTIONS = 16
OURS = "import sys; from saccade.server.serve import serve; serve([sys.argv[1]], port=int(sys.argv[2]), drain_s=0.1)"
THEIRS = """
import io, sys
import numpy as np, onnxruntime, uvicorn
from fastapi import FastAPI, File, UploadFile
from PIL import Image
app, session = FastAPI(), onnxruntime.InferenceSession(sys.argv[1])
@app.get("/readyz")
def ready(): return {}
@app.post("/predict")
def predict(image: UploadFile = File(...)):
    picture = Image.open(io.BytesIO(image.file.read())).convert("RGB").resize((224, 224))
    scores = session.run(None, {"image": np.asarray(picture)[None]})[0][0]
    best = scores.argsort()[::-1][:5]
    return {"predictions": [{"class_id": int(i), "score": float(scores[i])} for i in best]}
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


def photo() -> bytes:
    dice = np.random.default_rng(0)
    small = Image.fromarray(dice.integers(0, 256, (24, 32, 3), np.uint8))
    out = io.BytesIO()
    small.resize((512, 384), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


BLOCKS = (
    (3, 16, 16, 2), (3, 72, 24, 2), (3, 88, 24, 1), (5, 96, 40, 2), (5, 240, 40, 1), (5, 240, 40, 1), (5, 120, 48, 1),
    (5, 144, 48, 1), (5, 288, 96, 2), (5, 576, 96, 1), (5, 576, 96, 1),
)  # fmt: skip
"""Kernel, expansion, channels, stride of MobileNetV3-small (arXiv:1905.02244, table 2), without squeeze-and-excite."""


def network(file: Path) -> Path:
    """A graph of the cost of MobileNetV3-small at 224 px, 1000 classes; random weights cost what trained ones cost."""
    dice, nodes, weights = np.random.default_rng(0), [], []

    def tensor(values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values, f"w{len(weights)}"))
        return weights[-1].name

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    def conv(x: str, into: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> str:
        fan = into // groups * kernel * kernel
        kernels = tensor((dice.normal(size=(out, into // groups, kernel, kernel)) / np.sqrt(fan)).astype(np.float32))
        x = node("Conv", x, kernels, strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups)
        return node("HardSwish", x) if act else x

    x = node("Transpose", node("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    x = conv(node("Mul", x, tensor(np.float32(1 / 255))), 3, 16, 3, 2)
    channels = 16
    for kernel, wide, out, stride in BLOCKS:
        y = conv(conv(x, channels, wide), wide, wide, kernel, stride, wide)
        y = conv(y, wide, out, act=False)
        x, channels = (node("Add", x, y) if stride == 1 and out == channels else y), out
    x = node("Flatten", node("GlobalAveragePool", conv(x, channels, 576)))
    for into, out in ((576, 1024), (1024, 1000)):
        x = node("MatMul", x, tensor((dice.normal(size=(into, out)) / np.sqrt(into)).astype(np.float32)))
    nodes.append(helper.make_node("Softmax", [x], ["scores"], axis=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 224, 224, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1000])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def package(folder: Path) -> Path:
    file = network(folder / "net.onnx")
    writer, graph = PackageWriter(folder / "package"), runtimes.find("onnxruntime").open(file)
    writer.add("model.onnx", file.read_bytes())
    entry = GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)
    spec = PreprocessSpec(224, 224)
    pixels, _ = load(photo(), spec)
    writer.add_golden("one", photo(), {"scores": graph.run({"image": pixels[None]})["scores"][0]})
    labels = Labels(tuple(f"class {i}" for i in range(1000)))
    writer.seal(Manifest("net", tasks.names()[0], labels, spec, {"default": entry}, golden=("one",)))
    return folder / "package"


def bare(model: Path, data: bytes, seconds: float) -> float:
    """One decode thread per core feeds nothing but the runtime: decode, preprocess, run, one by one in each thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the threads below fill the cores; more would only wait for each other
    session, spec = onnxruntime.InferenceSession(model / "model.onnx", options), PreprocessSpec(224, 224)
    counts = [0] * (os.cpu_count() or 1)
    end = time.perf_counter() + seconds

    def work(i: int) -> None:
        while time.perf_counter() < end:
            session.run(None, {"image": load(data, spec)[0][None]})
            counts[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(counts))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sum(counts) / seconds


def over_http(port: int, path: str, body: bytes, kind: str, seconds: float) -> float:
    end, counts = time.perf_counter() + seconds, [0] * CONNECTIONS

    def work(i: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < end:
            connection.request("POST", path, body, {"Content-Type": kind})
            reply = connection.getresponse()
            answer = reply.read()
            if reply.status != 200:
                raise RuntimeError(answer)
            counts[i] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(CONNECTIONS)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return sum(counts) / seconds


class Server:
    """A server in its own process, stopped when the block ends."""

    def __init__(self, program: str, model: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        began = time.perf_counter()
        command = [sys.executable, "-c", program, str(model), str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                pass
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        self.started_s = time.perf_counter() - began

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = photo()
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + data + b"\r\n--b--\r\n"
    figures: dict[str, list[float]] = {"bare loop": [], "saccade": []}
    if find_spec("fastapi") and find_spec("uvicorn"):
        figures["fastapi"] = []
    else:
        print("fastapi: NOT MEASURED, it is not installed here; pip install fastapi uvicorn python-multipart")
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        model = package(Path(folder))
        for _ in range(options.rounds):
            figures["bare loop"].append(bare(model, data, options.seconds))
            with Server(OURS, model) as server:
                starts.append(server.started_s)
                path = "/api/v1/models/net/predict"
                over_http(server.port, path, data, "image/jpeg", 0.5)
                figures["saccade"].append(over_http(server.port, path, data, "image/jpeg", options.seconds))
            if "fastapi" in figures:
                with Server(THEIRS, model / "model.onnx") as server:
                    kind = "multipart/form-data; boundary=b"
                    over_http(server.port, "/predict", form, kind, 0.5)
                    figures["fastapi"].append(over_http(server.port, "/predict", form, kind, options.seconds))
    base = statistics.median(figures["bare loop"])
    print(f"{platform.machine()}, {os.cpu_count()} cores, onnxruntime {onnxruntime.__version__}, n={options.rounds}")
    print("a graph of MobileNetV3-small's cost, one 512x384 JPEG, client on the same cores")
    for name, values in figures.items():
        middle, spread = statistics.median(values), max(values) - min(values)
        print(f"{name:<10} {middle:7.1f} requests/s  spread {spread:5.1f}  {middle / base:.2f} of the bare loop")
    if "fastapi" in figures:
        ratio = statistics.median(figures["saccade"]) / statistics.median(figures["fastapi"])
        print(f"saccade / fastapi: {ratio:.2f}")
    print(f"start to ready: median {statistics.median(starts):.2f} s")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    record = {
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "requests_per_s": figures,
        "start_s": starts,
    }
    (results / "serving.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
