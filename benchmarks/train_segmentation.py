"""Masks in a given time: our default recipe against a plain loop around a U-Net of segmentation-models-pytorch.

    python -m benchmarks.train_segmentation DATA --minutes 15 --seeds 0 1 2 [--size 256] [--clock cpu] [--only ours]
    python -m benchmarks.train_segmentation DATA --serving

The plain loop: smp U-Net with a ResNet-18 from scratch, cross-entropy, Adam 1e-3 with a cosine, mirror images, bfloat16
where the processor multiplies it, batches of 8. Both are measured on the test split at the pictures' own size by the
same scorer. On a machine shared with others, `--clock cpu` gives the plain loop the processor seconds that ours had,
where `wall` gives it the same minutes. Prints class-mean IoU, images a processor second and parameters; with --serving
the time of one picture through both sealed graphs, in turns. Keeps the raw numbers in benchmarks/results, one file a
dataset (benchmarks/seeds.py says how).
"""

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
from benchmarks.seeds import Frame, Row, arguments
from benchmarks.train_detection import spent_since
from saccade import tasks
from saccade.data import formats
from saccade.data.dataset import Dataset
from saccade.images import preprocess
from saccade.images.norms import MEAN, STD
from saccade.images.preprocess import PreprocessSpec
from saccade.tasks.segmentation import torch as half
from saccade.tasks.segmentation.learning import LIGHT
from saccade.tasks.torch import open_library
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


def ours(dataset: Dataset, recipe: Recipe, folder: Path) -> Row:
    trainer = find("torch")
    run = Run.create(folder, recipe, dataset)
    wall, cpu = time.monotonic(), time.process_time()
    seen = 0
    for event in trainer.fit(run, dataset):
        seen = getattr(event, "step", seen) or seen
    spent = spent_since(cpu, wall, seen * int(run.recipe.batch) * run.recipe.accumulate)
    found = judged(dataset, run.preprocess, lambda pixels: trainer.outputs(run, pixels)["mask"])
    return {**found, "size": [run.preprocess.width, run.preprocess.height], **spent}


def plain(dataset: Dataset, size: int, recipe: Recipe, cpu_s: float, wall_s: float) -> Row:
    """The loop one writes first. It ends after cpu_s processor seconds or wall_s seconds, whichever is given."""
    spec = PreprocessSpec(size, size)
    train: Pack = pack(dataset.splits["train"], dataset.labels, TASK, spec, recipe)
    torch.manual_seed(recipe.seed)
    network = open_library("segmentation_models_pytorch", "smp").Unet(
        "resnet18", encoder_weights=None, classes=len(dataset.labels)
    )
    network = network.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
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
    spent = spent_since(cpu, wall, images_seen)
    network.eval()

    def answer(pixels: Any) -> Any:
        with torch.inference_mode():
            pieces = torch.from_numpy(pixels).split(8)
            given = ((p.permute(0, 3, 1, 2).float() / 255 - mean) / std for p in pieces)
            return torch.cat([network(p).argmax(1).byte() for p in given]).numpy()

    return {**judged(dataset, spec, answer), "size": [size, size], **spent}


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
    parser = arguments(str(__doc__), minutes=15, size=256)
    parser.add_argument("--serving", action="store_true", help="only the time of one picture")
    options = parser.parse_args()
    if options.serving:
        print(machine.describe())
        machine.save("serving_segmentation", {"rows": serving(formats.read(options.data)[0].labels)})
        return
    frame = Frame("train_segmentation", TASK.name, options, ("mean_iou",))

    def theirs(recipe: Recipe, row: Row) -> Row:
        if options.clock == "cpu" and not row:
            parser.error("the plain loop takes its processor seconds from a run of ours")
        cpu_s = row["cpu_s"] if options.clock == "cpu" else 0.0
        return plain(frame.dataset, options.size, recipe, cpu_s, frame.seconds)

    frame.measure(lambda recipe, folder: ours(frame.dataset, recipe, folder), theirs)


if __name__ == "__main__":
    main()
