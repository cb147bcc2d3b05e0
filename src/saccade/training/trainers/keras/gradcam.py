"""Grad-CAM (arXiv:1610.02391): where a picture spoke for a class, by the gradient at the network's last feature map."""

from typing import Any

import numpy as np

from saccade.errors import TrainingError
from saccade.tasks.keras import keras, tf
from saccade.types import Array


def gradcam(network: Any, half: Any, images_NHWC: Array, class_ids_N: Array, rows: int = 16) -> Array:
    """Heat float32 [N, h, w] in 0..1 over the network's input: its last feature map, channels weighed by gradient.

    Raises TrainingError when the network has no feature map near its end.
    """
    place = last_map(network.body)
    looks = keras.Model(network.body.inputs, [place, network.body.outputs])
    heats = []
    for start in range(0, len(images_NHWC), rows):
        images = tf.cast(images_NHWC[start : start + rows], tf.float32) / 255
        ids = tf.convert_to_tensor(np.asarray(class_ids_N[start : start + rows], np.int64))
        with tf.GradientTape() as tape:
            grid, found = looks(network.prepare(images), training=False)
            tape.watch(grid)
            raw = network.answer(found if len(found) > 1 else found[0])
            score = tf.reduce_sum(half.evidence(half.named(raw), ids))
        slope = tape.gradient(score, grid)
        if slope is None:
            raise TrainingError(
                "Grad-CAM found no way from the last feature map to the answer",
                hint="the occlusion maps of the report work for every network",
            )
        weights = tf.reduce_mean(slope, [1, 2], keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * grid, -1))
        top = tf.reduce_max(heat, [1, 2], keepdims=True)
        heats.append(tf.where(top > 0, heat / tf.maximum(top, 1e-30), heat).numpy())
    return np.concatenate(heats)


def last_map(body: Any) -> Any:
    """The last tensor [N, h, w, C] with more than one place that a convolutional layer or what follows it gave."""
    for layer in reversed(body.layers):
        try:
            out = layer.output
        except (AttributeError, ValueError):
            continue
        shape: Any = getattr(out, "shape", ())
        if len(shape) == 4 and shape[1] != 1 and not isinstance(layer, keras.layers.InputLayer):
            return out
    raise TrainingError(
        "Grad-CAM needs a convolutional feature map at the network's end, and this network has none",
        hint="the occlusion maps of the report work for every network",
    )
