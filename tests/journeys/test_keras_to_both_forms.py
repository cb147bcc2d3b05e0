"""A package trained with Keras holds the network twice, as ONNX and as a SavedModel, and both answer the same."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import saccade
from saccade.errors import PackageError, SaccadeError
from saccade.inference import runtimes
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package import reader
from saccade.package.writer import reseal
from saccade.types import Prediction

pytest.importorskip("tensorflow")


def photos(root: Path) -> Path:
    """Bright and dark pictures, twenty of each, no two alike."""
    dice = np.random.default_rng(0)
    for name, level in (("bright", 190), ("dark", 60)):
        (root / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(dice.normal(level, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name / f"{i:02}.png"), pixels)
    return root


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms")
    command = ["-m", "saccade", "train", str(photos(root / "photos")), "--engine", "keras", "--out", str(root / "run")]
    command += ["--epochs", "2", "--size", "32", "--set", "network=residual-64", "--set", "batch=8"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds the same for tensorflow" in done.stdout + done.stderr
    return root / "run" / "package"


def test_both_forms_answer_the_same_and_have_their_certificates(package: Path) -> None:
    sealed = reader.open_package(package)
    assert list(sealed.manifest.graphs) == ["default", "tensorflow"]
    entry = sealed.manifest.graphs["tensorflow"]
    assert (entry.file, entry.runtime) == ("variants/tensorflow/saved_model/saved_model.pb", "tensorflow")
    assert "fingerprint" not in " ".join(sealed.manifest.files)
    for place, runtime in (("", "onnxruntime"), ("variants/tensorflow/", "tensorflow")):
        certificate = json.loads((package / place / "certificate.json").read_bytes())
        assert (certificate["runtime"], certificate["trainer"]) == (runtime, "keras")
        assert certificate["largest_difference"] < 1e-4
        assert certificate["metric_trainer"] == certificate["metric_sealed"]
    pictures = [golden.image_bytes for golden in sealed.golden()]
    with Model.open(package) as onnx, Model.open(package, options=Options(variant="tensorflow")) as saved:
        assert onnx.choice.variant == "default"
        assert "asked for" in onnx.choice.passed["tensorflow"]
        np.testing.assert_allclose(saved.outputs(pictures)["scores"], onnx.outputs(pictures)["scores"], atol=1e-4)
        assert all(isinstance(found, Prediction) for found in saved.results(pictures))


def test_a_changed_byte_of_the_saved_model_is_refused(package: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(package, tmp_path / "copy")
    weights = next(copy.glob("variants/tensorflow/saved_model/variables/*.data*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(PackageError, match=r"digest|differ|changed"):
        reader.open_package(copy)


def test_sealing_again_keeps_the_saved_model(package: Path, tmp_path: Path) -> None:
    again = reseal(reader.open_package(shutil.copytree(package, tmp_path / "copy")), metrics=())
    assert list(again.manifest.graphs) == ["default", "tensorflow"]


def served(package: Path, *more: str) -> tuple[dict[str, Any], list[float], set[int]]:
    """What a server says of the model, its scores of a golden picture, and the processes of its that have loaded
    TensorFlow."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "saccade", "serve", str(package), "--port", str(port), *more]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "SACCADE_DRAIN_S": "0"})
    try:
        assert any("ready at" in line for line in iter(server.stderr.readline, "")), "it ended before it was ready"  # type: ignore[union-attr]
        with saccade.Client(f"http://127.0.0.1:{port}", timeout_s=60) as client:
            name = reader.open_package(package).manifest.name
            answer = client.predict(name, reader.open_package(package).golden()[0].image_bytes)
            about = client.model(name)
        loaded = {pid for pid in family(server.pid) if "tensorflow" in Path(f"/proc/{pid}/maps").read_text()}
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert server.returncode == 0
    return about, [row["score"] for row in sorted(answer["predictions"], key=lambda row: row["class_id"])], loaded


def family(pid: int) -> list[int]:
    found = [pid]
    for one in found:  # grows as it is walked
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in file.read_text().split()]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has loaded is read from /proc")
def test_a_server_answers_with_either_form_and_needs_tensorflow_for_one_only(package: Path) -> None:
    about, scores, loaded = served(package)
    assert not loaded
    other, again, loaded = served(package, "--variant", "tensorflow")
    assert len(loaded) == 1, "in a process of its own"
    assert [told["variant"]["name"] for told in (about, other)] == ["default", "tensorflow"]
    np.testing.assert_allclose(again, scores, atol=1e-4)


def test_without_tensorflow_the_form_that_needs_it_is_refused_by_name(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = runtimes.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if "tensorflow" in name else there(name))
    with Model.open(package) as model:
        assert model.choice.variant == "default"
    with pytest.raises(SaccadeError, match="'tensorflow' is not installed") as caught:
        Model.open(package, options=Options(variant="tensorflow"))
    assert "pip install 'saccade[" in str(caught.value.hint)
