"""Latency of each load as a curve over the share of requests, towards the rare slow ones: an SVG that stands alone."""

from collections.abc import Sequence
from html import escape
from math import log10

from saccade.bench.figures import SHARES, Figures

WIDTH = 720
LEFT, TOP, RIGHT, BOTTOM = 70, 56, 690, 300
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a51a3", "#882255")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.dim{fill:#666}.grid{stroke:#ddd}.bg{fill:#fff}path{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.dim{fill:#999}.grid{stroke:#444}.bg{fill:#18181b}}"
)


def draw(title: str, subtitle: str, figures: Sequence[Figures]) -> str:
    """Loads without an answer are left out; a curve of n answers ends at a share of 1 - 1 / n, beyond
    which nothing was seen."""
    shown = [f for f in figures if f.quantiles_ms]
    top = max((max(f.quantiles_ms) for f in shown), default=1.0) or 1.0
    step = next(k * 10**e for e in range(-3, 9) for k in (1, 2, 5) if 6 * k * 10**e >= top)
    most = step * -(-top // step)
    parts = [f'<text x="{LEFT}" y="22" font-weight="600">{escape(title)}</text>']
    parts.append(f'<text x="{LEFT}" y="40" class="dim">{escape(subtitle)}</text>')
    value = 0.0
    while value <= most * 1.001:
        y = BOTTOM - (BOTTOM - TOP) * value / most
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        value += step
    for share in (0.0, 0.5, 0.9, 0.99, 0.999):
        parts.append(f'<text x="{_x(share):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{100 * share:g} %</text>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 38}" text-anchor="middle" class="dim">'
                 "requests that were answered at least as fast</text>")  # fmt: skip
    middle = (TOP + BOTTOM) / 2
    parts.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle" class="dim">ms</text>')
    for i, one in enumerate(shown):
        points = [
            f"{_x(s):.1f} {BOTTOM - (BOTTOM - TOP) * v / most:.1f}"
            for s, v in zip(SHARES, one.quantiles_ms, strict=True)
            if s <= 1 - 1 / one.answered
        ]
        colour, y = COLOURS[i % len(COLOURS)], BOTTOM + 66 + 20 * i
        parts.append(f'<path stroke="{colour}" d="M{"L".join(points)}"/>')
        parts.append(f'<path stroke="{colour}" d="M{LEFT} {y - 4}h22"/>')
        parts.append(
            f'<text x="{LEFT + 30}" y="{y}">{escape(one.load)}: {one.per_s:.1f} images/s, {one.answered:,} answers</text>'
        )
    height = BOTTOM + 60 + 20 * len(shown)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style><rect class="bg" width="{WIDTH}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def _x(share: float) -> float:
    """0, 90, 99 and 99.9 % lie a third of the width apart."""
    return LEFT + (RIGHT - LEFT) * min(3.0, -log10(max(1e-3, 1 - share))) / 3
