"""The figures as one SVG: a bar for each entrant with its spread, and curves of growing work."""

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.serving.entrants import Figures
from benchmarks.serving.table import grouped, middle, ours

WIDTH, ROW, LEFT, RIGHT, TOP = 800, 20, 210, 90, 56
PLOT = 240
COLOURS = ("#0a6ebd", "#d1495b", "#2e933c", "#8f6593", "#edae49", "#00798c", "#5b5f97", "#b08968")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222} .t{font-weight:600} .d{fill:#777} .bg{fill:#fff}"
    " @media(prefers-color-scheme:dark){text{fill:#ddd} .d{fill:#999} .bg{fill:#16181c}}"
)


def draw(found: Sequence[Figures], titles: Mapping[str, str], curves: Sequence[str]) -> str:
    """curves: rows whose loads are numbers of a horizontal axis."""
    parts: list[str] = []
    y = 16
    for row, title in titles.items():
        loads = grouped(found, row)
        if not loads:
            continue
        if row in curves:
            parts.append(_curve(row, title, loads, y))
            y += PLOT + TOP
            continue
        for load, by_entrant in loads.items():
            parts.append(_bars(f"{row}, {load}: images a second", title, by_entrant, y))
            y += TOP + ROW * len(by_entrant)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">'
        f'<style>{STYLE}</style><rect class="bg" width="{WIDTH}" height="{y}"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _bars(head: str, title: str, by_entrant: Mapping[str, Sequence[Figures]], y: float) -> str:
    """Images a second; the thin line runs from the slowest round to the fastest."""
    most = max(r["per_s"] for records in by_entrant.values() for r in records)
    scale = (WIDTH - LEFT - RIGHT) / most
    marks = [_text(8, y + 14, head, "t"), _text(8, y + 30, title, "d")]
    for i, (name, records) in enumerate(by_entrant.items()):
        top = y + 38 + ROW * i
        rate, rates = middle(records, "per_s"), [r["per_s"] for r in records]
        colour = COLOURS[0] if name.startswith("saccade") else "#999" if ours(name) else "#c9b79c"
        marks.append(_text(LEFT - 8, top + 13, name, "", "end"))
        marks.append(f'<rect x="{LEFT}" y="{top + 2}" width="{rate * scale:.1f}" height="{ROW - 6}" fill="{colour}"/>')
        low, high = LEFT + min(rates) * scale, LEFT + max(rates) * scale
        marks.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{top + 9}" y2="{top + 9}" stroke="#222" stroke-width="2"/>'
        )
        errors = sum(r["errors"] for r in records)
        marks.append(_text(high + 6, top + 13, f"{rate:.1f}" + (f", {errors} errors" if errors else "")))
    return "".join(marks)


def _curve(head: str, title: str, loads: Mapping[str, Mapping[str, Sequence[Figures]]], y: float) -> str:
    """Images a second over the load's number, both axes logarithmic, so that a cliff is a cliff at any scale."""
    from math import log

    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for load, by_entrant in loads.items():
        for name, records in by_entrant.items():
            rates = [r["per_s"] for r in records]
            points.setdefault(name, []).append((float(load), middle(records, "per_s"), min(rates), max(rates)))
    xs = [log(p[0]) for line in points.values() for p in line]
    ys = [log(max(v, 1e-9)) for line in points.values() for p in line for v in p[2:]]
    low, high = min(ys) - 0.2, max(ys) + 0.2
    top, bottom, left, right = y + 44, y + PLOT, 60, WIDTH - 190

    def x_of(value: float) -> float:
        return left + (right - left) * (log(value) - min(xs)) / ((max(xs) - min(xs)) or 1)

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * (log(max(value, 1e-9)) - low) / ((high - low) or 1)

    head = f"{head}: images a second, both axes logarithmic"
    marks = [_text(8, y + 14, head, "t"), _text(8, y + 30, title, "d")]
    for load in loads:
        marks.append(_text(x_of(float(load)), bottom + 16, load, "d", "middle"))
    for exponent in range(-1, 5):
        for step in (1, 2, 5):
            value = step * 10.0**exponent
            if low <= log(value) <= high:
                level = y_of(value)
                marks.append(f'<line x1="{left}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="#8884"/>')
                marks.append(_text(left - 6, level + 4, f"{value:g}", "d", "end"))
    for i, (name, line) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(v):.1f}" for x, v, _, _ in line)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, v, least, most in line:
            marks.append(f'<circle cx="{x_of(x):.1f}" cy="{y_of(v):.1f}" r="3" fill="{colour}"/>')
            marks.append(
                f'<line x1="{x_of(x):.1f}" x2="{x_of(x):.1f}" y1="{y_of(least):.1f}" y2="{y_of(most):.1f}" stroke="{colour}"/>'
            )
        marks.append(_text(right + 12, y_of(line[-1][1]) + 4, name))
    return "".join(marks)
