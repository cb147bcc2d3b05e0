"""Which grid point learns which box. Boxes [N, M, 4] in input px; classes int64 [N, M], negative: no object."""

from dataclasses import dataclass

import torch
from torch import Tensor

from saccade.tasks.detection.plan import ALPHA, BETA, LEVEL_SPAN, NEAREST, REACH
from saccade.tasks.detection.torch.boxes import iou

KINDS = (torch.int64, torch.bool, torch.float32)


@dataclass(frozen=True)
class Assignment:
    """For every point: `owner` int64 [N, A], the place of its box among the M; `positive` bool [N, A];
    `quality` float32 [N, A] in 0..1, what its class score should become."""

    owner: Tensor
    positive: Tensor
    quality: Tensor


@torch.no_grad()
def task_aligned(scores: Tensor, guesses: Tensor, points: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """The NEAREST points of each box by score**ALPHA * IoU**BETA among those inside it (arXiv:2108.07755).

    scores: [N, A, C] in 0..1; guesses: [N, A, 4]; points: [A, 3]. A point wanted by several boxes goes to the one it
    overlaps most. Quality is the metric, scaled so that the best point of a box gets the box's best IoU. A box narrower
    than the finest grid still owns the points within REACH of that grid's stride around its centre.
    """
    if classes.shape[1] == 0:
        return Assignment(*(torch.zeros(scores.shape[:2], device=scores.device).to(d) for d in KINDS))
    real = classes >= 0
    overlaps = iou(boxes[:, :, None], guesses[:, None])
    wanted = classes.clamp(min=0)[:, :, None].expand(-1, -1, scores.shape[1])
    metric = scores.transpose(1, 2).gather(1, wanted).pow(ALPHA) * overlaps.pow(BETA)
    inside = _inside(points, boxes) & real[:, :, None]
    # A guess that overlaps nothing yet still leaves the points nearest to the centre first.
    ranking = (metric + 1e-9 * _nearness(points, boxes)).masked_fill(~inside, -1.0)
    count = min(NEAREST, metric.shape[2])
    best = ranking.topk(count, 2)
    chosen = torch.zeros_like(inside).scatter_(2, best.indices, best.values >= 0)
    rival = overlaps.masked_fill(~chosen, -1.0)
    owner = rival.argmax(1)
    positive = chosen.any(1)
    mine = torch.zeros_like(chosen).scatter_(1, owner[:, None], positive[:, None])
    metric = metric * mine
    best_iou = (overlaps * mine).amax(2, keepdim=True)
    scaled = metric / metric.amax(2, keepdim=True).clamp(min=1e-30) * best_iou
    return Assignment(owner, positive, scaled.gather(1, owner[:, None])[:, 0] * positive)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """bool [N, M, A]: the point lies in the box, or as near to its centre as the finest grid is wide."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=REACH * float(points[:, 2].min()))
    away = (points[:, :2] - centre[:, :, None]).abs()
    return (away < half[:, :, None]).all(-1)


def _nearness(points: Tensor, boxes: Tensor) -> Tensor:
    """1 at a box's centre, falling with the distance in box sizes, float32 [N, M, A]."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    away = (points[:, :2] - centre[:, :, None]) / side[:, :, None]
    return 1 / (1 + away.square().sum(-1))


@torch.no_grad()
def heat(points: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """A Gaussian of a sixth of the box's sides around its centre, float32 [N, M, A]: 1 at the cell that holds the
    centre, 0 on levels that do not answer for a box of this size (LEVEL_SPAN)."""
    stride = points[:, 2]
    side = boxes[..., 2:] - boxes[..., :2]
    longer = side.amax(-1)[..., None]
    finest, coarsest = stride.min(), stride.max()
    here = (longer <= LEVEL_SPAN * stride) | (stride == coarsest)
    here &= (longer > LEVEL_SPAN / 2 * stride) | (stride == finest)
    here &= (classes >= 0)[..., None]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    away = points[:, :2] - centre[:, :, None]
    spread = (side[:, :, None] / 6).maximum(stride[:, None] / 3)
    warmth = torch.exp(-(away / spread).square().sum(-1) / 2)
    peak = (away.abs() <= stride[:, None] / 2).all(-1)
    # A centre on the border of two cells belongs to the first one alone.
    first = peak & (peak.cumsum(-1) - (peak & ~here).cumsum(-1) == 1)
    return torch.where(first & here, 1.0, warmth.clamp(max=0.99)) * here
