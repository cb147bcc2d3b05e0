"""The real Triton over a model repository: the binary of the nvidia-pytriton wheel, on this machine's CPU.

The wheel brings the Python backend alone, so the backend that runs ONNX graphs is `onnxruntime_backend.py` under the
name of Triton's own; the repository is loaded as it was exported.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environment
from benchmarks.interop.stage import free

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "tritonserver.txt"


@dataclass(frozen=True)
class Triton:
    """http, grpc: host and port. log: what it printed so far."""

    http: str
    grpc: str
    log: Path


@contextmanager
def serving(repository: Path, space: Path, *more: str) -> Iterator[Triton]:
    """A server of its own process until the block ends. space: an empty folder. Raises RuntimeError when it does not
    get ready in 90 s, with what it printed: a model that does not load ends it."""
    python = environment.python_of(REQUIREMENTS)
    site = python.parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    http, grpc, log = free(), free(), space / "triton.log"
    command = [
        str(site / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        "--model-repository", str(repository),
        "--backend-directory", str(_backends(site, space)),
        "--http-address", "127.0.0.1", "--http-port", str(http),
        "--grpc-address", "127.0.0.1", "--grpc-port", str(grpc),
        "--allow-metrics", "false",
        *more,
    ]  # fmt: skip
    # The stub finds its Python as a shell would, so the environment's stands first.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    around = {**os.environ, "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"), "PATH": path}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=around)
    try:
        _wait(process, http, log)
        yield Triton(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _backends(site: Path, space: Path) -> Path:
    """The wheel's Python backend with the stub of this Python, and the one for ONNX graphs. Triton follows no links."""
    wheel, made = site / "pytriton" / "tritonserver", space / "backends"
    shutil.copytree(wheel / "backends" / "python", made / "python")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.copy2(wheel / "python_backend_stubs" / version / "triton_python_backend_stub", made / "python")
    (made / "onnxruntime").mkdir()
    shutil.copyfile(HERE / "onnxruntime_backend.py", made / "onnxruntime" / "model.py")
    return made


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"Triton is not ready:\n{log.read_text(errors='replace')[-6000:]}")
