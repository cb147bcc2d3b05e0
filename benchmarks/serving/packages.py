"""The packages that are served: made once from the sample data of this repository, and kept under the user's cache
folder.

What is optimised is trained, though shortly: fewer bits tell nothing of weights that never learned, whose features differ by
less than a step. The MobileNetV3-small that is decoded as the peers do has random weights below and a head fitted by least
squares on top: it costs what a trained one costs.
"""

import hashlib
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks import sealed
from benchmarks.environment import CACHE

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
PHOTOS, CELLS, FLOOR = (EXAMPLES / name for name in ("trash", "cells", "corridor"))
LIBRARIES = ("torch", "timm", "onnx", "onnxruntime", "openvino", "nncf", "saccade")
EDITION = "3"
"""Changes with how packages are made below, so that older ones are not taken for new."""
BUDGETS = {sealed.NETWORK: ("4m", "2m"), "resnet50": ("8m", "4m")}
LOGITS = 4.0
"""What a head's score, fitted to 0 and 1, is multiplied with before the softmax."""


def place(name: str) -> Path:
    """A folder for this machine and these versions: certificates hold nowhere else."""
    from saccade import process

    said = "-".join([EDITION, process.host(), *(metadata.version(library) for library in LIBRARIES)])
    return CACHE / f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def as_peers_decode(network: str) -> Path:
    """A sealed classifier of the sample photos whose JPEGs are decoded at full size, as others do it; default graph alone."""
    folder = place(f"{network}-same-decode")
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        from saccade.images.preprocess import PreprocessSpec

        module, labels = _taught(network)
        spec = PreprocessSpec(sealed.SIDE, sealed.SIDE, interpolation="area", dct_scale=False)
        sealed.seal(folder / "package", network, module, labels, spec)
        (folder / "complete").touch()
    return folder / "package"


def _taught(network: str) -> tuple[object, object]:
    """Normalisation fitted to the photos, then the head by ridge regression on what comes out below it."""
    import torch

    from saccade.data import formats
    from saccade.images import preprocess
    from saccade.images.preprocess import PreprocessSpec

    torch.manual_seed(0)
    dataset, _ = formats.read(PHOTOS)
    labels, train = dataset.labels, dataset.splits["train"]
    module = sealed.network(network, labels)
    spec = PreprocessSpec(sealed.SIDE, sealed.SIDE)
    pixels = np.stack([preprocess.load(sample.image, spec)[0] for sample in train])
    wanted = np.zeros((len(train), len(labels)), np.float32)
    wanted[np.arange(len(train)), [int(sample.annotation["classes"][0]) for sample in train]] = 1

    def below(part: np.ndarray) -> torch.Tensor:
        images = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255
        return module.backbone((images - module.mean) / module.std)

    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over all batches that come
            layer.reset_running_stats()
    with torch.no_grad():
        module.train()
        dice = np.random.default_rng(0).permutation(len(pixels))
        for start in range(0, 128, 32):
            below(pixels[dice[start : start + 32]])
        module.eval()
        features = torch.cat([below(pixels[i : i + 32]) for i in range(0, len(pixels), 32)]).double()
        centre = features.mean(0)
        spread = features - centre
        ridge = spread.T @ spread + 0.1 * spread.var(0).mean() * len(train) * torch.eye(len(centre), dtype=torch.double)
        weights = torch.linalg.solve(ridge, spread.T @ torch.from_numpy(wanted - wanted.mean(0)).double())
        module.head.weight.copy_(LOGITS * weights.T)
        module.head.bias.copy_(LOGITS * (torch.from_numpy(wanted.mean(0)).double() - centre @ weights))
    return module, labels


def learned(network: str) -> Path:
    """A classifier taught on the sample photos, first on small pictures and then at its own size, and optimised here."""
    folder = place(f"{network}-learned")
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        from saccade.verbs.optimize import optimize
        from saccade.verbs.train import train

        small, own = BUDGETS[network]
        train(PHOTOS, out=folder / "small", network=network, weights="none", size=96, budget=small, listen=print)
        sides = {"width": sealed.SIDE, "height": sealed.SIDE}
        train(PHOTOS, out=folder / "run", weights=str(folder / "small"), budget=own, listen=print, **sides)
        shutil.copytree(folder / "run" / "package", folder / "package")
        optimize(folder / "package", PHOTOS, max_drop=0.3, max_class_drop=6.0, listen=print)
        (folder / "complete").touch()
    return folder / "package"


def trained(data: Path, budget: str = "60s") -> Path:
    """A package of the sample data in `data` by the default recipe, trained for about `budget`, then optimised here."""
    folder = place(f"trained-{data.name}")
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        from saccade.verbs.optimize import optimize
        from saccade.verbs.train import train

        train(data, out=folder / "run", budget=budget, listen=print)
        shutil.copytree(folder / "run" / "package", folder / "package")
        optimize(folder / "package", data, listen=print)
        (folder / "complete").touch()
    return folder / "package"


def empty() -> Path:
    """A package whose graph costs nothing: three means of a picture of a few pixels."""
    folder = place("empty")
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        from saccade.testing.packages import colors

        colors(folder / "package", exclusive=True)
        (folder / "complete").touch()
    return folder / "package"


def home(package: Path) -> Path:
    """Where `saccade bench --tune` keeps what it found for a package of these."""
    return package.parent / "home"


def tune(package: Path, picture: bytes) -> None:
    """Measures runners, threads and batch size for every graph of it that is served here, as a user would."""
    from saccade.verbs.bench import tune

    file = package.parent / "tune.jpg"
    file.write_bytes(picture)
    for variant in ("default", None):
        tuned, _ = tune(package, image=file, variant=variant, home=home(package), listen=lambda event: None)
        told = f"{tuned.runners} runners of {tuned.threads} threads, batches up to {tuned.max_batch}"
        print(f"tuned    {package.parent.name} {tuned.variant}: {told}; {tuned.reason}", flush=True)


def all_made() -> None:
    """Makes every package that a row needs, which takes about half an hour on two cores."""
    print(f"package  {as_peers_decode(sealed.NETWORK)}", flush=True)
    for network in BUDGETS:
        print(f"package  {learned(network)}", flush=True)
    for data in (CELLS, FLOOR):
        print(f"package  {trained(data)}", flush=True)
    print(f"package  {empty()}", flush=True)
