"""The package every serving figure uses: timm's MobileNetV3-small, sealed as a training run seals it."""

import hashlib
import io
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.environment import CACHE

EDITION = "2"
"""Changes with how the package is made below, so that an older one is not taken for new."""
NETWORK, SIDE, CLASSES = "mobilenetv3_small_100", 224, 1000


def photo(width: int = 512, height: int = 384) -> bytes:
    """A JPEG with the detail of a photo: smooth shapes and some noise, quality 90."""
    dice = np.random.default_rng(0)
    coarse = Image.fromarray(dice.integers(0, 256, (24, 32, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + dice.integers(-8, 9, (height, width, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def mobilenet() -> Path:
    """The sealed package, 224x224, 1000 classes, random weights (they cost what trained ones cost); made once."""
    versions = "-".join(metadata.version(name) for name in ("torch", "timm", "onnx", "onnxscript", "saccade"))
    folder = CACHE / f"{NETWORK}-{hashlib.sha256(f'{EDITION}-{versions}'.encode()).hexdigest()[:12]}"
    if not (folder / "package" / "manifest.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        import torch  # only whoever makes the package needs it

        from saccade.images.preprocess import PreprocessSpec
        from saccade.types import Labels

        torch.manual_seed(0)
        labels = Labels(tuple(f"class {i}" for i in range(CLASSES)))
        seal(folder / "package", NETWORK, network(NETWORK, labels), labels, PreprocessSpec(SIDE, SIDE))
    return folder / "package"


def network(name: str, labels: Any) -> Any:
    """A timm backbone with random weights under our head."""
    from saccade.tasks.classification import torch as half
    from saccade.training.trainers.torch import timm
    from saccade.training.trainers.torch.networks import Network

    backbone, features, mean, std, _ = timm.backbone(name, "none", SIDE, SIDE)
    return Network(backbone, half.head(features, labels, {}), 0.0, mean, std)


def seal(folder: Path, name: str, network: Any, labels: Any, spec: Any) -> None:
    """Exports a network and seals it with one golden picture, as a training run would."""
    from saccade import tasks
    from saccade.images.preprocess import load
    from saccade.inference import runtimes
    from saccade.package.manifest import GraphEntry, Manifest
    from saccade.package.writer import PackageWriter
    from saccade.tasks.classification import torch as half
    from saccade.training.trainers.torch import export
    from saccade.types import TensorSpec

    with tempfile.TemporaryDirectory() as space:
        file = Path(space) / "model.onnx"
        takes = TensorSpec("image", "uint8", (None, SIDE, SIDE, 3))
        export.write(export.Sealed(network, half, labels, {}), ("scores",), takes, file, {})
        graph = runtimes.find("onnxruntime").open(file)
        writer = PackageWriter(folder)
        writer.add("model.onnx", file.read_bytes())
    expected = graph.run({"image": load(photo(), spec)[0][None]})
    writer.add_golden("00", photo(), {name: values[0] for name, values in expected.items()})
    entry = GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)
    (task,) = tasks.fitting({"classes"})
    writer.seal(Manifest(name, task, labels, spec, {"default": entry}, golden=("00",)))
