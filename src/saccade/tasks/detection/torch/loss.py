"""What the detector makes small: class scores towards box quality, sides towards the boxes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade.tasks.detection.plan import BINS, BOX_WEIGHT, HOT, SIDE_WEIGHT
from saccade.tasks.detection.torch.assign import heat, task_aligned
from saccade.tasks.detection.torch.boxes import ciou, from_distances, giou, to_distances
from saccade.tasks.detection.torch.dense import distances


def aligned(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    """Task-aligned learning (arXiv:2108.07755) with quality focal and distribution focal loss (arXiv:2006.04388)."""
    logits, sides, points = outputs["logits"].float(), outputs["sides"].float(), outputs["points"][0]
    boxes, classes = targets["boxes"].float(), targets["box_classes"]
    far = distances(sides, points[:, 2])
    guesses = from_distances(points[:, :2], far)
    found = task_aligned(logits.detach().sigmoid(), guesses.detach(), points, boxes, classes)
    total = found.quality.sum().clamp(min=1.0)

    wanted = torch.zeros_like(logits)
    if classes.shape[1]:
        ids = classes.clamp(min=0).gather(1, found.owner)
        wanted.scatter_(2, ids[:, :, None], found.quality[:, :, None])
    miss = (wanted - logits.sigmoid()).abs().pow(float(options["focal_gamma"]))
    terms = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * miss
    weights = options.get("class_weights")
    if weights is not None:
        terms = terms * weights
    counted = found.positive | ~ignored(points, boxes, classes)
    by_class = (terms.sum(2) * counted).sum() / total
    if not bool(found.positive.any()):
        return by_class + 0.0 * sides.sum()

    rows, places = found.positive.nonzero(as_tuple=True)
    weight = found.quality[rows, places]
    return by_class + _sides_loss(sides, points, boxes, rows, places, found.owner, weight, options)


def centers(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    """Heat around each box's centre with a penalty-reduced focal loss (arXiv:1904.07850); sides are learned where the
    heat is above HOT. The level of a box follows its size (arXiv:1904.01355). Needs no assignment by what is predicted,
    so it learns from the first step."""
    logits, sides, points = outputs["logits"].float(), outputs["sides"].float(), outputs["points"][0]
    boxes, classes = targets["boxes"].float(), targets["box_classes"]
    found = heat(points, boxes, classes)
    wanted = torch.zeros_like(logits)
    if classes.shape[1]:
        ids = classes.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)
        wanted = wanted.scatter_reduce(2, ids, found.transpose(1, 2), "amax")
    chance = logits.sigmoid()
    peak = wanted >= 1
    gamma = float(options["focal_gamma"])
    terms = torch.where(
        peak,
        -(1 - chance).pow(gamma) * F.logsigmoid(logits),
        -(1 - wanted).pow(4) * chance.pow(gamma) * F.logsigmoid(-logits),
    )
    weights = options.get("class_weights")
    if weights is not None:
        terms = terms * weights
    counted = peak.any(2) | ~ignored(points, boxes, classes)
    total = peak.sum().clamp(min=1)
    by_class = (terms.sum(2) * counted).sum() / total
    warmth, owner = found.max(1) if classes.shape[1] else (wanted[..., 0], wanted[..., 0].long())
    rows, places = (warmth > HOT).nonzero(as_tuple=True)
    if not len(rows):
        return by_class + 0.0 * sides.sum()
    return by_class + _sides_loss(sides, points, boxes, rows, places, owner, warmth[rows, places], options)


def _sides_loss(
    sides: Tensor,
    points: Tensor,
    boxes: Tensor,
    rows: Tensor,
    places: Tensor,
    owner: Tensor,
    weight: Tensor,
    options: Mapping[str, Any],
) -> Tensor:
    """IoU and distribution loss of the points that own a box, each by its weight [P]."""
    at, stride = points[places, :2], points[places, 2]
    mine = sides[rows, places]
    goal = boxes[rows, owner[rows, places]]
    guesses = from_distances(at, distances(mine, stride))
    measure = ciou if options["box_loss"] == "ciou" else giou
    steps = to_distances(at, goal) / stride[:, None]
    terms = BOX_WEIGHT * (1 - measure(guesses, goal)) + SIDE_WEIGHT * distribution(mine.unflatten(-1, (4, BINS)), steps)
    return (terms * weight).sum() / weight.sum().clamp(min=1e-3)


def distribution(logits: Tensor, steps: Tensor) -> Tensor:
    """Cross-entropy with the two bins around the true distance, [P], mean of four sides. steps: [P, 4] in strides."""
    steps = steps.clamp(0, BINS - 1 - 1e-3)
    low = steps.floor().long()
    share = steps - low
    logs = F.log_softmax(logits, -1)
    left = logs.gather(-1, low[..., None])[..., 0]
    right = logs.gather(-1, low[..., None] + 1)[..., 0]
    return -(left * (1 - share) + right * share).mean(-1)


def ignored(points: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """bool [N, A]: the point lies in a region (class -2) that is neither object nor background."""
    x, y = points[:, 0], points[:, 1]
    regions = boxes * (classes == -2)[..., None]
    inside = (x > regions[..., :1]) & (y > regions[..., 1:2]) & (x < regions[..., 2:3]) & (y < regions[..., 3:4])
    return inside.any(1)
