"""The network input and the way back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.errors import PackageError
from saccade.images import geometry
from saccade.images.decode import Header
from saccade.images.preprocess import Placement, PreprocessSpec, preprocess, reduction

MODES = st.sampled_from(["stretch", "center_crop", "letterbox"])
SIDES = st.integers(1, 300)


def to_input(points_N2: np.ndarray, place: Placement) -> np.ndarray:
    """x, y in px of the original to px of the input."""
    return points_N2 * [place.scale_x, place.scale_y] + [place.shift_x, place.shift_y]


def ramp(width: int, height: int) -> np.ndarray:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([x, y, x], 2).round().astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(width=SIDES, height=SIDES, out_w=st.integers(1, 96), out_h=st.integers(1, 96), mode=MODES)
def test_boxes_come_back_and_points_stay_inside(width: int, height: int, out_w: int, out_h: int, mode: str) -> None:
    spec = PreprocessSpec(out_w, out_h, mode=mode)  # type: ignore[arg-type]
    out, place = preprocess(ramp(width, height), spec)
    assert out.shape == (out_h, out_w, 3)
    points = np.array([[0, 0], [width, height], [width / 3, height / 2]], np.float64)
    there = to_input(points, place)
    boxes = np.array([[0, 0, width, height], [0, 0, width / 2, height / 2]], np.float32)
    back = geometry.boxes_to_original(geometry.boxes_to_input(boxes, place), place)
    np.testing.assert_allclose(back, boxes, atol=1e-2)
    if mode != "center_crop":
        assert there.min() > -1e-6
        assert (there <= [out_w + 1e-6, out_h + 1e-6]).all()
    else:
        middle = to_input(np.array([[width / 2, height / 2]]), place)[0]
        assert np.abs(middle - [out_w / 2, out_h / 2]).max() <= max(place.scale_x, place.scale_y) * 0.51


@settings(max_examples=40, deadline=None)
@given(width=st.integers(8, 200), height=st.integers(8, 200), mode=MODES)
def test_masks_come_back(width: int, height: int, mode: str) -> None:
    spec = PreprocessSpec(512, 512, mode=mode)  # type: ignore[arg-type]
    _, place = preprocess(np.zeros((height, width, 3), np.uint8), spec)
    mask = np.random.default_rng(1).integers(0, 5, (height, width)).astype(np.uint8)
    there = geometry.mask_to_input(mask, place, 512, 512)
    back = geometry.mask_to_original(there, place, outside=255)
    assert back.shape == mask.shape
    inner = back[1:-1, 1:-1]
    # Enlarged by at least 2.5, each pixel is met by its own copy; where a crop cut the picture, 255 says so.
    same = inner == mask[1:-1, 1:-1]
    assert same.all() if mode != "center_crop" else (same | (inner == 255)).mean() > 0.97
    assert same.any()


def test_a_marked_pixel_lands_where_the_placement_says() -> None:
    for mode in ("stretch", "center_crop", "letterbox"):
        image = np.zeros((60, 90, 3), np.uint8)
        image[28:32, 43:47] = 255
        out, place = preprocess(image, PreprocessSpec(48, 48, mode=mode))  # type: ignore[arg-type]
        bright = np.argwhere(out[:, :, 0] > 100)[:, ::-1] + 0.5
        expected = to_input(np.array([[45.0, 30.0]]), place)[0]
        assert np.abs(bright.mean(0) - expected).max() < 0.75


def test_letterbox_fills_around() -> None:
    out, place = preprocess(np.full((10, 20, 3), 255, np.uint8), PreprocessSpec(40, 40, mode="letterbox", fill=7))
    assert (out[:10] == 7).all()
    assert (out[10:30] == 255).all()
    assert (place.shift_x, place.shift_y, place.scale_x) == (0, 10, 2)


def test_crop_ratio_keeps_the_middle() -> None:
    _, place = preprocess(
        np.zeros((256, 256, 3), np.uint8), PreprocessSpec(224, 224, "center_crop", crop_ratio=256 / 224)
    )
    assert (place.scale_x, place.shift_x, place.shift_y) == (1, -16, -16)


@pytest.mark.parametrize("kind", ["mean4", "area", "bilinear", "bicubic"])
def test_shrinking_does_not_alias(kind: str) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    out, _ = preprocess(stripes, PreprocessSpec(30, 30, interpolation=kind))  # type: ignore[arg-type]
    assert np.abs(out.astype(int) - 127).max() < 16  # a stripe pattern too fine to show is grey
    tall, _ = preprocess(stripes[:4], PreprocessSpec(30, 30, interpolation=kind))  # type: ignore[arg-type]
    assert np.abs(tall.astype(int) - 127).max() < 16  # one side grows, the other still does not alias


@settings(max_examples=40, deadline=None)
@given(width=st.integers(40, 144), height=st.integers(40, 144), seed=st.integers(0, 9))
def test_mean4_is_close_to_the_mean_over_areas(width: int, height: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    image = cv2.resize(dice.integers(0, 256, (12, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    found, _ = preprocess(image, PreprocessSpec(48, 48))
    exact, _ = preprocess(image, PreprocessSpec(48, 48, interpolation="area"))
    apart = np.abs(found.astype(int) - exact)
    assert apart.mean() < 2
    assert np.array_equal(found, exact) or apart.max() < 40  # sharp edges, where a bilinear sample looks further


def test_mean4_by_hand() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, 2) * 8
    out, _ = preprocess(image, PreprocessSpec(2, 2))
    assert out[:, :, 0].tolist() == [[20, 36], [84, 100]]  # at half the size: the mean of two by two
    tall, _ = preprocess(image, PreprocessSpec(4, 2))
    assert tall[:, :, 0].tolist() == [[17, 24, 32, 39], [81, 88, 96, 103]]  # samples beyond the edge repeat it
    third, _ = preprocess(np.full((9, 9, 3), 90, np.uint8), PreprocessSpec(3, 3))
    assert (third == 90).all()


def test_mean4_ends_where_the_spec_says() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for most, kind in ((3.0, "area"), (4.0, "mean4")):
        found, _ = preprocess(image, PreprocessSpec(16, 16, mean4_most=most))  # 3.75 times smaller
        area, _ = preprocess(image, PreprocessSpec(16, 16, interpolation="area"))
        assert np.array_equal(found, area) == (kind == "area")


def test_packages_older_than_its_reach_keep_their_pixels() -> None:
    record = PreprocessSpec(16, 16).to_json()
    assert PreprocessSpec.from_json(record).mean4_most == 3
    del record["mean4_most"]
    spec, image = PreprocessSpec.from_json(record), np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    area, _ = preprocess(image, PreprocessSpec(16, 16, interpolation="area"))  # 2.5 times smaller
    assert np.array_equal(preprocess(image, spec)[0], area)
    assert not np.array_equal(preprocess(image, PreprocessSpec(16, 16))[0], area)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "squash"}, {"interpolation": "lanczos"}, {"color": "hsv"}, {"mean4_most": "3"}, {"crop_ratio": 0.5},
        {"dct_margin": 10**400}, {"fill": 999}, {"fill": "x"}, {"antialias": "no"}, {"antialias": 1}, {"dct_scale": 2},
    ],
)  # fmt: skip
def test_a_spec_of_a_package_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(PackageError, match=next(iter(wrong))) as refusal:
        PreprocessSpec.from_json({**PreprocessSpec(8, 8).to_json(), **wrong})
    assert "saccade" in refusal.value.hint


def test_a_spec_is_written_as_it_was_read() -> None:
    new = PreprocessSpec(8, 8).to_json()
    old = {name: value for name, value in new.items() if name != "mean4_most"}
    for record in (new, old, {**old, "interpolation": "bilinear"}):
        assert PreprocessSpec.from_json(record).to_json() == record
    for spec in (
        PreprocessSpec(8, 8),
        PreprocessSpec(8, 8, interpolation="area"),
        PreprocessSpec(8, 8, mean4_most=2.0),
    ):
        assert PreprocessSpec.from_json(spec.to_json()) == spec


def test_extreme_shapes_stay_small() -> None:
    for shape in ((1, 16384, 3), (16384, 1, 3)):
        for mode in ("stretch", "center_crop", "letterbox"):
            out, _ = preprocess(np.full(shape, 9, np.uint8), PreprocessSpec(224, 224, mode=mode))  # type: ignore[arg-type]
            assert out.shape == (224, 224, 3)
            assert out[111, 111].tolist() == [9, 9, 9]


def test_colour_order() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, :, 0] = 200
    assert preprocess(image, PreprocessSpec(4, 4, color="bgr"))[0][0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("width", "height", "mode", "factor"),
    [
        (447, 447, "stretch", 1),
        (448, 448, "stretch", 2),
        (895, 895, "stretch", 2),
        (896, 896, "stretch", 4),
        (4000, 1792, "stretch", 8),
        (4000, 448, "center_crop", 2),
        (4000, 447, "center_crop", 1),
        (1792, 100, "letterbox", 8),
    ],
)
def test_the_scale_follows_from_header_and_spec(width: int, height: int, mode: str, factor: int) -> None:
    spec = PreprocessSpec(224, 224, mode=mode)  # type: ignore[arg-type]
    assert reduction(Header("jpeg", width, height), spec) == factor
    assert reduction(Header("png", width, height), spec) == 1
    assert reduction(Header("jpeg", width, height), PreprocessSpec(224, 224, dct_scale=False)) == 1
    wider = PreprocessSpec(224, 224, mode=mode, dct_margin=2.0)  # type: ignore[arg-type]
    assert reduction(Header("jpeg", 2 * width, 2 * height), wider) == factor


def test_spec_round_trip_and_refusal() -> None:
    spec = PreprocessSpec(64, 32, mode="letterbox", color="bgr")
    assert PreprocessSpec.from_json(spec.to_json()) == spec
    with pytest.raises(PackageError):
        PreprocessSpec.from_json({"width": 3, "height": 3, "magic": 1})


def test_overlap_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 30], [9, 9, 3, 3]])
    found = geometry.iou_matrix(boxes, boxes)
    np.testing.assert_allclose(found[0], [1, 50 / 150, 0, 0])
    assert not found[2:, 2:].any()
