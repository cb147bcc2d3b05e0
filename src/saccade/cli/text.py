"""Plain tables and numbers for a terminal."""

from argparse import ArgumentTypeError
from collections.abc import Sequence

from saccade.types import Number


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns as wide as their longest cell; the last one is free."""
    every = [tuple(columns), *[tuple(r) for r in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in every)


def number(value: Number) -> str:
    """The value with its 95 % interval: "0.842 (0.801 to 0.879, n=108)"."""
    if value.low is None or value.high is None:
        return f"{value.value:.4f}"
    return f"{value.value:.4f}  ({value.low:.4f} to {value.high:.4f}, n={value.n})"


def seconds(duration_s: float) -> str:
    """ "48 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(duration_s)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def duration_s(text: str) -> float:
    """Seconds of "80ms", "0.5s" or "2s". Raises ArgumentTypeError, which argparse tells as wrong usage."""
    number, factor = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ArgumentTypeError(f"expected a time like 80ms or 0.2s, got {text!r}")
    return value
