"""Answers say, draw and show themselves; what is hostile in them stays text."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.client.answer import Answer
from saccade.errors import ImageError, UsageError
from saccade.images import decode, draw, encode, masks

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 255, (300, 400, 3), np.uint8)
HEAD = {"model": "m", "version": "2", "image": {"width": 400, "height": 300}}


def answer(picture: Any = None, **fields: Any) -> Answer:
    made = Answer(HEAD | fields)
    made.picture = picture
    return made


def box(class_id: int, label: str, score: float | None, *sides: float) -> dict[str, Any]:
    place = dict(zip(("x_min", "y_min", "x_max", "y_max"), sides, strict=False))
    return {"class_id": class_id, "label": label, "score": score} | ({"box": place} if sides else {})


CLASSES = [box(0, "glass", 0.75), box(2, "paper", 0.25)]
THINGS = [box(1, "cat", 0.9, 10, 20, 200, 250), box(0, "dog", 0.6, 100, 30, 300, 280), box(1, "cat", None, 0, 0, 9, 9)]
MASK = (np.arange(300)[:, None] // 150 * np.ones((1, 400))).astype(np.uint8)
SHARES = [{"class_id": k, "label": name, "pixels": 60_000, "fraction": 0.5} for k, name in enumerate(("sky", "sea"))]


def png_mask(ids: Any) -> dict[str, str]:
    return {"encoding": "png", "data": base64.b64encode(masks.to_png(ids)).decode()}


def test_it_says_what_it_holds() -> None:
    assert answer(predictions=CLASSES).summary() == "glass 0.750, paper 0.250"
    assert answer(predictions=THINGS).summary() == "2 cat, 1 dog"
    assert answer(mask=None, classes=SHARES).summary() == "sky 50.0 %, sea 50.0 %"
    assert answer(predictions=[]).summary() == "nothing found"
    assert Answer({"error": {"code": "image_undecodable", "detail": "it is damaged"}}).summary() == "it is damaged"
    assert answer(predictions=THINGS).rows()[2] == ("cat", None)


def test_it_draws_as_the_rest_of_the_house_does() -> None:
    boxes = np.array([[10, 20, 200, 250], [100, 30, 300, 280], [0, 0, 9, 9]], np.float32)
    scores = np.array([0.9, 0.6, np.nan], np.float32)
    expected = draw.boxes(PHOTO, boxes, ["dog", "cat"], scores, np.array([1, 0, 1]))
    assert np.array_equal(answer(PHOTO, predictions=THINGS).draw(), expected)
    assert np.array_equal(answer(predictions=THINGS).draw(PHOTO), expected)
    bars = draw.bars(PHOTO, ["glass", "paper"], [0.75, 0.25])
    assert np.array_equal(answer(PHOTO, predictions=CLASSES).draw(), bars)
    tinted = draw.mask(PHOTO, MASK, ["sky", "sea"])
    rle = {"encoding": "rle", "size": [300, 400], "counts": {str(k): v for k, v in masks.to_rle(MASK).items()}}
    for form in (png_mask(MASK), rle):
        one = answer(PHOTO, mask=form, classes=SHARES)
        assert np.array_equal(one.mask_pixels(), MASK)
        assert np.array_equal(one.draw(), tinted)


def test_a_picture_is_reduced_before_it_is_drawn_on() -> None:
    small = answer(PHOTO, predictions=THINGS[:1]).draw(size=200)
    assert small.shape[:2] == draw.boxes(PHOTO[::2, ::2], np.zeros((0, 4)), []).shape[:2]
    half = answer(PHOTO, mask=png_mask(MASK), classes=SHARES).draw(size=200)
    assert (
        half.shape[1]
        == answer(PHOTO[::2, ::2], mask=png_mask(MASK[::2, ::2]), classes=SHARES, image={}).draw().shape[1]
    )
    assert answer(PHOTO, predictions=THINGS).draw(size=4000).shape == answer(PHOTO, predictions=THINGS).draw().shape


def test_a_large_jpeg_is_decoded_no_larger_than_shown() -> None:
    large = np.repeat(np.repeat(PHOTO, 8, 0), 8, 1)
    turned = encode.to_jpeg(large)
    for given in (turned, large):
        one = answer(
            given, predictions=[box(0, "dog", 0.6, 800, 240, 2400, 2240)], image={"width": 3200, "height": 2400}
        )
        drawn = one.draw(size=400)
        assert drawn.shape == answer(PHOTO, predictions=[box(0, "dog", 0.6, 100, 30, 300, 280)]).draw().shape
        mask = answer(given, mask=png_mask(np.repeat(np.repeat(MASK, 8, 0), 8, 1)), classes=SHARES, image={})
        assert (
            np.abs(
                mask.draw(size=400)[:150].astype(int) - answer(PHOTO, mask=png_mask(MASK), classes=SHARES).draw()[:150]
            ).mean()
            < 20
        )


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    for made, given, said in (
        (answer(predictions=THINGS), None, "does not know its picture"),
        (answer(predictions=THINGS), PHOTO[:, :300], "a picture of 400x300"),
        (answer(PHOTO), None, "nothing that can be drawn"),
        (answer(PHOTO, mask={"encoding": "polygons"}, classes=SHARES), None, "no mask as pixels"),
        (answer(PHOTO, mask={"encoding": "png", "data": "?"}, classes=SHARES), None, "cannot be read"),
    ):
        with pytest.raises(UsageError, match=said):
            made.draw(given)
    with pytest.raises(ImageError):
        answer(tmp_path / "gone.jpg", predictions=CLASSES).draw()


class Page(HTMLParser):
    """Tags that came out of a text, and what stands between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.told = ""
        self.attributes: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.told += data


def test_a_notebook_shows_picture_and_bars(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode.to_png(PHOTO))
    shown = Page(answer(tmp_path / "a.png", predictions=CLASSES)._repr_html_())
    source = shown.attributes["src"] or ""
    assert source.startswith("data:image/jpeg;base64,")
    assert decode.decode(base64.b64decode(source.partition(",")[2])).shape[1] == 400
    assert shown.attributes["alt"] == "glass 0.750, paper 0.250"
    assert "glass0.750" in shown.told
    (tmp_path / "a.png").unlink()
    without = Page(answer(tmp_path / "a.png", predictions=CLASSES)._repr_html_())
    assert "img" not in without.tags
    assert "glass0.750" in without.told
    many = answer(predictions=[box(0, "x", 0.5)] * 25)._repr_html_()
    assert "and 5 more" in many


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


@pytest.mark.parametrize(
    "made",
    [
        Answer({"model": HOSTILE, "version": HOSTILE, "predictions": [box(0, HOSTILE, 0.5)]}),
        answer(PHOTO, predictions=[box(0, HOSTILE, 5e9)]),
        answer(PHOTO, predictions=[box(0, HOSTILE, 0.5, 1, 2, 3, 4)]),
        Answer({"error": {"code": "x", "detail": HOSTILE}}),
        Answer({"error": {HOSTILE: HOSTILE}}),
    ],
)
def test_what_a_server_says_stays_text(made: Answer) -> None:
    shown = Page(made._repr_html_())
    assert set(shown.tags) <= {"figure", "figcaption", "img", "table", "tr", "td", "div", "p"}
    assert "onerror" not in shown.attributes
    assert all(0 <= float(w) <= 100 for w in re.findall(r"width: ([\d.]+)%", made._repr_html_()))
