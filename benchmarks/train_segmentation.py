"""Masks in a given time: our default recipe against a plain loop around a U-Net of segmentation-models-pytorch.

    python -m benchmarks.train_segmentation DATA --minutes 15 --seeds 0 1 2 [--plain-size 256] [--clock cpu] [--alone]
    python -m benchmarks.train_segmentation DATA --serving

The plain loop: smp U-Net with a ResNet-18 from scratch, cross-entropy, Adam 1e-3 with a cosine, mirror images, bfloat16
where the processor multiplies it, batches of 8. Both are measured on the test split at the pictures' own size by the same
scorer. On a machine shared with others, `--clock cpu` gives the plain loop the processor seconds that ours had, where
`wall` gives it the same minutes. Prints class-mean IoU, images a processor second and parameters; with --serving the
time of one picture through both sealed graphs, in turns. Keeps the raw numbers in benchmarks/results.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import machine
from saccade import tasks
from saccade.data import formats
from saccade.data.dataset import Dataset
from saccade.data.splits import split
from saccade.images import preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.tasks.segmentation import torch as half
from saccade.tasks.segmentation.learning import LIGHT
from saccade.tasks.segmentation.torch import smp
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch import export, networks
from saccade.training.trainers.torch.batches import Pack, pack
from saccade.types import Labels, TensorSpec

NAME = "smp-unet-resnet18"
TASK = tasks.find("segmentation")


def judged(dataset: Dataset, spec: PreprocessSpec, answer: Any) -> dict[str, float]:
    """Numbers of the test split at the pictures' own size; answer: uint8 [N, H, W, 3] to masks uint8 [N, h, w]."""
    scorer = TASK.scorer(dataset.labels)
    seen = [preprocess.load(s.image, spec) for s in dataset.splits["test"]]
    masks = answer(np.stack([pixels for pixels, _ in seen]))
    answers = TASK.decode({"mask": masks}, [place for _, place in seen], dataset.labels)
    for sample, said in zip(dataset.splits["test"], answers, strict=True):
        scorer.add(said, sample)
    return {n.name: round(n.value, 4) for n in scorer.card("test").numbers}


