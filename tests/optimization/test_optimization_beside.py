"""A graph beside the default one: other shapes, how far from the golden answers, and another class on one of them."""

import io
from dataclasses import replace

import numpy as np
import pytest

from saccade import tasks
from saccade.errors import PackageError
from saccade.optimization.beside import Beside
from saccade.package.writer import PackageWriter, reseal
from saccade.testing.packages import boxes, colors, masks

DUE = np.array([[200, 100, 50]], np.float32) / 255
"""What `colors` answers for its golden picture."""


def beside(package, ours, theirs=None):
    return Beside(lambda arrays: ours, lambda arrays: theirs, tasks.find(package.manifest.task))


def test_another_shape_is_told_in_one_typed_sentence(tmp_path):
    package = masks(tmp_path / "p")
    small = beside(package, {"mask": np.zeros((2, 16, 16), np.uint8)}, {"mask": np.zeros((2, 32, 32), np.uint8)})
    with pytest.raises(PackageError, match=r"expected shape \[2, 32, 32\], got \[2, 16, 16\]") as caught:
        small({})
    assert caught.value.code == "golden_mismatch"
    with pytest.raises(PackageError, match=r"golden picture 0, output 'mask': expected shape \[1, 32, 32\]"):
        beside(package, {"mask": np.zeros((1, 16, 16), np.uint8)}).objections(package)
    with pytest.raises(PackageError, match="no output 'mask'"):
        beside(package, {"masks": np.zeros((1, 32, 32), np.uint8)}).objections(package)


@pytest.mark.parametrize(
    ("off", "said"),
    [(0.2, ""), (0.3, "it lies 0.3 from the golden outputs, no more than 0.25 is certified"), (np.nan, "it lies inf")],
)
def test_what_lies_far_from_the_golden_answers_is_refused(tmp_path, off, said):
    package = colors(tmp_path / "p")
    look = beside(package, {"scores": DUE - off})
    found = look.objections(package)
    assert len(found) == bool(said)
    assert all(f.startswith(said) for f in found)
    assert look.most == 0.25
    assert look.largest_golden == pytest.approx(off, abs=1e-3) or not np.isfinite(off)


def test_another_class_on_a_golden_picture_is_refused_where_a_picture_has_one(tmp_path):
    turned = {"scores": np.array([[0.58, 0.6, 0.2]], np.float32)}
    one = colors(tmp_path / "one", exclusive=True)
    assert beside(one, turned).objections(one) == ["on golden picture 0 it says green where the default graph says red"]
    several = colors(tmp_path / "several")
    assert beside(several, turned).objections(several) == []


def test_a_class_that_rounding_alone_decides_is_no_other(tmp_path):
    package = colors(tmp_path / "p", exclusive=True)
    out = io.BytesIO()
    np.save(out, np.array([0.5, 0.495, 0.2], np.float32))
    package = reseal(package, extra={"golden/one.scores.npy": out.getvalue()})
    assert beside(package, {"scores": np.array([[0.494, 0.5, 0.2]], np.float32)}).objections(package) == []


def test_boxes_and_masks_are_compared_by_their_own_measure(tmp_path):
    package = masks(tmp_path / "masks")
    asked = package.golden()[0].expected["mask"][None]
    wrong = asked.copy()
    wrong[0, :12] = 1 - wrong[0, :12]
    assert "it lies 0.38 from" in beside(package, {"mask": wrong}).objections(package)[0]
    assert beside(package, {"mask": asked}).objections(package) == []
    found = boxes(tmp_path / "boxes")
    expected = {name: value[None] for name, value in found.golden()[0].expected.items()}
    assert beside(found, expected).objections(found) == []
    moved = replace_boxes(expected, 20)
    assert beside(found, moved).objections(found)


def replace_boxes(outputs, by):
    return {**outputs, "boxes": outputs["boxes"] + np.float32(by)}


def test_without_golden_pictures_nothing_is_compared(tmp_path):
    package = colors(tmp_path / "p")
    package = replace(package, manifest=replace(package.manifest, golden=()))
    look = beside(package, {"scores": DUE})
    assert look.objections(package) == []
    assert (look.largest_golden, look.most) == (0.0, np.inf)


def test_of_several_other_classes_the_first_is_named_and_the_rest_counted(tmp_path):
    package = colors(tmp_path / "p", exclusive=True)
    files = {name: (package.path / "golden" / name).read_bytes() for name in ("one.image", "one.scores.npy")}
    writer = PackageWriter(tmp_path / "q")
    writer.add("model.onnx", package.graph_path().read_bytes())
    for sample in ("a", "b", "c"):
        for name, data in files.items():
            writer.add(f"golden/{name.replace('one', sample)}", data)
    package = writer.seal(replace(package.manifest, golden=("a", "b", "c")))
    [said] = beside(package, {"scores": np.array([[0.58, 0.6, 0.2]], np.float32)}).objections(package)
    assert said == "on golden picture 0 it says green where the default graph says red, and another class on 2 more"
