"""Accuracy in a given time: our default recipe against a plain but careful torch loop, on any labelled data.

    python -m benchmarks.train_accuracy DATA --minutes 4 --seeds 0 1 2 [--size 64] [--set key=value] [--only plain]

Prints test accuracy of both for every seed, then mean and spread (sample standard deviation); keeps the raw numbers in
benchmarks/results, one file a dataset (benchmarks/seeds.py says how).
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.seeds import Frame, Row, arguments
from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.images.preprocess import PreprocessSpec
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch.batches import Pack, pack

TASK = tasks.find("classification")


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        self.first, self.second = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, grid: Tensor) -> Tensor:
        return F.relu(self.second(self.two(F.relu(self.first(self.one(grid))))) + self.short(grid))


def plain_network(classes: int, size: int) -> nn.Module:
    """A residual network of 0.7 M parameters; one stride for every doubling of the picture above 32 px."""
    stem: list[nn.Module] = []
    channels = 3
    for place in range(max(1, round(np.log2(size / 32)))):
        stem += [
            nn.Conv2d(channels, 32, 3, 2 if size > 40 or place else 1, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        ]
        channels = 32
    blocks = [
        Block(32, 32, 1),
        Block(32, 32, 1),
        Block(32, 64, 2),
        Block(64, 64, 1),
        Block(64, 128, 2),
        Block(128, 128, 1),
    ]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def plain_augment(images: Tensor) -> Tensor:
    n = len(images)
    angle, scale = (torch.rand(n) - 0.5) * 0.5, 1 + (torch.rand(n) - 0.5) * 0.4
    theta = torch.stack([scale * angle.cos(), -angle.sin(), (torch.rand(n) - 0.5) * 0.3,
                         angle.sin(), scale * angle.cos(), (torch.rand(n) - 0.5) * 0.3], 1).view(n, 2, 3)  # fmt: skip
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    gain, bias = 1 + (torch.rand(n, 3, 1, 1) - 0.5) * 0.5, (torch.rand(n, 1, 1, 1) - 0.5) * 0.3
    return images * gain + bias


def plain(train: Pack, test: Pack, classes: int, seconds: float, seed: int) -> float:
    torch.manual_seed(seed)
    network = plain_network(classes, max(train.images.shape[1:3])).to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    fast = bool(torch.cpu._is_avx512_bf16_supported())
    began, step, n = time.monotonic(), 0, len(train)
    while (progress := (time.monotonic() - began) / seconds) < 1:
        if step % max(1, n // 32) == 0:
            order = torch.randperm(n)
        places = order[(step % max(1, n // 32)) * 32 :][:32]
        images = train.images[places].permute(0, 3, 1, 2).float() / 255 - 0.5
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):  # without the instructions it is many times slower
            logits = network(plain_augment(images).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), train.targets["target"][places], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        rate = 2e-3 * min(1, progress / 0.05) * 0.5 * (1 + np.cos(np.pi * progress))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 0.01) if value.is_floating_point() else average[name].copy_(value)
    network.load_state_dict(average)
    network.eval()
    with torch.no_grad():
        said = torch.cat([network(i.permute(0, 3, 1, 2).float() / 255 - 0.5).argmax(1) for i in test.images.split(64)])
    return float((said == test.targets["target"]).float().mean())


def ours(dataset: Dataset, recipe: Recipe, folder: Path) -> Row:
    trainer = find("torch")
    run = Run.create(folder, recipe, dataset)
    for _ in trainer.fit(run, dataset):
        pass
    test = pack(dataset.splits["test"], dataset.labels, TASK, run.preprocess, run.recipe)
    scores = trainer.outputs(run, test.images.numpy())["scores"]
    accuracy = float((scores.argmax(1) == test.targets["target"].numpy()).mean())
    return {"accuracy": accuracy, "size": [run.preprocess.width, run.preprocess.height]}


def main() -> None:
    parser = arguments(str(__doc__), minutes=4)
    options = parser.parse_args()
    if options.clock == "cpu":
        parser.error("this plain loop knows the clock on the wall alone")
    frame = Frame("train_accuracy", TASK.name, options, ("accuracy",))
    dataset = frame.dataset

    def theirs(recipe: Recipe, row: Row) -> Row:
        sides = [options.size] * 2 if options.size else row.get("size")
        if sides is None:
            parser.error("the plain loop needs --size where no run of ours has chosen one")
        spec = PreprocessSpec(*sides)
        train, test = (pack(dataset.splits[k], dataset.labels, TASK, spec, recipe) for k in ("train", "test"))
        return {"accuracy": plain(train, test, len(dataset.labels), frame.seconds, recipe.seed), "size": sides}

    frame.measure(lambda recipe, folder: ours(dataset, recipe, folder), theirs)


if __name__ == "__main__":
    main()
