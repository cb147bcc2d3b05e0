"""An evaluation as one self-contained HTML page: opens offline, holds no script, escapes every name."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from saccade.evaluation.gallery import Gallery, Mistake
from saccade.evaluation.plots import bar, plot, whisker
from saccade.evaluation.slices import Slice
from saccade.evaluation.spots import Crop
from saccade.evaluation.words import words
from saccade.images.encode import data_uri
from saccade.types import Curve, Matrix, Number, Scorecard, Table

SHADES = 20
"""Steps of colour in a matrix."""

FEW = 200
"""Fewer images than this call for care."""

MANY = 24
"""More rows than this scroll in a box of their own; a larger matrix shows colours without counts."""


@dataclass(frozen=True)
class Report:
    """What a page shows. history: curves of the training; pictures: the mistakes; facts: shown as name and value.
    called: what pictures call classes whose names no font could draw, with these names."""

    name: str
    card: Scorecard
    slices: tuple[Slice, ...] = ()
    history: tuple[Curve, ...] = ()
    pictures: Gallery = field(default_factory=Gallery)
    facts: Mapping[str, Any] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        card = self.card
        parts = [
            ("numbers", "Numbers", _numbers(card)),
            *((_id(t.name), t.name, _table(t)) for t in card.tables),
            *((_id(m.name), m.name, _matrix(m)) for m in card.matrices),
            ("plots", "Plots", _plots(card.curves)),
            ("slices", "Slices", _slices(self.slices)),
            ("mistakes", "Worst mistakes", _mistakes(self.pictures.mistakes, self.called)),
            ("kinds", "Mistakes by kind", _kinds(self.pictures.crops)),
            ("training", "Training", _plots(self.history)),
            ("provenance", "Provenance", _facts(self.facts)),
        ]
        present = [p for p in parts if p[2]]
        links = "".join(f'<a href="#{i}">{escape(title)}</a>' for i, title, _ in present)
        body = "".join(f'<section id="{i}"><h2>{escape(title)}</h2>{text}</section>' for i, title, text in present)
        return (
            f"{_head(f'{self.name}: {words(card.headline.name)} {card.headline.value:.3f}')}<body><main><header>"
            f'<h1>{escape(self.name)}</h1><p class="lead dim">{escape(card.task.capitalize())}, measured on {card.n:,} '
            f"images of the {escape(card.split)} split with the sealed package, the very thing that is served. "
            f"Intervals are 95 % bootstrap intervals.</p></header><nav>{links}</nav>{_care(card, self.slices)}{body}"
            "<footer>Made by saccade. This page holds no script and loads nothing.</footer></main></body></html>\n"
        )


def style() -> str:
    """The page's one style sheet; the shades of matrices are made here."""
    shades = "".join(
        f".r{k}{{background-color:rgba(var(--right),{0.85 * k / SHADES:.2f})}}"
        f".w{k}{{background-color:rgba(var(--wrong),{0.85 * k / SHADES:.2f})}}"
        for k in range(1, SHADES + 1)
    )
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8") + shades


def _head(title: str) -> str:
    sheet = style()
    # Only this very sheet may style the page, so nothing that slips into the markup can.
    digest = b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{sheet}</style></head>"
    )


def _care(card: Scorecard, slices: Sequence[Slice]) -> str:
    """What a reader should know before believing the numbers."""
    head = card.headline
    said = [
        f"Weaker on {s.trait} {s.range}: {words(s.metric)} {s.value:.3f} on {s.n} images "
        f"(against {head.value:.3f} on all; p = {s.p:.2g})."
        if s.metric == head.name
        else f"Weaker on {s.trait} {s.range}: {words(s.metric)} {s.value:.3f} on {s.n} images (p = {s.p:.2g})."
        for s in slices
        if s.worse
    ]
    if card.n < FEW and head.low is not None and head.high is not None:
        said.append(
            f"Only {card.n} images: the true {words(head.name)} may well lie anywhere from {head.low:.3f} to "
            f"{head.high:.3f}. More test images narrow this; four times as many halve it."
        )
    if not said:
        return ""
    kind = "care bad" if any(s.worse for s in slices) else "care"
    return (
        f'<div class="box {kind}"><b>Read with care</b><ul>{"".join(f"<li>{escape(s)}</li>" for s in said)}</ul></div>'
    )


def _numbers(card: Scorecard) -> str:
    tiles = "".join(_number(n, n is card.headline) for n in card.numbers)
    return f'<div class="grid tiles">{tiles}</div>'


