"""Large pictures in tiles: covered, merged without a seam, refused where they make no sense."""

import time
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.errors import ImageError, InferenceError
from saccade.images import encode, preprocess
from saccade.images.geometry import iou_matrix
from saccade.inference import tiles
from saccade.inference.model import Model
from saccade.testing import packages
from saccade.types import Prediction


@settings(max_examples=200, deadline=None)
@given(*[st.integers(1, 400)] * 2, *[st.integers(40, 90)] * 2)
def test_windows_cover_and_overlap(width, height, tile_width, tile_height):
    places = tiles.windows(width, height, tile_width, tile_height)
    seen = np.zeros((height, width), int)
    for left, top, right, bottom in places:
        assert (right - left, bottom - top) == (min(width, tile_width), min(height, tile_height))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    lefts = sorted({p[0] for p in places})
    assert all(b - a <= 0.75 * tile_width + 1 for a, b in pairwise(lefts))


def test_too_many_tiles_are_refused():
    assert len(tiles.windows(32 + 24 * 31, 32 + 24 * 15, 32, 32)) == tiles.MOST
    with pytest.raises(ImageError, match="ask without tiles"):
        tiles.windows(32 + 24 * 32, 32 + 24 * 15, 32, 32)


def test_a_mask_in_tiles_is_the_mask_pixel_by_pixel(tmp_path):
    dice = np.random.default_rng(0)
    picture = dice.integers(0, 256, (150, 211, 3), np.uint8)
    truth = (picture[:, :, 0] > 127).astype(np.uint8) + 2 * (picture[:, :, 1] > 127).astype(np.uint8)
    with Model.open(packages.masks(tmp_path / "p", side=64).path) as model:
        np.testing.assert_array_equal(model.predict(picture, tile=True).mask, truth)
        assert (model.predict(picture).mask != truth).any()
        small = picture[:64, :64]
        np.testing.assert_array_equal(model.predict(small, tile=True).mask, model.predict(small).mask)


def test_a_tile_may_be_some_times_as_large_as_the_network_and_is_shrunk(tmp_path):
    blocks = np.random.default_rng(1).integers(0, 256, (56, 80, 3), np.uint8)
    truth = (blocks[:, :, 0] > 127).astype(np.uint8) + 2 * (blocks[:, :, 1] > 127).astype(np.uint8)
    picture, wanted = (array.repeat(4, 0).repeat(4, 1) for array in (blocks, truth))
    with Model.open(packages.masks(tmp_path / "p", side=32).path) as model:
        np.testing.assert_array_equal(model.predict(picture, tile=4).mask, wanted)
        assert (model.predict(picture, tile=8).mask != wanted).any()
        for times in (0.5, 17, float("nan")):
            with pytest.raises(InferenceError, match="from 1 to 16"):
                model.predict(picture, tile=times)


def test_each_pixel_of_a_mask_is_of_the_tile_that_sees_most_around_it():
    places = tiles.windows(100, 40, 64, 40)
    parts = [Prediction(64, 40, mask=np.full((40, 64), i, np.uint8)) for i in range(2)]
    mask = tiles.merge(parts, places, 100, 40).mask
    assert (mask[:, :50] == 0).all()
    assert (mask[:, 50:] == 1).all()


