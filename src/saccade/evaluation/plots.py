"""Plots as inline SVG: lines, steps, bars and intervals. Colours come from the page's style, so dark mode works."""

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, isfinite, log10

from saccade.types import Curve, Series

WIDTH, HEIGHT = 380, 264
LEFT, TOP, RIGHT, BOTTOM = 46, 10, 370, 220
COLOURS = 10
"""The style has the classes s0 to s9."""


def plot(curve: Curve) -> str:
    """A curve with axes, a legend below, and its help. A curve without points becomes a sentence."""
    drawn = [s for s in curve.series if s.x]
    title = f"<figcaption><b>{escape(curve.name)}</b> {escape(curve.help)}</figcaption>"
    if not drawn:
        return f'<figure class="box plot">{title}<p class="dim">Not defined on this split.</p></figure>'
    x_low, x_high = _range([v for s in drawn for v in s.x])
    y_low, y_high = _range([v for s in drawn for v in s.y], whole=curve.kind != "bars" or curve.diagonal)
    x_low, y_low = (0.0 if x_high <= 1 else x_low), min(0.0, y_low)
    frame = Frame(x_low, x_high, y_low, y_high)
    marks = [frame.axes(curve.x_label, curve.y_label)]
    if curve.diagonal:
        marks.append(
            f'<line class="guide" x1="{frame.x(0):.1f}" y1="{frame.y(0):.1f}" x2="{frame.x(1):.1f}" y2="{frame.y(1):.1f}"/>'
        )
    for i, series in enumerate(drawn):
        if curve.kind == "bars" and i == 0:
            marks.append(_bars(frame, series, i))
        elif curve.kind == "bars":
            marks.append(_dots(frame, series, i))
        else:
            marks.append(_line(frame, series, i, curve.kind == "step"))
    label = f"{curve.name}: {curve.y_label} over {curve.x_label}"
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(marks)}</svg>'
    return f'<figure class="box plot">{title}{picture}{_legend(drawn)}</figure>'


class Frame:
    """Where a value lies in the picture."""

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self._x, self._y = (x_low, x_high), (y_low, y_high)

    def x(self, value: float) -> float:
        low, high = self._x
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self._y
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    def axes(self, x_label: str, y_label: str) -> str:
        marks = []
        for value in ticks(*self._y):
            y = self.y(value)
            marks.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            marks.append(f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{value:.4g}</text>')
        marks += [f'<text class="mid" x="{self.x(v):.1f}" y="{BOTTOM + 16}">{v:.4g}</text>' for v in ticks(*self._x)]
        middle = (TOP + BOTTOM) / 2
        marks.append(f'<text class="mid" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x_label)}</text>')
        marks.append(f'<text class="mid" transform="translate(11 {middle}) rotate(-90)">{escape(y_label)}</text>')
        return "".join(marks)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from low to high, `about` of them."""
    rough = (high - low) / about
    unit = 10 ** floor(log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * 0.999)
    return [round(step * k, 10) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def whisker(value: float, low: float | None, high: float | None) -> str:
    """A share 0..1 as a dot on a line, its interval as a thick part; nothing for a value outside 0..1."""
    if not 0 <= value <= 1:
        return ""
    part = ""
    if low is not None and high is not None:
        a, b = max(0.0, low), min(1.0, high)
        part = f'<rect class="part" x="{100 * a:.1f}" y="4" width="{max(0.5, 100 * (b - a)):.1f}" height="4"/>'
    rail = '<rect class="rail" x="0" y="5.5" width="100" height="1"/>'
    dot = f'<rect class="dot" x="{min(98.5, max(0.0, 100 * value - 0.75)):.1f}" y="1" width="1.5" height="10"/>'
    return f'<svg class="whisker" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">{rail}{part}{dot}</svg>'


def bar(share: float) -> str:
    """A share 0..1 as a bar, for a table cell."""
    width = 100 * min(1.0, max(0.0, share))
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width:.1f}" height="4"/></svg>'
    )


def _range(values: Iterable[float], whole: bool = True) -> tuple[float, float]:
    """The ends of an axis: 0 to 1 for shares, else round numbers around the values."""
    low, high = min(values := list(values)), max(values)
    if whole and low >= 0 and high <= 1:
        return 0.0, 1.0
    if low == high:
        low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    return low, high + 0.04 * (high - low)


def _line(frame: Frame, series: Series, i: int, step: bool) -> str:
    points = [(frame.x(x), frame.y(y)) for x, y in zip(series.x, series.y, strict=True)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for x, y in points[1:]:
        # A precision holds up to the recall of its threshold, so a step rises or falls first and then goes right.
        path += f"V{y:.1f}H{x:.1f}" if step else f"L{x:.1f} {y:.1f}"
    dots = _dots(frame, series, i) if len(points) < 3 else ""
    return f'<path class="line s{i % COLOURS}" d="{path}"><title>{escape(series.name)}</title></path>{dots}'


def _bars(frame: Frame, series: Series, i: int) -> str:
    gaps = [b - a for a, b in zip(series.x, series.x[1:], strict=False)]
    # Empty bins are left out, so the gap between two bars may be several bins.
    width = 0.86 * min([frame.x(g) - frame.x(0) for g in gaps] + [(RIGHT - LEFT) / 15])
    return "".join(
        f'<rect class="fill s{i % COLOURS}" x="{frame.x(x) - width / 2:.1f}" y="{frame.y(y):.1f}" width="{width:.1f}" '
        f'height="{max(0.0, frame.y(0) - frame.y(y)):.1f}"><title>{x:.3g}: {y:.3g}</title></rect>'
        for x, y in zip(series.x, series.y, strict=True)
    )


def _dots(frame: Frame, series: Series, i: int) -> str:
    return "".join(
        f'<circle class="fill s{i % COLOURS}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5">'
        f"<title>{x:.3g}: {y:.3g}</title></circle>"
        for x, y in zip(series.x, series.y, strict=True)
    )


def _legend(drawn: Sequence[Series]) -> str:
    if len(drawn) == 1:
        return ""
    items = "".join(f'<li><i class="s{i % COLOURS}"></i>{escape(s.name)}</li>' for i, s in enumerate(drawn))
    return f'<ul class="legend">{items}</ul>'


def finite(series: Series) -> Series:
    """Without the points that are not finite."""
    kept = [(x, y) for x, y in zip(series.x, series.y, strict=True) if isfinite(x) and isfinite(y)]
    return Series(series.name, tuple(x for x, _ in kept), tuple(y for _, y in kept))
