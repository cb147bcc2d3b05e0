"""saccade demo: the main job on real photos, from a folder to answers over HTTP, told as it happens."""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import saccade
from saccade import verbs
from saccade.cli.progress import Progress
from saccade.cli.text import number, seconds
from saccade.client.client import Client
from saccade.errors import SaccadeError, ServerError, UsageError

SAMPLES = Path(saccade.__file__).resolve().parents[2] / "examples" / "data" / "trash"


def demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=SAMPLES, help="the labelled photos (default: the project's samples)"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-run"))
    parser.add_argument("--budget", default="120s", help="training time")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--serve", action="store_true", help="leave the server running until Ctrl-C")


def demo(options: argparse.Namespace) -> int:
    if not options.data.is_dir():
        raise UsageError(f"no photos at {options.data}", hint="clone the project, or give --data FOLDER")
    began = time.monotonic()
    run, package = options.out, options.out / "package"
    if options.serve and package.is_dir():
        _step(f"serving {package} from an earlier demo; delete {run} to train again")
    else:
        if run.exists():
            shutil.rmtree(run)
        _step(f"1  check   saccade check {options.data}")
        health = verbs.check(options.data)
        print(health.summary())
        _step(f"2  train   saccade train {options.data} --out {run} --budget {options.budget}")
        trained = verbs.train(
            options.data, out=run, model="trash", budget=options.budget, listen=Progress(sys.stdout).hear
        )
        _step("3  evaluate, on photos the network has never seen")
        for value in trained.card.numbers:
            print(f"   {value.name:<22} {number(value)}")
        package = trained.package
    port = options.port or _free_port()
    url = f"http://127.0.0.1:{port}"
    _step(f"4  serve   saccade serve {package} --port {port}")
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--port", str(port)]
    log = (run / "server.log").open("wb")
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        waited = _wait_ready(url, server, run / "server.log")
        print(f"   ready after {waited:.1f} s")
        _ask(url, options.data)
        print(f"\n   report   {run / 'report.html'}")
        print(f"   console  {url}/        API pages {url}/docs")
        if options.serve:
            print("\n   Ctrl-C stops the server")
            server.wait()
            return server.returncode
    except KeyboardInterrupt:
        pass
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=45)
        log.close()
    if server.returncode != 0:
        raise ServerError(f"the server ended with exit code {server.returncode}", hint=f"see {run / 'server.log'}")
    _step(f"done in {seconds(time.monotonic() - began)}; the server is stopped, 'make serve' leaves it running")
    return 0


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> float:
    began = time.monotonic()
    with Client(url) as client:
        while time.monotonic() - began < 60:
            if server.poll() is not None:
                raise ServerError(f"the server ended with exit code {server.returncode}", hint=log.read_text()[-2000:])
            try:
                if client.ready():
                    return time.monotonic() - began
            except SaccadeError:
                pass
            time.sleep(0.05)
    raise ServerError("the server was not ready after 60 s", hint=f"see {log}")


def _ask(url: str, data: Path) -> None:
    photos = [sorted(folder.glob("*.jpg"))[0] for folder in sorted((data / "test").iterdir()) if folder.is_dir()]
    curl = ["curl", "--silent", "--show-error", "--fail", "--data-binary", f"@{photos[0]}"]
    curl += ["-H", "Content-Type: image/jpeg", f"{url}/api/v1/models/trash/predict?top_k=3"]
    _step("5  ask     with curl")
    print("   $ " + shlex.join(curl))
    if shutil.which("curl"):
        print("   " + subprocess.run(curl, check=True, capture_output=True, text=True).stdout)
    else:
        print("   curl is not installed here; the Python client asks the same below")
    _step("6  ask     with the Python client")
    print(f'   >>> client = saccade.Client("{url}")')
    with Client(url, key=os.environ.get("SACCADE_KEY")) as client:
        for photo in photos:
            answer = client.predict("trash", photo, top_k=3)
            words = ", ".join(f"{p['label']} {p['score']:.2f}" for p in answer["predictions"])
            print(f"   {photo.parent.name + '/' + photo.name:<28} {words}")
