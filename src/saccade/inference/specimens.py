"""Rows and pictures that are made up, to see what a graph makes of them."""

import numpy as np

from saccade.errors import SaccadeError
from saccade.inference.runtime import OpenGraph
from saccade.types import Array, TensorSpec


def numbers(graph: OpenGraph) -> dict[str, Array] | None:
    """A row for each input, element i = (i * 37 mod 256) / 255, or of whole numbers (i * 37 mod 256) mod 100.

    None when a side is free: of what size rows are, only a caller knows.
    """
    rows = {}
    for spec in graph.inputs:
        shape = [side for side in spec.shape[1:] if side is not None]
        if len(shape) < len(spec.shape) - 1:
            return None
        ramp = np.arange(int(np.prod(shape))) * 37 % 256
        values = ramp / 255 if spec.dtype.startswith("float") else ramp % 100
        rows[spec.name] = values.astype(spec.dtype).reshape(shape)
    return rows


def patterns(width: int, height: int) -> list[Array]:
    """Two pictures without a subject, uint8 [height, width, 3]: waves of colour, and blocks."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a / width) * np.cos(y * b / height) for a, b in ((9, 5), (4, 11), (15, 3))]
    blocks = [(x * 5 // width + y * 5 // height) * step % 256 for step in (61, 97, 151)]
    return [np.stack([(w + 1) * 127.5 for w in waves], -1).astype(np.uint8), np.stack(blocks, -1).astype(np.uint8)]


def rows_are_free(graph: OpenGraph, spec: TensorSpec, size: tuple[int, int], channels: int, layout: str) -> bool:
    """Whether two rows at once give what each gives alone."""
    dice = np.random.default_rng(0)
    rows = dice.integers(0, 2, (2, *_row(size, channels, layout))).astype(spec.dtype)
    alone = [graph.run({spec.name: rows[i : i + 1]}) for i in range(2)]
    try:
        both = graph.run({spec.name: rows})
    except SaccadeError:
        return False
    for name, value in both.items():
        each = [one[name] for one in alone]
        if len(value) != 2 or any(e.shape != value[:1].shape for e in each):
            return False
        if not np.allclose(value, np.concatenate(each), rtol=1e-2, atol=1e-3, equal_nan=True):
            return False
    return True


def answers(
    graph: OpenGraph, spec: TensorSpec, size: tuple[int, int], channels: int, layout: str, rows: int
) -> dict[str, Array]:
    """What the graph answers to zeros. Raises PackageError when an output has no row for each row."""
    found = graph.run({spec.name: np.zeros((rows, *_row(size, channels, layout)), spec.dtype)})
    return {name: value for name, value in found.items() if value.ndim and len(value) == rows}


def _row(size: tuple[int, int], channels: int, layout: str) -> tuple[int, ...]:
    return (channels, size[1], size[0]) if layout == "NCHW" else (size[1], size[0], channels)
