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


def test_bars_grow_with_their_value() -> None:
    out = draw.bars(np.zeros((20, 240, 3), np.uint8), ["glass", "metal"], [1.0, 0.0])
    blue = (out == (37, 99, 235)).all(2)
    assert blue[22:34].sum() > 1000 > blue[38:].sum()


def test_a_class_has_one_colour_and_none_is_like_another() -> None:
    colours = [draw.colour(k) for k in range(3 * len(draw.PALETTE))]
    assert len(set(colours)) == len(colours)
    assert draw.colour(255) == draw.colour(255 % (3 * len(draw.PALETTE)))


def test_boxes_stand_where_they_were_said() -> None:
    image = np.full((500, 700, 3), 120, np.uint8)
    drawn = draw.boxes(image, np.array([[100, 150, 300, 350.4]]), ["cat", "dog"], np.array([0.9]), np.array([1]))
    assert drawn.shape == image.shape
    assert (image == 120).all()
    assert tuple(drawn[200, 100]) == tuple(drawn[350, 250]) == draw.colour(1)
    assert (drawn[250, 200] == 120).all()
    assert (drawn[145, 102:110] == draw.colour(1)).all(1).any(), "the caption stands above the box"


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (24, 32), (480, 640), (1, 900), (900, 1)])
def test_boxes_and_masks_of_any_size_and_any_place(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    wild = np.array([[0, 0, *shape[::-1]], [-50, -50, 1e9, 1e9], [5, 5, 1, 1], [np.nan, 0, np.inf, 1]], np.float32)
    for dashed in (False, True):
        out = draw.boxes(image, wild, ["näme 中\n" * 9], np.full(4, 0.5), np.zeros(4, int), dashed=dashed)
        assert out.dtype == np.uint8
        assert max(out.shape[:2]) >= draw.LEGIBLE
    assert draw.boxes(image, np.zeros((0, 4)), []).shape[2] == 3
    ids = np.arange(shape[0] * shape[1]).reshape(shape) % 3
    out = draw.mask(image, ids.astype(np.uint8), ["floor", "wall", "a long name of a class " * 5])
    assert out.shape[0] > shape[0]


def test_a_mask_is_drawn_in_its_colours_and_void_is_hatched() -> None:
    image = np.full((500, 500, 3), 100, np.uint8)
    ids = np.zeros((500, 500), np.uint8)
    ids[100:200, 100:200] = 1
    ids[300:400, 300:400] = 255
    out = draw.mask(image, ids, ["floor", "wall"])
    expected = np.round(np.array(draw.colour(1)) * 0.5 + 50)
    assert np.abs(out[150, 150].astype(int) - expected).max() <= 1
    assert {tuple(p) for p in out[330:370, 330:370].reshape(-1, 3).tolist()} == {(50, 50, 50), (200, 200, 200)}
    assert (out[500:] == draw.colour(1)).all(2).any(), "the legend names the class"
    assert out.shape[1] == 500


def test_beside_puts_pictures_in_a_row() -> None:
    out = draw.beside([np.full((50, 40, 3), 1, np.uint8), np.full((30, 60, 3), 2, np.uint8)], ["truth", "answer"])
    assert out.shape[1] == 40 + 6 + 60
    assert (out[10, 5] == 1).all()
    assert (out[10, 50] == 2).all()


def test_bars_grow_with_the_picture() -> None:
    small, large = (draw.bars(np.zeros((side, side, 3), np.uint8), ["a", "b"], [0.5, 1.0]) for side in (300, 3000))
    assert small.shape[0] - 300 == 2 * 16 + 4
    assert large.shape[0] - 3000 > 5 * (small.shape[0] - 300)
    assert (large[3000 + 40, 1000:1490] == (37, 99, 235)).all()
    assert not (large[3000 + 40, 1510:] == (37, 99, 235)).any()