def ours(dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
    trainer = find("torch")
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", recipe, dataset)
        wall, cpu = time.monotonic(), time.process_time()
        seen = 0
        for event in trainer.fit(run, dataset):
            seen = getattr(event, "step", seen) or seen
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        found = judged(dataset, run.preprocess, lambda pixels: trainer.outputs(run, pixels)["mask"])
        images = seen * int(run.recipe.batch) * run.recipe.accumulate
        size = [run.preprocess.width, run.preprocess.height]
        return {**found, "images": images, "cpu_s": cpu, "wall_s": wall, "size": size}


def plain(dataset: Dataset, size: int, seed: int, recipe: Recipe, cpu_s: float, wall_s: float) -> dict[str, Any]:
    """The loop one writes first. It ends after cpu_s processor seconds or wall_s seconds, whichever is given."""
    spec = PreprocessSpec(size, size)
    train: Pack = pack(dataset.splits["train"], dataset.labels, TASK, spec, recipe)
    torch.manual_seed(seed)
    network = smp.open_smp().Unet("resnet18", encoder_weights=None, classes=len(dataset.labels))
    network = network.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (networks.MEAN, networks.STD))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    native = torch.cpu._is_avx512_bf16_supported()
    n, position, images_seen, places = len(train), 0, 0, torch.randperm(len(train))
    cpu, wall = time.process_time(), time.monotonic()

    def progress() -> float:
        return (time.process_time() - cpu) / cpu_s if cpu_s else (time.monotonic() - wall) / wall_s

    while (done := progress()) < 1:
        if position + 8 > n:
            places, position = torch.randperm(n), 0
        chosen = places[position : position + 8]
        position += 8
        images, mask = train.images[chosen].permute(0, 3, 1, 2).float() / 255, train.targets["mask"][chosen].long()
        mirrored = torch.rand(len(chosen)) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        mask = torch.where(mirrored.view(-1, 1, 1), mask.flip(2), mask)
        optimizer.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * done))
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            scores = network(((images - mean) / std).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(scores.float(), mask, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images_seen += len(chosen)
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    network.eval()

    def answer(pixels: Any) -> Any:
        with torch.inference_mode():
            pieces = torch.from_numpy(pixels).split(8)
            given = ((p.permute(0, 3, 1, 2).float() / 255 - mean) / std for p in pieces)
            return torch.cat([network(p).argmax(1).byte() for p in given]).numpy()

    return {**judged(dataset, spec, answer), "images": images_seen, **spent, "size": [size, size]}


def sealed(name: str, labels: Labels, width: int, height: int) -> tuple[export.Sealed, int]:
    made = half.whole(name, labels, width, height, "none")
    assert made is not None
    network, mean, std, _ = made
    count = networks.parameters(network)
    return export.Sealed(networks.Network(network, nn.Identity(), 0.0, mean, std), half, labels, {}), count


def serving(labels: Labels, sizes: tuple[int, ...] = (256, 320, 512), rounds: int = 15) -> list[dict[str, Any]]:
    """One picture at a time through both graphs in onnxruntime, one thread, in turns: medians in ms, and the ratio."""
    rows = []
    for size in sizes:
        sessions, counts = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for name in (LIGHT, NAME):
                graph, counts[name] = sealed(name, labels, size, size)
                file = Path(folder) / f"{name}.onnx"
                export.write(graph, ("mask",), TensorSpec("image", "uint8", (None, size, size, 3)), file, {})
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = 1
                sessions[name] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        picture = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
        took: dict[str, list[float]] = {LIGHT: [], NAME: []}
        for turn in range(rounds + 2):
            for name, session in sessions.items():
                began = time.thread_time()
                session.run(None, {"image": picture})
                if turn > 1:
                    took[name].append((time.thread_time() - began) * 1e3)
        medians = {name: statistics.median(times) for name, times in took.items()}
        rows.append({"size": size, "ms": medians, "ratio": medians[NAME] / medians[LIGHT], "parameters": counts})
        print(
            f"{size} px: {LIGHT} {medians[LIGHT]:.1f} ms ({counts[LIGHT] / 1e6:.2f} M), {NAME} {medians[NAME]:.1f} ms "
            f"({counts[NAME] / 1e6:.1f} M), ratio {rows[-1]['ratio']:.1f}, n {rounds}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plain-size", type=int, default=256, help="input of the plain loop, px")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--alone", action="store_true", help="without the plain loop")
    parser.add_argument("--serving", action="store_true", help="only the time of one picture")
    options = parser.parse_args()
    dataset, _ = formats.read(options.data)
    if not {"train", "val", "test"} <= set(dataset.splits):
        dataset = split(dataset, 0)
    print(machine.describe())
    if options.serving:
        machine.save("serving_segmentation", {"rows": serving(dataset.labels)})
        return
    knobs = dict(pair.split("=", 1) for pair in options.set)
    if options.threads:
        knobs["threads"] = str(options.threads)
        torch.set_num_threads(options.threads)
    print(f"{options.data.name}: " + ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items()), flush=True)
    results: dict[str, list[dict[str, Any]]] = {"saccade": [], "plain loop": []}
    for seed in options.seeds:
        recipe = Recipe.load(None, {"task": TASK.name, "budget": options.minutes * 60, "seed": seed, **knobs})
        results["saccade"].append(ours(dataset, recipe))
        tell("saccade", seed, results["saccade"][-1])
        if not options.alone:
            cpu_s = results["saccade"][-1]["cpu_s"] if options.clock == "cpu" else 0.0
            results["plain loop"].append(plain(dataset, options.plain_size, seed, recipe, cpu_s, options.minutes * 60))
            tell("plain loop", seed, results["plain loop"][-1])
    for who, rows in results.items():
        if rows:
            scores = [r["mean_iou"] for r in rows]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            print(f"{who:<11} mean IoU {statistics.mean(scores):.4f}  spread {spread:.4f}  n {len(scores)}")
    asked = {k: v for k, v in vars(options).items() if k != "data"}
    machine.save("train_segmentation", {"data": options.data.name, **asked, "results": results})


def tell(who: str, seed: int, row: dict[str, Any]) -> None:
    print(
        f"seed {seed}: {who:<10} mean IoU {row['mean_iou']:.4f}, accuracy {row['pixel_accuracy']:.4f} at "
        f"{row['size'][0]}x{row['size'][1]} px; {row['images']} images in {row['cpu_s']:.0f} processor seconds "
        f"({row['images'] / row['cpu_s']:.1f} a second), {row['wall_s']:.0f} s by the clock",
        flush=True,
    )


if __name__ == "__main__":
    main()
