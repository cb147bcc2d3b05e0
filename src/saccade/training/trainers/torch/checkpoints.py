"""Checkpoints in PyTorch: tensors to arrays and back, and an optimizer's state as flat tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saccade.types import Array


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
