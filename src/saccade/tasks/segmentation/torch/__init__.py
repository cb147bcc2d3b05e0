"""The learning half of masks in PyTorch: networks, losses, tail and the number watched while training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.images.norms import MEAN, STD
from saccade.tasks.segmentation import learning
from saccade.tasks.segmentation.learning import COARSE, FEATURES, LIGHT, answers, class_weights, losses, prefer, watch
from saccade.tasks.segmentation.torch import terms
from saccade.tasks.segmentation.torch.network import Pyramid, light
from saccade.tasks.torch import load_file
from saccade.tasks.torch.transformers import PREFIX
from saccade.types import Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "head", "keep", "loss", "losses", "named", "prefer",
    "soft_targets", "tail", "watch", "whole",
]  # fmt: skip


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> nn.Module:
    """Maps of any backbone, (channels, stride) finest first, to scores."""
    return Pyramid(features, len(labels), (int(options["height"]), int(options["width"])))


def whole(
    name: str, labels: Labels, width: int, height: int, weights: str
) -> tuple[nn.Module, Sequence[float], Sequence[float], str] | None:
    """A complete network by name, normalised images to scores: module, mean, std, a line on
    its weights. None: not ours.

    Raises UsageError for a name or a file of weights that does not fit.
    """
    if name == LIGHT:
        network = light(len(labels), (height, width))
        said = "from scratch" if weights in ("none", "auto") else load_file(network, Path(weights))
        return network, MEAN, STD, said
    if name.startswith("smp-"):
        from saccade.tasks.segmentation.torch import smp

        return smp.network(name, len(labels), weights)
    if name.startswith(PREFIX):
        from saccade.tasks.segmentation.torch import transformers

        return transformers.network(name, len(labels), weights)
    return None


def named(raw: Tensor | tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """`logits` [N, C, h, w], and while training perhaps `coarse` ones of the deepest map."""
    if isinstance(raw, Tensor):
        return {"logits": raw}
    return {"logits": raw[0], "coarse": raw[1]}


def soft_targets(targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Masks stay as they are: uint8 [N, H, W], 255 where nothing is asked."""
    return {"mask": targets["mask"]}


def loss(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels, options: Mapping[str, Any]
) -> Tensor:
    """One number to make small.

    targets: `mask` uint8 [N, H, W]. options: loss (one of `losses`), smoothing, focal_gamma, class_weights (float32 [C]
    or None; only cross-entropy and focal know weights).
    """
    mask, weights = targets["mask"], options.get("class_weights")
    logits = outputs["logits"].float()
    rows = terms.smooth(terms.shares(mask, logits.shape[2:], len(labels)), float(options["smoothing"]))
    total = terms.by_name(str(options["loss"]), float(options["focal_gamma"]))(logits, rows, weights)
    if "coarse" in outputs:
        coarse = outputs["coarse"].float()
        rows = terms.shares(mask, coarse.shape[2:], len(labels))
        total = total + COARSE * terms.cross_entropy(coarse, rows, weights)
    return total


def tail(
    outputs: Mapping[str, Tensor], calibration: Mapping[str, float], labels: Labels, extras: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Scores to `mask` uint8 [N, H, W], the first of equally good classes: one byte a pixel leaves the graph.

    extras: with "confidence" a second byte, the calibrated probability of that class in 255ths.
    """
    logits = outputs["logits"]
    found = {"mask": logits.argmax(1).to(torch.uint8)}
    if "confidence" in extras:
        sure = (logits.float() / float(calibration.get("temperature", 1.0))).softmax(1).amax(1)
        found["confidence"] = (sure * 255).round().to(torch.uint8)
    return found


def evidence(outputs: Mapping[str, Tensor], class_id: Tensor) -> Tensor:
    """The mean score of each row's class over the pixels that are called so (over all when none is), [N]."""
    logits = outputs["logits"]
    own = logits.gather(1, class_id.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:]))[:, 0]
    called = (logits.argmax(1) == class_id.view(-1, 1, 1)).to(own.dtype)
    called = torch.where(called.sum((1, 2), keepdim=True) > 0, called, torch.ones_like(called))
    return (own * called).sum((1, 2)) / called.sum((1, 2))


def keep(named: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Pixels by image and class, int64 [N, 3, C]: right, truth and said; of some places (`learning.places`) `sampled`
    scores [N, K, C] and `asked` uint8 [N, K], the truth."""
    said = named["logits"].argmax(1).to(torch.uint8).cpu().numpy()
    rows, columns = (torch.from_numpy(p) for p in learning.places(*targets["mask"].shape[1:]))
    return {
        "pixels": torch.from_numpy(learning.pixels(said, targets["mask"].cpu().numpy(), len(labels))),
        "sampled": named["logits"][:, :, rows, columns].transpose(1, 2).float(),
        "asked": targets["mask"][:, rows, columns],
    }


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """The largest classes of each mask, for a contact sheet."""
    return learning.captions(targets["mask"].cpu().numpy(), labels)
