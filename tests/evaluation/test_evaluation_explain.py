"""Covering the part that speaks for an answer is what hurts it, on a real package whose answers are known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from saccade.errors import DataError
from saccade.evaluation import gallery
from saccade.evaluation.explain import CELLS, occlusion, rise
from saccade.images import geometry, preprocess
from saccade.images.encode import to_jpeg
from saccade.images.preprocess import PreprocessSpec
from saccade.inference.model import Model
from saccade.testing import packages
from saccade.types import Case, Labels, Prediction, Sample, Scorecard


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:  # type: ignore[misc]
    with Model.open(packages.colors(tmp_path_factory.mktemp("package") / "p").path) as opened:
        yield opened


@pytest.mark.parametrize(("width", "height"), [(320, 240), (40, 30), (1200, 700), (9, 3)])
def test_the_red_corner_speaks_for_red(model: Model, width: int, height: int) -> None:
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[-max(1, height // 4) :, : max(1, width // 4), 0] = 255
    found = occlusion(model, picture, model.labels.id("red"))
    assert found.heat.shape == (CELLS, CELLS)
    assert found.heat.max() == 1
    assert found.lowest < found.evidence
    assert found.heat[-1, 0] > 0.9
    assert found.heat[0, -1] < 0.1
    assert occlusion(model, picture, model.labels.id("green")).heat[-1, 0] < 0.2


def test_one_colour_has_nothing_to_show(model: Model) -> None:
    found = occlusion(model, np.full((64, 64, 3), 90, np.uint8), 0)
    assert not found.heat.any()
    assert found.lowest == pytest.approx(found.evidence)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (64, 64), (900, 500)])
def test_a_box_rests_on_its_own_pixels(tmp_path: Path, width: int, height: int) -> None:
    """Red is found around a patch at the lower left, and green around one at the upper right."""
    picture = np.full((height, width, 3), 40, np.uint8)
    red = (slice(height * 5 // 8, height * 7 // 8), slice(width // 8, width * 3 // 8))
    green = (slice(height // 8, height * 3 // 8), slice(width * 5 // 8, width * 7 // 8))
    picture[(*red, 0)] = 250
    picture[(*green, 1)] = 250
    with Model.open(packages.boxes(tmp_path / "p").path) as model:
        box = np.array([width / 8, height * 5 / 8, width * 3 / 8, height * 7 / 8], np.float32)
        found = rise(model, picture, model.labels.id("red"), box)
        other = rise(model, picture, model.labels.id("green"), box)
        missed = rise(model, picture, model.labels.id("blue"), box)
    assert found.evidence > 0.8
    assert found.lowest < 0.3
    rows, columns = found.heat.shape
    shown = (slice(rows * 5 // 8, rows * 7 // 8), slice(columns // 8, columns * 3 // 8))
    away = (slice(rows // 8, rows * 3 // 8), slice(columns * 5 // 8, columns * 7 // 8))
    assert found.heat.max() == 1
    assert found.heat[shown].mean() > 2 * found.heat[away].mean()
    assert other.evidence == missed.evidence == 0, "another class has no box there"
    assert not other.heat.any()


def test_a_region_rests_on_its_own_pixels(tmp_path: Path) -> None:
    picture = np.full((96, 128, 3), 40, np.uint8)
    picture[8:40, 80:120, 0] = 250
    with Model.open(packages.masks(tmp_path / "p").path) as model:
        found = rise(model, picture, model.labels.id("red"))
        nowhere = rise(model, picture, model.labels.id("green"))
    assert found.evidence == 1
    assert found.heat[8:40, 80:120].mean() > 2 * found.heat[50:, :60].mean()
    assert nowhere.evidence == nowhere.lowest == 0
    assert not nowhere.heat.any()


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "center_crop"])
def test_input_maps_land_on_the_picture_as_masks_do(mode: str) -> None:
    picture = np.zeros((120, 200, 3), np.uint8)
    spec = PreprocessSpec(64, 64, mode=mode)  # type: ignore[arg-type]
    place = preprocess.preprocess(picture, spec)[1]
    heat = np.zeros((64, 64), np.float32)
    heat[20:40, 24:30] = 1
    by_mask = geometry.mask_to_original((heat * 255).astype(np.uint8), place) / 255
    found = gallery.on_picture(heat, place, (64, 64), (200, 120))
    # Linear against nearest: only a rim one input pixel wide may differ.
    assert np.mean(np.abs(found - by_mask) > 0.51) < 0.005
    assert found.sum() == pytest.approx(by_mask.sum(), rel=0.06)
    half = gallery.on_picture(heat, place, (64, 64), (100, 60))
    assert half.sum() * 4 == pytest.approx(found.sum(), rel=0.05)


def test_warm_is_grey_where_cold_and_red_where_hot() -> None:
    picture = np.full((40, 40, 3), 120, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:, 5:] = 1
    shown = gallery.warm(picture, heat).astype(int)
    assert shown[20, 2].max() - shown[20, 2].min() < 10
    assert shown[20, 37, 0] > shown[20, 37, 2] + 60


def test_maps_survive_the_way_through_a_file(tmp_path: Path) -> None:
    heats = np.random.default_rng(0).random((2, 4, 5)).astype(np.float32)
    file = tmp_path / gallery.MAPS
    assert gallery.read_maps(file) == {}
    file.write_bytes(gallery.maps_to_bytes(["a/é.jpg", "b"], np.array([3, 0]), heats))
    found = gallery.read_maps(file)
    assert np.array_equal(found[("a/é.jpg", 3)], heats[0])
    assert set(found) == {("a/é.jpg", 3), ("b", 0)}
    for damage in (b"", b"PK\x03\x04rubbish", file.read_bytes()[:60]):
        file.write_bytes(damage)
        with pytest.raises(DataError, match="holds no heat maps"):
            gallery.read_maps(file)


def test_an_answer_is_scaled_with_its_picture() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[:2, 3:] = 7
    boxes = np.array([[0, 0, 3, 2], [3, 2, 6, 4]], np.float32)
    found = gallery.scaled(Prediction(6, 4, boxes=boxes, mask=mask, scores=np.array([0.5, 0.4], np.float32)), 12, 4)
    assert (found.width, found.height) == (12, 4)
    assert found.boxes is not None
    assert found.boxes.tolist() == [[0, 0, 6, 2], [6, 2, 12, 4]]
    assert found.mask is not None
    assert np.array_equal(found.mask, mask.repeat(2, 1))
    assert found.scores is not None


def test_the_gallery_asks_what_was_scored() -> None:
    """A large JPEG is decoded at a fraction of its size where it is scored, and so it is here."""
    asked: list[object] = []
    model = SimpleNamespace(
        task=SimpleNamespace(truth=lambda sample, labels: None),
        labels=Labels(("a", "b")),
        predict=lambda image: asked.append(image) or Prediction(64, 48),
    )
    sample = Sample("one", to_jpeg(np.full((48, 64, 3), 90, np.uint8)))
    card = Scorecard("t", "test", 1, (), worst=(Case("one", 1.0, "a", "b"),))
    (found,) = gallery.gallery(model, card, [sample], {}).mistakes  # type: ignore[arg-type]
    assert asked == [sample.image]
    assert [name for name, _ in found.pictures] == ["picture"]
