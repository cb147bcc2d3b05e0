"""A package trained with Keras holds the network twice, as ONNX and as a SavedModel, and both answer the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from saccade.errors import PackageError
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
