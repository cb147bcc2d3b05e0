"""The web examples as their READMEs start them: gunicorn with several workers, real uploads, a worker that is
killed."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from saccade.client.client import Client
from saccade.testing.packages import boxes, colors, masks, png

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(example: str) -> tuple[str, list[str]]:
    """The line of a README that starts the server, and those that ask it. What installs and trains is left out."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    assert any(line.startswith("saccade train") for line in lines)
    rest = [line for line in lines if not line.startswith(("pip install", "saccade train"))]
    (server,) = (line for line in rest if " gunicorn " in line)
    return server, [line for line in rest if line != server]


@dataclass
class Site:
    """A running example: its address, the process of its master, and what it logged."""

    url: str
    master: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]
    asks: list[str]

    def workers(self) -> set[int]:
        found = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children").read_text(encoding="ascii")
        return {int(number) for number in found.split()}

    def opened(self) -> dict[int, int]:
        """Workers that opened the models, with their memory in MB."""
        told = re.findall(r"process (\d+) opened .* (\d+) MB resident", self.log.read_text(encoding="utf-8"))
        return {int(worker): int(memory) for worker, memory in told}

    def wait(self, what: str, holds) -> None:  # type: ignore[no-untyped-def]
        until = time.monotonic() + 60
        while not holds():
            assert self.master.poll() is None, f"the server ended:\n{self.log.read_text(encoding='utf-8')}"
            assert time.monotonic() < until, f"{what} did not come about:\n{self.log.read_text(encoding='utf-8')}"
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return httpx.get(self.url + "/saccade/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


def surroundings(**more: str) -> dict[str, str]:
    """What a shell of this checkout has."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), **more}


@contextmanager
def running(example: str, folder: Path, packages: str, server: str | None = None) -> Iterator[Site]:
    """packages: folders, parted by commas; or server: the address of one that has them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start, asks = commands(example)
    places = {"run/package": packages, "8080": str(port)}
    for old, new in places.items():
        start, asks = start.replace(old, new), [line.replace(old, new) for line in asks]
    if server is not None:
        start = start.replace(f"PACKAGES={packages}", f"SACCADE_SERVER={server}")
    environment = surroundings(PORT=str(port))
    log = folder / f"{example}.log"
    with log.open("wb") as out:
        master = subprocess.Popen(
            ["bash", "-c", f"exec env {start}"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
        site = Site(f"http://127.0.0.1:{port}", master, log, environment, asks)
        try:
            own = 0 if server else 2
            site.wait("readiness of both workers", lambda: site.answers() and len(site.opened()) == own)
            yield site
        finally:
            master.send_signal(signal.SIGTERM)
            try:
                master.wait(30)
            except subprocess.TimeoutExpired:
                master.kill()
                master.wait()
                raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    colors(folder / "trash", "trash")
    boxes(folder / "boxes")
    masks(folder / "masks")
    return folder


def ask(site: Site, model: str, photo: bytes, **headers: str) -> httpx.Response:
    """As a browser does: the page, its form with the token where there is one, the upload."""
    with httpx.Client(base_url=site.url, timeout=30) as browser:
        page = browser.get("/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        fields = {"model": model} | ({"csrfmiddlewaretoken": token[1]} if token else {})
        return browser.post("/", data=fields, files={"photo": ("one.png", photo, "image/png")})


@pytest.mark.parametrize("example", ["flask", "django"])
def test_an_example_runs_from_its_readme_and_outlives_a_worker(example: str, folder: Path) -> None:
    with running(example, folder, ",".join(str(folder / name) for name in ("trash", "boxes", "masks"))) as site:
        for line in site.asks:
            done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=site.environment, capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr.decode()
            expected = b"no issues" if line.endswith("check") else b"trash"
            assert expected in done.stdout, f"{line}: {done.stdout.decode()}"

        for model, said in (("trash", "red 1.000"), ("boxes", "1 red"), ("masks", "green 100.0 %")):
            photo = png(0, 255, 0) if model == "masks" else png(255, 0, 51)
            answer = ask(site, model, photo)
            assert answer.status_code == 200
            assert said in answer.text
            assert 'src="data:image/jpeg;base64,' in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert ask(site, "trash", b"no picture").status_code == 415
        assert ask(site, "none", png(1, 2, 3)).status_code == 404
        assert ask(site, "trash", bytes(17 * 1024 * 1024)).status_code == 413
        with Client(site.url + "/saccade") as client:
            assert client.predict("boxes", png(255, 0, 51))["predictions"][0]["label"] == "red"

            # Each worker opened its own models, after the fork; the master has none.
            before = site.workers()
            assert set(site.opened()) == before
            assert site.master.pid not in site.opened()
            victim = min(before)
            with Client(site.url + "/saccade", retries=5) as patient, ThreadPoolExecutor(4) as callers:
                asked = [callers.submit(patient.predict, "trash", png(1, 2, 200), top_k=1) for _ in range(200)]
                os.kill(victim, signal.SIGKILL)
                # Who was cut off asks again, and another worker answers.
                assert [one.result()["predictions"][0]["label"] for one in asked] == ["blue"] * 200
            site.wait("a new worker", lambda: len(site.opened()) == 3 and len(site.workers()) == 2)
            assert victim not in site.workers()
            assert ask(site, "trash", png(255, 0, 51)).status_code == 200


@pytest.mark.parametrize("example", ["flask", "django"])
def test_an_example_before_a_server_says_when_it_is_away(example: str, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", str(folder / "trash"), "--port", str(port)]
    environment = surroundings(SACCADE_DRAIN_S="0.1", SACCADE_HOME=str(folder / "home"))
    models = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with running(example, folder, "none", f"http://127.0.0.1:{port}") as site:
            assert "red 1.000" in ask(site, "trash", png(255, 0, 51)).text
            models.terminate()
            models.wait(60)
            page = httpx.get(site.url, timeout=30)
            assert (page.status_code, "is away" in page.text) == (503, True)
            refused = httpx.get(site.url + "/saccade/api/v1/models", timeout=30)
            assert (refused.status_code, refused.json()["code"]) == (503, "dependency_unavailable")
            assert not site.answers()
            assert "cannot be reached" in site.log.read_text(encoding="utf-8")
    finally:
        models.kill()
        models.wait()


@pytest.mark.long
@pytest.mark.parametrize("example", ["flask", "django"])
def test_an_example_from_its_first_line(example: str, tmp_path: Path) -> None:
    """As its README tells: train on the sample photos, then start and ask; only the installation is left out."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    (train,) = re.findall(r"^saccade train .*$", text, re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", train.replace("--out run", f"--out {tmp_path / 'run'}")],
        cwd=ROOT,
        env=surroundings(),
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()
    with running(example, tmp_path, str(tmp_path / "run" / "package")) as site:
        for line in site.asks:
            told = subprocess.run(["bash", "-c", line], cwd=ROOT, env=site.environment, capture_output=True, timeout=60)
            assert told.returncode == 0, told.stderr.decode()
        photo = next((ROOT / "examples" / "data" / "trash" / "test").rglob("*.jpg"))
        assert "version 1" in ask(site, "trash", photo.read_bytes()).text


def test_a_package_that_is_not_whole_stops_the_workers_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    whole = colors(tmp_path / "torn", "torn").path
    graph = next(whole.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    server, _ = commands("flask")
    line = server.replace("run/package", shlex.quote(str(whole)))
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, env=surroundings(PORT="0"), capture_output=True, timeout=60)
    assert done.returncode != 0
    assert b"was changed after sealing" in done.stderr, done.stderr.decode()
