"""The detector: maps of a backbone to a class score and four distances at every grid point.

Written from arXiv:1612.03144 (feature pyramid), arXiv:1904.01355 (FCOS: points, distances, shared towers),
arXiv:2006.04388 (sides as distributions) and arXiv:2212.07784 (towers share convolutions, each level its own
normalisation).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.tasks.detection.plan import BINS, PRIOR, SHORT, WIDTH


class Detector(nn.Module):
    """features: (channels, stride) of the maps, finest first; those of a stride below `finest` are not looked at.

    Gives logits [N, A, C], sides [N, A, 4 * BINS] and points [N, A, 3] (x, y, stride in px of the picture), levels
    finest first, rows by y then x.
    """

    def __init__(self, features: Sequence[tuple[int, int]], classes: int, finest: int, width: int = WIDTH) -> None:
        super().__init__()
        self.skipped = min(sum(stride < finest for _, stride in features), len(features) - 1)
        features = features[self.skipped :]
        self.strides = tuple(stride for _, stride in features)
        self.lateral = nn.ModuleList(_unit(channels, width, 1) for channels, _ in features)
        self.smooth = nn.ModuleList(_unit(width, width, 3) for _ in features)
        self.stem = Tower(width, len(features))
        self.towers = nn.ModuleList([Tower(width, len(features)), Tower(width, len(features))])
        self.scores = nn.Conv2d(width, classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4 * BINS, 3, padding=1)
        for last in (self.scores, self.sides):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.sides.bias.copy_(torch.arange(BINS).repeat(4) * -SHORT)  # type: ignore[union-attr]
        nn.init.constant_(self.scores.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        logits, sides, points = [], [], []
        for level, grid in enumerate(self.pyramid(maps[self.skipped :])):
            shared = self.stem(grid, level)
            by_class, by_side = (tower(shared, level) for tower in self.towers)
            logits.append(self.scores(by_class).flatten(2))
            sides.append(self.sides(by_side).flatten(2))
            points.append(grid_points(grid.shape[2], grid.shape[3], self.strides[level], grid.device))
        rows = maps[0].shape[0]
        return (
            torch.cat(logits, 2).transpose(1, 2),
            torch.cat(sides, 2).transpose(1, 2),
            torch.cat(points).expand(rows, -1, -1),
        )

    def pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Every level of one width, each with what the coarser ones saw."""
        sides = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        found = [sides[-1]]
        for finer in reversed(sides[:-1]):
            found.insert(0, finer + F.interpolate(found[0], size=finer.shape[2:], mode="nearest"))
        return [smooth(m) for smooth, m in zip(self.smooth, found, strict=True)]


class Tower(nn.Module):
    """One 3x3 convolution shared by all levels, normalised by each level's own statistics."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels))

    def forward(self, grid: Tensor, level: int) -> Tensor:
        answer: Tensor = F.silu(self.norms[level](self.convolution(grid)))
        return answer


def grid_points(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Centres of the cells of one level, float32 [1 * H * W, 3]: x, y, stride in input px."""
    xs = (torch.arange(width, device=device) + 0.5) * stride
    ys = (torch.arange(height, device=device) + 0.5) * stride
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, stride)], -1).flatten(0, 1)


def distances(sides: Tensor, stride: Tensor) -> Tensor:
    """Distributions [..., 4 * BINS] to distances in px [..., 4]. stride: [...]."""
    chances = sides.unflatten(-1, (4, BINS)).softmax(-1)
    steps = torch.arange(BINS, device=sides.device, dtype=chances.dtype)
    answer: Tensor = (chances * steps).sum(-1) * stride[..., None]
    return answer


def _unit(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )
