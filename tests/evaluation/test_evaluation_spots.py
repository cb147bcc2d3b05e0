"""Single mistakes as crops: the box stands where it was answered, at the border too, and a picture is read once."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from saccade.data.dataset import Dataset
from saccade.evaluation import spots
from saccade.evaluation.evaluate import evaluate_model
from saccade.evaluation.gallery import gallery
from saccade.evaluation.report import Report
from saccade.images import decode, draw
from saccade.images.encode import to_png
from saccade.inference.model import Model
from saccade.testing import packages
from saccade.types import Box, Image, Labels, Sample, Scorecard, Spot

LABELS = Labels(("cat", "dog"))
PICTURE = np.full((300, 400, 3), 128, np.uint8)
GREY = (128, 128, 128)
LIGHT = (250, 250, 250)


def wrong(box: Box, other: Box | None = None, key: str = "a", score: float | None = 0.9) -> Spot:
    return Spot(key, "poor box", 0, box, score, None if other is None else 1, other)


def row(picture: Image, y: int) -> list[tuple[int, ...]]:
    return [tuple(p) for p in picture[y].tolist()]


def card_of(found: Sequence[Spot]) -> Scorecard:
    return Scorecard("t", "test", 1, (), spots=tuple(found))


def test_the_box_stands_in_the_middle_of_what_is_around_it() -> None:
    spot = wrong((100, 100, 180, 180))
    assert spots.view(spot, 400, 300) == (60, 60, 220, 220)
    found = spots.crop(PICTURE, spot)
    assert found.shape == (160, 160, 3)
    across = row(found, 80)
    assert across[40:43] == across[117:120] == [draw.colour(0)] * 3
    assert across[39] == across[43] == across[116] == across[120] == LIGHT, "it shows on any ground"
    assert set(across[:39]) == set(across[44:116]) == set(across[121:]) == {GREY}
    assert [tuple(p) for p in found[40:43, 80].tolist()] == [draw.colour(0)] * 3
    assert (PICTURE == 128).all(), "the picture itself is left alone"


@pytest.mark.parametrize(
    ("box", "view", "inside"),
    [
        ((0, 0, 80, 80), (0, 0, 120, 120), (0, 0, 106, 106)),
        ((320, 220, 400, 300), (280, 180, 400, 300), (53, 53, 159, 159)),
        ((-50, 100, 80, 200), (0, 35, 145, 265), (0, 45, 55, 114)),
    ],
)
def test_at_the_border_of_the_picture_the_box_stays_whole(
    box: Box, view: tuple[int, ...], inside: tuple[int, ...]
) -> None:
    spot = wrong(box)
    assert spots.view(spot, 400, 300) == view
    found = spots.crop(PICTURE, spot)
    left, top, right, bottom = inside
    tint = draw.colour(0)
    for y, x in ((top, (left + right) // 2), (bottom, (left + right) // 2)):
        assert tuple(found[y, x]) == tint, (y, x)
    for y, x in (((top + bottom) // 2, left), ((top + bottom) // 2, right)):
        assert tuple(found[y, x]) == tint, (y, x)
    assert tuple(found[(top + bottom) // 2, (left + right) // 2]) == GREY


def test_a_small_box_of_a_small_picture_is_enlarged() -> None:
    found = spots.crop(np.full((10, 10, 3), 128, np.uint8), wrong((4, 4, 6, 6)))
    assert found.shape == (160, 160, 3)
    across = row(found, 80)
    assert across[64:67] == across[93:96] == [draw.colour(0)] * 3
    assert spots.view(wrong((200, 100, 202, 102)), 400, 300) == (184, 84, 218, 118), "what is around it is seen"
    assert spots.crop(np.full((1, 1, 3), 128, np.uint8), wrong((0, 0, 1, 1))).shape == (160, 160, 3)


@pytest.mark.parametrize("box", [(500, 400, 520, 420), (-90, -90, -60, -60), (390, 290, 390, 290)])
def test_a_box_beyond_the_picture_gives_a_crop_all_the_same(box: Box) -> None:
    left, top, right, bottom = spots.view(wrong(box), 400, 300)
    assert 0 <= left < right <= 400
    assert 0 <= top < bottom <= 300
    assert max(spots.crop(PICTURE, wrong(box)).shape) == 160


def test_answers_have_whole_lines_and_the_truth_dashed_ones() -> None:
    strong, thin = (100.0, 100.0, 180.0, 180.0), (130.0, 100.0, 210.0, 180.0)
    assert spots.view(wrong(strong, thin), 400, 300) == (60, 60, 250, 220), "both boxes are shown"
    answer = spots.crop(PICTURE, wrong(strong, thin))
    rims = [{tuple(p) for p in answer[45:90, x].tolist()} for x in (34, 125)]
    assert rims[0] == {draw.colour(0)}
    assert len(rims[1]) == 2, "dashed"
    assert draw.colour(1) in rims[1]
    missed = spots.crop(PICTURE, wrong(strong, thin, score=None))
    rims = [{tuple(p) for p in missed[45:90, x].tolist()} for x in (34, 125)]
    assert rims[0] == {draw.colour(0), LIGHT}, "dashed"
    assert rims[1] == {draw.colour(1)}
    same = spots.crop(PICTURE, wrong(strong, strong))
    seen = {tuple(p) for p in same[60:100, 40:43].reshape(-1, 3).tolist()}
    assert {draw.colour(0), draw.colour(1)} <= seen, "both can be seen"


def test_a_box_stays_large_beside_one_as_large_as_the_picture() -> None:
    left, top, right, bottom = spots.view(wrong((1000, 1000, 1040, 1020), (0, 0, 4000, 3000)), 4000, 3000)
    assert (left, top, right, bottom) == (940, 940, 1100, 1080)
    found = spots.crop(np.full((3000, 4000, 3), 128, np.uint8), wrong((1000, 1000, 1040, 1020), (0, 0, 4000, 3000)))
    assert draw.colour(1) not in {tuple(p) for p in found.reshape(-1, 3).tolist()}, "no line where the crop ends"


def test_a_picture_is_read_once_and_crops_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    real = decode.decode
    monkeypatch.setattr(decode, "decode", lambda source: seen.append(source) or real(source))
    samples = [Sample(key, to_png(PICTURE[:, : 100 + 10 * i])) for i, key in enumerate("abc")]
    found = [wrong((10, 10, 30, 30), key=key, score=score) for key, score in (("b", 0.9), ("a", 0.8), ("b", None))]
    made = spots.crops(card_of(found), samples, LABELS)
    assert [c.spot for c in made] == found
    assert [c.label for c in made] == ["cat"] * 3
    assert seen == [samples[1].image, samples[0].image]
    assert all(real(c.jpeg).shape == (160, 160, 3) for c in made)
    assert made[0].jpeg != made[2].jpeg
    assert max(len(c.jpeg) for c in made) < 10_000
    assert spots.crops(card_of(()), samples, LABELS) == ()


def test_older_cards_have_no_spots() -> None:
    record = card_of([wrong((0, 0, 1, 1), (0, 0, 2, 2))]).to_json()
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again["spots"][0]["other"] == [0, 0, 2, 2]
    assert again["spots"][0]["kind"] == "poor box"
    del again["spots"]
    assert Scorecard(**again).spots == ()


def test_the_report_of_a_package_shows_its_mistakes_by_kind(tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[8:16, 8:16, 0] = 250
    truth = {
        "boxes": np.array([[8, 8, 16, 16], [20, 20, 30, 30]], np.float32),
        "box_classes": np.array([1, 2], np.int64),
    }
    with Model.open(packages.boxes(tmp_path / "p").path) as model:
        samples = (Sample("photo <1>.png", to_png(picture), truth),)
        card = evaluate_model(model, Dataset("arrays", Path("nowhere"), model.labels, {"test": samples}), "test")
        found = gallery(model, card, samples, {})
    assert [(s.kind, model.labels.names[s.class_id], s.words) for s in card.spots] == [
        ("wrong class", "red", "green stands there"),
        ("missed", "blue", "nothing was answered there"),
        ("missed", "green", "answered red 0.98, which overlaps by 1.00"),
    ]
    assert [c.spot for c in found.crops] == list(card.spots)
    page = Report("m", card, pictures=found).html()
    assert "<h3>Wrong class</h3>" in page
    assert page.count("<h3>Missed</h3>") == 1
    assert "<b>red 0.98</b><br>green stands there<br><small>photo &lt;1&gt;.png</small>" in page
    assert 'alt="missed: blue, nothing was answered there, photo &lt;1&gt;.png"' in page
    assert "None" not in re.sub(r'src="data:[^"]*"', "", page)
