"""Checkpoints in PyTorch: tensors to arrays and back, and an optimizer's state as flat tensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade.training import checkpoints
from saccade.training.checkpoints import best, last
from saccade.types import Array

__all__ = ["best", "fill_optimizer", "last", "optimizer_part", "read", "to_arrays", "to_tensors"]


class Checkpoint(checkpoints.Checkpoint):
    """The same, whose parts are tensors."""

    def part(self, name: str) -> dict[str, Tensor]:  # type: ignore[override]
        return to_tensors(super().part(name))


def read(file: Path) -> Checkpoint:
    """Raises TrainingError."""
    found = checkpoints.read(file)
    return Checkpoint(found.arrays, found.record)


def to_arrays(named: Mapping[str, Tensor]) -> dict[str, Array]:
    """Copies: what the network does next does not touch them."""
    return {k: v.detach().cpu().contiguous().clone().numpy() for k, v in named.items()}


def to_tensors(named: Mapping[str, Array]) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in named.items()}


def optimizer_part(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as flat tensors: "<parameter>.<name>"."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, named in state.items() for k, v in named.items() if v is not None}


def fill_optimizer(optimizer: torch.optim.Optimizer, part: Mapping[str, Tensor]) -> None:
    """The inverse. Layouts follow the parameters, so that arithmetic stays the same bit by bit."""
    parameters: list[nn.Parameter] = [p for g in optimizer.param_groups for p in g["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in part.items():
        place, name = key.split(".", 1)
        parameter = parameters[int(place)]
        if value.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
            value = value.to(memory_format=torch.channels_last)
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
