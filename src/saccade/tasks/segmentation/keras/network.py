"""Networks for masks in Keras: `light-mask` as in `torch/network.py`, `unet`, and the head for any backbone's maps.

From the same papers, and arXiv:1505.04597 (U-Net). Axes are [N, h, w, C].
"""

import itertools
from collections.abc import Sequence
from typing import Any

from saccade.tasks.keras import conv, keras, tf, through, unit
from saccade.tasks.segmentation.plan import DECODER, DEPTHS, FINEST, WIDTHS

UNET = (16, 32, 64, 128, 256)


def _block(grid: Any, outputs: int, stride: int) -> Any:
    """Two 3x3 convolutions beside a short cut that shrinks by averaging."""
    main = through(grid, [*unit(outputs, 3, stride), *unit(outputs, 3, activation=None, gamma="zeros")])
    short = keras.layers.AveragePooling2D(2, padding="same")(grid) if stride == 2 else grid
    if grid.shape[-1] != outputs:
        short = through(short, unit(outputs, 1, activation=None))
    return keras.layers.Activation("relu")(keras.layers.Add()([main, short]))


def body(widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> tuple[Any, tuple[tuple[int, int], ...]]:
    """Images [N, H, W, 3] to maps at 1/4, 1/8, 1/16 and 1/32, and their (channels, stride)."""
    given = keras.Input((None, None, 3))
    grid = through(given, [*unit(widths[0], 3, 2), *unit(widths[0], 3, 2)])
    maps = []
    for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for i in range(depth):
            grid = _block(grid, width, 2 if place and not i else 1)
        maps.append(grid)
    return keras.Model(given, maps), tuple((width, 4 << place) for place, width in enumerate(widths))


class Gate(keras.layers.Layer):
    """Weighs the channels of the deepest map by what the whole picture shows, and adds it to every place."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.look = unit(outputs, 1)
        self.weigh = conv(outputs, 1, bias=True)
        self.whole = conv(outputs, 1, bias=True)

    def call(self, grid: Any, training: bool = False) -> Any:
        mean = tf.reduce_mean(grid, [1, 2], keepdims=True)
        return through(grid, self.look, training) * tf.sigmoid(through(mean, self.weigh)) + through(mean, self.whole)


class Pyramid(keras.layers.Layer):
    """Maps, finest first, to class scores: up by two and add, a 3x3 convolution each.

    maps: (channels, stride). size: height and width of the picture. While training it gives scores at the finest stride
    used, and a second, coarse answer from the deepest map; else scores enlarged to the picture.
    """

    def __init__(
        self, maps: Sequence[tuple[int, int]], classes: int, size: tuple[int, int], width: int = DECODER
    ) -> None:
        super().__init__()
        self.first = sum(stride < FINEST for _, stride in maps[:-1])
        self.size = size
        used = maps[self.first :]
        self.stride = used[0][1]
        self.times = [coarse // fine for (_, fine), (_, coarse) in itertools.pairwise(used)]
        self.gate = Gate(width)
        self.sides = [unit(width, 1, activation=None) for _ in used[:-1]]
        self.mixes = [unit(width, 3) for _ in used[:-1]]
        self.scores = conv(classes, 1, bias=True)
        self.coarse = conv(classes, 1, bias=True)

    def call(self, maps: Sequence[Any], training: bool = False) -> Any:
        used = list(maps)[self.first :]
        grid = deep = self.gate(used[-1], training=training)
        for side, mix, finer, times in reversed(list(zip(self.sides, self.mixes, used[:-1], self.times, strict=True))):
            grid = _enlarged(grid, times, finer)
            grid = through(tf.nn.relu(grid + through(finer, side, training)), mix, training)
        scores = through(grid, self.scores)
        coarse = through(deep, self.coarse)
        if training:
            return scores, coarse
        # By the stride, not to the size: a picture whose side is no multiple of it must not be squeezed.
        whole = larger(scores, [scores.shape[1] * self.stride, scores.shape[2] * self.stride])
        return whole[:, : self.size[0], : self.size[1]]


def _enlarged(grid: Any, times: int, finer: Any) -> Any:
    """So many times as large and cut to the finer map, as in torch; shapes that are known stay known."""
    known = None not in (*grid.shape[1:3], *finer.shape[1:3])
    now, size = (list(g.shape[1:3]) if known else tf.unstack(tf.shape(g)[1:3]) for g in (grid, finer))
    grown = larger(grid, [(max if known else tf.maximum)(a * times, b) for a, b in zip(now, size, strict=True)])
    return grown[:, : size[0], : size[1]]


def larger(grid: Any, size: Any) -> Any:
    """Bilinear, in float32; pixel centres lie as in torch with align_corners=False."""
    return tf.cast(tf.image.resize(grid, size, "bilinear"), grid.dtype)


def unet(classes: int, size: tuple[int, int], widths: Sequence[int] = UNET) -> Any:
    """Two 3x3 convolutions a level, down by pooling, up by transposed convolutions, each level's map carried across.

    Raises ValueError when a side is no multiple of 2 ** (levels - 1).
    """
    if any(side % 2 ** (len(widths) - 1) for side in size):
        raise ValueError(f"a U-Net of {len(widths)} levels halves {2 ** (len(widths) - 1)} px")
    given = keras.Input((*size, 3))
    grid, across = given, []
    for width in widths[:-1]:
        grid = through(grid, [*unit(width, 3), *unit(width, 3)])
        across.append(grid)
        grid = keras.layers.MaxPooling2D(2)(grid)
    grid = through(grid, [*unit(widths[-1], 3), *unit(widths[-1], 3)])
    for width, other in zip(reversed(widths[:-1]), reversed(across), strict=True):
        grid = keras.layers.Conv2DTranspose(width, 2, 2)(grid)
        grid = keras.layers.Concatenate()([grid, other])
        grid = through(grid, [*unit(width, 3), *unit(width, 3)])
    return keras.Model(given, through(grid, conv(classes, 1, bias=True)))
