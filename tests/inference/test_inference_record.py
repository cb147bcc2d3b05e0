"""Answers as records: what is shown, the forms of a mask, and the way back."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from saccade.errors import ImageError
from saccade.images import masks
from saccade.inference.model import Model
from saccade.inference.record import FORMS, record, shown
from saccade.testing import packages
from saccade.types import Labels, Prediction

LABELS = Labels(("cat", "dog"))
BOXED = Prediction(
    90, 60, np.array([0, 1, 0]), np.array([0.9, 0.5, 0.2], np.float32), np.arange(12, dtype=np.float32).reshape(3, 4)
)


def test_thresholds_by_class_unless_one_is_named():
    assert shown(BOXED, LABELS, {"cat": 0.3, "dog": 0.6}).scores.tolist() == pytest.approx([0.9])
    assert shown(BOXED, LABELS, {"dog": 0.6}).class_ids.tolist() == [0, 0]
    assert shown(BOXED, LABELS, {"cat": 0.3, "dog": 0.6}, threshold=0.0).class_ids.tolist() == [0, 1, 0]
    assert shown(BOXED, LABELS, {}, threshold=0.95).boxes.shape == (0, 4)
    assert len(shown(BOXED, LABELS, {}, top_k=1).scores) == 3, "top_k does not cut boxes"
    plain = Prediction(1, 1, np.array([1, 0]), np.array([0.7, 0.3], np.float32))
    assert shown(plain, LABELS, {}, top_k=1).class_ids.tolist() == [1]
    odd = Prediction(1, 1, np.array([1, 0]), np.array([np.nan, 0.3], np.float32))
    assert len(shown(odd, LABELS, {"cat": 0.5, "dog": 0.5}).scores) == 1, "what is not a number is not hidden"


def test_every_form_of_a_mask_says_the_same():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:25] = 1
    mask[8:12, 14:20] = 0
    mask[:2] = 255
    told = {form: record(Prediction(30, 20, mask=mask), LABELS, form) for form in FORMS}
    assert told["none"]["mask"] is None
    for one in told.values():
        assert [(c["label"], c["pixels"]) for c in one["classes"]] == [("cat", 414), ("dog", 126)]
        assert [c["fraction"] for c in one["classes"]] == [414 / 600, 126 / 600]
    with Image.open(io.BytesIO(base64.b64decode(told["png"]["mask"]["data"]))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), mask)
    rle = told["rle"]["mask"]
    for k, counts in rle["counts"].items():
        assert coco.area({"size": rle["size"], "counts": counts}) == (mask == int(k)).sum()
    drawn = Image.new("1", (30, 20))
    polygons = told["polygons"]["mask"]
    assert polygons["polygons"]["1"] == [[10, 5, 25, 5, 25, 15, 10, 15]]
    assert polygons["holes"]["1"] == [[14, 8, 20, 8, 20, 12, 14, 12]]
    assert drawn.size == (30, 20)


def test_a_mask_with_too_many_edges_is_an_error_of_that_picture(monkeypatch):
    monkeypatch.setattr(masks, "MAX_EDGES", 10)
    board = Prediction(20, 20, mask=(np.indices((20, 20)).sum(0) % 2).astype(np.uint8))
    assert record(board, LABELS)["classes"][0]["pixels"] == 200
    with pytest.raises(ImageError):
        record(board, LABELS, "rle")


def test_a_package_of_masks_answers_in_pixels_of_the_original(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[12:36, 24:72, 0] = 255
    with Model.open(packages.masks(tmp_path / "p").path) as model:
        told = model.record(model.predict(picture), mask="polygons")
    assert told["image"] == {"width": 96, "height": 48}
    assert {c["label"] for c in told["classes"]} == {"none", "red"}
    (ring,) = told["mask"]["polygons"]["1"]
    assert np.abs(np.array(ring) - [24, 12, 72, 12, 72, 36, 24, 36]).max() <= 3
