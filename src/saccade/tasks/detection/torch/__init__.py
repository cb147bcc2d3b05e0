"""The learning half of detection in PyTorch: a dense detector on any backbone's maps, its losses, its tail."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.tasks.detection import learning
from saccade.tasks.detection.learning import CANDIDATES, FEATURES, answers, class_weights, prefer, watch
from saccade.tasks.detection.plan import FLOOR
from saccade.tasks.detection.task import MOST, SUPPRESSED
from saccade.tasks.detection.torch import loss as losses_of
from saccade.tasks.detection.torch.boxes import from_distances
from saccade.tasks.detection.torch.dense import Detector, distances
from saccade.tasks.detection.torch.suppress import suppress, translations
from saccade.tasks.torch.transformers import PREFIX
from saccade.types import Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "explained", "head", "keep", "loss", "losses", "named", "prefer",
    "soft_targets", "tail", "translations", "watch", "whole",
]  # fmt: skip


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> nn.Module:
    """(channels, stride) of maps, finest first, to a detector on those from `options["finest"]` on."""
    return Detector(features, len(labels), int(options["finest"]))


def whole(
    name: str, labels: Labels, width: int, height: int, weights: str
) -> tuple[nn.Module, Sequence[float], Sequence[float], str] | None:
    """A complete network by name, normalised images to what `named` knows: module, mean, std, a line on its weights.
    None: not ours. Raises UsageError for a name or a file of weights that does not fit."""
    if not name.startswith(PREFIX):
        return None
    from saccade.tasks.detection.torch import transformers

    return transformers.network(name, len(labels), weights)


def losses(labels: Labels) -> tuple[str, ...]:
    """Every loss detection knows, the one nobody has to ask for first."""
    return (*learning.losses(labels), "matching")


def named(raw: tuple[Tensor, Tensor, Tensor] | dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a dense detector logits [N, A, C], sides [N, A, 4 * BINS] and points [N, A, 3] (x, y, stride); of queries what
    their network gives, logits [N, Q, C] and boxes [N, Q, 4] among it."""
    return raw if isinstance(raw, dict) else dict(zip(("logits", "sides", "points"), raw, strict=True))


def soft_targets(targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Boxes and their classes as they are: pictures with boxes are not blended."""
    return dict(targets)


def loss(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels, options: Mapping[str, Any]
) -> Tensor:
    """One number to make small. targets: boxes [N, M, 4] in px of the picture, box_classes [N, M]; -1: nothing, -2: a
    region that is neither object nor background. options: loss (one of `losses`), focal_gamma, class_weights. Raises
    UsageError for a loss that does not go with the network."""
    if ("sides" in outputs) == (options["loss"] == "matching"):
        goes = "task_aligned or centers" if "sides" in outputs else "matching"
        raise UsageError(f"loss {options['loss']!r} does not go with this network", hint=f"set loss={goes}, or auto")
    if options["loss"] == "matching":
        if options.get("class_weights") is not None:
            raise UsageError("loss 'matching' knows no weights of classes", hint="set class_weights=none")
        from saccade.tasks.detection.torch import transformers

        return transformers.matching(outputs, targets)
    kind = losses_of.centers if options["loss"] == "centers" else losses_of.aligned
    return kind(outputs, targets, options)


def tail(outputs: Mapping[str, Tensor], calibration: Mapping[str, float], labels: Labels) -> dict[str, Tensor]:
    """The best boxes float32 [N, MOST, 4] in px of the picture, scores [N, MOST], class_ids int64 [N, MOST], best
    first, padded with score 0. Of a dense detector the CANDIDATES points with the best score of any class, suppressed
    by class; of queries, which were taught to answer once, the best pairs of query and class."""
    if "sides" not in outputs:
        return _best_pairs(outputs["logits"].float().sigmoid(), outputs["boxes"].float())
    logits, sides, points = outputs["logits"].float(), outputs["sides"].float(), outputs["points"]
    best = logits.amax(2).topk(min(CANDIDATES, logits.shape[1]), 1).indices
    scores = _rows(logits, best).sigmoid()
    places = _rows(points, best)
    boxes = from_distances(places[..., :2], distances(_rows(sides, best), places[..., 2]))
    kept = suppress(boxes, scores.transpose(1, 2).contiguous(), SUPPRESSED, FLOOR, MOST)
    count = kept.shape[2]
    flat = nn.functional.pad(kept.flatten(1), (0, max(0, MOST - count * kept.shape[1])))
    top, order = flat.topk(MOST, 1)
    which = torch.where(top > 0, order, 0)
    boxes = _rows(boxes, which % count) * (top > 0)[..., None]
    return {"boxes": boxes, "scores": top, "class_ids": which // count}


def _best_pairs(scores: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """scores [N, Q, C], boxes [N, Q, 4] in px."""
    flat = torch.where(scores > FLOOR, scores, 0.0).flatten(1)
    top, order = nn.functional.pad(flat, (0, max(0, MOST - flat.shape[1]))).topk(MOST, 1)
    which = torch.where(top > 0, order, 0)
    count = scores.shape[2]
    return {"boxes": _rows(boxes, which // count) * (top > 0)[..., None], "scores": top, "class_ids": which % count}


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


def explained(network: Any) -> nn.Module:
    """The module whose map Grad-CAM weighs: the coarsest level, which every finer one hears."""
    coarsest: nn.Module = network.head.lateral[-1] if hasattr(network.head, "lateral") else network.backbone.coarsest
    return coarsest


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """What an image holds, for a contact sheet: "RBC 12, WBC 1"."""
    return learning.captions(targets["box_classes"].cpu().numpy(), labels)
