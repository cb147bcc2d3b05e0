"""Who is measured: each peer's environment, the ways its own documentation advises, and how it takes a picture.

A way is one configuration. Where pages leave a choice open (threads or processes, batching or not), several ways are
listed, all are tried on this machine first, and the fastest stands for the peer: see README.md here.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import environment
from benchmarks.serving.host import Host
from saccade.bench.load import Target

PEERS = Path(__file__).parent / "peers"
FORM = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


@dataclass(frozen=True)
class Body:
    """A request without its port: where to, what kind, the bytes, and headers beyond the usual."""

    path: str
    kind: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def at(self, port: int) -> Target:
        return Target.at(f"http://127.0.0.1:{port}{self.path}", self.data, self.kind, headers=self.headers)


@dataclass(frozen=True)
class Way:
    """command and environ: {python}, {port} and {folder} stand for what they say. path: where pictures go."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"


@dataclass(frozen=True)
class Peer:
    """body: a picture as this peer takes it. read: its answer as the same JSON that all give. prepare: fills {folder},
    gives environment."""

    name: str
    ways: tuple[Way, ...]
    ready: str = "/ready"
    body: Callable[[str, bytes], Body] = lambda path, picture: Body(path, "image/jpeg", picture)
    read: Callable[[bytes], dict] = json.loads
    prepare: Callable[[Path, Path, Way], Mapping[str, str]] = lambda folder, python, way: {}

    @property
    def requirements(self) -> Path:
        return PEERS / f"{self.name}.txt"

    def python(self) -> Path:
        """Its interpreter; the environment is made first where there is none. Raises RuntimeError with the reason."""
        try:
            return environment.python_of(self.requirements)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"it cannot be installed: {said[-1] if said else error}") from error

    def host(self, way: Way, graph: Path, folder: Path) -> Host:
        """folder: empty, for what the server wants to find on disk."""
        python = self.python()
        environ = {
            "GRAPH": str(graph),
            "PYTHONPATH": str(PEERS),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **way.environ,
            **self.prepare(folder, python, way),
        }

        def filled(word: str) -> str:
            return word.replace("{python}", str(python)).replace("{folder}", str(folder))

        command = [filled(word) for word in way.command]
        return Host(command, self.ready, {name: filled(value) for name, value in environ.items()}, PEERS)


def as_form(path: str, picture: bytes) -> Body:
    return Body(path, "multipart/form-data; boundary=b", FORM + picture + b"\r\n--b--\r\n")


def as_v2_json(path: str, picture: bytes) -> Body:
    given = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(picture).decode()],
    }
    return Body(path, "application/json", json.dumps({"inputs": [given]}).encode())


def as_v2_binary(path: str, picture: bytes) -> Body:
    """The binary tensor extension: JSON first, then each element as its length and its bytes."""
    element = len(picture).to_bytes(4, "little") + picture
    given = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    head = json.dumps({"inputs": [given]}).encode()
    return Body(path, "application/octet-stream", head + element, {"Inference-Header-Content-Length": str(len(head))})


def from_v2(answer: bytes) -> dict:
    return json.loads(json.loads(answer)["outputs"][0]["data"][0])


def prepare_mlserver(folder: Path, python: Path, way: Way) -> dict[str, str]:
    model = {"name": "peer", "implementation": "mlserver_server.Predict"}
    if way.environ.get("BATCH"):
        model |= {"max_batch_size": int(way.environ["BATCH"]), "max_batch_time": 0.002}
    (folder / "model-settings.json").write_text(json.dumps(model))
    return {"MLSERVER_METRICS_ENDPOINT": ""}


