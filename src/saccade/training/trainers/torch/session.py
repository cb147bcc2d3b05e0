"""A run in memory in PyTorch, and how it is opened from recipe, data and task."""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saccade.errors import UsageError
from saccade.tasks.task import Task
from saccade.tasks.torch import load_file
from saccade.training import earlier, given
from saccade.training.learner import Moving
from saccade.training.outset import half_of, other_sizes, refuse_mixing, refused_size
from saccade.training.plans import OWN
from saccade.training.recipe import Recipe
from saccade.training.trainers.torch import checkpoints, networks, optimizers, user
from saccade.training.trainers.torch.batches import Pack
from saccade.training.trainers.torch.ema import Average
from saccade.types import Labels


@dataclass(kw_only=True)
class Session(Moving):
    """A run in memory. eyes: the network as it is called, compiled or not."""

    device: torch.device
    network: nn.Module
    eyes: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    options: dict[str, Any]


def torch_half(task: Task) -> Any:
    return half_of(task, "torch")


def machine(recipe: Recipe) -> tuple[str, bool]:
    """The device a run would take, and whether it multiplies bfloat16 natively."""
    if torch.cuda.is_available() and recipe.device != "cpu":
        return "cuda", torch.cuda.is_bf16_supported()
    return "cpu", bool(torch.cpu._is_avx512_bf16_supported())


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
    if given.is_given(recipe.network):
        body, words = user.body(recipe.network, half, labels, width, height)
        if weights in ("none", "auto"):
            return networks.Network(body, nn.Identity(), 0.0, (0.0,) * 3, (1.0,) * 3), words
        return networks.Network(
            body, nn.Identity(), 0.0, (0.0,) * 3, (1.0,) * 3
        ), f"{words}; {load_file(body, Path(weights))}"
    dropout = recipe.dropout if half.FEATURES == "pooled" else 0.0
    if recipe.network in OWN:
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


def begun(recipe: Recipe, half: Any, labels: Labels, begins: bool) -> tuple[nn.Module, str]:
    """The network a run starts or goes on with, and one line on where its weights come from."""
    width, height = int(recipe.width), int(recipe.height)
    if not begins:
        return build(recipe, half, labels, width, height, "none")[0], "weights of this run's last checkpoint"
    start = earlier.read(recipe)
    if start is None:
        return build(recipe, half, labels, width, height, recipe.weights)

    def shapes(others: Labels) -> earlier.Shapes:
        return {
            k: tuple(v.shape) for k, v in build(recipe, half, others, width, height, "none")[0].state_dict().items()
        }

    network, _ = build(recipe, half, labels, width, height, "none")
    weights, words = earlier.begin(start, checkpoints.to_arrays(network.state_dict()), labels, shapes)
    network.load_state_dict(checkpoints.to_tensors(weights))
    return network, words


def open_session(
    recipe: Recipe, labels: Labels, task: Task, train: Pack, said: list[str], begins: bool = True
) -> Session:
    """begins: from the weights the recipe names, not from a checkpoint that will be filled in."""
    half = torch_half(task)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is to be seen", hint="use --device cpu, or install a CUDA build of torch")
    device = torch.device(recipe.device)
    refuse_mixing(recipe, train.targets)
    network, words = begun(recipe, half, labels, begins)
    said.append(words)
    network = network.to(device)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not recipe.one_size:
        _try_other_sizes(network, recipe, device)
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


def _try_other_sizes(network: nn.Module, recipe: Recipe, device: torch.device) -> None:
    network.eval()
    try:
        with torch.inference_mode():
            for sides in other_sizes(recipe):
                network(torch.zeros(1, 3, *sides, device=device))
    except (RuntimeError, ValueError, AssertionError, UsageError) as error:
        raise refused_size(recipe, error) from error
    network.train()


def arithmetic(s: Session) -> contextlib.AbstractContextManager[Any]:
    if s.recipe.precision == "bfloat16":
        return torch.autocast(s.device.type, torch.bfloat16)
    return contextlib.nullcontext()
