"""Any scorecard as one self-contained HTML page: opens offline, holds no script, escapes every name."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from saccade.images.encode import data_uri
from saccade.types import Curve, Matrix, Number, Scorecard, Table

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#65a30d", "#4b5563", "#b45309")
STYLE = """
:root{color-scheme:light dark;--ink:#18181b;--dim:#71717a;--line:#e4e4e7;--card:#fff;--back:#fafafa;--accent:#2563eb}
@media(prefers-color-scheme:dark){:root{--ink:#fafafa;--dim:#a1a1aa;--line:#3f3f46;--card:#18181b;--back:#09090b}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 16px 64px}h1{margin:0;font-size:28px}h2{margin:40px 0 12px;font-size:19px}
p,.dim{color:var(--dim);margin:4px 0}.row{display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax(200px,1fr))}
.box{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px}.big{font-size:26px;font-weight:650}
.plots{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(320px,1fr))}svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font-size:11px}table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:6px 10px;
border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}.scroll{overflow-x:auto}
figure{margin:0}figure img{width:100%;border-radius:6px}figcaption{font-size:13px}.wrong{color:#dc2626}
"""


def page(
    card: Scorecard,
    name: str,
    provenance: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    training: Mapping[str, Sequence[tuple[float, float]]],
) -> str:
    """The report. pictures: JPEG by sample key, for the gallery; training: points (epoch, value) by name."""
    parts = [
        f"<h1>{escape(name)}</h1><p>{escape(card.task)}, {card.n} pictures of the {escape(card.split)} split; "
        "brackets are 95 % bootstrap intervals</p>",
        '<h2>Numbers</h2><div class="row">' + "".join(_number(n) for n in card.numbers) + "</div>",
    ]
    parts += [_matrix(m) for m in card.matrices] + [_table(t) for t in card.tables]
    plots = [_plot(c) for c in card.curves]
    if any(len(points) > 1 for points in training.values()):
        lines = [(k, [p[0] for p in v], [p[1] for p in v]) for k, v in training.items() if v]
        plots.append(_box("training", _svg(lines, "epoch", "loss", unit=False)))
    parts.append('<h2>Plots</h2><div class="plots">' + "".join(plots) + "</div>")
    if card.worst:
        parts.append(
            '<h2>Worst mistakes</h2><div class="row">' + "".join(_case(c, pictures) for c in card.worst) + "</div>"
        )
    rows = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in provenance.items())
    parts.append(f'<h2>Provenance</h2><div class="box scroll"><table>{rows}</table></div>')
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(name)}: {escape(card.headline.name)} {card.headline.value:.3f}</title><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{''.join(parts)}</main></body></html>"


def _number(n: Number) -> str:
    interval = "" if n.low is None or n.high is None else f"[{n.low:.3f}, {n.high:.3f}]"
    arrow = "" if n.higher_is_better else " (lower is better)"
    return (
        f'<div class="box"><div class="dim">{escape(n.name)}{arrow}</div><div class="big">{n.value:.3f}</div>'
        f'<div class="dim">{interval}</div><div class="dim">{escape(n.help)}</div></div>'
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in table.rows)
    return (
        f'<h2>{escape(table.name.capitalize())}</h2><div class="box scroll"><table><tr>{head}</tr>{rows}</table></div>'
    )


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def _matrix(matrix: Matrix) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in matrix.columns)
    rows = []
    for name, values in zip(matrix.rows, matrix.values, strict=True):
        total = max(sum(values), 1)
        cells = "".join(f'<td style="background:rgba(37,99,235,{0.85 * v / total:.2f})">{v:g}</td>' for v in values)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return (
        f'<h2>{escape(matrix.name.capitalize())}</h2><p>{escape(matrix.help)}</p><div class="box scroll"><table>'
        f"<tr><th></th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _plot(curve: Curve) -> str:
    lines = [(s.name, list(s.x), list(s.y)) for s in curve.series]
    body = _svg(lines, curve.x_label, curve.y_label, diagonal=curve.diagonal)
    return _box(f"{curve.name}{': ' + curve.help if curve.help else ''}", body)


def _box(title: str, body: str) -> str:
    return f'<div class="box"><div class="dim">{escape(title)}</div>{body}</div>'


def _svg(
    lines: Sequence[tuple[str, list[float], list[float]]], x_label: str, y_label: str, diagonal: bool = False,
    unit: bool = True,
) -> str:  # fmt: skip
    """Lines in a frame of 0..1, or of the data's own range when unit is False."""
    x_max = 1.0 if unit else max(max(x) for _, x, _ in lines)
    y_max = 1.0 if unit else max(max(y) for _, _, y in lines) or 1.0
    x_max = x_max or 1.0
    legend = 14 * len(lines)
    out = [f'<svg viewBox="0 0 360 {290 + legend}" role="img" aria-label="{escape(y_label)} over {escape(x_label)}">']
    for k in range(5):
        y = 20 + 55 * k
        out.append(f'<line x1="40" x2="350" y1="{y}" y2="{y}" stroke="currentColor" stroke-opacity=".12"/>')
        out.append(f'<text x="4" y="{y + 4}">{y_max * (1 - k / 4):.2f}</text>')
        out.append(f'<text x="{36 + 77.5 * k:.0f}" y="256">{x_max * k / 4:.3g}</text>')
    if diagonal:
        out.append(
            '<line x1="40" y1="240" x2="350" y2="20" stroke="currentColor" stroke-opacity=".3" stroke-dasharray="4"/>'
        )
    for i, (name, xs, ys) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(
            f"{40 + 310 * x / x_max:.1f},{240 - 220 * min(y / y_max, 1):.1f}" for x, y in zip(xs, ys, strict=True)
        )
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = 292 + 14 * i
        out.append(f'<rect x="40" y="{at - 8}" width="10" height="8" fill="{colour}"/>')
        out.append(f'<text x="56" y="{at}">{escape(name)}</text>')
    out.append(f'<text x="180" y="272">{escape(x_label)}</text></svg>')
    return "".join(out)


def _case(case: Any, pictures: Mapping[str, bytes]) -> str:
    image = f'<img alt="" src="{data_uri(pictures[case.key], "image/jpeg")}">' if case.key in pictures else ""
    return (
        f'<figure class="box">{image}<figcaption><b>{escape(case.truth)}</b><br>'
        f'<span class="wrong">{escape(case.answer)}</span><br><span class="dim">{escape(case.key)}</span></figcaption></figure>'
    )
