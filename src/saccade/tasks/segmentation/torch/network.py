"""The light network for masks, and the head that turns the maps of any backbone into masks.

`light-mask` is fully convolutional and small: plain residual stages down to 1/32, a gate by what the whole picture
shows, and a narrow way back up to 1/4. Written from arXiv:1512.03385 (residual), arXiv:1812.01187 (ResNet-D),
arXiv:1709.01507 and arXiv:1905.02244 (squeeze and excitation; LR-ASPP's gate), arXiv:1612.03144 and arXiv:1901.02446
(feature pyramid, its use for masks), arXiv:1808.00897 (BiSeNet: deep supervision of the context path), arXiv:1612.01105
(the same in PSPNet).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.tasks.segmentation.plan import DECODER, DEPTHS, FINEST, WIDTHS


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two 3x3 convolutions beside a short cut that shrinks by averaging."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        last: Any = _conv(outputs, outputs, 3)
        self.main = nn.Sequential(_conv(inputs, outputs, 3, stride), nn.ReLU(inplace=True), last)
        shrink = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if stride == 2 else nn.Identity()
        self.short = nn.Sequential(shrink, _conv(inputs, outputs, 1) if inputs != outputs else nn.Identity())
        nn.init.zeros_(last[1].weight)  # each block starts as the identity

    def forward(self, grid: Tensor) -> Tensor:
        return torch.relu(self.main(grid) + self.short(grid))


class Body(nn.Module):
    """Images [N, 3, H, W] to maps at 1/4, 1/8, 1/16 and 1/32. maps: their (channels, stride)."""

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, widths[0], 3, 2), nn.ReLU(inplace=True), _conv(widths[0], widths[0], 3, 2), nn.ReLU(inplace=True)
        )
        stages = []
        channels = widths[0]
        for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = [Block(channels if not i else width, width, 2 if place and not i else 1) for i in range(depth)]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.maps = tuple((width, 4 << place) for place, width in enumerate(widths))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        grid, found = self.stem(images), []
        for stage in self.stages:
            grid = stage(grid)
            found.append(grid)
        return tuple(found)


class Gate(nn.Module):
    """Weighs the channels of the deepest map by what the whole picture shows, and adds it to every place."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.look = nn.Sequential(_conv(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.weigh = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Sigmoid())
        self.whole = nn.Conv2d(inputs, outputs, 1)

    def forward(self, grid: Tensor) -> Tensor:
        mean = grid.mean((2, 3), keepdim=True)
        answer: Tensor = self.look(grid) * self.weigh(mean) + self.whole(mean)
        return answer


class Pyramid(nn.Module):
    """Maps, finest first, to class scores: up by two and add, a 3x3 convolution each.

    maps: (channels, stride). size: height and width of the picture. While training it gives scores at the finest stride
    used, and a second, coarse answer from the deepest map; else scores enlarged to the picture.
    """

    def __init__(
        self, maps: Sequence[tuple[int, int]], classes: int, size: tuple[int, int], width: int = DECODER
    ) -> None:
        super().__init__()
        self.first = sum(stride < FINEST for _, stride in maps[:-1])
        self.size = size
        used = maps[self.first :]
        self.stride = used[0][1]
        self.times = [coarse // fine for (_, fine), (_, coarse) in itertools.pairwise(used)]
        self.gate = Gate(used[-1][0], width)
        self.sides = nn.ModuleList(_conv(channels, width, 1) for channels, _ in used[:-1])
        self.mixes = nn.ModuleList(nn.Sequential(_conv(width, width, 3), nn.ReLU(inplace=True)) for _ in used[:-1])
        self.answer = nn.Conv2d(width, classes, 1)
        self.coarse = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        used = list(maps)[self.first :]
        grid = deep = self.gate(used[-1])
        for side, mix, finer, times in reversed(list(zip(self.sides, self.mixes, used[:-1], self.times, strict=True))):
            grid = _enlarged(grid, times, finer.shape[2:])
            grid = mix(torch.relu(grid + side(finer)))
        scores: Tensor = self.answer(grid)
        if self.training:
            return scores, self.coarse(deep)
        # By the stride, not to the size: a picture whose side is no multiple of it must not be squeezed.
        whole = F.interpolate(scores, scale_factor=float(self.stride), mode="bilinear", align_corners=False)
        return whole[:, :, : self.size[0], : self.size[1]]


def _enlarged(grid: Tensor, times: int, size: Sequence[int]) -> Tensor:
    """So many times as large and cut to the size; only where that is too small, as maps of networks without padding
    are, drawn out to it."""
    if grid.shape[2] * times >= size[0] and grid.shape[3] * times >= size[1]:
        grid = F.interpolate(grid, scale_factor=float(times), mode="bilinear", align_corners=False)
        return grid[:, :, : size[0], : size[1]]
    return F.interpolate(grid, list(size), mode="bilinear", align_corners=False)


class Whole(nn.Module):
    """Body and pyramid as one."""

    def __init__(self, body: Body, pyramid: Pyramid) -> None:
        super().__init__()
        self.body, self.pyramid = body, pyramid

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        answer: Tensor | tuple[Tensor, Tensor] = self.pyramid(self.body(images))
        return answer


def light(classes: int, size: tuple[int, int]) -> Whole:
    body = Body()
    return Whole(body, Pyramid(body.maps, classes, size))
