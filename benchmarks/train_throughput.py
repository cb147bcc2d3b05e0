"""Training throughput of cnn-small at 224x224, batch 32: ours, a plain float32 torch loop, and Keras.

    python -m benchmarks.train_throughput [--steps 10] [--rounds 3] [--ablate]

Each contestant runs in its own process, in turn; the median of the rounds is printed with the ratio to ours. --ablate
adds ours with one thing left out or put in, so that it can be seen what each is worth on this processor.
"""

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.environment import python_of
from benchmarks.machine import describe, save

RIVALS = Path(__file__).parent / "rivals"
BATCH, SIZE, CLASSES = 32, 224, 6


def ours(steps: int, allocator: bool = True, **changed: Any) -> float:
    import numpy as np
    import torch

    from saccade import tasks
    from saccade.process import TRAINING, tune_memory
    from saccade.training.recipe import Recipe
    from saccade.training.trainers.torch.augment import Augment
    from saccade.training.trainers.torch.batches import Pack
    from saccade.training.trainers.torch.session import open_session
    from saccade.training.trainers.torch.step import one_step
    from saccade.types import Labels

    if allocator:
        tune_memory(TRAINING)
    (name,) = tasks.fitting(frozenset({"classes"}))
    precision = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    quiet = "rotation shift zoom brightness contrast saturation hue mixup cutmix erase"
    still = dict.fromkeys(quiet.split(), 0)
    recipe = Recipe.load(
        None,
        {
            "network": "cnn-small", "weights": "none", "width": SIZE, "height": SIZE, "batch": BATCH, "rate": 0.001,
            "precision": precision, "device": "cpu", "loss": "cross_entropy", "optimizer": "adam", "weight_decay": 0,
            "class_weights": "none", "smoothing": 0, "ema": 0, "crop": 1, "flip_horizontal": False, "epochs": 1,
            **still, **changed,
        },
    )  # fmt: skip
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (BATCH * 2, SIZE, SIZE, 3), np.uint8))
    pack = Pack(images, {"target": torch.from_numpy(random.integers(0, CLASSES, BATCH * 2))})
    labels = Labels(tuple(f"class {i}" for i in range(CLASSES)))
    session = open_session(recipe, labels, tasks.find(name), pack, [])
    change, places = Augment(recipe), torch.arange(BATCH)
    return _timed(lambda: one_step(session, pack, places, change), steps)


def plain(steps: int) -> float:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 28 * 28, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    optimizer = torch.optim.Adam(network.parameters())
    images, targets = torch.rand(BATCH, 3, SIZE, SIZE), torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    return _timed(step, steps)


CONTESTANTS = {"ours": ours, "plain torch": plain}
ABLATED = {
    "- channels last": partial(ours, channels_last=False),
    "- allocator": partial(ours, allocator=False),
    "+ torch.compile": partial(ours, compile=True),
    "+ bfloat16": lambda steps: ours(1, precision="bfloat16"),
}
""""Auto" takes bfloat16 where the processor multiplies it; elsewhere it is emulated, and its row says at what cost: of
a minute a step one is enough."""


def _timed(step, steps: int) -> float:
    for _ in range(2):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return BATCH * steps / (time.perf_counter() - start)


def asked(name: str, steps: int) -> float:
    """Images a second of one contestant in a process of its own; Keras lives in an environment of its own."""
    if name == "keras":
        python = python_of(RIVALS / "keras.txt")
        command = [str(python), str(RIVALS / "keras_cnn.py"), *map(str, (BATCH, SIZE, CLASSES, steps))]
    else:
        command = [sys.executable, "-m", "benchmarks.train_throughput", "--one", name, "--steps", str(steps)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(answer.stdout.strip().splitlines()[-1])


def bound(steps: int) -> float:
    """Images a second if every multiplication of a step ran as fast as those of one large matrix product do here.

    Counted: convolutions and dense layers, forward and both ways back; no pooling, no optimizer, no memory.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from saccade.training.recipe import Recipe
    from saccade.training.trainers.torch.networks import Small

    network, images = Small(Recipe.load(None, {}), SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    with FlopCounterMode(display=False) as counted:
        torch.nn.Sequential(network, torch.nn.Linear(network.features, CLASSES))(images).sum().backward()
    left, right = torch.rand(2048, 2048), torch.rand(2048, 2048)
    products = _timed(lambda: left @ right, 2 * steps) / BATCH
    return products * 2 * 2048**3 / counted.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=[*CONTESTANTS, *ABLATED, "bound"], help=argparse.SUPPRESS)
    parser.add_argument("--ablate", action="store_true", help="ours with one thing left out or put in, too")
    options = parser.parse_args()
    if options.one == "bound":
        print(bound(options.steps))
        return
    if options.one:
        print((CONTESTANTS | ABLATED)[options.one](options.steps))
        return
    print(describe())
    print(f"cnn-small {SIZE}x{SIZE}, batch {BATCH}, {options.steps} steps, {options.rounds} rounds")
    figures: dict[str, list[float]] = {n: [] for n in (*CONTESTANTS, "keras", *(ABLATED if options.ablate else ()))}
    limits = []
    for _ in range(options.rounds):
        limits.append(asked("bound", options.steps))
        for name, speeds in figures.items():
            speeds.append(asked(name, options.steps))
    base = statistics.median(figures["ours"])
    for name, speeds in figures.items():
        middle = statistics.median(speeds)
        ends = f"{min(speeds):.1f} to {max(speeds):.1f}"
        print(f"{name:<15} {middle:7.1f} img/s  {ends}  ours is {base / middle:.2f} times this")
    middle = statistics.median(limits)
    print(
        f"{'the processor':<15} {middle:7.1f} img/s at most in float32: ours takes {base / middle:.0%} of its arithmetic"
    )
    save("train_throughput", {"img_per_s": figures, "bound": limits, "steps": options.steps})


if __name__ == "__main__":
    main()
