"""Boxes in a given time: our default recipe against a plain CenterNet loop.

    python -m benchmarks.train_detection DATA --minutes 20 --seeds 0 1 2 [--clock cpu] [--threads N] [--only ours]

The plain loop follows arXiv:1904.07850: a small residual network with one upward path to stride 4, a heat map with
focal loss, offsets and sizes with L1 (sizes begin at the mean of the training boxes), AdamW 2e-3 with a cosine, mirror
images both ways and brightness, an average of the weights, bfloat16 where the processor multiplies it. Both are
measured on the test split by the same scorer (the COCO definition). On a machine shared with others, `--clock cpu`
gives the plain loop the processor seconds that ours had. Prints AP, AP50, images a processor second and parameters;
keeps the raw numbers in benchmarks/results, one file a dataset (benchmarks/seeds.py says how).
"""

import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.seeds import Frame, Row, arguments
from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.images import preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch.batches import Pack, pack

TASK = tasks.find("detection")
STRIDE, ANSWERS = 4, 100


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Plain(nn.Module):
    """Float images [N, 3, H, W] to heat [N, C, h, w], and sizes and offsets [N, 4, h, w] in cells.

    typical: the size [2] in cells that every box is thought to have at first; boxes of forty cells are out of reach
    of some hundred steps that begin at nothing.
    """

    def __init__(self, classes: int, typical: Tensor) -> None:
        super().__init__()
        widths = (32, 64, 128, 192)
        self.stem = nn.Sequential(conv(3, 24, 2), conv(24, widths[0], 2))
        pairs = itertools.pairwise(widths)
        self.down = nn.ModuleList(nn.Sequential(conv(a, b, 2), conv(b, b)) for a, b in pairs)
        self.side = nn.ModuleList(nn.Conv2d(w, 64, 1) for w in widths)
        self.join = conv(64, 64)
        self.heat = nn.Sequential(conv(64, 64), nn.Conv2d(64, classes, 1))
        self.place = nn.Sequential(conv(64, 64), nn.Conv2d(64, 4, 1))
        heat, place = self.heat[1], self.place[1]
        assert isinstance(heat, nn.Conv2d)
        assert isinstance(place, nn.Conv2d)
        nn.init.constant_(heat.bias, -2.19)
        with torch.no_grad():
            place.bias.copy_(torch.cat([typical, torch.full((2,), 0.5)]))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.stem(images)]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        top = self.side[-1](maps[-1])
        for side, grid in zip(list(self.side)[-2::-1], maps[-2::-1], strict=True):
            top = side(grid) + F.interpolate(top, size=grid.shape[2:])
        top = self.join(top)
        return self.heat(top), self.place(top)


