"""The learning half of detection in PyTorch: a dense detector on any backbone's maps, its losses, its tail."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saccade.tasks.detection import learning
from saccade.tasks.detection.learning import CANDIDATES, FEATURES, answers, class_weights, losses, prefer, watch
from saccade.tasks.detection.task import MOST
from saccade.tasks.detection.torch import loss as losses_of
from saccade.tasks.detection.torch.boxes import from_distances
from saccade.tasks.detection.torch.dense import Detector, distances
from saccade.tasks.detection.torch.suppress import suppress, translations
from saccade.types import Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "explained", "head", "keep", "loss", "losses", "named", "prefer",
    "soft_targets", "tail", "translations", "watch",
]  # fmt: skip

OVERLAP = 0.6
"""Of two boxes of one class with a higher IoU the better one stays."""
FLOOR = 0.01
"""Scores at or below are no answer."""


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> nn.Module:
    """(channels, stride) of maps, finest first, to a detector on those from `options["finest"]` on."""
    return Detector(features, len(labels), int(options["finest"]))


def named(raw: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """logits [N, A, C], sides [N, A, 4 * BINS] and points [N, A, 3] (x, y, stride)."""
    return dict(zip(("logits", "sides", "points"), raw, strict=True))


def soft_targets(targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Boxes and their classes as they are: pictures with boxes are not blended."""
    return dict(targets)


def loss(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels, options: Mapping[str, Any]
) -> Tensor:
    """One number to make small. targets: boxes [N, M, 4] in px of the picture, box_classes [N, M]; -1: nothing, -2: a
    region that is neither object nor background. options: loss ("task_aligned", "centers"), focal_gamma, class_weights."""
    kind = losses_of.centers if options["loss"] == "centers" else losses_of.aligned
    return kind(outputs, targets, options)


def tail(outputs: Mapping[str, Tensor], calibration: Mapping[str, float], labels: Labels) -> dict[str, Tensor]:
    """The best boxes float32 [N, MOST, 4] in px of the picture, scores [N, MOST], class_ids int64 [N, MOST], best first,
    padded with score 0: the CANDIDATES points with the best score of any class, suppressed by class."""
    logits, sides, points = outputs["logits"].float(), outputs["sides"].float(), outputs["points"]
    best = logits.amax(2).topk(min(CANDIDATES, logits.shape[1]), 1).indices
    scores = _rows(logits, best).sigmoid()
    places = _rows(points, best)
    boxes = from_distances(places[..., :2], distances(_rows(sides, best), places[..., 2]))
    kept = suppress(boxes, scores.transpose(1, 2).contiguous(), OVERLAP, FLOOR, MOST)
    count = kept.shape[2]
    flat = nn.functional.pad(kept.flatten(1), (0, max(0, MOST - count * kept.shape[1])))
    top, order = flat.topk(MOST, 1)
    which = torch.where(top > 0, order, 0)
    boxes = _rows(boxes, which % count) * (top > 0)[..., None]
    return {"boxes": boxes, "scores": top, "class_ids": which // count}


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """Rows [N, K, F] of values [N, A, F] at places [N, K]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


def keep(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Of a validation batch: the answers a sealed graph would give."""
    return tail(outputs, {}, labels)


def evidence(outputs: Mapping[str, Tensor], class_id: Tensor) -> Tensor:
    """The best logit of the class asked for in each row, [N]: what Grad-CAM differentiates. class_id: int64 [N]."""
    wanted = class_id[:, None, None].expand(-1, outputs["logits"].shape[1], 1)
    return outputs["logits"].gather(2, wanted)[..., 0].amax(1)


def explained(head: Any) -> nn.Module:
    """The module whose map Grad-CAM weighs: the coarsest level, which every finer one hears."""
    coarsest: nn.Module = head.lateral[-1]
    return coarsest


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """What an image holds, for a contact sheet: "RBC 12, WBC 1"."""
    return learning.captions(targets["box_classes"].cpu().numpy(), labels)
