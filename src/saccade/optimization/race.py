"""Two graphs taking turns on the same pictures, so that a busy machine slows both alike."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean, median

import numpy as np

from saccade.optimization.optimizer import Run
from saccade.types import Array

BATCHES = (1, 8)
SECONDS = 3.0
ROUNDS = (7, 60)


@dataclass(frozen=True)
class Times:
    """Of one graph against another, by batch size. first_ms, second_ms: medians of one run.

    ratios: how many times as fast the second is, the median over pairs of turns; sure: their lower quartile.
    """

    first_ms: dict[str, float]
    second_ms: dict[str, float]
    ratios: dict[str, float]
    sure: dict[str, float]

    @property
    def gain(self) -> float:
        return geometric_mean(self.ratios.values())

    @property
    def sure_gain(self) -> float:
        return geometric_mean(self.sure.values())


def race(one: Run, other: Run, images_NHWC: Array, *, name: str = "image", seconds: float = SECONDS) -> Times:
    """`seconds` and ROUNDS bound the turns of a batch size."""
    found = Times({}, {}, {}, {})
    for batch in BATCHES:
        given: Mapping[str, Array] = {
            name: np.ascontiguousarray(np.resize(images_NHWC, (batch, *images_NHWC.shape[1:])))
        }
        for run in (one, other, one, other):
            run(given)
        took: tuple[list[float], list[float]] = ([], [])
        end = time.perf_counter() + seconds
        while len(took[0]) < ROUNDS[0] or (time.perf_counter() < end and len(took[0]) < ROUNDS[1]):
            pair = ((one, took[0]), (other, took[1]))
            for run, times in pair[:: -1 if len(took[0]) % 2 else 1]:
                began = time.perf_counter()
                run(given)
                times.append((time.perf_counter() - began) * 1e3)
        ratios = np.array(took[0]) / np.array(took[1])
        size = str(batch)
        found.first_ms[size], found.second_ms[size] = median(took[0]), median(took[1])
        found.ratios[size], found.sure[size] = float(np.median(ratios)), float(np.quantile(ratios, 0.25))
    return found
