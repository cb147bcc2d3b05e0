"""What the learning halves share in Keras: its one backend here, layers with our usual starts,
and weights from a file."""

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.errors import UsageError

if "keras" in sys.modules and sys.modules["keras"].backend.backend() != "tensorflow":
    raise UsageError(
        f"Keras was imported with the backend {sys.modules['keras'].backend.backend()!r}, and training needs tensorflow",
        hint="set KERAS_BACKEND=tensorflow before keras is imported, or train in a process of its own",
    )
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from saccade.types import Array

__all__ = ["arrays", "conv", "fill", "keras", "load_file", "norm", "tf", "through", "unit"]


def conv(filters: int, kernel: int, stride: int = 1, *, bias: bool = False, padded: bool = True) -> list[Any]:
    """A convolution whose weights start as PyTorch's do, padded alike on both sides (Keras's
    "same" is not at stride 2)."""
    even = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    layers: list[Any] = [keras.layers.ZeroPadding2D(kernel // 2)] if padded and kernel > 1 else []
    return [*layers, keras.layers.Conv2D(filters, kernel, stride, use_bias=bias, kernel_initializer=even)]


def norm(gamma: str = "ones") -> Any:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma)


def unit(filters: int, kernel: int, stride: int = 1, activation: str | None = "relu", gamma: str = "ones") -> list[Any]:
    """Convolution, normalisation, activation."""
    layers = [*conv(filters, kernel, stride), norm(gamma)]
    return [*layers, keras.layers.Activation(activation)] if activation else layers


def through(grid: Any, layers: Any, training: bool | None = None) -> Any:
    """A tensor through layers, one after the other."""
    for layer in layers:
        grid = layer(grid, training=training) if isinstance(layer, keras.layers.BatchNormalization) else layer(grid)
    return grid


def arrays(model: Any) -> dict[str, Array]:
    """Every variable by its place and name, copied: Keras's own names hold counters that differ between processes."""
    return {f"{i:03d}.{v.name}": np.array(v.numpy()) for i, v in enumerate(model.variables)}


def fill(model: Any, named: Mapping[str, Array]) -> None:
    """The inverse of `arrays`."""
    for i, variable in enumerate(model.variables):
        variable.assign(named[f"{i:03d}.{variable.name}"])


def load_file(model: Any, file: Path) -> str:
    """Weights from a `.weights.h5`, or from a safetensors file of ours, every variable that fits. Raises UsageError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file as read

    if file.suffix == ".h5":
        before = arrays(model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Keras itself about numpy, and about what does not fit
                model.load_weights(str(file), skip_mismatch=True)
        except (OSError, ValueError) as error:
            raise UsageError(f"weights {file} cannot be read: {error}", hint="give a .weights.h5 file") from error
        # Keras tells what did not fit by a warning alone; what did is what is no longer as it was made.
        taken = sum(not np.array_equal(before[k], v) for k, v in arrays(model).items())
        if not taken:
            raise UsageError(f"no tensor of {file.name} fits this network", hint="use weights of the same network")
        return f"{taken} of {len(before)} tensors changed by {file.name}"
    try:
        found = read(str(file))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"weights {file} cannot be read as safetensors: {error}", hint="give a .safetensors or .weights.h5 file"
        ) from error
    found = {k.removeprefix("network."): v for k, v in found.items()}
    own = {f"{i:03d}.{v.name}": v for i, v in enumerate(model.variables)}
    fitting = [k for k, v in own.items() if k in found and found[k].shape == tuple(v.shape)]
    if not fitting:
        raise UsageError(f"no tensor of {file.name} fits this network", hint="use weights of the same network")
    for key in fitting:
        own[key].assign(found[key])
    return f"{len(fitting)} of {len(own)} tensors from {file.name}"
