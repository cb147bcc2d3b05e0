"""The detector in Keras, as in `torch/dense.py` and from the same papers: maps of a backbone to a class score and four
distances at every grid point. Axes of maps are [N, h, w, C]."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from saccade.tasks.detection.plan import BINS, PRIOR, SHORT, WIDTH
from saccade.tasks.keras import keras, norm, tf, through, unit


class Detector(keras.layers.Layer):
    """features: (channels, stride) of the maps, finest first; those of a stride below `finest` are not looked at.

    Gives logits [N, A, C], sides [N, A, 4 * BINS] and points [N, A, 3] (x, y, stride in px of the picture), levels
    finest first, rows by y then x.
    """

    def __init__(self, features: Sequence[tuple[int, int]], classes: int, finest: int, width: int = WIDTH) -> None:
        super().__init__()
        self.skipped = min(sum(stride < finest for _, stride in features), len(features) - 1)
        self.strides = tuple(stride for _, stride in features[self.skipped :])
        levels = len(self.strides)
        self.lateral = [unit(width, 1, activation="silu") for _ in range(levels)]
        self.smooth = [unit(width, 3, activation="silu") for _ in range(levels)]
        # One 3x3 convolution each, shared by all levels and normalised by each level's own statistics.
        self.stem, self.towers = _shared(width), [_shared(width), _shared(width)]
        self.stem_norms = [norm() for _ in range(levels)]
        self.tower_norms = [[norm() for _ in range(levels)] for _ in self.towers]
        small = keras.initializers.RandomNormal(stddev=0.01)
        prior = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        self.scores = keras.layers.Conv2D(
            classes, 3, padding="same", kernel_initializer=small, bias_initializer=prior, dtype="float32"
        )
        short = keras.initializers.Constant(np.tile(np.arange(BINS) * -SHORT, 4))
        self.sides = keras.layers.Conv2D(
            4 * BINS, 3, padding="same", kernel_initializer=small, bias_initializer=short, dtype="float32"
        )

    def call(self, maps: Sequence[Any], training: bool = False) -> tuple[Any, Any, Any]:
        logits, sides, points = [], [], []
        rows = tf.shape(maps[0])[0]
        for level, grid in enumerate(self.pyramid(list(maps)[self.skipped :], training)):
            shared = tf.nn.silu(self.stem_norms[level](self.stem(grid), training=training))
            by_class, by_side = (
                tf.nn.silu(norms[level](tower(shared), training=training))
                for tower, norms in zip(self.towers, self.tower_norms, strict=True)
            )
            scores, distances = self.scores(by_class), self.sides(by_side)
            # Places that are known stay known: the sealed graph's shapes follow from them.
            places = grid.shape[1] * grid.shape[2] if grid.shape[1] and grid.shape[2] else -1
            logits.append(tf.reshape(scores, [rows, places, scores.shape[-1]]))
            sides.append(tf.reshape(distances, [rows, places, 4 * BINS]))
            shape = tf.shape(grid)
            points.append(grid_points(shape[1], shape[2], self.strides[level]))
        spread = tf.tile(tf.concat(points, 0)[None], [rows, 1, 1])
        return tf.concat(logits, 1), tf.concat(sides, 1), spread

    def pyramid(self, maps: Sequence[Any], training: bool) -> list[Any]:
        """Every level of one width, each with what the coarser ones saw."""
        sides = [through(m, lateral, training) for lateral, m in zip(self.lateral, maps, strict=True)]
        found = [sides[-1]]
        for finer in reversed(sides[:-1]):
            up = tf.image.resize(found[0], tf.shape(finer)[1:3], "nearest")
            found.insert(0, finer + tf.cast(up, finer.dtype))
        return [through(m, smooth, training) for smooth, m in zip(self.smooth, found, strict=True)]


def _shared(width: int) -> Any:
    even = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return keras.layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_initializer=even)


def grid_points(height: Any, width: Any, stride: int) -> Any:
    """Centres of the cells of one level, float32 [h * w, 3]: x, y, stride in input px."""
    xs = (tf.cast(tf.range(width), tf.float32) + 0.5) * stride
    ys = (tf.cast(tf.range(height), tf.float32) + 0.5) * stride
    x, y = tf.meshgrid(xs, ys)
    return tf.reshape(tf.stack([x, y, tf.ones_like(x) * stride], -1), [-1, 3])


def distances(sides: Any, stride: Any) -> Any:
    """Distributions [..., 4 * BINS] to distances in px [..., 4]. stride: [...]."""
    shape = tf.shape(sides)
    chances = tf.nn.softmax(tf.reshape(sides, tf.concat([shape[:-1], [4, BINS]], 0)))
    steps = tf.range(BINS, dtype=chances.dtype)
    return tf.reduce_sum(chances * steps, -1) * stride[..., None]
