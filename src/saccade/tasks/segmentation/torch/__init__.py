"""The learning half of masks in PyTorch: networks, losses, tail and the number watched while training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saccade.tasks.segmentation import score
from saccade.tasks.segmentation.torch import terms
from saccade.tasks.segmentation.torch.network import LIGHT, Pyramid, light
from saccade.tasks.torch import load_file
from saccade.types import Array, Labels

FEATURES = "maps"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEP = 32
"""Sides the networks halve without a rest."""
EXAMPLES = 15_000
COARSE = 0.4
"""Weight of the coarse answer's cross-entropy while training (PSPNet's)."""


def losses(labels: Labels | None = None) -> tuple[str, ...]:
    """What may be made small; the first unless asked otherwise."""
    return terms.NAMES


def prefer(facts: Any, recipe: Any) -> Mapping[str, tuple[Any, str]]:
    """What masks want otherwise than the general table.

    The counts behind it are in decisions/: from scratch on few pictures, more passes beat more pixels up to about half
    a megapixel, and crops teach scale.
    """
    width, height = float(np.median(facts.widths or (224,))), float(np.median(facts.heights or (224,)))
    longer, n = max(width, height), facts.train
    chosen: dict[str, tuple[Any, str]] = {}
    if not recipe.smoke:
        most = 512 if facts.device == "cuda" else 320
        size = max(8, int(min(longer, most)) // STEP * STEP or int(longer))
        chosen["size"] = (size, f"images are {width:.0f}x{height:.0f}; masks want pixels, a {facts.device} wants few")
        chosen["batch"] = (max(1, min(8 if n < 2000 else 16, n)), f"{n} training images")
        if not recipe.budget:
            epochs = int(np.clip(EXAMPLES // max(1, n), 12, 100))
            chosen["epochs"] = (epochs, f"about {EXAMPLES:,} images in all, {n} a pass, 100 passes at most")
    if recipe.network in ("auto", LIGHT):
        chosen["network"] = (LIGHT, "small, learns from scratch, quick on a CPU")
        chosen["weights"] = ("none", "this network learns from scratch")
        chosen["start_size"] = (1.0 if recipe.smoke or longer < 128 else 0.5, "small pictures first buy more passes")
    chosen["loss"] = (losses()[0], "pixels for calibration, overlap for rare classes")
    chosen["smoothing"] = (0.0, "shares of pixels are soft already")
    chosen["class_weights"] = ("none", "the overlap loss counts every class alike")
    chosen["rotation"] = (5.0, "scenes stand upright")
    chosen["shift"] = (0.0, "crops move the picture")
    chosen["zoom"] = (0.0, "crops change the scale")
    chosen["crop"] = (0.3, "things come near and far")
    chosen["erase"] = (0.0, "what is erased would still be asked for")
    return chosen


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> nn.Module:
    """Maps of any backbone, (channels, stride) finest first, to scores."""
    return Pyramid(features, len(labels), (int(options["height"]), int(options["width"])))


def whole(
    name: str, labels: Labels, width: int, height: int, weights: str
) -> tuple[nn.Module, Sequence[float], Sequence[float], str] | None:
    """A complete network by name, normalised images to scores: module, mean, std, a line on its weights. None: not ours.

    Raises UsageError for a name or a file of weights that does not fit.
    """
    if name == LIGHT:
        network = light(len(labels), (height, width))
        said = "from scratch" if weights in ("none", "auto") else load_file(network, Path(weights))
        return network, MEAN, STD, said
    if name.startswith("smp-"):
        from saccade.tasks.segmentation.torch import smp

        return smp.network(name, len(labels), weights)
    return None


def named(raw: Tensor | tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """`logits` [N, C, h, w], and while training perhaps `coarse` ones of the deepest map."""
    if isinstance(raw, Tensor):
        return {"logits": raw}
    return {"logits": raw[0], "coarse": raw[1]}


def soft_targets(targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Masks stay as they are: uint8 [N, H, W], 255 where nothing is asked."""
    return {"mask": targets["mask"]}


