"""Networks by name: `cnn-small`, compact residual networks of ours, and every timm backbone.

Each maps float images [N, 3, H, W] in 0..1 to features; the task's head makes the rest. Normalisation is the first
layer, so that no caller can forget it. Written from arXiv:1512.03385 (residual), arXiv:1812.01187 (ResNet-D) and
arXiv:1709.01507 (squeeze and excitation).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.images.norms import MEAN, STD
from saccade.training.plans import OWN, PLANS, Plan, plan
from saccade.training.recipe import Recipe


class Network(nn.Module):
    """Normalise, look (backbone), answer (head)."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, dropout: float, mean: Any = MEAN, std: Any = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = head

    def forward(self, images: Tensor) -> Any:
        return self.head(self.dropout(self.backbone((images - self.mean) / self.std)))


class Small(nn.Module):
    """The classic tutorial network: convolution + pooling blocks, then one dense layer."""

    def __init__(self, recipe: Recipe, width: int, height: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for filters in recipe.filters:
            padding = recipe.kernel // 2 if recipe.padding == "same" else 0
            layers.append(nn.Conv2d(channels, filters, recipe.kernel, recipe.stride, padding))
            if recipe.pooling == "max":  # before relu: the same values and gradients, from a quarter of the pixels
                layers.append(nn.MaxPool2d(2))
            layers.append(nn.ReLU(inplace=True))
            if recipe.pooling == "average":
                layers.append(nn.AvgPool2d(2))
            channels = filters
        self.blocks = nn.Sequential(*layers)
        try:
            with torch.no_grad():
                grid = self.blocks(torch.zeros(1, 3, height, width))
        except RuntimeError as error:
            raise UsageError(
                f"{width}x{height} px is too small for {len(recipe.filters)} blocks of kernel {recipe.kernel}, "
                f"stride {recipe.stride} and {recipe.pooling} pooling",
                hint="use fewer filters, a smaller kernel, padding same or a larger size",
            ) from error
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(grid.numel(), recipe.dense), nn.ReLU(inplace=True))
        self.features = recipe.dense

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.dense(self.blocks(images))
        return answer


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Squeeze(nn.Module):
    """Weighs channels by what the whole picture shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 8, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 8, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, grid: Tensor) -> Tensor:
        weights: Tensor = self.weigh(grid)
        return grid * weights


class Block(nn.Module):
    """Two 3x3 convolutions beside a short cut; the short cut shrinks by averaging (ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        last: Any = _conv(outputs, outputs, 3)
        self.main = nn.Sequential(
            _conv(inputs, outputs, 3, stride),
            nn.ReLU(inplace=True),
            last,
            Squeeze(outputs) if squeeze else nn.Identity(),
        )
        shrink = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if stride == 2 else nn.Identity()
        match = _conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.short = nn.Sequential(shrink, match)
        nn.init.zeros_(last[1].weight)  # each block starts as the identity

    def forward(self, grid: Tensor) -> Tensor:
        return torch.relu(self.main(grid) + self.short(grid))


class Residual(nn.Module):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        stem, widths, depths = plan.stem, plan.widths, plan.depths
        layers: list[nn.Module] = []
        channels = 3
        for place, stride in enumerate(stem):
            outputs = widths[0] if place == len(stem) - 1 else max(16, widths[0] // 2)
            layers += [_conv(channels, outputs, 3, stride), nn.ReLU(inplace=True)]
            channels = outputs
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for place in range(depth):
                layers.append(Block(channels, width, 2 if stage and not place else 1, plan.squeeze))
                channels = width
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.features = channels

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.layers(images)
        return answer


class Maps(nn.Module):
    """The stages of a residual network, each stage's map given, finest first. features: (channels, stride) of each."""

    def __init__(self, network: Residual) -> None:
        super().__init__()
        stem, widths, depths = network.plan.stem, network.plan.widths, network.plan.depths
        layers = list(network.layers)[:-2]
        begin = 2 * len(stem) + depths[0]
        ends = [begin + sum(depths[1:stage]) for stage in range(1, len(depths) + 1)]
        self.stages = nn.ModuleList(nn.Sequential(*layers[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True))
        first = math.prod(stem)
        self.features = tuple((width, first * 2**stage) for stage, width in enumerate(widths))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


def backbone(recipe: Recipe, width: int, height: int, kind: str = "pooled") -> Any:
    """A network of ours by name. kind: "pooled" gives [N, F], `.features` is F; "maps" gives a list of maps, finest
    first, `.features` their (channels, stride). Raises UsageError for another name."""
    if recipe.network == "cnn-small":
        if kind == "maps":
            raise UsageError(
                "cnn-small ends in one vector and gives no maps", hint="choose residual-224 or a timm name"
            )
        if not recipe.one_size:
            raise UsageError(
                "cnn-small has a dense layer, so its input has one size", hint="set start_size=1 and multi_scale=0"
            )
        return Small(recipe, width, height)
    if recipe.network in PLANS:
        network = Residual(plan(recipe.network, max(width, height)))
        return Maps(network) if kind == "maps" else network
    raise UsageError(f"no network of ours is called {recipe.network!r}", hint=f"ours are {', '.join(OWN)}")


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