def prepare_triton(folder: Path, python: Path, way: Way) -> dict[str, str]:
    """A model repository, and a place for the backends that holds the stub of this Python."""
    site = python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    triton = site / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    shutil.copytree(triton / "backends" / "python", backend)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.copy(triton / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    model = folder / "models" / "peer" / "1"
    model.mkdir(parents=True)
    shutil.copy(PEERS / "triton_model.py", model / "model.py")
    text = f"""name: "peer"
backend: "python"
max_batch_size: 16
input [ {{ name: "image" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "answer" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {way.environ["INSTANCES"]} }} ]
"""
    (model.parent / "config.pbtxt").write_text(text + ("dynamic_batching { }\n" if way.environ.get("BATCH") else ""))
    libraries = site / "nvidia_pytriton.libs"
    # The stub looks for the standard library of the Python it was built for: this one's.
    return {
        "LD_LIBRARY_PATH": f"{libraries}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}",
        "SITE_PACKAGES": str(site),
        "PEERS": str(PEERS),
        "TRITON": str(triton / "bin" / "tritonserver"),
    }


def _uvicorn(workers: int, threads: int, path: str, name: str) -> Way:
    return Way(name, ("{python}", "fastapi_server.py", "{port}", str(workers)), {"THREADS": str(threads)}, path)


def _gunicorn(arguments: Sequence[str], name: str) -> Way:
    command = ("{python}", "-m", "gunicorn", "-b", "127.0.0.1:{port}", "--log-level", "error", *arguments)
    return Way(name, (*command, "flask_server:app"), {"THREADS": "1"})


def _litserve(workers: int, batch: int, fast: int, name: str) -> Way:
    command = ("{python}", "litserve_server.py", "{port}", str(workers), str(batch))
    return Way(name, command, {"THREADS": "1" if workers > 1 else "2", "FAST": str(fast)})


def _bentoml(service: str, workers: int, name: str) -> Way:
    command = (
        "{python}",
        "-m",
        "bentoml",
        "serve",
        f"bentoml_server:{service}",
        "--port",
        "{port}",
        "--host",
        "127.0.0.1",
    )
    environ = {"WORKERS": str(workers), "THREADS": "1", "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": "{folder}"}
    return Way(name, command, environ)


PATIENT = {"RAY_raylet_start_wait_time_s": "120", "RAY_USAGE_STATS_ENABLED": "0"}


def _ray(replicas: int, batch: int, name: str) -> Way:
    return Way(name, ("{python}", "ray_server.py", "{port}", str(replicas), str(batch)), {"THREADS": "1", **PATIENT})


def _mlserver(workers: int, batch: int, name: str) -> Way:
    environ = {
        "THREADS": "1",
        "BATCH": str(batch or ""),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "0",
        "MLSERVER_PARALLEL_WORKERS": str(workers),
        "MLSERVER_DEBUG": "false",
    }
    command = ("{python}", "-c", "from mlserver.cli import main; main()", "start", "{folder}")
    return Way(name, command, environ, "/v2/models/peer/infer")


def _triton(instances: int, batch: bool, name: str) -> Way:
    server = (
        "exec $TRITON --model-repository={folder}/models --backend-directory={folder}/backends "
        "--http-address=127.0.0.1 --http-port={port} --allow-grpc=false --allow-metrics=false --log-error=true --log-info=false"
    )
    environ = {"INSTANCES": str(instances), "BATCH": "1" if batch else "", "THREADS": "1"}
    return Way(name, ("sh", "-c", server), environ, "/v2/models/peer/infer")


PLAIN = Way("uvicorn, 1 worker, Pillow, a session as it comes", ("{python}", "fastapi_plain.py", "{port}"))
"""What most services around a model look like."""
PEERS_ALL = (
    Peer(
        "fastapi",
        (
            _uvicorn(2, 1, "/predict", "uvicorn, 2 workers, `def`"),
            _uvicorn(2, 1, "/predict_in_loop", "uvicorn, 2 workers, `async def`"),
            _uvicorn(1, 1, "/predict", "uvicorn, 1 worker, `def`"),
        ),
    ),
    Peer(
        "flask",
        (
            _gunicorn(
                ("-w", "2", "-k", "gthread", "--threads", "4", "--keep-alive", "60"), "gunicorn, 2 gthread workers of 4"
            ),
            _gunicorn(("-w", "5"), "gunicorn, 5 sync workers (2 x cores + 1)"),
        ),
    ),
    Peer(
        "litserve",
        (
            _litserve(2, 1, 0, "2 workers, single pictures"),
            _litserve(2, 8, 0, "2 workers, batches up to 8"),
            _litserve(2, 8, 1, "2 workers, batches up to 8, fast queue"),
        ),
        ready="/health",
        body=as_form,
    ),
    Peer(
        "bentoml",
        (
            _bentoml("Alone", 2, "2 workers"),
            _bentoml("Together", 2, "adaptive batching, 2 workers behind an API service"),
        ),
        ready="/readyz",
        body=as_form,
    ),
    Peer(
        "ray",
        (_ray(2, 1, "2 replicas"), _ray(2, 8, "2 replicas, batches up to 8")),
        ready="/-/healthz",
    ),
    Peer(
        "mlserver",
        (
            _mlserver(2, 0, "2 parallel workers"),
            _mlserver(0, 0, "in its own process"),
            _mlserver(2, 8, "2 parallel workers, batches up to 8"),
        ),
        ready="/v2/health/ready",
        body=as_v2_json,
        read=from_v2,
        prepare=prepare_mlserver,
    ),
    Peer(
        "triton",
        (_triton(2, True, "2 instances, dynamic batching"), _triton(2, False, "2 instances")),
        ready="/v2/health/ready",
        body=as_v2_binary,
        read=from_v2,
        prepare=prepare_triton,
    ),
)
"""Every peer, in the order of the tables."""
