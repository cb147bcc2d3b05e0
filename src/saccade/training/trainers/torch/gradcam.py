"""Where did the network look? Grad-CAM, written from Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saccade.errors import TrainingError
from saccade.types import Array

Evidence = Callable[[Tensor, slice], Tensor]
"""What the network gave for some rows, and which rows these are, to one scalar a row."""


def gradcam(
    network: nn.Module, images_N3HW: Tensor, evidence: Evidence, rows: int = 16, place: nn.Module | None = None
) -> Array:
    """Heat float32 [N, h, w] in 0..1 over the network's input: its last feature map, channels weighed by gradient.

    images_N3HW: float 0..1. evidence: from the network's raw output to the scalar that is explained, [N]; rows must not
    touch each other, so the network is put into evaluation mode. place: the module whose map is weighed, where the last
    one does not speak for the whole answer. Raises TrainingError when it has no feature map near its end.
    """
    network.eval()
    place = last_map(network, images_N3HW[:1]) if place is None else place
    heats = []
    for start in range(0, len(images_N3HW), rows):
        part = slice(start, start + rows)
        kept: list[Tensor] = []
        handle = place.register_forward_hook(_keep(kept))
        try:
            with torch.enable_grad():
                # The input asks for gradients, so that a frozen backbone gives them too.
                score = evidence(network(images_N3HW[part].detach().requires_grad_()), part).sum()
                (gradient,) = torch.autograd.grad(score, kept[-1])
        finally:
            handle.remove()
        weights = gradient.mean((2, 3), keepdim=True)
        heat = torch.relu((weights * kept[-1]).sum(1)).detach()
        top = heat.amax((1, 2), keepdim=True)
        heats.append(torch.where(top > 0, heat / top.clamp_min(1e-30), heat).float().cpu().numpy())
    return np.concatenate(heats)


def _keep(kept: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(_module: nn.Module, _given: Any, out: Tensor) -> Tensor:
        kept.append(out)
        # A later layer may work in place, which would overwrite the map.
        return out.clone()

    return hook


def last_map(network: nn.Module, image_13HW: Tensor) -> nn.Module:
    """The module that gives the last feature map [N, C, h, w] with more than one place.

    Hazard: transformers give tokens [N, T, C] or maps with channels last, whose axes mean something else. A map counts
    only when some convolution gives as many channels, and nothing else spatial comes after it. Raises TrainingError.
    """
    seen: list[tuple[nn.Module, Any]] = []
    handles = [m.register_forward_hook(lambda m, _i, out: seen.append((m, out))) for m in network.modules()]
    channels: set[int] = set()
    try:
        with torch.no_grad():
            network(image_13HW)
    finally:
        for handle in handles:
            handle.remove()
    found = None
    for module, out in seen:
        if isinstance(module, nn.Conv2d):
            channels.add(module.out_channels)
        if not isinstance(out, Tensor):
            continue
        if out.ndim == 4 and out.shape[2] * out.shape[3] > 1:
            found = module if out.shape[1] in channels else None
        elif out.ndim == 3:
            found = None
    if found is None:
        raise TrainingError(
            "Grad-CAM needs a convolutional feature map at the network's end, and this network has none",
            hint="the occlusion maps of the report work for every network",
        )
    return found
