"""Optimizers by name. Weight decay leaves biases and normalisation alone."""

import torch
from torch import nn

from saccade.training.recipe import Recipe


def make(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """gradient_descent (the caller gives it every image at once), sgd, momentum, nesterov, adam or adamw."""
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": float(recipe.weight_decay)}, {"params": others, "weight_decay": 0.0}]
    rate = 0.001 if isinstance(recipe.rate, str) else float(recipe.rate)
    name = recipe.optimizer
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)
    if name == "adam":
        return torch.optim.Adam(groups, lr=rate, fused=True)
    momentum = recipe.momentum if name in ("momentum", "nesterov") else 0.0
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=name == "nesterov", fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
