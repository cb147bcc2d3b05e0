"""Batches in TensorFlow: pieces of coming steps, drawn, augmented and put ready by tf.data while the network learns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.images.preprocess import PreprocessSpec
from saccade.tasks.keras import tf
from saccade.tasks.task import Task
from saccade.training.packed import images_of, mixed, targets_of
from saccade.training.recipe import Recipe
from saccade.training.trainers.keras import augment
from saccade.types import Array, Labels, Sample

READY = 2
"""Pieces that wait to be learned from."""


@dataclass(frozen=True)
class Pack:
    """images: uint8 [N, H, W, 3]; targets: named arrays, first axis N."""

    images: Array
    targets: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, places: Array) -> tuple[Array, dict[str, Array]]:
        return np.asarray(self.images[places]), {k: v[places] for k, v in self.targets.items()}


@dataclass(frozen=True)
class Wish:
    """A piece of a step: which images, and what may happen to them. share: of the input size; several: mosaic; still:
    all are seen whole and in place."""

    step: int
    number: int
    places: Array
    share: float = 1.0
    several: bool = True
    still: bool = False


def pack(samples: Sequence[Sample], labels: Labels, task: Task, spec: PreprocessSpec, recipe: Recipe) -> Pack:
    """Reads every image through the house's one preprocessing, or finds them packed already. Raises
    DataError, StorageError."""
    return Pack(images_of(samples, spec, recipe), targets_of(samples, labels, task, spec))


def order(n: int, seed: int, epoch: int) -> Array:
    """The order of an epoch, the same whenever it is asked for."""
    return np.random.default_rng(mixed(seed, epoch, 1)).permutation(n)


def drawn(data: Pack, recipe: Recipe, wish: Wish) -> dict[str, Any]:
    """A piece as tf.data carries it: pixels, targets with boxes already moved, and what else was drawn."""
    pixels, targets = data.take(wish.places)
    height, width = pixels.shape[1:3]
    seed = mixed(recipe.seed, wish.step, wish.number)
    found, targets = augment.draw(
        recipe, targets, len(pixels), (height, width), seed, wish.share, wish.several, wish.still
    )
    return {"wish": np.array([wish.step, wish.number], np.int64), "pixels": pixels, "targets": targets, "drawn": found}


def ready(
    data: Pack, recipe: Recipe, wishes: Callable[[], Iterator[Wish]], soften: Callable[[Any], Any]
) -> Iterator[tuple[Array, Any, Any]]:
    """Step and number, images float32 [n, h, w, 3] and soft targets of each wish, some ahead of who asks."""
    first = next(wishes(), None)
    if first is None:
        return
    signature = _signature(drawn(data, recipe, first))
    flow = tf.data.Dataset.from_generator(
        lambda: (drawn(data, recipe, wish) for wish in wishes()), output_signature=signature
    )
    free = not recipe.one_size and not {"moves", "parts"}.isdisjoint(signature["drawn"])
    height, width = data.images.shape[1:3]

    def made(piece: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        images, targets = augment.apply(piece["pixels"], soften(piece["targets"]), piece["drawn"])
        images.set_shape([None, None, None, 3] if free else [None, height, width, 3])
        return piece["wish"], images, targets

    options = tf.data.Options()
    options.deterministic = True
    for named, images, targets in flow.map(made, num_parallel_calls=READY).prefetch(READY).with_options(options):
        yield named.numpy(), images, targets


def _signature(piece: Mapping[str, Any]) -> dict[str, Any]:
    """What such pieces look like: free rows, and a free number of boxes, for four pictures may become one."""
    boxed = "boxes" in piece["targets"]

    def spec(value: Array, free: int) -> Any:
        return tf.TensorSpec([None] * min(free, value.ndim) + list(value.shape[free:]), value.dtype)

    return {
        "wish": spec(piece["wish"], 0),
        "pixels": spec(piece["pixels"], 1),
        "targets": {k: spec(v, 2 if boxed else 1) for k, v in piece["targets"].items()},
        "drawn": {
            k: spec(v, 0 if v.dtype == np.int32 else 2 if k == "parts" else 1) for k, v in piece["drawn"].items()
        },
    }