def sees(places, objects):
    """What a perfect finder of boxes says in each window: every object it sees, cut at its edges."""
    parts = []
    for left, top, right, bottom in places:
        rows = []
        for k, (x0, y0, x1, y1) in objects:
            box = max(x0, left) - left, max(y0, top) - top, min(x1, right) - left, min(y1, bottom) - top
            if box[2] > box[0] and box[3] > box[1]:
                share = (box[2] - box[0]) * (box[3] - box[1]) / ((x1 - x0) * (y1 - y0))
                rows.append((k, share, *box))
        rows.sort(key=lambda row: -row[1])
        table = np.array(rows, np.float32).reshape(-1, 6)
        size = right - left, bottom - top
        parts.append(Prediction(*size, table[:, 0].astype(np.int64), table[:, 1], table[:, 2:]))
    return parts


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(8, 45), st.integers(8, 45)),
        max_size=8,
        unique_by=lambda t: t[:2],
    )
)
def test_objects_on_seams_come_back_whole_and_once(cells):
    objects = [
        (i % 2, (x * 50 + 2, y * 50 + 2, x * 50 + 2 + w, y * 50 + 2 + h)) for i, (x, y, w, h) in enumerate(cells)
    ]
    places = tiles.windows(300, 200, 64, 64)
    found = tiles.merge(sees(places, objects), places, 300, 200)
    told = zip(found.class_ids.tolist(), found.boxes.tolist(), strict=True)
    assert sorted((k, *box) for k, box in told) == sorted((k, *box) for k, box in objects)
    assert (np.diff(found.scores) <= 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(90, 230), st.integers(90, 230)),
        max_size=4,
        unique_by=lambda t: t[:2],
    ),
    st.integers(0, 2**32 - 1),
)
def test_objects_whose_cut_ends_are_drawn_some_px_short_come_back_whole(cells, seed):
    """As a network sees them: where the picture ends, a box ends 0 to 8 px before it."""
    objects = [(0, (x * 260 + 4, y * 260 + 4, x * 260 + 4 + w, y * 260 + 4 + h)) for x, y, w, h in cells]
    places = tiles.windows(780, 520, 256, 256)
    random, parts = np.random.default_rng(seed), []
    for part, (left, top, right, bottom) in zip(sees(places, objects), places, strict=True):
        boxes, short = part.boxes.copy().reshape(-1, 4), random.uniform(0, 8, (len(part.boxes), 4))
        ends = np.array([left == 0, top == 0, right == 780, bottom == 520])
        cut = (np.abs(boxes - np.array([0, 0, right - left, bottom - top])) < 1e-3) & ~ends
        boxes += np.where(cut, short * np.array([1, 1, -1, -1]), 0)
        real = ((boxes[:, 2:] - boxes[:, :2]) > 16).all(1)
        parts.append(Prediction(part.width, part.height, part.class_ids[real], part.scores[real], boxes[real]))
    found = tiles.merge(parts, places, 780, 520)
    assert len(found.boxes) == len(objects)
    if objects:
        overlaps = iou_matrix(found.boxes, np.array([box for _, box in objects], np.float32))
        assert (overlaps.max(0) > 0.93).all()


def test_an_object_larger_than_a_tile_is_one():
    places = tiles.windows(300, 200, 64, 64)
    found = tiles.merge(sees(places, [(1, (20, 90, 260, 110))]), places, 300, 200)
    assert found.boxes.tolist() == [[20, 90, 260, 110]]


def test_answers_about_whole_pictures_refuse_tiles(tmp_path):
    with Model.open(packages.colors(tmp_path / "p").path) as model, pytest.raises(InferenceError) as error:
        model.predict(np.zeros((90, 90, 3), np.uint8), tile=True)
    assert error.value.code == "invalid_value"


def test_a_picture_of_too_many_tiles_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("it was decoded")

    with Model.open(packages.masks(tmp_path / "p").path) as model:
        monkeypatch.setattr(tiles, "MOST", 2)
        monkeypatch.setattr("saccade.inference.stages.decode.pixels", never)
        with pytest.raises(ImageError, match="ask without tiles"):
            model.predict(encode.to_png(np.zeros((120, 170, 3), np.uint8)), tile=True)


def test_once_a_window_is_refused_the_others_are_not_asked(tmp_path, monkeypatch):
    with Model.open(packages.masks(tmp_path / "p").path) as model:
        submit, seen = model._batcher.submit, []

        def refused(row, deadline, **more):
            seen.append(row)
            if len(seen) == 3:
                raise InferenceError("many rows are waiting", code="overloaded")
            return submit(row, deadline, **more)

        monkeypatch.setattr(model._batcher, "submit", refused)
        with pytest.raises(InferenceError) as error:
            model.predict(encode.to_png(np.zeros((200, 200, 3), np.uint8)), tile=True)
        assert error.value.code == "overloaded"
        assert len(seen) == 3


def test_a_picture_in_tiles_is_held_no_longer_than_its_windows_are_made(tmp_path):
    """What waits for the graph has the network's size; of sixty large pictures not one may stay."""
    with Model.open(packages.masks(tmp_path / "p").path) as model:
        budget = model._intake.budget
        image = np.random.default_rng(0).integers(0, 256, (120, 170, 3)).astype(np.uint8)
        alive = []
        load = preprocess.load

        def watched(window, spec):
            alive.append(weakref.ref(window))
            assert window.base is None, "a view would keep the whole picture"
            return load(window, spec)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preprocess, "load", watched)
            answers = [model.submit(encode.to_png(image), time.monotonic() + 60, tile=True) for _ in range(6)]
            found = [a.result(60).result.mask for a in answers]
        assert all(np.array_equal(mask, found[0]) for mask in found)
        assert budget.room(200_000_000)
        assert alive
        assert not [window for window in alive if window() is not None]


def test_parts_of_an_accepted_picture_are_asked_though_the_model_is_leaving(tmp_path):
    model = Model.open(packages.masks(tmp_path / "p").path)
    image = encode.to_png(np.zeros((120, 170, 3), np.uint8))
    asked = [model.submit(image, time.monotonic() + 60, tile=True) for _ in range(8)]
    model.close()
    assert all(not isinstance(a.result(0).result, Exception) for a in asked)