def class_weights(targets: Mapping[str, Array], labels: Labels) -> Array:
    """float32 [C], mean 1, by the root of how rare a class's pixels are; a class without any weighs like the rarest.

    The root, because a tenth of a percent of the pixels would otherwise outweigh all others and be seen everywhere.
    """
    counts = np.zeros(256, np.int64)
    for mask in targets["mask"]:
        counts += np.bincount(np.asarray(mask).ravel(), minlength=256)
    pixels = counts[: len(labels)].astype(np.float64)
    least = pixels[pixels > 0].min() if pixels.any() else 1.0
    weights = 1.0 / np.sqrt(np.maximum(pixels, least))
    return np.asarray(weights * len(labels) / weights.sum(), np.float32)


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


def tail(outputs: Mapping[str, Tensor], calibration: Mapping[str, float], labels: Labels) -> dict[str, Tensor]:
    """Scores to `mask` uint8 [N, H, W], the first of equally good classes: one byte a pixel leaves the graph."""
    return {"mask": outputs["logits"].argmax(1).to(torch.uint8)}


def evidence(outputs: Mapping[str, Tensor], class_id: Tensor) -> Tensor:
    """The mean score of each row's class over the pixels that are called so (over all when none is), [N]."""
    logits = outputs["logits"]
    own = logits.gather(1, class_id.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:]))[:, 0]
    called = (logits.argmax(1) == class_id.view(-1, 1, 1)).to(own.dtype)
    called = torch.where(called.sum((1, 2), keepdim=True) > 0, called, torch.ones_like(called))
    return (own * called).sum((1, 2)) / called.sum((1, 2))


def keep(named: Mapping[str, Tensor], targets: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """Pixels by image and class, int64 [N, 3, C]: right, truth and said. The scores themselves would not fit memory."""
    said = named["logits"].argmax(1).to(torch.uint8).cpu().numpy()
    truth = targets["mask"].cpu().numpy()
    rows = []
    for one, other in zip(truth, said, strict=True):
        mixed = score.confusion(one, other[: one.shape[0], : one.shape[1]], len(labels))
        rows.append(np.stack([mixed.diagonal(), mixed.sum(1), mixed[:, :-1].sum(0)]))
    return {"pixels": torch.from_numpy(np.stack(rows))}


def watch(kept: Mapping[str, Array], targets: Mapping[str, Array], labels: Labels) -> tuple[str, float, float]:
    """Class-mean IoU over the split at the network's size, and its standard error (jackknife over images)."""
    pixels = np.asarray(kept["pixels"], np.float64)
    total = pixels.sum(0)
    value = _mean_iou(total[None])[0]
    without = _mean_iou(total[None] - pixels) if len(pixels) > 1 else np.array([value, 0.0])
    n = len(without)
    return "mean_iou", float(value), float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def _mean_iou(pixels: Array) -> Array:
    """float64 [N] from right, truth and said [N, 3, C]; 0 where nothing is asked."""
    right, union = pixels[:, 0], pixels[:, 1] + pixels[:, 2] - pixels[:, 0]
    held = union > 0
    return np.asarray(np.where(held, right / np.maximum(union, 1), 0.0).sum(1) / np.maximum(held.sum(1), 1))


def captions(targets: Mapping[str, Tensor], labels: Labels) -> list[str]:
    """The largest classes of each mask, for a contact sheet: "road 53 % wall 18 %"."""
    lines = []
    for mask in targets["mask"].cpu().numpy():
        counts = np.bincount(mask.ravel(), minlength=256)
        largest = [int(i) for i in np.argsort(-counts[: len(labels)], kind="stable")[:3] if counts[i]]
        lines.append(" ".join(f"{labels.names[i]} {100 * counts[i] / mask.size:.0f} %" for i in largest) or "ignored")
    return lines