def _number(n: Number, first: bool) -> str:
    spread = "" if n.low is None or n.high is None else f"{n.low:.3f} to {n.high:.3f}"
    wish = "" if n.higher_is_better else " (lower is better)"
    return (
        f'<div class="box tile{" hero" if first else ""}"><div>{escape(words(n.name))}</div><div class="big">{n.value:.3f}'
        f'</div>{whisker(n.value, n.low, n.high)}<div class="dim">{spread}</div>'
        f"<small>{escape(n.help)}{wish}</small></div>"
    )


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    texts = [any(isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    kinds = ['class="text"' if t else "" for t in texts]
    head = "".join(f"<th {k}>{escape(words(c))}</th>" for k, c in zip(kinds, table.columns, strict=True))
    rows = "".join(
        f"<tr>{''.join(f'<td {k}>{_cell(c)}</td>' for k, c in zip(kinds, r, strict=True))}</tr>" for r in table.rows
    )
    note = f'<p class="dim">{escape(table.help)}</p>' if table.help else ""
    # A box that scrolls must be reachable by keyboard.
    box = '"box scroll tall" tabindex="0"' if len(table.rows) > MANY else '"box scroll"'
    return f"{note}<div class={box}><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(value: str | float | int | None) -> str:
    if value is None:
        return '<span class="dim">not defined</span>'
    if isinstance(value, float):
        return f"{value:.3f}{bar(value) if 0 <= value <= 1 else ''}"
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _matrix(matrix: Matrix) -> str:
    many = len(matrix.columns) > MANY
    head = "".join(f'<th class="top">{escape(c)}</th>' for c in matrix.columns)
    rows = []
    for row, values in zip(matrix.rows, matrix.values, strict=True):
        total = sum(values)
        cells = []
        for column, value in zip(matrix.columns, values, strict=True):
            share = value / total if total else 0.0
            shade = f' class="{"r" if row == column else "w"}{max(1, round(share * SHADES))}"' if value else ""
            told = f"{row}, answered {column}: {value:g} of {total:g} ({share:.0%})"
            text = f"{value:g}" if value else '<span class="dim">·</span>'
            cells.append(f'<td{shade} title="{escape(told)}">{"" if many else text}</td>')
        rows.append(f"<tr><th>{escape(row)}</th>{''.join(cells)}</tr>")
    return (
        f'<p class="dim">{escape(matrix.help)}</p><div class="box scroll"><table class="matrix{" many" if many else ""}">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _plots(curves: Sequence[Curve]) -> str:
    return f'<div class="grid plots">{"".join(plot(c) for c in curves)}</div>' if curves else ""


def _slices(slices: Sequence[Slice]) -> str:
    if not slices:
        return ""
    boxes = []
    for name in dict.fromkeys(s.trait for s in slices):
        rows = "".join(
            f"<tr{' class=worse' if s.worse else ''}><td>{escape(s.range)}</td><td>{s.n:,}</td><td>{s.value:.3f}</td>"
            f"<td>{whisker(s.value, s.low, s.high)}</td><td>{s.low:.3f} to {s.high:.3f}</td>"
            f"<td>{f'<span class=badge>weaker, p = {s.p:.2g}</span>' if s.worse else ''}</td></tr>"
            for s in slices
            if s.trait == name
        )
        boxes.append(
            f'<div class="box scroll"><h3>By {escape(name)}</h3><table class="slices"><thead><tr><th>{escape(name)}</th>'
            f"<th>images</th><th>{escape(words(slices[0].metric))}</th><th></th><th>95 % interval</th><th></th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
    return (
        '<p class="dim lead">The images cut in three by size (megapixels), brightness (mean grey, 0 to 255) and sharpness '
        "(spread of the Laplacian at 160 px; low is blurred). A slice is called weaker when chance would make one so "
        f"weak in fewer than 1 of 20 evaluations, counting that {len(slices)} were looked at.</p>{''.join(boxes)}"
    )


def _mistakes(mistakes: Sequence[Mistake], called: Mapping[str, str]) -> str:
    if not mistakes:
        return ""
    told = "; ".join(f"{shown} is {name}" for shown, name in called.items())
    aside = (
        f'<p class="dim lead">No font here could draw every name. In the pictures {escape(told)}.</p>' if told else ""
    )
    return (
        '<p class="dim lead">The mistakes that count most, worst first. Where an answer has places, the truth stands '
        "beside it: dashed boxes were missed, captions name wrong ones, wrong pixels are red. Warm colours lie where the "
        "picture spoke for the "
        "wrong answer: occlusion covers part after part and asks the sealed package again; RISE covers at random and asks what "
        "is left of one wrong or missed box, or of one region; Grad-CAM reads the gradients of the "
        "network before it was sealed. A look at these often finds wrong labels.</p>"
        f'{aside}<div class="grid cases">{"".join(_mistake(m) for m in mistakes)}</div>'
    )


def _mistake(mistake: Mistake) -> str:
    case = mistake.case
    row = "".join(
        f'<figure><img loading="lazy" alt="{escape(f"{case.key}, {name}")}" src="{data_uri(jpeg, "image/jpeg")}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, jpeg in mistake.pictures
    )
    return (
        f'<div class="box case"><div class="row">{row}</div><p><b>{escape(case.truth)}</b>, answered '
        f'<span class="said">{escape(case.answer)}</span><br><span class="dim">{escape(mistake.words)} '
        f"{escape(case.key)}</span></p></div>"
    )


def _kinds(crops: Sequence[Crop]) -> str:
    if not crops:
        return ""
    strips = []
    for kind in dict.fromkeys(c.spot.kind for c in crops):
        of_kind = "".join(_crop(c) for c in crops if c.spot.kind == kind)
        strips.append(
            f'<div class="box strip"><h3>{escape(kind.capitalize())}</h3><div class="grid crops">{of_kind}</div></div>'
        )
    return (
        '<p class="dim lead">A few of each kind. Classes take turns, so that one with few mistakes is here too: wrong '
        "answers with the surest first, what was missed with the largest first. The strong box is the one that is meant, the "
        "thin one is what stands there instead; answers have whole lines, the truth has dashed ones.</p>"
        f"{''.join(strips)}"
    )


def _crop(crop: Crop) -> str:
    spot = crop.spot
    name = crop.label if spot.score is None else f"{crop.label} {spot.score:.2f}"
    alt = ", ".join(part for part in (f"{spot.kind}: {name}", spot.words, spot.key) if part)
    return (
        f'<figure><img loading="lazy" alt="{escape(alt)}" src="{data_uri(crop.jpeg, "image/jpeg")}">'
        f"<figcaption><b>{escape(name)}</b><br>{escape(spot.words)}<br><small>{escape(spot.key)}</small></figcaption></figure>"
    )


def _facts(facts: Mapping[str, Any]) -> str:
    return _table(Table("", ("what", "value"), tuple((words(str(k)), str(v)) for k, v in facts.items())))


def _id(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
