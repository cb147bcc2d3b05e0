"""Checkpoints: one safetensors file each, tensors plus a JSON record in its header, replaced in one step. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from saccade.errors import TrainingError
from saccade.training.run import Run

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part ("network", "average"), by their own names."""
        return {k[len(name) + 1 :]: v for k, v in self.tensors.items() if k.startswith(name + ".")}


def last(run: Run) -> Path:
    return run.checkpoints / "last.safetensors"


def best(run: Run) -> Path:
    return run.checkpoints / "best.safetensors"


def write(run: Run, file: Path, parts: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]) -> None:
    """Raises StorageError; the old checkpoint then still stands."""
    tensors = {f"{part}.{k}": v.detach().cpu().contiguous() for part, named in parts.items() for k, v in named.items()}
    header = {"saccade": json.dumps({"format": FORMAT, **record})}
    run.write(file, save({k: v.clone() for k, v in tensors.items()}, header))


def read(file: Path) -> Checkpoint:
    """Raises TrainingError when the file is missing, damaged or of a newer format."""
    try:
        with safe_open(file, "pt") as opened:
            record = json.loads(opened.metadata()["saccade"])
            tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise TrainingError(f"checkpoint {file.name} is missing", hint="fit the run first") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise TrainingError(f"checkpoint {file.name} cannot be read: {error}", hint="start the run again") from error
    if record["format"] != FORMAT:
        raise TrainingError(
            f"checkpoint {file.name} has format {record['format']}, expected {FORMAT}",
            hint="use the version that wrote it",
        )
    return Checkpoint(tensors, record)


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
