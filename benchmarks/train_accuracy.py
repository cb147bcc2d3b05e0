"""Accuracy in a given time: our default recipe against a plain but careful torch loop, on any labelled data.

    python -m benchmarks.train_accuracy DATA --minutes 4 --seeds 0 1 2 [--size 64] [--set key=value] [--plain 1]

Prints test accuracy of both for every seed, then mean and spread (sample standard deviation); keeps the raw numbers in
benchmarks/results, one file a dataset.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import machine
from saccade import tasks
from saccade.data import formats
from saccade.data.dataset import Dataset
from saccade.data.splits import split
from saccade.images.preprocess import PreprocessSpec
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch.batches import Pack, pack


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


def ours(dataset: Dataset, recipe: Recipe) -> tuple[float, PreprocessSpec]:
    trainer = find("torch")
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", recipe, dataset)
        for _ in trainer.fit(run, dataset):
            pass
        test = pack(dataset.splits["test"], dataset.labels, tasks.find(run.recipe.task), run.preprocess, run.recipe)
        scores = trainer.outputs(run, test.images.numpy())["scores"]
        return float((scores.argmax(1) == test.targets["target"].numpy()).mean()), run.preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=0, help="input of the plain loop, px (0: what our recipe chose)")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--plain", type=int, default=None, help="seeds of the plain loop (0: none; all by default)")
    options = parser.parse_args()
    dataset, _ = formats.read(options.data)
    if not {"train", "val", "test"} <= set(dataset.splits):
        dataset = split(dataset, 0)
    (name,) = tasks.fitting(dataset.fields)
    knobs = dict(pair.split("=", 1) for pair in options.set)
    print(machine.describe())
    print(f"{torch.get_num_threads()} threads, {options.minutes:g} minutes a run")
    print(f"{options.data.name}: " + ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items()))
    results: dict[str, list[float]] = {"saccade": [], "plain loop": []}
    for seed in options.seeds:
        recipe = Recipe.load(None, {"task": name, "budget": options.minutes * 60, "seed": seed, **knobs})
        score, spec = ours(dataset, recipe)
        results["saccade"].append(score)
        print(f"seed {seed}: saccade {score:.4f} at {spec.width}x{spec.height} px", flush=True)
        if options.plain is not None and len(results["plain loop"]) >= options.plain:
            continue
        if options.size:
            spec = PreprocessSpec(options.size, options.size)
        task = tasks.find(name)
        packs = [pack(dataset.splits[k], dataset.labels, task, spec, recipe) for k in ("train", "test")]
        results["plain loop"].append(plain(packs[0], packs[1], len(dataset.labels), options.minutes * 60, seed))
        print(f"seed {seed}: plain loop {results['plain loop'][-1]:.4f} at {spec.width}x{spec.height} px", flush=True)
    for who, scores in results.items():
        if not scores:
            continue
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(f"{who:<11} mean {statistics.mean(scores):.4f}  spread {spread:.4f}  n {len(scores)}")
    kept = {"minutes": options.minutes, "seeds": options.seeds, "set": knobs, "accuracy": results}
    machine.save(f"train_accuracy_{options.data.name}", kept)


if __name__ == "__main__":
    main()
