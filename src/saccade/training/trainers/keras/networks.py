"""Networks by name in Keras: `cnn-small` as in the tutorials, and the compact residual networks of ours.

Each maps float images [N, H, W, 3] in 0..1 to features; the task's head makes the rest. Normalisation is the first
layer, so that no caller can forget it. The same papers as `trainers/torch/networks.py`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from saccade.errors import UsageError
from saccade.images.norms import MEAN, STD
from saccade.tasks.keras import keras, through, unit
from saccade.training.plans import Plan, plan
from saccade.training.recipe import Recipe

Prepare = Callable[[Any], Any]
"""From images in 0..1 to what a body wants."""


def standard(images: Any) -> Any:
    """Less the mean and over the deviation of ImageNet's colours."""
    return (images - np.array(MEAN, np.float32)) / np.array(STD, np.float32)


class Network(keras.Model):
    """Normalise, look (body), answer (head)."""

    def __init__(self, body: Any, head: Any, dropout: float, prepare: Prepare = standard) -> None:
        super().__init__()
        self.body = body
        self.drop = keras.layers.Dropout(dropout) if dropout else None
        self.head = head
        self.prepare = prepare

    def call(self, images: Any, training: bool = False) -> Any:
        return self.answer(self.body(self.prepare(images), training=training), training)

    def answer(self, found: Any, training: bool = False) -> Any:
        """From what the body gave to the task's raw output."""
        if self.drop is not None:
            found = self.drop(found, training=training)
        return self.head(found, training=training) if self.head is not None else found


def small(recipe: Recipe, width: int, height: int) -> Any:
    """The classic tutorial network: Conv2D relu, MaxPooling2D 2x2 per block, Flatten, Dense relu. Gives [N, dense]."""
    given = keras.Input((height, width, 3))
    grid = given
    try:
        for filters in recipe.filters:
            grid = keras.layers.Conv2D(filters, recipe.kernel, recipe.stride, recipe.padding, activation="relu")(grid)
            if recipe.pooling == "max":
                grid = keras.layers.MaxPooling2D(2)(grid)
            elif recipe.pooling == "average":
                grid = keras.layers.AveragePooling2D(2)(grid)
        if 0 in grid.shape[1:3]:
            raise ValueError
        answer = keras.layers.Dense(recipe.dense, activation="relu")(keras.layers.Flatten()(grid))
    except ValueError as error:
        raise UsageError(
            f"{width}x{height} px is too small for {len(recipe.filters)} blocks of kernel {recipe.kernel}, "
            f"stride {recipe.stride} and {recipe.pooling} pooling",
            hint="use fewer filters, a smaller kernel, padding same or a larger size",
        ) from error
    return keras.Model(given, answer)


def _squeeze(grid: Any) -> Any:
    """Weighs channels by what the whole picture shows."""
    channels = grid.shape[-1]
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True)(grid)
    few = keras.layers.Conv2D(channels // 8, 1, activation="relu")(mean)
    return keras.layers.Multiply()([grid, keras.layers.Conv2D(channels, 1, activation="sigmoid")(few)])


def _block(grid: Any, outputs: int, stride: int, squeeze: bool) -> Any:
    """Two 3x3 convolutions beside a short cut; the short cut shrinks by averaging (ResNet-D)."""
    main = through(grid, [*unit(outputs, 3, stride), *unit(outputs, 3, activation=None, gamma="zeros")])
    short = grid
    if squeeze:
        main = _squeeze(main)
    if stride == 2:
        short = keras.layers.AveragePooling2D(2, padding="same")(short)
    if grid.shape[-1] != outputs:
        short = through(short, unit(outputs, 1, activation=None))
    return keras.layers.Activation("relu")(keras.layers.Add()([main, short]))


def residual(sides: tuple[int | None, int | None], plan: Plan, kind: str) -> tuple[Any, Any]:
    """A residual network and its features. kind "maps": the map of each stage, finest first."""
    stem, widths = plan.stem, plan.widths
    given = keras.Input((*sides, 3))
    grid = given
    for place, stride in enumerate(stem):
        grid = through(grid, unit(widths[0] if place == len(stem) - 1 else max(16, widths[0] // 2), 3, stride))
    maps = []
    for stage, (width, depth) in enumerate(zip(widths, plan.depths, strict=True)):
        for place in range(depth):
            grid = _block(grid, width, 2 if stage and not place else 1, plan.squeeze)
        maps.append(grid)
    if kind == "maps":
        first = math.prod(stem)
        return keras.Model(given, maps), tuple((width, first * 2**stage) for stage, width in enumerate(widths))
    return keras.Model(given, keras.layers.GlobalAveragePooling2D()(grid)), widths[-1]


def backbone(recipe: Recipe, width: int, height: int, kind: str = "pooled") -> tuple[Any, Any]:
    """A network of ours by name, and its features. Raises UsageError for another name."""
    if recipe.network == "cnn-small":
        if kind == "maps":
            raise UsageError(
                "cnn-small ends in one vector and gives no maps",
                hint="choose residual-224 or a keras.applications name",
            )
        if not recipe.one_size:
            raise UsageError(
                "cnn-small has a dense layer, so its input has one size", hint="set start_size=1 and multi_scale=0"
            )
        return small(recipe, width, height), recipe.dense
    return residual(sides_of(recipe, width, height), plan(recipe.network, max(width, height)), kind)


def sides_of(recipe: Recipe, width: int, height: int) -> tuple[int | None, int | None]:
    """Height and width of the input, free where it changes during a run."""
    return (height, width) if recipe.one_size else (None, None)


def parameters(network: Any) -> int:
    return int(sum(math.prod(v.shape) for v in network.weights))
