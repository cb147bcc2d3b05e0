"""What every way to eight bits shares: pictures to fit ranges on and to judge by, a distance, what this CPU adds up."""

import platform
from collections.abc import Mapping

import numpy as np

from saccade import process
from saccade.optimization.optimizer import Distance
from saccade.types import Array

ROWS = 8
"""At once, where a graph takes any number."""


def parted(given: Array) -> tuple[Array, Array]:
    """Pictures that each way of quantising fits its ranges on, and every fourth, by which it is judged: they come sorted
    by class, and both shall have all of them."""
    others = np.arange(len(given)) % 4 == 1
    return given[~others], given[others] if others.any() else given


def mean_distance(theirs: Mapping[str, Array], ours: Mapping[str, Array], distance: Distance) -> float:
    """The mean distance of two answers [N, ...] over the pictures."""
    rows = range(len(next(iter(theirs.values()))))

    def row(answers: Mapping[str, Array], i: int) -> dict[str, Array]:
        return {name: values[i : i + 1] for name, values in answers.items()}

    return float(np.mean([distance(row(theirs, i), row(ours, i)) for i in rows]))


def overflows() -> bool:
    """Whether this CPU adds two products of eight bits in sixteen, as an x86 does without VNNI instructions: weights
    of seven bits keep the sums inside. ARM adds in 32."""
    return platform.machine().lower() in ("x86_64", "amd64") and "vnni" not in process.host()
