"""Two graphs taking turns on the same pictures, so that a busy machine slows both alike."""

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import geometric_mean, median

import numpy as np

from saccade.optimization.optimizer import Run
from saccade.types import Array

BATCHES = (1, 8)
SECONDS = 3.0
ROUNDS = (7, 60)
TURN_S = 0.01
"""How long a turn lasts, as far as RUNS runs of the first graph reach: what is measured is not how threads wake."""
RUNS = 16


@dataclass(frozen=True)
class Times:
    """Of one graph against another, by batch size. first_ms, second_ms: medians of one run
    while all streams are at work.

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


def race(
    one: Run, other: Run, images_NHWC: Array, *, name: str = "image", streams: int = 1, seconds: float = SECONDS
) -> Times:
    """streams: threads that run a graph at once, as a server's runners do: a graph that wins alone may lose beside
    itself. `seconds` and ROUNDS bound the turns of a batch size. Raises what a graph raises."""
    found = Times({}, {}, {}, {})
    with ThreadPoolExecutor(streams) as pool:
        for batch in BATCHES:
            given: Mapping[str, Array] = {
                name: np.ascontiguousarray(np.resize(images_NHWC, (batch, *images_NHWC.shape[1:])))
            }
            for run in (one, other, other):
                _turn(pool, streams, run, given, 1)
            runs = math.ceil(min(RUNS, max(1.0, TURN_S * 1e3 / _turn(pool, streams, one, given, 1))))
            took: tuple[list[float], list[float]] = ([], [])
            end = time.perf_counter() + seconds
            while len(took[0]) < ROUNDS[0] or (time.perf_counter() < end and len(took[0]) < ROUNDS[1]):
                pair = ((one, took[0]), (other, took[1]))
                for run, times in pair[:: -1 if len(took[0]) % 2 else 1]:
                    times.append(_turn(pool, streams, run, given, runs))
            ratios = np.array(took[0]) / np.array(took[1])
            size = str(batch)
            found.first_ms[size], found.second_ms[size] = median(took[0]), median(took[1])
            found.ratios[size], found.sure[size] = float(np.median(ratios)), float(np.quantile(ratios, 0.25))
    return found


def _turn(pool: ThreadPoolExecutor, streams: int, run: Run, given: Mapping[str, Array], runs: int) -> float:
    """Milliseconds of one run where every stream makes so many, one after the other."""

    def stream() -> None:
        for _ in range(runs):
            run(given)

    began = time.perf_counter()
    for ended in [pool.submit(stream) for _ in range(streams)]:
        ended.result()
    return (time.perf_counter() - began) * 1e3 / runs
