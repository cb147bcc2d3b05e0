"""An average of the weights over the last steps; it is what gets validated, kept and exported."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saccade.tasks.keras import keras, tf
from saccade.types import Array


class Average:
    """decay is lower at first, min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten."""

    def __init__(self, variables: Sequence[Any], decay: float) -> None:
        self.decay = decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = list(variables)
        self.state = [tf.Variable(v.value, trainable=False) for v in self.variables]

    def update(self) -> None:
        self.steps.assign_add(1)
        t = tf.cast(self.steps, tf.float32)
        weight = 1 - tf.minimum(self.decay, (1 + t) / (10 + t))
        for kept, variable in zip(self.state, self.variables, strict=True):
            if keras.backend.is_float_dtype(variable.dtype):
                kept.assign_add(weight * (variable.value - kept))
            else:
                kept.assign(variable.value)

    def arrays(self) -> dict[str, Array]:
        return {
            f"{i:03d}.{v.name}": np.array(k.numpy())
            for i, (v, k) in enumerate(zip(self.variables, self.state, strict=True))
        }

    def fill(self, named: Mapping[str, Array], steps: int) -> None:
        self.steps.assign(steps)
        for i, (v, k) in enumerate(zip(self.variables, self.state, strict=True)):
            k.assign(named[f"{i:03d}.{v.name}"])
