"""Batches in PyTorch: packed images and their targets as tensors, and the order they are taken in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.images.preprocess import PreprocessSpec
from saccade.tasks.task import Task
from saccade.training.packed import images_of, mixed, targets_of
from saccade.training.recipe import Recipe
from saccade.types import Labels, Sample


@dataclass(frozen=True)
class Pack:
    """images: uint8 [N, H, W, 3]; targets: named tensors, first axis N."""

    images: Tensor
    targets: Mapping[str, Tensor]

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def take(self, places: Tensor, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        images = self.images[places].to(device, non_blocking=True)
        return images, {k: v[places].to(device, non_blocking=True) for k, v in self.targets.items()}


def pack(samples: Sequence[Sample], labels: Labels, task: Task, spec: PreprocessSpec, recipe: Recipe) -> Pack:
    """Reads every image through the house's one preprocessing, or finds them packed already. Raises
    DataError, StorageError."""
    targets = targets_of(samples, labels, task, spec)
    images = images_of(samples, spec, recipe)
    return Pack(torch.from_numpy(images), {k: torch.from_numpy(v) for k, v in targets.items()})


def order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, the same whenever it is asked for."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed(seed, epoch, 1)))