def aims(boxes_NK4: Tensor, classes_NK: Tensor, classes: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heat [N, C, h, w], places [N, 4, h, w] (width, height, offset x, y in cells) and where they count [N, h, w]."""
    n = len(boxes_NK4)
    heat, place = torch.zeros(n, classes, height, width), torch.zeros(n, 4, height, width)
    counts = torch.zeros(n, height, width, dtype=torch.bool)
    ys, xs = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    for i, k in (classes_NK >= 0).nonzero().tolist():
        x0, y0, x1, y1 = (boxes_NK4[i, k] / STRIDE).tolist()
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        column, row = min(width - 1, max(0, int(x))), min(height - 1, max(0, int(y)))
        spread = [max(0.5, side * 0.54 / 6) for side in (x1 - x0, y1 - y0)]
        blob = torch.exp(-((xs - column) ** 2) / (2 * spread[0] ** 2) - (ys - row) ** 2 / (2 * spread[1] ** 2))
        c = int(classes_NK[i, k])
        heat[i, c] = torch.maximum(heat[i, c], blob)
        place[i, :, row, column] = torch.tensor([x1 - x0, y1 - y0, x - column, y - row])
        counts[i, row, column] = True
    return heat, place, counts


def loss_of(heat: Tensor, place: Tensor, aim: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    wanted, places, counts = aim
    p = heat.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = wanted.eq(1)
    near = torch.where(centre, (1 - p) ** 2 * p.log(), (1 - wanted) ** 4 * p**2 * (1 - p).log())
    n = counts.sum().clamp(min=1)
    gap = (place.float() - places).abs().permute(0, 2, 3, 1)[counts]
    return -near.sum() / centre.sum().clamp(min=1) + (0.1 * gap[:, :2].sum() + gap[:, 2:].sum()) / n


def boxes_from(heat: Tensor, place: Tensor) -> dict[str, np.ndarray]:
    """Peaks of the heat as the outputs of a sealed graph."""
    scores = heat.float().sigmoid()
    scores = torch.where(F.max_pool2d(scores, 3, 1, 1) == scores, scores, 0)
    n, _, height, width = scores.shape
    best, at = scores.flatten(1).topk(ANSWERS)
    cell = at % (height * width)
    row, column = cell // width, cell % width
    w, h, dx, dy = place.float().flatten(2).gather(2, cell[:, None].expand(n, 4, ANSWERS)).unbind(1)
    x, y = column + dx, row + dy
    found = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1) * STRIDE
    return {"boxes": found.numpy(), "scores": best.numpy(), "class_ids": (at // (height * width)).numpy()}


def judged(dataset: Dataset, spec: PreprocessSpec, answer: Any, thresholds: dict[str, float]) -> dict[str, float]:
    """Numbers of the test split; answer: uint8 [N, H, W, 3] to the outputs of a sealed graph. thresholds: from which
    an answer of a class is shown, which the averages do not depend on; without them there is no `image_f1`."""
    scorer = TASK.scorer(dataset.labels)
    scorer.thresholds = thresholds
    samples = dataset.splits["test"]
    seen = [preprocess.load(s.image, spec) for s in samples]
    outputs = answer(np.stack([pixels for pixels, _ in seen]))
    for sample, said in zip(samples, TASK.decode(outputs, [p for _, p in seen], dataset.labels), strict=True):
        scorer.add(said, sample)
    told = [n for n in scorer.card("test").numbers if thresholds or n.name != "image_f1"]
    return {n.name: round(n.value, 4) for n in told}


def ours(dataset: Dataset, recipe: Recipe, folder: Path) -> Row:
    trainer = find("torch")
    run = Run.create(folder, recipe, dataset)
    wall, cpu, steps, parameters = time.monotonic(), time.process_time(), 0, 0
    calibration: dict[str, float] = {}
    for event in trainer.fit(run, dataset):
        steps = getattr(event, "step", steps) or steps
        parameters = getattr(event, "parameters", parameters)
        calibration = getattr(event, "calibration", calibration)
    spent = spent_since(cpu, wall, steps * int(run.recipe.batch))
    thresholds = TASK.thresholds(calibration, dataset.labels)
    found = judged(dataset, run.preprocess, lambda pixels: trainer.outputs(run, pixels), thresholds)
    return {**found, "parameters": parameters, "size": [run.preprocess.width, run.preprocess.height], **spent}


def spent_since(cpu: float, wall: float, images: int) -> Row:
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {"images": images, "cpu_s": cpu, "wall_s": wall, "images_a_cpu_s": images / cpu}


def plain(dataset: Dataset, spec: PreprocessSpec, recipe: Recipe, cpu_s: float, wall_s: float) -> Row:
    """The loop one writes first. It ends after cpu_s processor seconds or wall_s seconds, whichever is given."""
    train: Pack = pack(dataset.splits["train"], dataset.labels, TASK, spec, recipe)
    torch.manual_seed(recipe.seed)
    boxes, there = train.targets["boxes"], train.targets["box_classes"] >= 0
    typical = (boxes[..., 2:] - boxes[..., :2])[there].float().mean(0) / STRIDE
    network = Plain(len(dataset.labels), typical).to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    native = torch.cpu._is_avx512_bf16_supported()
    n, seen, order, at = len(train), 0, torch.randperm(len(train)), 0
    cpu, wall = time.process_time(), time.monotonic()

    def progress() -> float:
        return (time.process_time() - cpu) / cpu_s if cpu_s else (time.monotonic() - wall) / wall_s

    while (done := progress()) < 1:
        if at + 16 > n:
            order, at = torch.randperm(n), 0
        chosen, at = order[at : at + 16], at + 16
        images = train.images[chosen].permute(0, 3, 1, 2).float() / 255
        boxes = train.targets["boxes"][chosen].clone()
        for side, axis in ((spec.width, 0), (spec.height, 1)):
            if torch.rand(()) < 0.5:
                images = images.flip(3 - axis)
                boxes[..., [axis, axis + 2]] = side - boxes[..., [axis + 2, axis]]
        images = images * (1 + (torch.rand(len(chosen), 1, 1, 1) - 0.5) * 0.5) - 0.5
        aim = aims(boxes, train.targets["box_classes"][chosen], len(dataset.labels), spec.height // STRIDE,
                   spec.width // STRIDE)  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=native):
            heat, place = network(images.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        loss_of(heat, place, aim).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, done / 0.03) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.step()
        seen += len(chosen)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 0.01) if value.is_floating_point() else average[name].copy_(value)
    spent = spent_since(cpu, wall, seen)
    network.load_state_dict(average)
    network.eval()

    def answer(pixels: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            pieces = torch.from_numpy(pixels).split(16)
            found = [boxes_from(*network(p.permute(0, 3, 1, 2).float() / 255 - 0.5)) for p in pieces]
        return {k: np.concatenate([f[k] for f in found]) for k in found[0]}

    count = sum(p.numel() for p in network.parameters())
    return {**judged(dataset, spec, answer, {}), "parameters": count, "size": [spec.width, spec.height], **spent}


def main() -> None:
    parser = arguments(str(__doc__), minutes=20)
    options = parser.parse_args()
    frame = Frame("train_detection", TASK.name, options, ("ap", "ap50"))

    def theirs(recipe: Recipe, row: Row) -> Row:
        sides = [options.size] * 2 if options.size else row.get("size")
        if sides is None or (options.clock == "cpu" and not row):
            parser.error("the plain loop takes its input (--size) and its processor seconds from a run of ours")
        cpu_s = row["cpu_s"] if options.clock == "cpu" else 0.0
        return plain(frame.dataset, PreprocessSpec(*sides), recipe, cpu_s, frame.seconds)

    frame.measure(lambda recipe, folder: ours(frame.dataset, recipe, folder), theirs)


if __name__ == "__main__":
    main()
