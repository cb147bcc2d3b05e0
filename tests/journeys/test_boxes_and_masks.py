"""Pictures with boxes and with masks go the same road: checked, learned, sealed, judged, drawn, continued and served."""

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
from saccade.verbs.seal import Trained

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
SETS = {"cells": "JPEGImages/BloodImage_00016.jpg", "corridor": "test/frame_0004.jpg"}
"""The sample sets and a test picture of each."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("runs")
    return {n: saccade.train(SAMPLES / n, out=folder / n, model=n, smoke=True, cache="none") for n in SETS}


@pytest.fixture(scope="module")
def client(runs: dict[str, Trained]) -> Iterator[saccade.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    packages = [str(r.package) for r in runs.values()]
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
def test_the_doctor_and_the_run_folder(runs: dict[str, Trained], name: str) -> None:
    assert main(["check", str(SAMPLES / name)]) == 0
    assert (runs[name].folder / "samples" / "annotations.png").is_file()
    page = runs[name].report.read_text()
    assert "<script" not in page
    for caption in ("truth", "answer", "RISE"):
        assert f"<figcaption>{caption}</figcaption>" in page


@pytest.mark.parametrize("name", SETS)
def test_judging_again_gives_the_sealed_number(runs: dict[str, Trained], name: str) -> None:
    assert saccade.evaluate(runs[name].package, SAMPLES / name).headline == runs[name].card.headline


@pytest.mark.parametrize("name", SETS)
def test_predict_draws(runs: dict[str, Trained], name: str, tmp_path: Path) -> None:
    photo = SAMPLES / name / SETS[name]
    assert main(["predict", str(runs[name].package), str(photo), "--draw", str(tmp_path)]) == 0
    (drawn,) = tmp_path.glob("*.png")
    with pillow.open(drawn) as picture, pillow.open(photo) as original:
        assert picture.width >= original.width


@pytest.mark.parametrize("name", SETS)
def test_the_server_answers_like_this_process(runs: dict[str, Trained], client: saccade.Client, name: str) -> None:
    photo = SAMPLES / name / SETS[name]
    asked: dict[str, Any] = {"threshold": 0.0} if name == "cells" else {"mask": "rle"}
    answer: Any = client.predict(name, photo, **asked)
    with saccade.load(runs[name].package) as model:
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
