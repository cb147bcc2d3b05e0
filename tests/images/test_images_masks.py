"""Masks in the forms that leave the house, read back by pycocotools, OpenCV and Pillow."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from saccade.errors import ImageError
from saccade.images import masks

small = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 7, 255])
)


def filled(rings: masks.Rings, shape: tuple[int, ...]) -> np.ndarray:
    """Even-odd filling by crossings to the left of each pixel's centre."""
    out = np.zeros(shape, bool)
    for ring in rings.outer + rings.holes:
        points = np.array(ring).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
            assert x0 == x1 or y0 == y1
            if x0 == x1:
                out[min(y0, y1) : max(y0, y1), x0:] ^= True
    return out


@settings(max_examples=300, deadline=None)
@given(small)
def test_polygons_filled_are_the_mask(mask):
    found = masks.to_polygons(mask)
    assert sorted(found) == [k for k in np.unique(mask).tolist() if k != 255]
    for k, rings in found.items():
        np.testing.assert_array_equal(filled(rings, mask.shape), mask == k)
        count, _ = cv2.connectedComponents((mask == k).astype(np.uint8), connectivity=4)
        assert len(rings.outer) == count - 1, "pixels that touch at a corner are apart"


@settings(max_examples=300, deadline=None)
@given(small)
def test_run_lengths_are_those_of_coco(mask):
    found = masks.to_rle(mask)
    assert sorted(found) == [k for k in np.unique(mask).tolist() if k != 255]
    for k, counts in found.items():
        theirs = coco.encode(np.asfortranarray(mask == k).astype(np.uint8))["counts"].decode()
        assert counts == theirs
        np.testing.assert_array_equal(masks.from_rle(counts, *mask.shape), mask == k)


# pycocotools 2.0.11 does not know NumPy 2's copy keyword
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_large_masks_go_through_pycocotools():
    rng = np.random.default_rng(0)
    mask = cv2.resize(rng.integers(0, 5, (9, 7), np.uint8), (1600, 1100), interpolation=cv2.INTER_NEAREST)
    for k, counts in masks.to_rle(mask).items():
        record = {"size": [1100, 1600], "counts": counts}
        np.testing.assert_array_equal(coco.decode(record), mask == k)
        assert coco.area(record) == masks.pixels(mask)[k]


def test_png_holds_the_ids():
    mask = np.array([[0, 3, 255], [7, 7, 0]], np.uint8)
    with Image.open(io.BytesIO(masks.to_png(mask))) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), mask)
    assert masks.pixels(mask) == {0: 2, 3: 1, 7: 2}


def test_pixels_are_counted_beyond_what_float32_holds():
    mask = np.full((4100, 4099), 9, np.uint8)
    mask[7, 3] = mask[4099, 4098] = 255
    mask[4099, 0] = 2
    assert masks.pixels(mask) == {2: 1, 9: 4100 * 4099 - 3}
    part = mask[::2, ::3]
    assert masks.pixels(part) == {9: int((part == 9).sum())}
    assert masks.pixels(np.zeros((0, 5), np.uint8)) == {}


@pytest.mark.parametrize(
    ("form", "limit", "most"),
    [
        (masks.to_rle, "MAX_EDGES", 41 * 51),
        (masks.to_polygons, "MAX_EDGES", 42 * 52),
        (masks.to_polygons, "MAX_CORNERS", 4 * 41 * 51),
    ],
)
def test_a_checkerboard_is_refused_with_its_cure(form, limit, most, monkeypatch):
    board = np.indices((41, 51)).sum(0).astype(np.uint8) % 2
    monkeypatch.setattr(masks, limit, most)
    assert len(form(board)) == 2
    monkeypatch.setattr(masks, limit, most - 1)
    with pytest.raises(ImageError, match="mask=png") as error:
        form(board)
    assert error.value.code == "mask_too_complex"


@pytest.mark.parametrize("counts", ["", "0", "o", "04", "-1", "é", "T" * 9])
def test_run_lengths_that_do_not_fit_are_refused(counts):
    with pytest.raises(ImageError):
        masks.from_rle(counts, 3, 3)
