"""Models of other houses become packages; what is not known is asked for, what would run code is refused unopened."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from saccade import tasks
from saccade.cli.main import main
from saccade.errors import PackageError, SaccadeError, UsageError
from saccade.export.exporters.tf_serving.tensorflow.graph import Told as Retold
from saccade.inference import origins
from saccade.inference.model import Model
from saccade.inference.origin import Told, spec_of
from saccade.inference.origins import keras as keras_origin
from saccade.inference.origins import tensorflow as saved_origin
from saccade.inference.runtimes.tensorflow import savedmodel
from saccade.testing.packages import png
from saccade.types import TensorSpec
from saccade.verbs.imports import import_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CLASSES = tasks.names()[0]
PICTURES = [png(250, 30, 10), png(10, 240, 30), png(20, 30, 200)]


def labels(folder: Path) -> Path:
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    return folder / "labels.txt"


def pixels() -> Any:
    return np.stack([np.full((8, 12, 3), color, np.float32) for color in ((250, 30, 10), (10, 240, 30), (20, 30, 200))])


# PyTorch


class Tints(torch.nn.Module):
    """Softmax of nine times the means of the channels, by a convolution whose weights say so."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(9 * torch.eye(3)[:, :, None, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.mix(image).mean((2, 3)).softmax(-1)


def program(file: Path) -> Path:
    rows = torch.export.Dim("rows")
    made = torch.export.export(Tints().eval(), (torch.zeros(2, 3, 8, 12),), dynamic_shapes=({0: rows},))
    torch.export.save(made, file)
    return file


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def script(file: Path, module: torch.nn.Module | None = None) -> Path:
    torch.jit.save(torch.jit.script((module or Tints()).eval()), str(file))
    return file


def expected() -> Any:
    with torch.inference_mode():
        return Tints()(torch.from_numpy(pixels().transpose(0, 3, 1, 2) / 255)).numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "end", "more"), [(program, "pt2", []), (script, "pt", ["--input", "image:float32:N,3,8,12"])]
)
def test_a_torch_program_answers_as_at_home(tmp_path: Path, make: Any, end: str, more: list[str]) -> None:
    file = make(tmp_path / f"tints.{end}")
    before = file.read_bytes()
    said = [
        "import",
        file,
        "--out",
        tmp_path / "p",
        "--task",
        CLASSES,
        "--labels",
        labels(tmp_path),
        "--preprocess",
        "unit",
    ]
    assert main([str(s) for s in [*said, *more]]) == 0
    assert file.read_bytes() == before
    with Model.open(tmp_path / "p") as model:
        assert (model.manifest.graphs["default"].file, model.manifest.graphs["default"].runtime) == (
            f"model.{end}",
            "torch",
        )
        np.testing.assert_allclose(model.outputs(PICTURES)["scores"], expected(), atol=1e-5)
        assert model.labels.exclusive
    assert main(["check", str(tmp_path / "p")]) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_script_takes_is_asked_for(tmp_path: Path) -> None:
    file = script(tmp_path / "m.pt")
    with pytest.raises(UsageError, match=r"does not say what its inputs image are.*--input image:float32"):
        import_model(file, tmp_path / "p")
    with pytest.raises(UsageError, match="the module fails on inputs like these"):
        import_model(file, tmp_path / "p", inputs=["image:float32:N,4,8,12"])
    made = import_model(file, tmp_path / "p", inputs=["image:float32:N,3,8,12"])
    assert made.task == tasks.TENSORS


@pytest.mark.parametrize(
    "text", ["x", "x:float32", "x:text:N,3", "x:float32:3,N", "x:float32:N,-1", ":float32:N", "x:float32:"]
)
def test_an_input_is_told_in_one_way(text: str) -> None:
    with pytest.raises(UsageError, match="NAME:TYPE:SHAPE"):
        spec_of(text)
    assert spec_of("x:float32:N,3,4") == TensorSpec("x", "float32", (None, 3, 4))
    assert spec_of("x:int8:5") == TensorSpec("x", "int8", (5,))


