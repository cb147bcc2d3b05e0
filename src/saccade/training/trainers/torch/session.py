"""A run in memory: what moves while it trains, and how it is opened from recipe, data and task."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import DataError, UsageError
from saccade.images.preprocess import PreprocessSpec
from saccade.process import cores
from saccade.tasks.task import Task
from saccade.tasks.torch import load_file
from saccade.training.choices import SMOKE_IMAGES, Facts, choose
from saccade.training.events import Chosen
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers.torch import networks, optimizers
from saccade.training.trainers.torch.batches import GEOMETRY, Pack, sizes, targets_of
from saccade.training.trainers.torch.ema import Average
from saccade.types import Array, Labels, Sample

LOOKED_AT = 1000
"""Samples whose targets decide what "auto" means; the weights of classes are counted over all."""


@dataclass
class Session:
    """A run in memory: what moves while it trains. position: images of this epoch already used."""

    recipe: Recipe
    task: Task
    half: Any
    labels: Labels
    device: torch.device
    network: nn.Module
    eyes: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    options: dict[str, Any]
    micro: int
    rate: float
    share: float = 1.0
    several: bool = True
    step: int = 0
    epoch: int = 0
    position: int = 0
    elapsed: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    kept: float = -1.0
    ever: float = -1.0
    stale: int = 0
    watched: str = ""
    reserve: float = 0.0
    saved_at: float = field(default_factory=time.monotonic)

    MOVING = (
        "step",
        "epoch",
        "position",
        "elapsed",
        "loss_sum",
        "loss_steps",
        "kept",
        "ever",
        "stale",
        "watched",
        "rate",
        "micro",
    )


def torch_half(task: Task) -> Any:
    """The learning half beside a task: what stands in its `torch.py`, as tasks/task.py lists it."""
    return import_module(type(task).__module__.rpartition(".")[0] + ".torch")


def task_name(recipe: Recipe, dataset: Dataset) -> str:
    if recipe.task != "auto":
        return recipe.task
    fitting = tasks.fitting(dataset.fields)
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} tasks fit this dataset: {', '.join(fitting) or 'none'}", hint="name one with --task"
        )
    return fitting[0]


def samples_of(dataset: Dataset, recipe: Recipe) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    train, val = dataset.splits.get("train", ()), dataset.splits.get("val", ())
    if not train or not val:
        have = ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items())
        raise DataError(
            f"training needs a train and a val split, got {have or 'no images'}", hint="split the dataset first"
        )
    if recipe.smoke:
        train, val = (part[:: max(1, len(part) // SMOKE_IMAGES)][:SMOKE_IMAGES] for part in (train, val))
    return train, val


def choose_knobs(run: Run, labels: Labels, task: Task, samples: tuple[Sample, ...]) -> Iterator[Chosen]:
    """Fills in "auto" once; a resumed run finds its recipe complete."""
    half = torch_half(task)
    some = samples[:: max(1, len(samples) // LOOKED_AT)]
    targets = targets_of(some, labels, task, PreprocessSpec(64, 64))
    weights = half.class_weights(targets, labels)
    counts = tuple(int(c) for c in np.round(1e6 / np.maximum(weights, 1e-9)))
    widths, heights = sizes(samples)
    cuda = torch.cuda.is_available() and run.recipe.device != "cpu"
    facts = Facts(
        train=len(samples),
        classes=labels.names,
        counts=counts,
        exclusive=labels.exclusive,
        widths=widths,
        heights=heights,
        cores=cores(),
        device="cuda" if cuda else "cpu",
        bfloat16=torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu._is_avx512_bf16_supported()),
        loss=half.losses(labels)[0],
        geometry=not GEOMETRY.isdisjoint(targets),
        **_facts_of_boxes(targets),
    )
    _refuse_foreign_loss(run.recipe, half.losses(labels), task)
    choices = choose(run.recipe, facts, lambda recipe: half.prefer(facts, recipe))
    if choices.chosen:
        run.keep_recipe(choices.recipe, choices.reasons)
    yield from choices.chosen


def _facts_of_boxes(targets: Mapping[str, Array]) -> dict[str, Any]:
    """What boxes over an input of 64 x 64 px say of sizes, and of up and down; nothing where there are none."""
    if "boxes" not in targets:
        return {}
    boxes = np.asarray(targets["boxes"], np.float64)[np.asarray(targets["box_classes"]) >= 0] / 64
    if not len(boxes):
        return {}
    sides = boxes[:, 2:] - boxes[:, :2]
    height = boxes[:, [1, 3]].mean(1)
    shape = float(np.median(np.log(sides[:, 1] / sides[:, 0])))
    lying = abs(float(height.mean()) - 0.5) < 0.04 and abs(float(np.mean(height < 0.5)) - 0.5) < 0.08
    wide = float(height.std()) > 0.2
    return {"smallest": float(np.quantile(sides.min(1), 0.1)), "no_up": lying and wide and abs(shape) < 0.35}


def _refuse_foreign_loss(recipe: Recipe, known: tuple[str, ...], task: Task) -> None:
    if recipe.loss != "auto" and recipe.loss not in known:
        raise UsageError(f"{task.name} has no loss {recipe.loss!r}", hint=f"choose one of {', '.join(known)}")


def set_threads(recipe: Recipe) -> None:
    if torch.get_num_threads() != int(recipe.threads):
        torch.set_num_threads(int(recipe.threads))


def build(recipe: Recipe, half: Any, labels: Labels, width: int, height: int, weights: str) -> tuple[nn.Module, str]:
    """The whole network and one line on where its weights come from."""
    torch.manual_seed(recipe.seed)
    options = asdict(recipe)
    whole = half.whole(recipe.network, labels, width, height, weights) if hasattr(half, "whole") else None
    if whole is not None:
        network, mean, std, said = whole
        return networks.Network(network, nn.Identity(), 0.0, mean, std), f"weights {said}"
    dropout = recipe.dropout if half.FEATURES == "pooled" else 0.0
    if recipe.network in networks.OWN:
        body = networks.backbone(recipe, width, height, half.FEATURES)
        made = networks.Network(body, half.head(body.features, labels, options), dropout)
        if weights in ("none", "auto"):
            why = " (this network has no pretrained ones)" if weights == "auto" else ""
            return made, f"weights from scratch{why}"
        return made, "weights: " + load_file(made, Path(weights))
    from saccade.training.trainers.torch import timm

    body, features, mean, std, said = timm.backbone(recipe.network, weights, width, height, half.FEATURES)
    head = half.head(features, labels, options)
    return networks.Network(body, head, dropout, mean, std), f"weights {said}"


def _refuse_mixing(recipe: Recipe, train: Pack) -> None:
    """Blended pictures need blended answers, which places and masks do not have."""
    mixing = [k for k in ("mixup", "cutmix") if float(getattr(recipe, k)) > 0]
    if mixing and not GEOMETRY.isdisjoint(train.targets):
        raise UsageError(f"{mixing[0]} blends class labels and cannot blend boxes or masks", hint=f"set {mixing[0]}=0")


def open_session(recipe: Recipe, labels: Labels, task: Task, train: Pack, said: list[str]) -> Session:
    half = torch_half(task)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is to be seen", hint="use --device cpu, or install a CUDA build of torch")
    device = torch.device(recipe.device)
    _refuse_mixing(recipe, train)
    network, words = build(recipe, half, labels, int(recipe.width), int(recipe.height), recipe.weights)
    said.append(words)
    network = network.to(device)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    balanced = half.class_weights({k: v.numpy() for k, v in train.targets.items()}, labels)
    return Session(
        recipe=recipe,
        task=task,
        half=half,
        labels=labels,
        device=device,
        network=network,
        eyes=torch.compile(network) if recipe.compile else network,  # type: ignore[arg-type]
        optimizer=optimizers.make(recipe, network),
        average=Average(network, float(recipe.ema)) if float(recipe.ema) else None,
        options={
            **asdict(recipe),
            "class_weights": torch.from_numpy(balanced).to(device) if recipe.class_weights == "balanced" else None,
        },
        micro=min(int(recipe.batch), 256),
        rate=0.0 if recipe.rate == "find" else float(recipe.rate),
    )


def arithmetic(s: Session) -> contextlib.AbstractContextManager[Any]:
    if s.recipe.precision == "bfloat16":
        return torch.autocast(s.device.type, torch.bfloat16)
    return contextlib.nullcontext()
