"""Pictures with boxes and with masks go the same road: checked, learned, sealed, judged, drawn, continued and
served."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

import saccade
from saccade.cli.main import main
from saccade.errors import SaccadeError
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.reader import open_package

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
SETS = {"cells": "JPEGImages/BloodImage_00016.jpg", "corridor": "test/frame_0004.jpg"}
"""The sample sets and a test picture of each."""


@pytest.fixture(scope="module", params=["torch", pytest.param("keras", marks=pytest.mark.long)])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def runs(engine: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run folder of each set. A process loads one framework, so Keras has one of its own."""
    folder = tmp_path_factory.mktemp("runs")
    if engine == "torch":
        return {n: saccade.train(SAMPLES / n, out=folder / n, model=n, smoke=True, cache="none").folder for n in SETS}
    for name in SETS:
        out = folder / name
        command = [sys.executable, "-m", "saccade", "train", str(SAMPLES / name), "--out", str(out), "--model", name]
        done = subprocess.run(
            [*command, "--smoke", "--engine", engine, "--set", "cache=none"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return {name: folder / name for name in SETS}


@pytest.fixture(scope="module")
def client(runs: dict[str, Path]) -> Iterator[saccade.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    packages = [str(r / "package") for r in runs.values()]
    command = [sys.executable, "-m", "saccade", "serve", *packages, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with saccade.Client(f"http://127.0.0.1:{port}") as asking:
            end = time.monotonic() + 60
            while not _ready(asking):
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server was not ready"
                time.sleep(0.1)
            yield asking
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=45) == 0


def _ready(client: saccade.Client) -> bool:
    try:
        return client.ready()
    except SaccadeError:
        return False


@pytest.mark.parametrize("name", SETS)
def test_the_doctor_and_the_run_folder(runs: dict[str, Path], name: str) -> None:
    assert main(["check", str(SAMPLES / name)]) == 0
    assert (runs[name] / "samples" / "annotations.png").is_file()
    page = (runs[name] / "report.html").read_text()
    assert "<script" not in page
    for caption in ("truth", "answer", "RISE"):
        assert f"<figcaption>{caption}</figcaption>" in page


@pytest.mark.parametrize("name", SETS)
def test_judging_again_gives_the_sealed_number(runs: dict[str, Path], name: str) -> None:
    sealed = open_package(runs[name] / "package").manifest.metrics[0]
    again = saccade.evaluate(runs[name] / "package", SAMPLES / name).headline
    assert (again.name, again.value) == (sealed["name"], sealed["value"])


@pytest.mark.parametrize("name", SETS)
def test_what_keras_learned_is_sealed_in_both_forms(runs: dict[str, Path], engine: str, name: str) -> None:
    package = open_package(runs[name] / "package")
    assert set(package.manifest.graphs) == {"default"} | ({"tensorflow"} if engine == "keras" else set())
    certificate = json.loads((package.path / "certificate.json").read_text())
    assert certificate["largest_difference"] < 1e-4
    assert certificate["metric_trainer"] == pytest.approx(certificate["metric_sealed"], abs=1e-6)
    if engine == "keras":
        photo = SAMPLES / name / SETS[name]
        with (
            saccade.load(package.path) as one,
            Model.open(package.path, options=Options(variant="tensorflow")) as other,
        ):
            assert one.task.difference(one.outputs([photo]), other.outputs([photo])) < 1e-3


@pytest.mark.parametrize("name", SETS)
def test_predict_draws(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    photo = SAMPLES / name / SETS[name]
    assert main(["predict", str(runs[name] / "package"), str(photo), "--draw", str(tmp_path)]) == 0
    (drawn,) = tmp_path.glob("*.png")
    with pillow.open(drawn) as picture, pillow.open(photo) as original:
        assert picture.width >= original.width


@pytest.mark.parametrize("name", SETS)
def test_the_server_answers_like_this_process(runs: dict[str, Path], client: saccade.Client, name: str) -> None:
    photo = SAMPLES / name / SETS[name]
    asked: dict[str, Any] = {"threshold": 0.0} if name == "cells" else {"mask": "rle"}
    answer: Any = client.predict(name, photo, **asked)
    with saccade.load(runs[name] / "package") as model:
        found = model.predict(photo)
        local = model.record(found, **asked)
    with pillow.open(photo) as original:
        assert answer["image"] == {"width": original.width, "height": original.height}
    if name == "corridor":
        assert answer["mask"] == local["mask"]
        assert sum(c["fraction"] for c in answer["classes"]) == pytest.approx(1)
        return
    assert answer["predictions"]
    for ours, theirs in zip(local["predictions"], answer["predictions"], strict=True):
        assert ours["label"] == theirs["label"]
        np.testing.assert_allclose(list(ours["box"].values()), list(theirs["box"].values()), atol=0.05)
        assert 0 <= theirs["box"]["x_min"] < theirs["box"]["x_max"] <= answer["image"]["width"]