class Reads(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.from_file("/etc/hostname", False, 1, dtype=torch.float32)


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """The archive again, each part as `change` gives it; None leaves it out."""
    made = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w", compression) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    file.write_bytes(made.getvalue())


def refused(act: Callable[[], object], words: str) -> str:
    with pytest.raises(SaccadeError, match=words) as caught:
        act()
    return caught.value.code


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_files_that_would_run_code_or_burst_are_not_opened(tmp_path: Path) -> None:
    told = {"inputs": ["image:float32:N,3,8,12"]}

    def ask(file: Path, **more: Any) -> Callable[[], object]:
        return lambda: import_model(file, tmp_path / "p", **more)

    assert (
        refused(ask(script(tmp_path / "reads.pt", Reads()), **told), "calls torch.from_file")
        == "package_format_forbidden"
    )
    torch.save(Tints().state_dict(), tmp_path / "weights.pt")
    assert refused(ask(tmp_path / "weights.pt", **told), "holds pickled objects") == "package_format_forbidden"
    torch.save(Tints().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert refused(ask(tmp_path / "old.pt", **told), "is a pickle") == "package_format_forbidden"
    assert refused(ask(tmp_path / "weights.pth"), "no .*weights.pth") == "usage"
    (tmp_path / "weights.pth").write_bytes((tmp_path / "weights.pt").read_bytes())
    assert refused(ask(tmp_path / "weights.pth"), "weights or pickled objects, no graph") == "package_format_forbidden"
    alien = script(tmp_path / "alien.pt")
    rewritten(alien, lambda n, d: d.replace(b"torch.softmax(", b"ops.acme.softmax(") if n.endswith(".py") else d)
    assert refused(ask(alien, **told), "operators of 'acme'") == "package_format_forbidden"
    for make, end in ((script, "pt"), (program, "pt2")):
        bomb = make(tmp_path / f"bomb.{end}")
        rewritten(bomb, lambda n, d: bytes(30_000_000) if "data/" in n and len(d) > 30 else d, zipfile.ZIP_DEFLATED)
        assert refused(ask(bomb, **told if end == "pt" else {}), "far larger") == "package_format_forbidden"
        for content in (b"", b"nothing", make(tmp_path / f"half.{end}").read_bytes()[:2000]):
            (tmp_path / f"half.{end}").write_bytes(content)
            assert (
                refused(ask(tmp_path / f"half.{end}", **told if end == "pt" else {}), "no |cannot be opened")
                == "onnx_invalid"
            )
    assert not (tmp_path / "p").exists()


# Keras


def tints() -> Any:
    image = keras.Input((8, 12, 3), name="image")
    mixed = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(3, use_bias=False, activation="softmax")(mixed))
    model.set_weights([9 * np.eye(3, dtype=np.float32)])
    return model


def test_a_keras_model_answers_as_at_home(tmp_path: Path) -> None:
    model = tints()
    model.save(tmp_path / "tints.keras")
    made = import_model(
        tmp_path / "tints.keras", tmp_path / "p", task=CLASSES, labels=labels(tmp_path), preprocess="unit"
    )
    assert any("rebuilt by Keras" in note for note in made.notes)
    with Model.open(made.package) as opened:
        entry = opened.manifest.graphs["default"]
        assert (entry.file, entry.runtime) == ("saved_model/saved_model.pb", "tensorflow")
        np.testing.assert_allclose(
            opened.outputs(PICTURES)["scores"], model.predict(pixels() / 255, verbose=0), atol=1e-5
        )


def test_keras_files_with_code_or_more_than_weights_are_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "m.keras"
    tints().save(file)
    whole = file.read_bytes()

    def ask() -> None:
        origins.find(file, Told()).read(file, tmp_path, Told())

    def changed(act: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
        file.write_bytes(whole)
        rewritten(file, act, compression)

    def named(old: str, new: str) -> Callable[[str, bytes], bytes]:
        return lambda n, d: d.replace(old.encode(), new.encode()) if n == "config.json" else d

    for act, words in (
        (named('"class_name": "Dense"', '"class_name": "Lambda"'), "a layer Lambda holds code"),
        (named('"module": "keras.layers"', '"module": "os.path"'), "of os.path is no layer of Keras"),
        (named('"module": "keras.layers"', '"module": "keras.utils"'), "of keras.utils is no layer of Keras"),
        (named('"registered_name": null', '"registered_name": "mine>Layer"'), "no layer of Keras"),
    ):
        changed(act)
        assert refused(ask, words) == "package_format_forbidden"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("assets/../../evil.py", "import os")
    assert refused(ask, "beside its weights|no layer") == "package_format_forbidden"
    changed(lambda n, d: bytes(50_000_000) if n.endswith(".h5") else d, zipfile.ZIP_DEFLATED)
    assert refused(ask, "would become 50,000,000 bytes") == "package_format_forbidden"
    changed(lambda n, d: None if n.endswith(".h5") else d)
    assert refused(ask, "it lacks a part") == "onnx_invalid"
    changed(lambda n, d: b"{" if n == "config.json" else d)
    assert refused(ask, "is no Keras file") == "onnx_invalid"
    file.write_bytes(b"nothing")
    assert refused(ask, "is no Keras file") == "onnx_invalid"


def test_weights_in_another_file_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as tree:
        tree["a/b"] = np.zeros(3)
        keras_origin._plain(tree)
        tree["a/c"] = h5py.ExternalLink("/etc/passwd", "/x")
        with pytest.raises(PackageError, match="are a link"):
            keras_origin._plain(tree)
        del tree["a/c"]
        tree.create_dataset("d", (4,), "u1", external=[(str(tmp_path / "secret"), 0, 4)])
        with pytest.raises(PackageError, match="lie in another file"):
            keras_origin._plain(tree)


# SavedModels


def test_the_signature_of_a_saved_model_is_asked_for_when_there_are_several(tmp_path: Path) -> None:
    module = tf.Module()
    spec = [tf.TensorSpec([None, 3], tf.float32, name="x")]
    double, triple = (
        tf.function(lambda x, n=n: {"y": x * n}, input_signature=spec).get_concrete_function() for n in (2.0, 3.0)
    )
    tf.saved_model.save(module, tmp_path / "m", signatures={"double": double, "triple": triple})
    assert saved_origin._prepare(tmp_path / "m", tmp_path, None) == {"asked": ["double", "triple"]}
    found = saved_origin._prepare(tmp_path / "m", tmp_path, "triple")
    assert found == {"last": {"y": "Mul"}, "notes": ["signature 'triple' of 2 answers"]}
    sealed = savedmodel.read(tmp_path / "saved_model")
    assert list(savedmodel.signatures(sealed)) == ["serving_default"]
    with pytest.raises(UsageError, match=r"has 2 signatures: double, triple; say --signature NAME"):
        import_model(tmp_path / "m", tmp_path / "p")
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="--signature does not go with"):
        import_model(tmp_path / "m.onnx", tmp_path / "p", signature="double")


@pytest.mark.parametrize("name", ["m.h5", "m.txt", "folder"])
def test_a_file_of_no_origin_is_told_what_there_is(tmp_path: Path, name: str) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(json.dumps({}))
    with pytest.raises(PackageError, match=r"an ONNX file, a SavedModel folder|a Keras file"):
        import_model(tmp_path / name, tmp_path / "p")


# A model of others, with the outputs that were written down for it elsewhere


def test_a_real_model_gives_its_golden_outputs_in_both_runtimes(tmp_path: Path) -> None:
    home = Path(__file__).parent / "models"
    golden = json.loads((home / "mnist.json").read_text())
    made = import_model(home / "mnist.onnx", tmp_path / "p")
    ramp = (np.arange(784) * 37 % 256 / 255).astype(np.float32).reshape(1, 1, 28, 28)
    with Model.open(made.package) as model:
        [name] = [i.name for i in model.input_specs]
        ours = model._graph.run({name: ramp})[golden["output"]]
    told = Retold(home / "mnist.onnx")
    run = tf.function(lambda x: told({name: x}), autograph=False).get_concrete_function(tf.TensorSpec([1, 1, 28, 28]))
    theirs = run(tf.constant(ramp))[golden["output"]].numpy()
    for answer in (ours, theirs):
        np.testing.assert_allclose(answer.reshape(-1)[:8], golden["first8"], rtol=1e-3, atol=1e-4)
        assert abs(float(answer.sum()) - golden["sum"]) < 1e-3
        assert abs(float(np.abs(answer).max()) - golden["absmax"]) < 1e-3


def test_a_real_model_reads_digits(tmp_path: Path) -> None:
    home = Path(__file__).parent / "models"
    (tmp_path / "digits.txt").write_text("\n".join("0123456789"))
    made = import_model(home / "mnist.onnx", tmp_path / "p", task=CLASSES, labels=tmp_path / "digits.txt",
                        preprocess="unit", tail="softmax", images=home)  # fmt: skip
    with Model.open(made.package) as model:
        assert [int(model.predict(home / f"digit_{d}.jpg").class_ids[0]) for d in (3, 5)] == [3, 5]
