"""One number that makes scores as sure as they are right: the temperature of Guo et al. 2017, arXiv:1706.04599."""

from collections.abc import Callable

import numpy as np

from saccade.types import Array

BOUNDS = (0.25, 10.0)
"""Of the fitted temperature: a small, perfectly separated validation split would ask for 0."""


def fit(logits_NC: Array, asked: Array) -> float:
    """The T that makes the negative log-likelihood of `logits` / T smallest.

    asked: int [N], the one true class of each row, or float [N, C] in 0..1 where several may hold (binary cross-entropy
    over all). The loss is convex in 1 / T, so a golden-section search over log T finds the one minimum.
    """
    logits, asked = np.asarray(logits_NC, np.float64), np.asarray(asked)

    def loss(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        if asked.ndim == 1:
            return float((_log_sum_exp(scaled) - np.take_along_axis(scaled, asked[:, None], 1)[:, 0]).mean())
        return float((np.logaddexp(0.0, scaled) - asked * scaled).mean())

    low, high = np.log(BOUNDS)
    return float(np.exp(golden_section(loss, float(low), float(high))))


def golden_section(loss: Callable[[float], float], low: float, high: float, tolerance: float = 1e-5) -> float:
    """Where a function with one valley is smallest between low and high, to `tolerance`."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > tolerance:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2


def _log_sum_exp(rows: Array) -> Array:
    top = rows.max(1)
    return np.asarray(top + np.log(np.exp(rows - top[:, None]).sum(1)))
