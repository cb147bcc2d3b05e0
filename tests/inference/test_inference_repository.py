"""Model folders of Triton: taken as Triton would find them, refused by name where they are not what they say."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.errors import PackageError, UsageError
from saccade.inference import repository
from saccade.inference.adapter import Adapted
from saccade.inference.model import Model
from saccade.inference.runtime import OpenGraph
from saccade.package.adapter import Adapter
from saccade.package.reader import open_package
from saccade.testing.packages import colors, png
from saccade.types import Array, TensorSpec
from saccade.verbs.export import export
from saccade.verbs.imports import import_model

MEANS = """
name: "means" platform: "onnxruntime_onnx" max_batch_size: 8
input [ { name: "image" data_type: TYPE_UINT8 dims: [ 32, 32, 3 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "names.txt" } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
model_warmup { name: "x" batch_size: 1 inputs { key: "image" value { data_type: TYPE_UINT8 dims: 3 zero_data: true } } }
"""


def folder_of(tmp_path: Path, config: str = MEANS, versions: tuple[str, ...] = ("1",)) -> Path:
    folder = tmp_path / "repository" / "means"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    graph = colors(tmp_path / "graph").path / "model.onnx"
    for version in versions:
        (folder / version).mkdir()
        shutil.copy(graph, folder / version / "model.onnx")
    return folder


def described(tmp_path: Path) -> Path:
    (tmp_path / "how.toml").write_text('color = "rgb"\nscale = 1\nmode = "stretch"\n')
    return tmp_path / "how.toml"


def test_what_was_exported_to_triton_comes_back(tmp_path: Path) -> None:
    package = colors(tmp_path / "p", exclusive=True)
    out = export("triton", package.path, tmp_path / "r", version=4, settings={"max_batch": "2"}).folder
    made = import_model(
        out / "colors", tmp_path / "back", task=package.manifest.task, preprocess=described(tmp_path), tail="none"
    )
    assert made.labels.names == ("red", "green", "blue")
    assert any("version 4 of colors" in note for note in made.notes)
    manifest = open_package(made.package).manifest
    assert (manifest.name, manifest.adapter and manifest.adapter.most) == ("colors", 2)
    picture = png(10, 200, 30)
    with Model.open(package.path) as near, Model.open(made.package) as back:
        expected, got = near.outputs([picture] * 5), back.outputs([picture] * 5)
    np.testing.assert_allclose(got["scores"], expected["scores"], atol=1e-6)


def test_without_a_task_it_answers_tensors(tmp_path: Path) -> None:
    made = import_model(folder_of(tmp_path), tmp_path / "out")
    assert (made.task, made.golden) == ("tensors", 1)
    assert any("names.txt holds names" in note for note in made.notes)
    folder = tmp_path / "repository" / "means"
    (folder / "config.pbtxt").write_text("")
    task = open_package(colors(tmp_path / "c").path).manifest.task
    with pytest.raises(UsageError, match="--labels, the names of the classes"):
        import_model(folder, tmp_path / "other", task=task)


@pytest.mark.parametrize(
    ("policy", "version"),
    [("", 10), ("version_policy { all {} }", 10), ("version_policy { specific { versions: [2, 7] } }", 2)],
)
def test_the_newest_version_that_is_served_counts(tmp_path: Path, policy: str, version: int) -> None:
    folder = folder_of(tmp_path, MEANS + policy, ("2", "10", "not-one"))
    held = repository.read(folder)
    assert (held.version, held.name, held.most) == (version, "means", 8)
    assert held.inputs == (TensorSpec("image", "uint8", (None, 32, 32, 3)),)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('platform: "ensemble"', "is an ensemble"),
        ('backend: "python"', "runs on 'python'"),
        ('platform: "tensorflow_savedmodel"', "runs on 'tensorflow'"),
        ('default_model_filename: "../../up.onnx"', "names '../../up.onnx'"),
        ('default_model_filename: ".."', "names '..'"),
        ('default_model_filename: "away.onnx"', "is not there"),
        ('output { name: "y" data_type: TYPE_FP32 label_filename: "/etc/passwd" }', "names '/etc/passwd'"),
        ("version_policy { specific { versions: 9 } }", "no folder of a version of"),
        ('input { name: "x" data_type: TYPE_STRING dims: 1 }', "no type of numbers"),
        ("max_batch_size: -1", "max_batch_size is -1"),
        ("max_batch_size: 99999999999", "no configuration of Triton"),
        ("name: [", "no configuration of Triton"),
        ("a {" * 5000, "no configuration of Triton"),
        ('name: "x"' + " " * (1 << 20), "limit 1048576"),
    ],
)
def test_a_folder_that_cannot_be_taken_says_why(tmp_path: Path, config: str, words: str) -> None:
    with pytest.raises(PackageError, match=words) as caught:
        repository.read(folder_of(tmp_path, config))
    assert caught.value.code == "onnx_invalid"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"image"', '"picture"', "no input 'picture', it has 'image'"),
        ("TYPE_UINT8 dims: [ 32, 32, 3 ]", "TYPE_FP32 dims: [ 32, 32, 3 ]", "configured as float32"),
        ("[ 32, 32, 3 ]", "[ 3, 32, 32 ]", "configured as uint8"),
        ("dims: [ 3 ] label", "dims: [ 4 ] label", "output 'scores' is float32"),
    ],
)
def test_a_graph_that_is_not_the_configured_one_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(PackageError, match=words):
        import_model(folder_of(tmp_path, MEANS.replace(old, new, 1)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "1" / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "1" / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(PackageError, match="not in the model's folder"):
        repository.read(folder)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.onnx").touch()
    (folder / "config.pbtxt").write_text(text, "utf-8", errors="replace")
    try:
        repository.read(folder)
    except PackageError as error:
        assert error.code == "onnx_invalid"  # noqa: PT017 - either outcome is right, this one only with its code


class Counting(OpenGraph):
    """Doubles, and remembers how many rows came at once."""

    inputs = (TensorSpec("x", "float32", (None, 2)),)
    outputs = (TensorSpec("y", "float32", (None, 2)),)

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self.rows.append(len(arrays["x"]))
        return {"y": arrays["x"] * 2}

    def close(self) -> None: ...


def test_no_more_rows_at_once_than_the_configuration_allows() -> None:
    graph = Counting()
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    found = Adapted(graph, Adapter(most=3), "image", (1, 1), 0).run({"x": rows})
    np.testing.assert_array_equal(found["y"], rows * 2)
    assert graph.rows == [3, 3, 1]


def test_an_adapter_without_a_bound_is_written_as_before() -> None:
    assert "most" not in Adapter().to_json()
    assert Adapter.from_json(Adapter(most=5).to_json()).most == 5
    with pytest.raises(PackageError, match="most is 0 to 65,536"):
        Adapter(batch=2, most=5)
