"""The way to the network and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.images.geometry import boxes_to_input, boxes_to_original, iou_matrix, iou_pairs, mask_to_original
from saccade.images.preprocess import PreprocessSpec, preprocess


@pytest.mark.parametrize("mode", ["stretch", "center_crop", "letterbox"])
@given(st.integers(10, 400), st.integers(10, 400))
@settings(max_examples=30, deadline=None)
def test_boxes_come_back(mode: str, width: int, height: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    _, place = preprocess(image, PreprocessSpec(64, 48, mode=mode))  # type: ignore[arg-type]
    box = np.array([[width * 0.3, height * 0.3, width * 0.6, height * 0.7]], np.float32)
    assert np.allclose(boxes_to_original(boxes_to_input(box, place), place), box, atol=1e-2)


def test_letterbox_keeps_the_shape_and_fills_the_rest() -> None:
    image = np.full((50, 100, 3), 200, np.uint8)
    out, place = preprocess(image, PreprocessSpec(64, 64, mode="letterbox", fill=7))
    assert (out[:16] == 7).all()
    assert (out[16:48] == 200).all()
    assert place.shift_y == 16


def test_a_mask_comes_back_to_the_original_size() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    _, place = preprocess(image, PreprocessSpec(64, 64, mode="letterbox"))
    mask = np.zeros((64, 64), np.uint8)
    mask[16:32] = 1
    back = mask_to_original(mask, place)
    assert back.shape == (50, 100)
    assert back[:25].all()
    assert not back[26:].any()


def test_overlap_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 30], [9, 9, 0, 0]])
    np.testing.assert_allclose(iou_matrix(boxes, boxes)[0], [1, 50 / 150, 0, 0])
    np.testing.assert_array_equal(iou_matrix(boxes, boxes)[2:], 0)
    assert iou_matrix(boxes[:0], boxes).shape == (0, 4)


def test_a_crowd_is_overlapped_by_the_share_of_the_box_within_it() -> None:
    box, crowd = np.array([[0, 0, 10, 10]] * 2), np.array([[5, 0, 100, 100]] * 2)
    plain, within = iou_pairs(box, crowd, np.array([False, True]))
    assert plain == pytest.approx(50 / (100 + 9500 - 50))
    assert within == pytest.approx(0.5)
