"""What the learning halves of masks share: losses by name, "auto" choices, what validation
keeps, the number watched."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from saccade.images import fonts
from saccade.tasks.segmentation import score
from saccade.types import Array, Labels

FEATURES = "maps"
LIGHT = "light-mask"
"""The small network of ours."""
STEP = 32
"""Sides the networks halve without a rest."""
GRID = 5
"""Rows and columns of the pixels whose scores calibrate: a whole split of scores would not fit memory."""
EXAMPLES = 15_000
COARSE = 0.4
"""Weight of the coarse answer's cross-entropy while training (PSPNet's)."""
LOSSES = (
    "cross_entropy+dice",
    "cross_entropy",
    "dice",
    "focal",
    "lovasz",
    "cross_entropy+lovasz",
    "focal+dice",
    "focal+lovasz",
)
"""Losses by name, the default first."""


def losses(labels: Labels | None = None) -> tuple[str, ...]:
    """What may be made small; the first unless asked otherwise."""
    return LOSSES


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
            epochs = recipe.in_epochs(int(np.clip(EXAMPLES // max(1, n), 12, 100)))
            chosen["epochs"] = (epochs, f"about {EXAMPLES:,} images in all, {n} a pass, 100 passes at most")
    if recipe.network in ("auto", LIGHT):
        chosen["network"] = (LIGHT, "small, learns from scratch, quick on a CPU")
        chosen["weights"] = ("none", "this network learns from scratch")
        chosen["start_size"] = (1.0 if recipe.smoke or longer < 128 else 0.5, "small pictures first buy more passes")
    if recipe.network.startswith("hf-"):
        chosen["weights"] = ("none", "weights of these networks are not fetched")
    chosen["loss"] = (losses()[0], "pixels for calibration, overlap for rare classes")
    chosen["smoothing"] = (0.0, "shares of pixels are soft already")
    chosen["class_weights"] = ("none", "the overlap loss counts every class alike")
    chosen["rotation"] = (5.0, "scenes stand upright")
    chosen["shift"] = (0.0, "crops move the picture")
    chosen["zoom"] = (0.0, "crops change the scale")
    chosen["crop"] = (0.3, "things come near and far")
    chosen["erase"] = (0.0, "what is erased would still be asked for")
    return chosen


def answers(labels: Labels, width: int, height: int) -> tuple[int, ...]:
    """What a network of another hand must give for one picture, channels last: a raw score a pixel and class."""
    return (height, width, len(labels))


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


def pixels(said_NHW: Array, truth_NHW: Array, classes: int) -> Array:
    """By image and class, int64 [N, 3, C]: right, truth and said. The scores themselves would not fit memory."""
    rows = []
    for one, other in zip(truth_NHW, said_NHW, strict=True):
        mixed = score.confusion(one, other[: one.shape[0], : one.shape[1]], classes)
        rows.append(np.stack([mixed.diagonal(), mixed.sum(1), mixed[:, :-1].sum(0)]))
    return np.stack(rows)


def places(height: int, width: int) -> tuple[Array, Array]:
    """Rows and columns of the pixels of a mask whose scores are kept for calibration, int64 [K] each: a grid."""
    down, across = (((np.arange(GRID) + 0.5) / GRID * side).astype(np.int64) for side in (height, width))
    return np.repeat(down, GRID), np.tile(across, GRID)


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


def captions(masks_NHW: Array, labels: Labels) -> list[str]:
    """The largest classes of each mask, for a contact sheet: "road 53 % wall 18 %"; in names that pictures can show."""
    names, lines = fonts.names(labels.names), []
    for mask in masks_NHW:
        counts = np.bincount(mask.ravel(), minlength=256)
        largest = [int(i) for i in np.argsort(-counts[: len(labels)], kind="stable")[:3] if counts[i]]
        lines.append(" ".join(f"{names[i]} {100 * counts[i] / mask.size:.0f} %" for i in largest) or "ignored")
    return lines
