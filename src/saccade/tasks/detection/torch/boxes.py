"""Geometry of boxes on tensors: overlaps, and distances from grid points to sides."""

import math

import torch
from torch import Tensor

TINY = 1e-7


def area(boxes: Tensor) -> Tensor:
    """px² of boxes [..., 4]; a box turned inside out has none."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union in px² of boxes [..., 4] that broadcast."""
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp(min=0)
    both = width * height
    return both, area(a) + area(b) - both


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union in 0..1; two empty boxes give 0."""
    both, either = overlap(a, b)
    return both / either.clamp(min=TINY)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU in -1..1 (arXiv:1902.09630): IoU less the share of the hull that is in neither box."""
    both, either = overlap(a, b)
    hull = area(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1))
    return both / either.clamp(min=TINY) - (hull - either) / hull.clamp(min=TINY)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (arXiv:1911.08287): IoU less the distance of the centres and the difference of the shapes."""
    both, either = overlap(a, b)
    found = both / either.clamp(min=TINY)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    wide_a, high_a = (a[..., 2:] - a[..., :2]).clamp(min=TINY).unbind(-1)
    wide_b, high_b = (b[..., 2:] - b[..., :2]).clamp(min=TINY).unbind(-1)
    shape = (4 / math.pi**2) * (torch.atan(wide_b / high_b) - torch.atan(wide_a / high_a)).square()
    weight = (shape / (1 - found + shape + TINY)).detach()
    return found - apart / hull.square().sum(-1).clamp(min=TINY) - weight * shape


def from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes [..., 4] from points [..., 2] and their distances left, top, right, bottom in px."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)


def to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """The inverse: how far each side lies from its point; negative when the point is outside."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)
