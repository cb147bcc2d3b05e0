"""Graphs from elsewhere: read off, asked for, adapted in numpy, sealed, and answering as they did at home."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import saccade
from saccade import tasks
from saccade.cli.main import main
from saccade.errors import InferenceError, PackageError, SaccadeError, UsageError
from saccade.images.preprocess import PreprocessSpec
from saccade.inference import guest
from saccade.inference import onnx as foreign_file
from saccade.inference.adapter import Adapted, survivors
from saccade.inference.model import Model
from saccade.inference.runtime import Health, OpenGraph
from saccade.package.adapter import Adapter, BoxRule
from saccade.package.manifest import Manifest
from saccade.package.reader import open_package
from saccade.testing.graphs import foreign, means
from saccade.testing.packages import png
from saccade.types import Array, Labels, TensorSpec
from saccade.verbs import ask

CLASSES, MASKS = tasks.names()[0], "segmentation"
RGB = Labels(("red", "green", "blue"))


class Echo(OpenGraph):
    """Answers what it was made with, and remembers what it was asked."""

    def __init__(self, inputs: Sequence[TensorSpec], answers: Mapping[str, Array]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(TensorSpec(n, str(v.dtype), (None, *v.shape[1:])) for n, v in answers.items())
        self.answers = answers
        self.asked: list[dict[str, Array]] = []

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self.asked.append(dict(arrays))
        rows = len(next(iter(arrays.values())))
        return {name: np.repeat(value, rows, 0) for name, value in self.answers.items()}

    def close(self) -> None: ...


def written(folder: Path, **files: str) -> dict[str, Path]:
    made = {}
    for name, text in files.items():
        made[name] = folder / name.replace("_", ".")
        made[name].write_text(text)
    return made


def boxes_wish(**boxes: Any) -> dict[str, Any]:
    return {**guest.PRESETS["unit"], "boxes": boxes}


# The whole road


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("end", ["", "Softmax", "Sigmoid"])
def test_a_classifier_answers_as_at_home(tmp_path: Path, batch: int | str, end: str) -> None:
    file = means(tmp_path / "m.onnx", (batch, 3, 8, 12), end=end, gain=3.0)
    names = written(tmp_path, l_txt="red\ngreen\nblue\n")["l_txt"]
    made = saccade.import_model(
        file,
        tmp_path / "p",
        task=CLASSES,
        labels=names,
        preprocess="symmetric",
        tail=None if end else "softmax",
    )
    assert made.labels.exclusive == (end != "Sigmoid")
    assert any(f"takes {batch} row(s)" in n for n in made.notes) == (batch != "N")
    home = onnxruntime.InferenceSession(file)
    dice = np.random.default_rng(1)
    pictures = [dice.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(9)]
    with Model.open(made.package) as model:
        got = model.outputs(pictures)["scores"]
    for picture, row in zip(pictures, got, strict=True):
        value = (picture.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        filled = np.concatenate([value] * (batch if isinstance(batch, int) else 1))
        raw = home.run(None, {"x": filled})[0][0]
        expected = raw if end else np.exp(raw) / np.exp(raw).sum()
        np.testing.assert_allclose(row, expected, atol=1e-5)
    certificate = json.loads((made.package / "certificate.json").read_text())
    assert (certificate["origin"], certificate["golden"]) == ("imported", 2)


def test_a_package_of_an_import_opens_anywhere_and_tells_what_it_is(tmp_path: Path) -> None:
    names = written(tmp_path, l_json='["red", "green", "blue"]')["l_json"]
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png(60 * i, 20, 30))
    arguments = ["import", means(tmp_path / "m.onnx", end="Softmax"), "--out", tmp_path / "p", "--task", CLASSES]
    more = ["--labels", names, "--preprocess", "imagenet", "--images", tmp_path / "photos", "--name", "tints"]
    assert main([str(a) for a in (*arguments, *more)]) == 0
    package = open_package(tmp_path / "p")
    again = Manifest.from_bytes(package.manifest.to_bytes())
    assert again == package.manifest
    assert (again.name, len(again.golden)) == ("tints", 3)
    assert again.adapter is not None
    assert again.adapter.outputs == {"scores": "y"}
    assert again.graphs["default"].inputs[0].name == "x", "the graph keeps its signature"
    assert main(["check", str(tmp_path / "p")]) == 0
    (tmp_path / "one.png").write_bytes(png(250, 5, 5))
    assert ask.predict(tmp_path / "p", [tmp_path / "one.png"])[0]["predictions"][0]["label"] == "red"


def test_a_golden_answer_that_no_longer_holds_closes_the_door(tmp_path: Path) -> None:
    names = written(tmp_path, l_txt="red\ngreen\nblue\n")["l_txt"]
    made = saccade.import_model(means(tmp_path / "m.onnx", end="Softmax", gain=9), tmp_path / "p", task=CLASSES,
                              labels=names, preprocess="unit")  # fmt: skip
    manifest = open_package(made.package).manifest
    assert manifest.adapter is not None
    lied = {**json.loads(manifest.to_bytes()), "adapter": {**manifest.adapter.to_json(), "color": "bgr"}}
    text = json.dumps(lied, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    (made.package / "manifest.json").write_text(text)
    with pytest.raises(PackageError) as caught:
        Model.open(made.package)
    assert caught.value.code == "golden_mismatch"


@pytest.mark.parametrize("whole", [False, True])
def test_a_mask_at_the_pictures_own_size(tmp_path: Path, whole: bool) -> None:
    """The brightest channel of every pixel, from scores or from ids."""
    nodes: list[Any] = [("Identity", ["x"], ["y"], {})]
    if whole:
        nodes = [("ArgMax", ["x"], ["y"], {"axis": 1, "keepdims": 0})]
    shape: list[int | str] = ["N", 6, 8] if whole else ["N", 3, 6, 8]
    file = foreign(tmp_path / "s.onnx", nodes, {"x": ["N", 3, 6, 8]}, {"y": shape}, {}, whole=["y"] if whole else [])
    names = written(tmp_path, l_txt="red\ngreen\nblue\n")["l_txt"]
    made = saccade.import_model(file, tmp_path / "p", task=MASKS, labels=names, preprocess="unit")
    picture = np.zeros((12, 16, 3), np.uint8)
    picture[:6, :, 1] = 200
    picture[6:, :, 2] = 200
    with Model.open(made.package) as model:
        mask = model.predict(picture).mask
    assert mask is not None
    assert mask[:, 0].tolist() == [1] * 6 + [2] * 6
    assert (mask == mask[:, :1]).all()


def test_tensors_only_without_task_and_labels(tmp_path: Path) -> None:
    file = means(tmp_path / "m.onnx", (1, 3, 4, 4))
    made = saccade.import_model(file, tmp_path / "p")
    assert (made.task, made.golden, len(made.labels)) == (tasks.TENSORS, 1, 0)
    with Model.open(made.package) as model:
        assert not model.pictures
        with pytest.raises(InferenceError, match="takes tensors, no pictures"):
            model.predict(png(1, 2, 3))
        rows = np.random.default_rng(0).random((5, 3, 4, 4), np.float32)
        np.testing.assert_allclose(model._graph.run({"x": rows})["y"], rows.mean((2, 3)), rtol=1e-5)
    with pytest.raises(UsageError, match="answers tensors only"):
        tasks.find(tasks.TENSORS).scorer(made.labels)
    open_sides = saccade.import_model(means(tmp_path / "o.onnx", ("N", 3, "H", "W")), tmp_path / "q")
    assert open_sides.golden == 0


# Files


def test_weights_beside_the_file_and_among_the_inputs_are_taken_in(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = means(tmp_path / "a" / "m.onnx", end="Softmax", gain=5.0, listed=True, beside="m.bin")
    facts = foreign_file.read(file)
    assert [n.split(" were ")[0] for n in facts.notes] == ["weights in m.bin", "1 weights that"]
    alone = onnxruntime.InferenceSession(facts.data)
    rows = np.random.default_rng(0).random((2, 3, 8, 12), np.float32)
    np.testing.assert_array_equal(
        alone.run(None, {"x": rows})[0], onnxruntime.InferenceSession(file).run(None, {"x": rows})[0]
    )
    assert [i.name for i in onnx.load_from_string(facts.data).graph.input] == ["x"]
    (tmp_path / "a" / "m.bin").unlink()
    with pytest.raises(PackageError, match=r"keeps weights in 'm\.bin', which is not beside it"):
        foreign_file.read(file)


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    file = means(tmp_path / "m.onnx", beside="m.bin")
    model = onnx.load(file, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(PackageError, match="outside its folder"):
        foreign_file.read(file)


def test_operators_that_are_not_here_are_named(tmp_path: Path) -> None:
    file = foreign(
        tmp_path / "m.onnx", [("Warp", ["x"], ["y"], {})], {"x": ["N", 3]}, {"y": ["N", 3]}, {}, domain="acme"
    )
    with pytest.raises(PackageError, match=r"needs operators that are not here: acme\.Warp"):
        saccade.import_model(file, tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x08\x09", png(1, 2, 3)])
def test_files_that_are_no_graph_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(PackageError) as caught:
        saccade.import_model(tmp_path / "m.onnx", tmp_path / "p")
    assert caught.value.code == "onnx_invalid"
    assert [f.name for f in tmp_path.iterdir()] == ["m.onnx"]


def test_a_graph_that_says_any_batch_and_means_one_is_run_row_by_row(tmp_path: Path) -> None:
    """Reshape to [1, -1] answers one row whatever came, as exporters that traced one picture have it."""
    nodes: list[Any] = [
        ("ReduceMean", ["x"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
        ("Reshape", ["mean", "to"], ["flat"], {}),
        ("Softmax", ["flat"], ["y"], {}),
    ]
    file = foreign(
        tmp_path / "m.onnx", nodes, {"x": ["N", 3, 4, 4]}, {"y": ["N", 3]}, {"to": np.array([1, 3], np.int64)}
    )
    names = written(tmp_path, l_txt="red\ngreen\nblue\n")["l_txt"]
    made = saccade.import_model(file, tmp_path / "p", task=CLASSES, labels=names, preprocess="unit")
    assert any("rows are run one by one" in note for note in made.notes)
    with Model.open(made.package) as model:
        assert model.outputs([png(9, 200, 9)] * 5)["scores"].argmax(1).tolist() == [1] * 5


# What must be said


@pytest.mark.parametrize(
    ("shape", "arguments", "sentence"),
    [
        (("N", 3, 8, 8), {"preprocess": None, "tail": "none"}, "color, how a picture fills the input 'x'"),
        (("N", 3, 8, 8), {"preprocess": "unit"}, "whether 'y' gives probabilities is written nowhere"),
        (("N", 3, 8, 8), {"labels": None}, "--labels, the names of the classes"),
        (("N", 3, 8, 8), {"task": None}, "--task, what is asked of a picture"),
        (("N", 3, "H", 8), {"preprocess": "unit", "tail": "none"}, "height of input 'x'"),
        (("N", 3, 8, 3), {"preprocess": "unit", "tail": "none"}, "layout of input 'x'"),
        (("N", 3, 8, 8), {"preprocess": "imagnet"}, "no preset and no file"),
        (
            ("N", 3, 8, 8),
            {"preprocess": "unit", "tail": "none", "labels": "two"},
            "no output of the graph looks like 2",
        ),
    ],
)
def test_what_cannot_be_known_is_asked_for_by_name(
    tmp_path: Path, shape: Any, arguments: dict[str, Any], sentence: str
) -> None:
    names = written(tmp_path, three="red\ngreen\nblue\n", two="a\nb\n")
    given_ = {"task": CLASSES, "labels": "three", "preprocess": "unit", **arguments}
    if given_["labels"] is not None:
        given_["labels"] = names[given_["labels"]]
    with pytest.raises(UsageError, match=sentence.replace("'", ".")):
        saccade.import_model(means(tmp_path / "m.onnx", shape), tmp_path / "p", **given_)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('colour = "rgb"', "has ..colour"),
        ('preset = "unit"\nlayout = "CHW"', "layout is NCHW or NHWC"),
        ('preset = "unit"\nwidth = 9', "width of input 'x' float32 .*is 12, 9 was asked"),
        ('preset = "unit"\nstd = 0', "no std is 0"),
        ('preset = "unit"\nmean = [1, 2]', "2 means"),
        ('preset = "unit"\nmode = 3', "mode is one of"),
        ('preset = "unit"\ncrop_ratio = 0.5', "crop_ratio is a number from 1"),
        ('preset = "none"', "preset is one of"),
        ('preset = "unit"\n[outputs]\nscores = "z"', "no output 'z'"),
        ("preset = ", "no file that can be read"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    files = written(tmp_path, how_toml=text, l_txt="red\ngreen\nblue\n")
    with pytest.raises(UsageError, match=sentence.replace("'", ".")):
        saccade.import_model(means(tmp_path / "m.onnx"), tmp_path / "p", task=CLASSES, labels=files["l_txt"],
                           preprocess=files["how_toml"], tail="none")  # fmt: skip


# Filling the input


@given(
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from(["rgb", "bgr", "gray"]),
    st.sampled_from(["float32", "float16", "uint8", "int32"]),
    st.floats(0.001, 2),
)
@settings(max_examples=40, deadline=None)
def test_an_input_is_filled_as_the_adapter_says(layout: str, color: str, dtype: str, scale: float) -> None:
    channels = 1 if color == "gray" else 3
    mean, std = (0.5, 1.5, 2.5)[:channels], (0.5, 2.0, 4.0)[:channels]
    adapter = Adapter("x", layout, dtype, color, scale, mean, std, outputs={"scores": "y"})
    echo = Echo([TensorSpec("x", dtype, (None, None, None, None))], {"y": np.zeros((1, 3), np.float32)})
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    Adapted(echo, adapter, "image", (5, 4), 3).run({"image": images})
    [asked] = echo.asked
    plain = images.astype(np.float64)
    plain = {"rgb": plain, "bgr": plain[..., ::-1], "gray": plain @ [[0.299], [0.587], [0.114]]}[color]
    plain = (plain * scale - mean) / std
    expected = plain.transpose(0, 3, 1, 2) if layout == "NCHW" else plain
    assert (asked["x"].dtype, asked["x"].flags.c_contiguous) == (dtype, True)
    if dtype == "uint8":
        expected = expected.clip(0, 255)
    np.testing.assert_allclose(
        asked["x"].astype(np.float64), expected, rtol=2e-3, atol=0.51 if "int" in dtype else 0.01
    )


def test_what_runs_a_graph_elsewhere_is_heard_through_its_adapter() -> None:
    fault, health = InferenceError("away", code="not_ready"), Health(1, 2, 3, "lost", 4, 5, [6])
    heard: list[object] = []

    class Elsewhere(Echo):
        def fault(self) -> SaccadeError:
            return fault

        def health(self) -> Health:
            return health

        def wait(self, timeout_s: float) -> bool:
            heard.append(timeout_s)
            return False

        def settle(self) -> None:
            heard.append("settled")

    adapter = Adapter("x", "NCHW", "float32", "rgb", 1.0, (0.0,) * 3, (1.0,) * 3, outputs={"scores": "y"})
    seen = Adapted(
        Elsewhere([TensorSpec("x", "float32", (None, 3, 4, 4))], {"y": np.zeros((1, 3))}), adapter, "image", (4, 4), 3
    )
    assert (seen.fault(), seen.health(), seen.wait(0.5)) == (fault, health, False)
    seen.settle()
    assert heard == [0.5, "settled"]


# Boxes


def detector(answers: Mapping[str, Array], wish: Mapping[str, Any], names: Labels, last: str = "Sigmoid") -> Adapted:
    echo = Echo([TensorSpec("x", "float32", (None, 3, 10, 20))], answers)
    wanted = ("boxes", "scores", "class_ids")
    made = guest.understand(echo, dict.fromkeys(answers, last), wanted, names, wish)
    return Adapted(echo, made.adapter, "image", (20, 10), len(made.labels))


def found(graph: Adapted) -> list[tuple[list[float], float, int]]:
    out = graph.run({"image": np.zeros((2, 10, 20, 3), np.uint8)})
    assert all(np.array_equal(v[0], v[1]) for v in out.values())
    assert [out[s.name].shape[1:] for s in graph.outputs] == [s.shape[1:] for s in graph.outputs]
    real = out["scores"][0] > 0
    rows = zip(out["boxes"][0][real], out["scores"][0][real], out["class_ids"][0][real], strict=True)
    return [([round(float(v), 3) for v in b], round(float(s), 3), int(c)) for b, s, c in rows]


CORNERS = np.array([[[0.1, 0.2, 0.3, 0.6], [0.1, 0.2, 0.3, 0.58], [0.5, 0.5, 0.9, 1.0]]], np.float32)
PLACED = [[2.0, 2.0, 6.0, 6.0], [2.0, 2.0, 6.0, 5.8], [10.0, 5.0, 18.0, 10.0]]
SCORES = np.array([[[0.2, 0.8], [0.3, 0.7], [0.99, 0.01]]], np.float32)


def test_boxes_beside_scores_with_a_background() -> None:
    graph = detector(
        {"b": CORNERS, "s": SCORES}, boxes_wish(form="corners", unit="share", background=0), Labels(("nothing", "face"))
    )
    assert found(graph) == [(PLACED[0], 0.8, 0)]


def test_numbers_that_are_no_boxes_are_refused() -> None:
    wrong = CORNERS[..., [2, 3, 0, 1]]
    wish = boxes_wish(form="corners", unit="share", background=0)
    with pytest.raises(InferenceError, match=r"end before they begin.*not corners in share"):
        found(detector({"b": wrong, "s": SCORES}, wish, Labels(("nothing", "face"))))


def test_boxes_in_one_tensor_either_way_round() -> None:
    centers = np.concatenate([(CORNERS[..., :2] + CORNERS[..., 2:]) / 2, CORNERS[..., 2:] - CORNERS[..., :2]], -1)
    wish = boxes_wish(form="center", unit="share", overlap=0.99)
    expected = [(PLACED[2], 0.99, 0), (PLACED[0], 0.8, 1), (PLACED[1], 0.7, 1)]
    joined = np.concatenate([centers, SCORES], -1)
    assert found(detector({"o": joined}, wish, Labels(("a", "b")))) == expected
    long = np.concatenate([joined, np.zeros((1, 40, 6), np.float32)], 1)
    assert found(detector({"o": long.transpose(0, 2, 1)}, wish, Labels(("a", "b")))) == expected
    sure = np.full((1, 43, 1), 0.5, np.float32)
    halved = np.concatenate([long[..., :4], sure, long[..., 4:]], -1)
    assert [f[1] for f in found(detector({"o": halved}, wish, Labels(("a", "b"))))] == [0.495, 0.4, 0.35]


def test_boxes_with_class_ids_of_their_own() -> None:
    answers = {"b": CORNERS * 10, "s": SCORES[..., 1], "c": np.array([[1, 2, 7]], np.int64)}
    wish = {**boxes_wish(form="corners", unit="pixels", first_class=1, min_score=0.0), "outputs": {"class_ids": "c"}}
    got = found(detector(answers, wish, Labels(("a", "b"))))
    assert [(s, c) for _, s, c in got] == [(0.8, 0), (0.7, 1)], "a class beyond the ledger is no answer"


def test_sealed_names_need_no_description() -> None:
    answers = {"boxes": CORNERS * 10, "scores": SCORES[..., 1], "class_ids": np.array([[0, 1, 1]], np.int64)}
    assert len(found(detector(answers, guest.PRESETS["unit"], Labels(("a", "b"))))) == 3


@pytest.mark.parametrize(
    ("answers", "wish", "names", "sentence"),
    [
        ({"b": CORNERS, "s": SCORES}, boxes_wish(unit="share"), 2, "form of the boxes in 'b'"),
        ({"b": CORNERS, "s": SCORES}, boxes_wish(form="corners"), 2, "unit of the boxes in 'b'"),
        ({"b": CORNERS, "s": SCORES}, boxes_wish(form="corners", unit="share"), 1, r"background = the column"),
        ({"b": CORNERS, "s": SCORES}, boxes_wish(form="corners", unit="mile"), 2, "unit is one of"),
        ({"b": CORNERS, "s": SCORES}, boxes_wish(form="corners", unit="share", colour=1), 2, "colour"),
        ({"b": CORNERS, "s": SCORES[..., 1]}, boxes_wish(form="corners", unit="share"), 2, "names the class of 's'"),
        ({"a": CORNERS, "b": CORNERS, "s": SCORES}, boxes_wish(form="corners", unit="share"), 2, "2 outputs look like"),
        ({"g": np.zeros((1, 85, 22, 22), np.float32)}, boxes_wish(), 80, "import it without a task"),
    ],
)
def test_boxes_that_could_mean_anything_are_asked_about(
    answers: dict[str, Array], wish: dict[str, Any], names: int, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence.replace("'", ".")):
        detector(answers, wish, Labels(tuple(str(i) for i in range(names))))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 0.95))
@settings(max_examples=50, deadline=None)
def test_no_answer_lies_over_a_better_one_of_its_class(seed: int, count: int, overlap: float) -> None:
    dice = np.random.default_rng(seed)
    corner = dice.random((count, 2)) * 20
    boxes = np.concatenate([corner, corner + dice.random((count, 2)) * 10], 1).astype(np.float32)
    scores, ids = dice.random(count).astype(np.float32), dice.integers(0, 3, count)
    rule = BoxRule(min_score=0.2, overlap=overlap, most=40)
    kept = survivors(boxes, scores, ids, rule)
    slow: list[int] = []
    for i in sorted(range(count), key=lambda i: -scores[i]):
        if scores[i] >= 0.2 and all(ids[i] != ids[j] or iou(boxes[i], boxes[j]) <= overlap for j in slow):
            slow.append(i)
    assert kept.tolist() == slow[:40]


def iou(a: Array, b: Array) -> np.float32:
    side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = side.prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
    return np.float32(shared / union if union > 0 else 0)


# The manifest


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "CHW"}, {"scale": "1"}, {"scale": float("1e400")}, {"std": [1, 0, 1]}, {"mean": [1]}, {"batch": -1},
        {"batch": 1.5}, {"outputs": {"logits": "y"}}, {"outputs": {"mask": "y"}}, {"outputs": {"scores": 3}},
        {"boxes": {"form": "corners"}}, {"mask": "NCHW"}, {"tail": "exp"}, {"more": 1}, {"outputs": ["scores"]},
    ],
)  # fmt: skip
def test_an_adapter_that_says_something_else_is_refused(wrong: dict[str, Any]) -> None:
    record = {**Adapter("x", outputs={"scores": "y"}).to_json(), **wrong}
    with pytest.raises((PackageError, ValueError, TypeError)) as caught:
        Adapter.from_json(record)
    assert isinstance(caught.value, PackageError) or "outputs" in wrong


def test_a_package_without_adapter_has_the_digest_it_always_had() -> None:
    bare = Manifest("m", CLASSES, Labels(("a",)), PreprocessSpec(2, 2), {})
    assert b"adapter" not in bare.to_bytes()
