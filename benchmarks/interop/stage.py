"""What the clients meet: packages, a running server, and a case of pictures and rows with the answers that must
come."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import environment
from saccade.inference.model import Model
from saccade.testing.packages import colors, png

HERE = Path(__file__).parent
PROTOCOLS = ("open_inference", "tf_serving", "torchserve", "custom_vision")


@dataclass(frozen=True)
class Python:
    """An interpreter, and a folder that goes before its own packages."""

    file: Path
    path: Path | None = None


@dataclass(frozen=True)
class Server:
    """Addresses, host:port."""

    http: str
    grpc: str


def packages(folder: Path) -> dict[str, Path]:
    """Sealed packages by model name, a kind of answer each."""
    return {"colors": colors(folder / "colors", exclusive=True).path}


def case(package: Path, file: Path) -> Path:
    """picture: encoded bytes; rows: uint8 [3, H, W, 3]; for both the graph's outputs, as picture_NAME and rows_NAME."""
    picture = png(200, 100, 50)
    with Model.open(package) as model:
        spec = model.manifest.preprocess
        rows = np.random.default_rng(0).integers(0, 256, (3, spec.height, spec.width, 3), np.uint8)
        asked = [model.submit({"image": row}, time.monotonic() + 60) for row in rows]
        answered = [one.result().outputs or {} for one in asked]
        own = model.outputs([picture])
    found = {f"rows_{name}": np.stack([row[name] for row in answered]) for name in own}
    pictures = {f"picture_{name}": value for name, value in own.items()}
    np.savez(file, picture=np.frombuffer(picture, np.uint8), rows=rows, **found, **pictures)
    return file


@contextmanager
def served(package: Path, home: Path, **around: str) -> Iterator[Server]:
    """around: of its environment. A server of its own process, until the block ends. Raises RuntimeError when it is not
    ready in 30 s."""
    port, grpc_port = free(), free()
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--home", str(home)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--grpc-port", str(grpc_port)],
        stderr=subprocess.PIPE,
        env={**os.environ, "SACCADE_DRAIN_S": "0.1", "SACCADE_PROTOCOLS": ",".join(PROTOCOLS), **around},
    )
    try:
        _wait(process, port)
        yield Server(f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}")
    finally:
        process.terminate()
        process.communicate(timeout=40)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"the server is not ready: {process.communicate()[1].decode(errors='replace')}")


def prepared(client: str, make: bool = True) -> Python | None:
    """What runs a client's script; None when its environment is not there and not to be made. Raises
    CalledProcessError.

    tensorflow-serving-api is nothing but stubs that need tensorflow: it stands beside the one installed here.
    """
    requirements = HERE / f"{client}.txt"
    if not make and not (environment.folder_of(requirements) / "complete").is_file():
        return None
    if client == "tf_serving":
        return Python(Path(sys.executable), environment.beside(requirements))
    return Python(environment.python_of(requirements))


def told(python: Python, client: str, server: Server, model: str, case: Path) -> list[dict[str, object]]:
    """Every call a client made: protocol, call, ok, said. Raises CalledProcessError when it could not go through."""
    command = [str(python.file), str(HERE / f"{client}.py"), "--http", server.http, "--grpc", server.grpc]
    path = {"PYTHONPATH": str(python.path)} if python.path else {}
    done = subprocess.run(
        [*command, "--model", model, "--case", str(case)],
        capture_output=True,
        check=True,
        timeout=300,
        env={**os.environ, **path},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
