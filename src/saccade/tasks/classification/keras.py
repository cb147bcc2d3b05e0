"""The learning half of classification in Keras: head, loss and tail, with the definitions of `torch.py`."""

from collections.abc import Mapping
from typing import Any

from saccade.tasks.classification import learning
from saccade.tasks.classification.learning import FEATURES, answers, class_weights, losses, prefer, watch
from saccade.tasks.keras import keras, tf
from saccade.types import Array, Labels

__all__ = [
    "FEATURES", "answers", "captions", "class_weights", "evidence", "head", "keep", "loss", "losses", "named", "prefer", "soft_targets",
    "tail", "watch",
]  # fmt: skip


def head(features: int, labels: Labels, options: Mapping[str, Any]) -> Any:
    """Pooled features [N, F] to logits [N, C]."""
    return keras.layers.Dense(len(labels))


def keep(named: Mapping[str, Any], targets: Mapping[str, Array], labels: Labels) -> dict[str, Array]:
    """What validation keeps of a batch: the logits."""
    return {k: v.numpy() for k, v in named.items()}


def named(raw: Any) -> dict[str, Any]:
    """What the network gave, under the names calibrate and tail know."""
    return {"logits": raw}


def soft_targets(targets: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    """Targets as float32 [N, C] rows that can be mixed; int64 ids [N] become one-hot rows."""
    target = targets["target"]
    if target.dtype == tf.int64 and target.shape.rank == 1:
        target = tf.one_hot(target, len(labels))
    return {"target": tf.cast(target, tf.float32)}


def loss(outputs: Mapping[str, Any], targets: Mapping[str, Any], labels: Labels, options: Mapping[str, Any]) -> Any:
    """One number to make small.

    targets: soft rows [N, C]. options: loss ("cross_entropy", "bce", "focal", "mse"), smoothing, focal_gamma,
    class_weights (float32 [C] or None). Focal follows arXiv:1708.02002, on softmax for exclusive classes and on
    sigmoids otherwise.
    """
    logits, rows = tf.cast(outputs["logits"], tf.float32), targets["target"]
    kind, smoothing, weights = options["loss"], float(options["smoothing"]), options.get("class_weights")
    if smoothing:
        rest = 1.0 / len(labels) if labels.exclusive else 0.5
        rows = rows * (1 - smoothing) + smoothing * rest
    weights = 1.0 if weights is None else tf.convert_to_tensor(weights, tf.float32)
    if kind == "cross_entropy":
        return tf.reduce_mean(tf.reduce_sum(-rows * tf.nn.log_softmax(logits) * weights, 1))
    if kind == "mse":
        return tf.reduce_mean(tf.square(_probabilities(logits, labels) - rows) * weights)
    plain = tf.nn.sigmoid_cross_entropy_with_logits(rows, logits)
    if kind == "bce":
        return tf.reduce_mean(plain * weights) * (len(labels) if labels.exclusive else 1)
    gamma = float(options["focal_gamma"])
    if labels.exclusive:
        logs = tf.nn.log_softmax(logits)
        terms = -rows * tf.pow(1 - tf.exp(logs), gamma) * logs
    else:
        chance = tf.sigmoid(logits)
        missed = rows * (1 - chance) + (1 - rows) * chance
        terms = tf.pow(missed, gamma) * plain
    return tf.reduce_mean(tf.reduce_sum(terms * weights, 1))


def tail(outputs: Mapping[str, Any], calibration: Mapping[str, float], labels: Labels) -> dict[str, Any]:
    """Raw outputs to the sealed graph's: `scores` float32 [N, C], with the calibrated temperature inside."""
    logits = tf.cast(outputs["logits"], tf.float32) / float(calibration.get("temperature", 1.0))
    return {"scores": _probabilities(logits, labels)}


def evidence(outputs: Mapping[str, Any], class_id: Any) -> Any:
    """The logit of the class asked for in each row, [N]: what Grad-CAM differentiates. class_id: int64 [N]."""
    return tf.gather(outputs["logits"], class_id, axis=1, batch_dims=1)


def _probabilities(logits: Any, labels: Labels) -> Any:
    return tf.nn.softmax(logits) if labels.exclusive else tf.sigmoid(logits)


def captions(targets: Mapping[str, Any], labels: Labels) -> list[str]:
    """What a soft row says, for a contact sheet."""
    return learning.captions(targets["target"].numpy(), labels)
