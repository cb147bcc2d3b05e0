"""The way to the network and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.images.geometry import boxes_to_input, boxes_to_original, mask_to_original
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
