"""Checkpoints: one safetensors file each, arrays plus a JSON record in its header, replaced in one step. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from saccade.errors import TrainingError
from saccade.training.run import Run
from saccade.types import Array

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    arrays: Mapping[str, Array]
    record: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Array]:
        """The arrays of one part ("network", "average"), by their own names."""
        return {k[len(name) + 1 :]: v for k, v in self.arrays.items() if k.startswith(name + ".")}


def last(run: Run) -> Path:
    return run.checkpoints / "last.safetensors"


def best(run: Run) -> Path:
    return run.checkpoints / "best.safetensors"


def write(run: Run, file: Path, parts: Mapping[str, Mapping[str, Array]], record: Mapping[str, Any]) -> None:
    """Raises StorageError; the old checkpoint then still stands."""
    # Hazard: safetensors writes the buffer as it lies, so a transposed view would be stored in the wrong order.
    arrays = {f"{part}.{k}": np.require(v, requirements="C") for part, named in parts.items() for k, v in named.items()}
    header = {"saccade": json.dumps({"format": FORMAT, **record})}
    run.write(file, save(arrays, header))


def read(file: Path) -> Checkpoint:
    """Raises TrainingError when the file is missing, damaged or of a newer format."""
    try:
        with safe_open(file, "np") as opened:
            record = json.loads(opened.metadata()["saccade"])
            arrays = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise TrainingError(f"checkpoint {file.name} is missing", hint="fit the run first") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise TrainingError(f"checkpoint {file.name} cannot be read: {error}", hint="start the run again") from error
    if record["format"] != FORMAT:
        raise TrainingError(
            f"checkpoint {file.name} has format {record['format']}, expected {FORMAT}",
            hint="use the version that wrote it",
        )
    return Checkpoint(arrays, record)
