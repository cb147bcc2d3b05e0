"""The learning half of masks in Keras: networks, losses and tail, with the definitions of the
torch half. Channels last."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.errors import UsageError
from saccade.tasks.keras import tf
from saccade.tasks.segmentation import learning
from saccade.tasks.segmentation.keras import terms
from saccade.tasks.segmentation.keras.network import Pyramid, body, unet
from saccade.tasks.segmentation.learning import (
    COARSE,
    FEATURES,
    LIGHT,
    answers,
    class_weights,
    losses,
    prefer,
    watch,
)
from saccade.types import Array, Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "head", "keep", "loss", "losses", "named", "prefer",
    "soft_targets", "tail", "watch", "whole",
]  # fmt: skip

UNET = "unet"


def head(features: Sequence[tuple[int, int]], labels: Labels, options: Mapping[str, Any]) -> Any:
    """Maps of any backbone, (channels, stride) finest first, to scores."""
    return Pyramid(features, len(labels), (int(options["height"]), int(options["width"])))


def whole(name: str, labels: Labels, width: int, height: int) -> tuple[Any, Any] | None:
    """A complete network by name as body and head (None where the body answers). None: not ours.

    Raises UsageError for a size it cannot take.
    """
    if name == LIGHT:
        model, maps = body()
        return model, Pyramid(maps, len(labels), (height, width))
    if name == UNET:
        try:
            return unet(len(labels), (height, width)), None
        except ValueError as error:
            raise UsageError(
                f"{error}, and the input is {width}x{height}", hint="choose sides that are multiples of 16"
            ) from error
    if name.startswith("smp-"):
        raise UsageError(
            f"{name} is a PyTorch network", hint=f"use --engine torch, or {LIGHT}, {UNET} or a keras.applications name"
        )
    return None


def named(raw: Any) -> dict[str, Any]:
    """`logits` [N, h, w, C], and while training perhaps `coarse` ones of the deepest map."""
    if isinstance(raw, tuple | list):
        return {"logits": raw[0], "coarse": raw[1]}
    return {"logits": raw}


def soft_targets(targets: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    """Masks stay as they are: uint8 [N, H, W], 255 where nothing is asked."""
    return {"mask": targets["mask"]}


def loss(outputs: Mapping[str, Any], targets: Mapping[str, Any], labels: Labels, options: Mapping[str, Any]) -> Any:
    """One number to make small.

    targets: `mask` uint8 [N, H, W]. options: loss (one of `losses`), smoothing, focal_gamma, class_weights (float32 [C]
    or None; only cross-entropy and focal know weights).
    """
    mask, weights = targets["mask"], options.get("class_weights")
    logits = tf.cast(outputs["logits"], tf.float32)
    shape = tf.shape(logits)
    rows = terms.smooth(terms.shares(mask, (shape[1], shape[2]), len(labels)), float(options["smoothing"]))
    total = terms.by_name(str(options["loss"]), float(options["focal_gamma"]))(logits, rows, weights)
    if "coarse" in outputs:
        coarse = tf.cast(outputs["coarse"], tf.float32)
        shape = tf.shape(coarse)
        rows = terms.shares(mask, (shape[1], shape[2]), len(labels))
        total = total + COARSE * terms.cross_entropy(coarse, rows, weights)
    return total


def tail(
    outputs: Mapping[str, Any], calibration: Mapping[str, float], labels: Labels, extras: Sequence[str] = ()
) -> dict[str, Any]:
    """Scores to `mask` uint8 [N, H, W], the first of equally good classes: one byte a pixel leaves the graph.

    extras: with "confidence" a second byte, the calibrated probability of that class in 255ths.
    """
    logits = outputs["logits"]
    found = {"mask": tf.cast(tf.argmax(logits, -1), tf.uint8)}
    if "confidence" in extras:
        chances = tf.nn.softmax(tf.cast(logits, tf.float32) / float(calibration.get("temperature", 1.0)), -1)
        found["confidence"] = tf.cast(tf.round(tf.reduce_max(chances, -1) * 255), tf.uint8)
    return found


def evidence(outputs: Mapping[str, Any], class_id: Any) -> Any:
    """The mean score of each row's class over the pixels that are called so (over all when none is), [N]."""
    logits = outputs["logits"]
    own = tf.gather(logits, class_id, axis=3, batch_dims=1)
    called = tf.cast(tf.argmax(logits, -1) == class_id[:, None, None], own.dtype)
    called = tf.where(tf.reduce_sum(called, [1, 2], keepdims=True) > 0, called, tf.ones_like(called))
    return tf.reduce_sum(own * called, [1, 2]) / tf.reduce_sum(called, [1, 2])


def keep(named: Mapping[str, Any], targets: Mapping[str, Array], labels: Labels) -> dict[str, Array]:
    """Pixels by image and class, int64 [N, 3, C]: right, truth and said; of some places (`learning.places`) `sampled`
    scores [N, K, C] and `asked` uint8 [N, K], the truth."""
    said = tf.cast(tf.argmax(named["logits"], -1), tf.uint8).numpy()
    rows, columns = learning.places(*targets["mask"].shape[1:])
    picked = tf.gather_nd(tf.transpose(named["logits"], [1, 2, 0, 3]), np.stack([rows, columns], 1))
    return {
        "pixels": learning.pixels(said, targets["mask"], len(labels)),
        "sampled": tf.cast(tf.transpose(picked, [1, 0, 2]), tf.float32).numpy(),
        "asked": np.asarray(targets["mask"])[:, rows, columns],
    }


def captions(targets: Mapping[str, Any], labels: Labels) -> list[str]:
    """The largest classes of each mask, for a contact sheet."""
    return learning.captions(targets["mask"].numpy(), labels)
