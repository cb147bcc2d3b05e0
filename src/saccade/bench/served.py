"""A package behind our own server in a process of its own, for as long as a load lasts."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from saccade.errors import ServerError

START_S = 120.0


@dataclass(frozen=True)
class Served:
    """url: of the server. log: what it said until it was ready."""

    url: str
    pid: int
    log: str

    def variant(self, name: str) -> str:
        """Which graph of a model answers."""
        with urlopen(f"{self.url}/api/v1/models/{name}", timeout=10) as answer:  # noqa: S310 - our own loopback address
            return str(json.load(answer)["variant"]["name"])


@contextlib.contextmanager
def served(package: Path, home: Path, variant: str | None = None) -> Iterator[Served]:
    """Raises ServerError when it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--port", str(port), "--home", str(home)]
    command += ["--variant", variant] if variant else []
    # Keys would only stand in the way: the server is on loopback, for this load alone.
    environment = {**os.environ, "SACCADE_DRAIN_S": "0", "SACCADE_INSECURE": "true"}
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + START_S
            while not _ready(url):
                if child.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise ServerError(f"the server did not start: {log.read()[-500:].strip()}", code="unreachable")
                time.sleep(0.05)
            log.seek(0)
            yield Served(url, child.pid, log.read())
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except OSError:
        return False
