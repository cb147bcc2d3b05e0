"""saccade demo: the main job on real photos, from folders to answers over HTTP, told as it happens."""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import saccade
from saccade.cli.progress import Progress
from saccade.cli.text import number, seconds
from saccade.client.client import Client
from saccade.data.splits import split
from saccade.errors import SaccadeError, ServerError, UsageError
from saccade.tasks.statistics import spread
from saccade.verbs import ask
from saccade.verbs.data import check
from saccade.verbs.golden import name_of
from saccade.verbs.train import train

SAMPLES = Path(saccade.__file__).resolve().parents[2] / "examples" / "data"
ASKED = 4
"""Pictures of each set that the server is asked about."""


def demo_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="one labelled folder (default: each of the project's sample sets)")
    parser.add_argument("--out", type=Path, default=Path("demo-run"))
    parser.add_argument("--budget", default="80s", help="training time of each set")
    parser.add_argument("--engine", default="torch", help="the trainer: torch or keras")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--serve", action="store_true", help="leave the server running until Ctrl-C")


def demo(options: argparse.Namespace) -> int:
    sets = _sets(options.data)
    began = time.monotonic()
    packages = {name_of(data): options.out / name_of(data) / "package" for data in sets}
    if options.serve and all(p.is_dir() for p in packages.values()):
        _step(f"serving the packages of an earlier demo; delete {options.out} to train again")
    else:
        for data in sets:
            _clear(options.out / name_of(data))
        for data in sets:
            _learn(data, options.out / name_of(data), options.budget, options.engine)
    port = options.port or _free_port()
    url = f"http://127.0.0.1:{port}"
    _step(f"serve     saccade serve {' '.join(str(p) for p in packages.values())} --port {port}")
    command = [sys.executable, "-m", "saccade", "serve", *map(str, packages.values()), "--port", str(port)]
    command += ["--home", str(options.out / "home")]  # one without keys, whatever the user's own has
    log = (options.out / "server.log").open("wb")
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        waited = _wait_ready(url, server, options.out / "server.log")
        print(f"   ready after {waited:.1f} s")
        _ask(url, sets)
        print()
        for data in sets:
            print(f"   report   {options.out / name_of(data) / 'report.html'}")
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
        raise ServerError(
            f"the server ended with exit code {server.returncode}", hint=f"see {options.out / 'server.log'}"
        )
    _step(f"done in {seconds(time.monotonic() - began)}; the server is stopped, 'make serve' leaves it running")
    return 0


def _sets(data: Path | None) -> list[Path]:
    if data is not None:
        if not data.is_dir():
            raise UsageError(f"no photos at {data}", hint="give --data a labelled folder")
        return [data]
    found = sorted(p for p in SAMPLES.iterdir() if p.is_dir()) if SAMPLES.is_dir() else []
    if not found:
        raise UsageError(f"no sample photos at {SAMPLES}", hint="clone the project, or give --data FOLDER")
    return found


def _clear(run: Path) -> None:
    """Deletes an earlier demo's run, and nothing else. Raises UsageError for a folder that is none."""
    if not run.exists():
        return
    if not (run / "recipe.toml").is_file():
        raise UsageError(f"{run} is there and holds no run of a demo", hint="name another folder with --out")
    shutil.rmtree(run)


def _learn(data: Path, run: Path, budget: str, engine: str) -> None:
    """Checks, trains, evaluates and draws a few answers into RUN/answers."""
    _step(f"check     saccade check {data}")
    health = check(data)
    print(health.summary())
    _step(f"train     saccade train {data} --out {run} --budget {budget} --engine {engine}")
    listen = Progress(sys.stdout).hear
    trained = train(data, out=run, model=name_of(data), budget=budget, engine=engine, listen=listen)
    _step("evaluate, on photos the network has never seen")
    for value in trained.card.numbers[:6]:
        print(f"   {value.name:<22} {number(value)}")
    photos = _photos(data)
    ask.predict(trained.package, photos, draw=run / "answers")
    print(f"   answers drawn in {run / 'answers'}")


def _photos(data: Path) -> list[Path]:
    """A few pictures of the test split that training set aside, evenly spread."""
    dataset = split(check(data).dataset)
    samples = [s.image for s in dataset.splits["test"] if isinstance(s.image, Path)]
    return [samples[i] for i in spread(len(samples), ASKED)]


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


def _ask(url: str, sets: Sequence[Path]) -> None:
    photo = _photos(sets[-1])[0]
    curl = ["curl", "--silent", "--show-error", "--fail", "--data-binary", f"@{photo}"]
    curl += ["-H", "Content-Type: image/jpeg", f"{url}/api/v1/models/{name_of(sets[-1])}/predict?top_k=3&mask=none"]
    _step("ask       with curl")
    print("   $ " + shlex.join(curl))
    if shutil.which("curl"):
        print("   " + subprocess.run(curl, check=True, capture_output=True, text=True).stdout)
    else:
        print("   curl is not installed here; the Python client asks the same below")
    _step("ask       with the Python client")
    print(f'   >>> client = saccade.Client("{url}")')
    with Client(url, key=os.environ.get("SACCADE_KEY")) as client:
        for data in sets:
            for photo in _photos(data):
                answer = client.predict(name_of(data), photo, top_k=3)
                print(f"   {photo.relative_to(data).as_posix():<44} {_words(answer)}")


def _words(answer: Mapping[str, Any]) -> str:
    """An answer in a few words, by what it holds: shares of the picture, things counted, or the best classes."""
    if "classes" in answer:
        largest = sorted(answer["classes"], key=lambda c: -float(c["fraction"]))[:4]
        return ", ".join(f"{c['label']} {100 * c['fraction']:.0f} %" for c in largest)
    found = answer["predictions"]
    if any("box" in p for p in found):
        return ", ".join(f"{n} {label}" for label, n in Counter(p["label"] for p in found).most_common())
    return ", ".join(f"{p['label']} {p['score']:.2f}" for p in found) or "nothing"
