"""The page holds what the card says, opens offline, and no name can become markup."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from saccade.evaluation import history
from saccade.evaluation.gallery import Gallery, Mistake
from saccade.evaluation.plots import plot, ticks, whisker
from saccade.evaluation.report import Report
from saccade.evaluation.slices import Slice
from saccade.evaluation.spots import Crop
from saccade.images.encode import to_jpeg
from saccade.types import Case, Curve, Matrix, Number, Scorecard, Series, Spot, Table

EVIL = "<script>alert(1)</script>\"'& onload=x"
JPEG = to_jpeg(np.zeros((4, 4, 3), np.uint8))
VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Every tag with its attributes; fails when one is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def full(name: str, worse: bool = False) -> Report:
    """A report with something in every section, everything called `name`."""
    card = Scorecard(
        name,
        name,
        2,
        (Number("accuracy", 0.5, 0.1, 0.9, 2, help=name), Number("nll", 1.5, 1.2, 1.9, 2, higher_is_better=False)),
        (Table(name, (name, "share", "none"), ((name, 0.25, None),), name),),
        (Curve(name, name, name, (Series(name, (0.0, 1.0), (0.0, 1.0)),) * 2, help=name), Curve(name, "x", "y", ())),
        (Matrix(name, (name, "b"), (name, "b"), ((2.0, 1.0), (0.0, 0.0)), name),),
    )
    mistakes = (Mistake(Case(name, 1.0, name, name, 0), (("picture", JPEG), (name, JPEG)), name),)
    crops = tuple(
        Crop(Spot(name, kind, 0, (0.0, 0.0, 1.0, 1.0), score, words=name), name, JPEG)
        for kind, score in ((name, 0.5), ("missed", None))
    )
    slices = (Slice(name, name, 7, "accuracy", 0.1, 0.0, 0.4, 0.01 if worse else 1.0),)
    return Report(name, card, slices, (Curve(name, "epoch", "loss", (Series(name, (1, 2), (3, 2)),)),),
                  Gallery(mistakes, crops), {name: name})  # fmt: skip


def test_no_name_becomes_markup() -> None:
    evil, plain = read(full(EVIL).html()), read(full("plain").html())
    assert [t for t, _ in evil.seen] == [t for t, _ in plain.seen]
    assert [sorted(a) for _, a in evil.seen] == [sorted(a) for _, a in plain.seen]
    assert "script" not in {t for t, _ in evil.seen}


def test_it_opens_offline_and_only_its_own_style_may_act() -> None:
    page = full("plain").html()
    assert "http://" not in page
    assert "https://" not in page
    sheet = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert sheet
    assert policy
    digest = b64encode(hashlib.sha256(sheet[1].encode()).digest()).decode()
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-" + digest)
    assert "url(" not in sheet[1]
    assert "@import" not in sheet[1]
    for tag, attributes in read(page).seen:
        assert not {a for a in attributes if a == "style" or a.startswith("on")}, tag
        assert all((attributes.get(a) or "data:").startswith(("data:", "#")) for a in ("src", "href"))


def test_it_says_what_the_card_says() -> None:
    page = full("plain").html()
    for text in ("0.500", "0.100 to 0.900", "lower is better", "plain, answered b: 1 of 3 (33%)", "not defined",
                 "Not defined on this split", "Only 2 images"):  # fmt: skip
        assert text in page, text


def test_a_weak_slice_is_a_visible_warning() -> None:
    page = full("plain", worse=True).html()
    assert "care bad" in page
    assert "Weaker on plain plain: accuracy 0.100 on 7 images (against 0.500 on all; p = 0.01)" in page
    assert "weaker, p = 0.01" in page
    calm = full("plain").html()
    assert "care bad" not in calm
    assert "badge>" not in calm


def test_empty_sections_are_left_out() -> None:
    page = Report("m", Scorecard("t", "test", 500, (Number("a", 0.5),))).html()
    read(page)
    for word in ("Slices", "Worst mistakes", "Mistakes by kind", "Training", "Read with care"):
        assert word not in page


def test_mistakes_stand_kind_by_kind_with_what_they_are() -> None:
    def crop(kind: str, score: float | None, words: str, key: str) -> Crop:
        return Crop(Spot(key, kind, 0, (0.0, 0.0, 1.0, 1.0), score, words=words), "cat", JPEG)

    crops = (
        crop("wrong class", 0.9, "dog stands there", "a.jpg"),
        crop("wrong class", 0.8, "dog stands there", "b.jpg"),
        crop("missed", None, "", "c.jpg"),
    )
    page = Report("m", Scorecard("t", "test", 500, (Number("a", 0.5),)), pictures=Gallery((), crops)).html()
    tags = read(page)
    assert [a["alt"] for t, a in tags.seen if t == "img"] == [
        "wrong class: cat 0.90, dog stands there, a.jpg", "wrong class: cat 0.80, dog stands there, b.jpg",
        "missed: cat, c.jpg",
    ]  # fmt: skip
    assert page.index("<h3>Wrong class</h3>") < page.index("b.jpg</small>") < page.index("<h3>Missed</h3>")
    assert page.count("<h3>") == 2
    assert '<a href="#kinds">Mistakes by kind</a>' in page
    assert "Worst mistakes" not in page


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7.3), (-3, 2), (1e-9, 2e-9), (0, 12345), (0.2, 0.21)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7 or high < 1e-8
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)


@pytest.mark.parametrize("kind", ["line", "step", "bars"])
def test_every_kind_of_plot_stays_in_its_frame(kind: str) -> None:
    series = Series("a", (0.05, 0.5, 0.95), (0.0, 0.3, 1.0)), Series("b", (0.5,), (0.5,))
    picture = plot(Curve("c", "x", "y", series, kind, diagonal=True))
    read(picture)
    assert "NaN" not in picture
    ends = [float(v) for v in re.findall(r' (?:x|cx|y|cy)1?="([-\d.]+)"', picture)]
    assert ends
    assert min(ends) >= 0
    assert max(ends) <= 380
    assert whisker(2.0, 1.0, 3.0) == ""


def test_training_curves_come_from_the_run(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    assert history.curves(table) == ()
    table.write_text("epoch,step,loss,val_loss,metric,rate,metric_name\n")
    assert history.curves(table) == ()
    table.write_text(
        "epoch,step,loss,val_loss,metric,rate,metric_name\n1,10,2.5,nan,0.25,0.1,macro_f1\n2,20,1.5,1.75,0.5,0.1,macro_f1\n3,3"
    )
    loss, metric = history.curves(table)
    assert loss.series[0].y == (2.5, 1.5)
    assert loss.series[1].x == (2.0,)
    assert metric.y_label == "macro F1"
    assert metric.series[0].y == (0.25, 0.5)
