"""Requests per second for a stream of 512x384 JPEGs: the bare in-process loop, our server, and FastAPI as users write it.

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
import onnxruntime
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


def package(folder: Path) -> Path:
    """MobileNetV3-small at 224 px, 1000 classes, sealed; random weights cost the same as trained ones."""
    import timm
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = timm.create_model("mobilenetv3_small_100", pretrained=False)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.net(image.permute(0, 3, 1, 2).float() / 127.5 - 1), 1)

    torch.manual_seed(0)
    file = folder / "net.onnx"
    example = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    batch = torch.export.Dim("n")
    torch.onnx.export(
        Whole().eval(), (example,), file, dynamo=True, dynamic_shapes=({0: batch},), opset_version=18,
        input_names=["image"], output_names=["scores"], external_data=False, verbose=False,
    )  # fmt: skip
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
    session, spec = onnxruntime.InferenceSession(model / "model.onnx"), PreprocessSpec(224, 224)
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
    print("MobileNetV3-small, one 512x384 JPEG, client on the same cores")
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
