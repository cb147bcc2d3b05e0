"""Training throughput of boxes and masks: our default recipe against a plain loop around another library's network,
equal sizes.

    python -m benchmarks.vision_throughput CELLS FLOOR [--size 320] [--seconds 20] [--rounds 3]

boxes: ours against torchvision's FCOS, as its documentation makes it (ResNet-50) and on a ResNet-18. masks: ours
against the U-Net with a ResNet-18 of segmentation-models-pytorch. Ours is timed inside a real run, from the tenth step
on, with everything that its recipe does to a picture; the plain loops mirror pictures and nothing else. Batches of 8
all, AdamW. Each in a process of its own, in turns; medians of the rounds, and what ours is times each.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, save

BATCH, WARM = 8, 10


def ours(data: Path, size: int, seconds: float) -> float:
    from saccade.data import formats
    from saccade.data.splits import split
    from saccade.training.events import Step
    from saccade.training.recipe import Recipe
    from saccade.training.run import Run
    from saccade.training.trainers import find

    dataset = split(formats.read(data)[0], 0)
    given = {"size": size, "width": size, "height": size, "start_size": 1, "batch": BATCH, "epochs": 10_000}
    recipe = Recipe.load(None, {**given, "checkpoint_every": 1e9, "validation_share": 0.001, "cache": "none"})
    first: tuple[int, float] | None = None
    with tempfile.TemporaryDirectory() as folder:
        events = find("torch").fit(Run.create(Path(folder) / "run", recipe, dataset), dataset)
        for event in events:
            if isinstance(event, Step) and event.step >= WARM:
                first = first or (event.step, event.time)
                if event.time > first[1] + seconds:
                    events.close()  # type: ignore[attr-defined]
                    return (event.step - first[0]) * BATCH / (event.time - first[1])
    raise RuntimeError("the run ended before it was timed")


def plain(step: Callable[[], None], seconds: float) -> float:
    for _ in range(2):
        step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        step()
        steps += 1
    return steps * BATCH / (time.perf_counter() - began)


def packed(data: Path, size: int) -> tuple[Any, int]:
    from saccade import tasks
    from saccade.data import formats
    from saccade.data.splits import split
    from saccade.images.preprocess import PreprocessSpec
    from saccade.training.recipe import Recipe
    from saccade.training.trainers.torch.batches import pack

    dataset = split(formats.read(data)[0], 0)
    task = tasks.find(tasks.fitting(dataset.fields)[0])
    recipe = Recipe.load(None, {"cache": "none"})
    return pack(dataset.splits["train"], dataset.labels, task, PreprocessSpec(size, size), recipe), len(dataset.labels)


def fcos(data: Path, size: int, seconds: float, depth: str) -> float:
    import torch

    with torch.library._scoped_library("torchvision", "FRAGMENT") as library:
        # A build for another processor has no compiled operators. Learning needs none of them.
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision.models.detection import FCOS, fcos_resnet50_fpn
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    train, classes = packed(data, size)
    sides: dict[str, Any] = {"min_size": size, "max_size": size}
    if depth == "50":
        network = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes, **sides)
    else:
        body = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=[2, 3, 4],
            extra_blocks=LastLevelP6P7(256, 256),
        )  # fmt: skip
        network = FCOS(body, classes, **sides)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        chosen = torch.randint(len(train), (BATCH,))
        images = train.images[chosen].permute(0, 3, 1, 2).float() / 255
        truth = []
        for i, turned in zip(chosen, torch.rand(BATCH) < 0.5, strict=True):
            classes_of, boxes = train.targets["box_classes"][i], train.targets["boxes"][i].clone()
            if turned:
                boxes[:, [0, 2]] = size - boxes[:, [2, 0]]
            truth.append({"boxes": boxes[classes_of >= 0], "labels": classes_of[classes_of >= 0]})
            if turned:
                place = len(truth) - 1
                images[place] = images[place].flip(2)
        loss = sum(network(list(images), truth).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    return plain(step, seconds)


def unet(data: Path, size: int, seconds: float) -> float:
    import torch
    from torch.nn import functional as F

    from saccade.tasks.torch import open_library

    train, classes = packed(data, size)
    network = (
        open_library("segmentation_models_pytorch", "smp")
        .Unet("resnet18", encoder_weights=None, classes=classes)
        .to(memory_format=torch.channels_last)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        chosen = torch.randint(len(train), (BATCH,))
        images, mask = train.images[chosen].permute(0, 3, 1, 2).float() / 255, train.targets["mask"][chosen].long()
        turned = torch.rand(BATCH) < 0.5
        images = torch.where(turned.view(-1, 1, 1, 1), images.flip(3), images)
        mask = torch.where(turned.view(-1, 1, 1), mask.flip(2), mask)
        loss = F.cross_entropy(network(images), mask, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return plain(step, seconds)


ROWS: dict[str, dict[str, Callable[[Path, int, float], float]]] = {
    "boxes": {
        "ours": ours,
        "torchvision FCOS, ResNet-50": partial(fcos, depth="50"),
        "torchvision FCOS, ResNet-18": partial(fcos, depth="18"),
    },
    "masks": {"ours": ours, "smp U-Net, ResNet-18": unet},
}


def asked(row: str, name: str, data: Path, options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "benchmarks.vision_throughput", str(data), str(data), "--one", row, name]
    command += ["--size", str(options.size), "--seconds", str(options.seconds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{name} failed: {answer.stderr[-500:]}")
    return float(answer.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("ROW", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row, name = options.one
        print(ROWS[row][name](getattr(options, row), options.size, options.seconds))
        return
    print(describe())
    print(f"{options.size}x{options.size} px, batches of {BATCH}, {options.rounds} rounds of {options.seconds:g} s")
    found: dict[str, dict[str, list[float]]] = {row: {name: [] for name in names} for row, names in ROWS.items()}
    for _ in range(options.rounds):
        for row, names in found.items():
            for name, speeds in names.items():
                speeds.append(asked(row, name, getattr(options, row), options))
    for row, names in found.items():
        base = statistics.median(names["ours"])
        for name, speeds in names.items():
            middle = statistics.median(speeds)
            ends = f"{min(speeds):.1f} to {max(speeds):.1f}"
            print(f"{row:<6} {name:<28} {middle:6.1f} img/s  {ends}  ours is {base / middle:.2f} times this")
    save("vision_throughput", {"size": options.size, "batch": BATCH, "img_per_s": found})


if __name__ == "__main__":
    main()
