"""Optimizers by name, with PyTorch's definitions. Weight decay leaves biases and normalisation alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from saccade.tasks.keras import tf
from saccade.training.recipe import Recipe
from saccade.types import Array

EPSILON = 1e-8


class Optimizer:
    """gradient_descent (the caller gives it every image at once), sgd, momentum, nesterov, adam or adamw.

    Adam follows arXiv:1412.6980 with epsilon outside the corrected root, adamw arXiv:1711.05101. Keras's own put
    epsilon elsewhere, so its steps differ at first.
    """

    def __init__(self, recipe: Recipe, variables: Sequence[Any]) -> None:
        self.recipe = recipe
        self.variables = list(variables)
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        names: tuple[str, ...] = ()
        if recipe.optimizer in ("adam", "adamw"):
            names = ("first", "second")
        elif recipe.optimizer in ("momentum", "nesterov"):
            names = ("first",)
        self.slots = {n: [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.variables] for n in names}

    def move(self, gradients: Sequence[Any], rate: Any) -> None:
        """One step downhill; rate: float32 scalar."""
        self.steps.assign_add(1)
        for place, (variable, slope) in enumerate(zip(self.variables, gradients, strict=True)):
            weight = variable.value
            slope = tf.cast(slope, tf.float32)
            decay = float(self.recipe.weight_decay) if len(variable.shape) > 1 else 0.0
            if self.recipe.optimizer == "adamw":
                weight = weight * (1 - rate * decay)
            elif decay:
                slope = slope + decay * weight
            variable.assign(weight - rate * self._step(place, slope))

    def _step(self, place: int, slope: Any) -> Any:
        if "second" in self.slots:
            first, second = self.slots["first"][place], self.slots["second"][place]
            b1, b2 = 0.9, 0.99 if self.recipe.optimizer == "adamw" else 0.999
            t = tf.cast(self.steps, tf.float32)
            mean = first.assign(first + (slope - first) * (1 - b1))
            square = second.assign(second * b2 + (1 - b2) * tf.square(slope))
            root = tf.sqrt(square) / tf.sqrt(1 - tf.pow(b2, t)) + EPSILON
            return mean / (1 - tf.pow(b1, t)) / root
        if "first" in self.slots:
            first = self.slots["first"][place]
            speed = first.assign(first * self.recipe.momentum + slope)
            return slope + self.recipe.momentum * speed if self.recipe.optimizer == "nesterov" else speed
        return slope

    def state(self) -> dict[str, Array]:
        """As flat arrays, "<variable>.<slot>", with the number of steps."""
        named = {f"{i}.{n}": v.numpy() for n, slots in self.slots.items() for i, v in enumerate(slots)}
        return {**named, "steps": self.steps.numpy()}

    def fill(self, named: Mapping[str, Array]) -> None:
        self.steps.assign(int(named["steps"]))
        for name, slots in self.slots.items():
            for i, slot in enumerate(slots):
                slot.assign(named[f"{i}.{name}"])


def clipped(gradients: Sequence[Any], most: float) -> list[Any]:
    """Gradients whose common norm is `most` at most; 0: as they are."""
    if not most:
        return list(gradients)
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(tf.cast(g, tf.float32))) for g in gradients]))
    share = tf.minimum(1.0, most / (norm + 1e-6))
    return [tf.cast(g, tf.float32) * share for g in gradients]
