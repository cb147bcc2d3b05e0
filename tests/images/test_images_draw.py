"""Pictures for people."""

import numpy as np
import pytest

from saccade.images import draw


def test_contact_sheet_has_room_for_all() -> None:
    images = [np.full((h, w, 3), 200, np.uint8) for h, w in ((10, 300), (300, 10), (8, 8), (64, 64), (1, 1))]
    sheet = draw.contact_sheet(images, [f"class {i}" for i in range(5)], columns=3, cell=80)
    assert sheet.shape == (2 * 98, 3 * 80, 3)
    assert sheet.dtype == np.uint8
    assert draw.contact_sheet([], []).ndim == 3
    with pytest.raises(ValueError, match="argument"):
        draw.contact_sheet(images, ["one"])


def test_overlay_is_hot_where_the_heat_is() -> None:
    image = np.full((40, 60, 3), 128, np.uint8)
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0] = 1
    out = draw.overlay(image, heat)
    assert out.shape == image.shape
    assert out[0, 0].sum() > out[-1, -1].sum()


def test_bars_grow_with_their_value() -> None:
    out = draw.bars(np.zeros((20, 240, 3), np.uint8), ["glass", "metal"], [1.0, 0.0])
    blue = (out == (37, 99, 235)).all(2)
    assert blue[22:34].sum() > 1000 > blue[38:].sum()
