"""Any Scorecard as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from saccade.types import Number, Scorecard, Table

STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;
padding:0 1rem}table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #8884}
section{overflow-x:auto}small{opacity:.7}"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(
    file: Path, card: Scorecard, *, title: str, slices: Sequence[Table] = (), comparison: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes the page; every text is escaped. comparison: a sentence; provenance: shown as name and value."""
    numbers = Table("Numbers", ("number", "value", "95 % interval"), tuple(_number(n) for n in card.numbers))
    worst = Table("Worst", ("image", "truth", "answer"), tuple((c.key, c.truth, c.answer) for c in card.worst))
    known = Table("Provenance", ("what", "value"), tuple((k, str(v)) for k, v in (provenance or {}).items()))
    grids = [Table(m.name, ("", *m.columns), tuple(zip(m.rows, *zip(*m.values, strict=True), strict=True)), m.help)
             for m in card.matrices]  # fmt: skip
    body = "".join(_table(t) for t in (numbers, *card.tables, *grids, worst, *slices, known) if t.rows)
    file.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{escape(title)}</h1>'
        f"<p>{card.n} images of split {escape(card.split)}. {escape(comparison)}</p>{body}</html>\n",
        encoding="utf-8",
    )


def _number(n: Number) -> tuple[str, str, str]:
    spread = "" if n.low is None or n.high is None else f"{n.low:.4f} to {n.high:.4f}"
    return n.name.replace("_", " "), f"{n.value:.4f}", spread


def _table(t: Table) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in t.columns)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in t.rows)
    title = f"<h2>{escape(t.name)}</h2><small>{escape(t.help)}</small>"
    return f"<section>{title}<table><tr>{head}</tr>{rows}</table></section>"


def _cell(value: str | float | int | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))
