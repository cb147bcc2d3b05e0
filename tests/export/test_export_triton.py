"""Repositories for Triton: the configuration it reads, and the pixels of the stage that takes encoded pictures."""

import importlib
import io
import itertools
import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saccade.errors import ImageError, UsageError
from saccade.export.exporters.triton import CARRIED, config
from saccade.images import preprocess
from saccade.images.fill import Filling, fill
from saccade.images.preprocess import PreprocessSpec
from saccade.inference.model import Model
from saccade.package.adapter import Adapter
from saccade.package.manifest import GraphEntry
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.testing.packages import boxes, colors, masks
from saccade.types import TensorSpec
from saccade.verbs.export import export
from saccade.verbs.imports import import_model

ROOT = Path(__file__).resolve().parents[2]


def made(package: Package, out: Path, **settings: str) -> Path:
    return export("triton", package.path, out, settings=settings).folder


def test_three_models_stand_in_a_repository(tmp_path: Path) -> None:
    repository = made(boxes(tmp_path / "p"), tmp_path / "r", max_batch="8", instances="2", device="cpu", delay_us="50")
    assert sorted(p.name for p in repository.iterdir()) == ["boxes", "boxes_image", "boxes_pixels"]
    told = (repository / "boxes" / "config.pbtxt").read_text()
    for words in (
        'platform: "onnxruntime_onnx"', "max_batch_size: 8", "dims: [32, 32, 3]", "dims: [3, 4]", "TYPE_INT64",
        "count: 2\n  kind: KIND_CPU", "max_queue_delay_microseconds: 50", "zero_data: true",
    ):  # fmt: skip
        assert words in told
    assert (repository / "boxes" / "1" / "model.onnx").read_bytes() == (tmp_path / "p" / "model.onnx").read_bytes()
    assert not (repository / "boxes" / "labels.txt").exists()
    whole = (repository / "boxes_image" / "config.pbtxt").read_text()
    assert whole.index('model_name: "boxes_pixels"') < whole.index('model_name: "boxes"')
    assert "data_type: TYPE_STRING" in whole


def test_classes_have_names_and_versions_have_numbers(tmp_path: Path) -> None:
    package = colors(tmp_path / "p", exclusive=True)
    done = export("triton", package.path, tmp_path / "r", name="tints", version=7)
    assert (done.folder / "tints" / "labels.txt").read_text() == "red\ngreen\nblue\n"
    assert 'label_filename: "labels.txt"' in (done.folder / "tints" / "config.pbtxt").read_text()
    assert {f.split("/")[1] for f in done.files if f.count("/") > 1} == {"7"}
    assert done.written.difference is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_batch": "0"}, "max_batch is 1 to 4096, got '0'"),
        ({"instances": "many"}, "instances is 1 to 64, got 'many'"),
        ({"delay_us": "-1"}, "delay_us is 0 to 1000000, got '-1'"),
        ({"device": "tpu"}, "device is auto, cpu, gpu, got 'tpu'"),
    ],
)
def test_a_setting_outside_its_range_is_refused(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(colors(tmp_path / "p"), tmp_path / "r", **settings)
    assert not (tmp_path / "r").exists()


def foreign(folder: Path, adapter: Adapter, inputs: TensorSpec, outputs: TensorSpec) -> Package:
    """A package with an adapter; what its graph file holds is never opened here."""
    package = colors(folder)
    writer = PackageWriter(folder)
    writer.add("model.onnx", (folder / "model.onnx").read_bytes())
    entry = GraphEntry("model.onnx", "onnxruntime", (inputs,), (outputs,))
    return writer.seal(replace(package.manifest, graphs={"default": entry}, adapter=adapter, golden=()))


def test_a_graph_of_one_row_keeps_its_batch_axis_in_the_dims(tmp_path: Path) -> None:
    adapter = Adapter("x", batch=1, outputs={"scores": "y"}, scale=1 / 255)
    given = TensorSpec("x", "float32", (1, 3, 8, 6)), TensorSpec("y", "float32", (1, 3))
    repository = made(foreign(tmp_path / "p", adapter, *given), tmp_path / "r")
    told = (repository / "colors" / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in told
    assert "dims: [1, 3, 8, 6]" in told
    assert "dynamic_batching" not in told
    assert "dims: [1, 6]" in (repository / "colors_image" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("adapter", "shape", "words"),
    [
        (Adapter("x", batch=2, outputs={"scores": "y"}), (2, 3), "2 rows at a time"),
        (Adapter(batch=0), (None, 3), "answers tensors only"),
    ],
)
def test_what_cannot_take_pictures_says_why(tmp_path: Path, adapter: Adapter, shape: Any, words: str) -> None:
    given = TensorSpec("x", "float32", (shape[0], 3, 8, 6)), TensorSpec("y", "float32", shape)
    done = export("triton", foreign(tmp_path / "p", adapter, *given).path, tmp_path / "r")
    assert words in done.written.notes[-1]
    assert [p.name for p in done.folder.iterdir()] == ["colors"]


def test_an_output_named_as_the_stage_names_its_own_is_told(tmp_path: Path) -> None:
    given = TensorSpec("x", "float32", (None, 3, 8, 6)), TensorSpec("pixels", "float32", (None, 3))
    package = foreign(tmp_path / "p", Adapter("x", outputs={"scores": "pixels"}), *given)
    assert "output 'pixels' of its own" in export("triton", package.path, tmp_path / "r").written.notes[-1]


def test_a_tensor_without_rows_is_refused(tmp_path: Path) -> None:
    given = TensorSpec("x", "float32", (None, 3, 8, 6)), TensorSpec("y", "float32", ())
    package = foreign(tmp_path / "p", Adapter("x", outputs={"scores": "y"}), *given)
    with pytest.raises(UsageError, match="'y' has no axis for rows"):
        made(package, tmp_path / "r")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_name_survives_the_text_format(name: str) -> None:
    message = text_format.Parse(config.text({"value": name}), wrappers_pb2.StringValue())
    assert message.value == name


# The stage

HARNESS = """
import importlib.util, json, pathlib, sys, types
import numpy as np

class Tensor:
    def __init__(self, name, values): self.called, self.values = name, values
    def as_numpy(self): return self.values

class Response:
    def __init__(self, output_tensors, error=None): self.output_tensors, self.error = output_tensors, error

class Fault(Exception):
    INVALID_ARG = 1
    def __init__(self, words, code): super().__init__(words)

backend = types.ModuleType("triton_python_backend_utils")
backend.Tensor, backend.InferenceResponse, backend.TritonError = Tensor, Response, Fault
backend.get_input_tensor_by_name = lambda request, name: request[name]
sys.modules[backend.__name__] = backend
versions, pictures, out = map(pathlib.Path, sys.argv[1:])
answers = {}
for i, version in enumerate(sorted(versions.iterdir())):
    for name in [n for n in sys.modules if n.split(".")[0] == "saccade"]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(f"stage{i}", version / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert pathlib.Path(sys.modules["saccade"].__file__).parent == version.resolve() / "saccade"
    model = module.TritonPythonModel()
    model.initialize({})
    files = sorted(pictures.iterdir())
    asked = [{"image": Tensor("image", np.array([[f.read_bytes()]], object))} for f in files]
    for file, response in zip(files, model.execute(asked)):
        if response.error:
            answers[f"{version.name}/{file.name}/error"] = np.array(str(response.error))
        for tensor in response.output_tensors:
            answers[f"{version.name}/{file.name}/{tensor.called}"] = tensor.values
    model.finalize()
np.savez(out, **answers)
"""


def photos(folder: Path) -> list[Path]:
    """Pictures of every road through the decoder: scaled JPEG, turned, grey, alpha, 16 bits, palette, WebP; two
    broken."""
    dice = np.random.default_rng(0)
    small = np.kron(dice.integers(0, 256, (12, 17, 3), np.uint8), np.ones((5, 4, 1), np.uint8))
    big = Image.fromarray(np.kron(small, np.ones((6, 6, 1), np.uint8)))
    little, exif = Image.fromarray(small), Image.Exif()
    exif[0x0112] = 6
    folder.mkdir()
    saved: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "big.jpg": (big, "JPEG", {"quality": 90}),
        "turned.jpg": (big, "JPEG", {"exif": exif}),
        "grey.jpg": (little.convert("L"), "JPEG", {}),
        "inks.jpg": (little.convert("CMYK"), "JPEG", {}),
        "plain.png": (little, "PNG", {}),
        "clear.png": (little.convert("RGBA"), "PNG", {}),
        "palette.png": (little.convert("P"), "PNG", {}),
        "deep.png": (Image.fromarray(dice.integers(0, 65536, (20, 30), np.uint16)), "PNG", {}),
        "soft.webp": (little, "WEBP", {"quality": 80}),
    }
    for name, (picture, kind, options) in saved.items():
        out = io.BytesIO()
        picture.save(out, kind, **options)
        (folder / name).write_bytes(out.getvalue())
    (folder / "cut.jpg").write_bytes((folder / "big.jpg").read_bytes()[:900])
    (folder / "none.txt").write_bytes(b"no picture")
    return sorted(folder.iterdir())


SPECS = [
    PreprocessSpec(24, 16, mode=mode, interpolation=how, antialias=soft, crop_ratio=1.143, dct_scale=scaled)
    for mode, how, soft, scaled in itertools.product(
        ("stretch", "center_crop", "letterbox"), ("area", "bilinear", "bicubic"), (True, False), (True, False)
    )
] + [PreprocessSpec(200, 160, mode="letterbox", color="bgr", fill=7), PreprocessSpec(31, 77, dct_margin=1.0)]
FILLINGS = [
    None,
    Filling("NCHW", "float32", "bgr", 1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
    Filling("NHWC", "float16", "gray", 1 / 127.5, (1.0,), (1.0,)),
    Filling("NCHW", "int8", "rgb", 1.0, (128.0,) * 3, (1.0,) * 3),
]


def test_the_stage_gives_the_pixels_of_this_house_to_the_byte(tmp_path: Path) -> None:
    exported = made(colors(tmp_path / "p"), tmp_path / "r") / "colors_pixels" / "1"
    pictures = photos(tmp_path / "pictures")
    cases = {f"{i:03d}": (spec, FILLINGS[i % len(FILLINGS)]) for i, spec in enumerate(SPECS)}
    for name, (spec, filling) in cases.items():
        version = tmp_path / "versions" / name
        version.parent.mkdir(exist_ok=True)
        version.mkdir()
        for entry in exported.iterdir():
            if entry.name != "preprocess.json":
                (version / entry.name).symlink_to(entry)
        (version / "model.py").unlink()
        (version / "model.py").write_bytes((exported / "model.py").read_bytes())
        record = {"preprocess": spec.to_json(), "filling": filling.to_json() if filling else None}
        (version / "preprocess.json").write_text(json.dumps(record))
    script = tmp_path / "harness.py"
    script.write_text(HARNESS)
    command = [sys.executable, script, tmp_path / "versions", tmp_path / "pictures", tmp_path / "out.npz"]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin"}, timeout=120)
    with np.load(tmp_path / "out.npz") as record:
        found = dict(record)
    for (name, (spec, filling)), picture in itertools.product(cases.items(), pictures):
        key = f"{name}/{picture.name}"
        if picture.name in ("cut.jpg", "none.txt"):
            with pytest.raises(ImageError) as caught:
                preprocess.load(picture.read_bytes(), spec)
            assert str(found[f"{key}/error"]) == f"{caught.value.code}: {caught.value}"
            continue
        pixels, place = preprocess.load(picture.read_bytes(), spec)
        expected = pixels[None] if filling is None else fill(pixels[None], filling)
        got = found[f"{key}/pixels"]
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == expected.tobytes(), key
        where = (place.width, place.height, place.scale_x, place.scale_y, place.shift_x, place.shift_y)
        np.testing.assert_array_equal(found[f"{key}/placement"], [where])


def test_the_stage_carries_our_files_as_they_are(tmp_path: Path) -> None:
    stage = made(masks(tmp_path / "p"), tmp_path / "r") / "masks_pixels" / "1" / "saccade"
    for name in CARRIED:
        assert (stage / name).read_bytes() == (ROOT / "src" / "saccade" / name).read_bytes()


# The real Triton


@pytest.mark.clients
def test_the_real_triton_loads_it_without_edits_and_answers_as_the_package(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        environment = importlib.import_module("benchmarks.environment")
        tritonserver = importlib.import_module("benchmarks.interop.tritonserver")
    if not (environment.folder_of(tritonserver.REQUIREMENTS) / "complete").is_file():
        pytest.skip("Triton has no environment here: python -m benchmarks.interop triton --prepare")
    package = boxes(tmp_path / "p")
    repository = made(package, tmp_path / "r")
    picture = next(p for p in photos(tmp_path / "pictures") if p.name == "turned.jpg").read_bytes()
    space = tmp_path / "space"
    space.mkdir()
    with tritonserver.serving(repository, space) as triton:
        request = urllib.request.Request(
            f"http://{triton.http}/v2/models/boxes_image/infer", picture, {"Inference-Header-Content-Length": "0"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            length = int(answer.headers["Inference-Header-Content-Length"])
            body = answer.read()
        remote = import_model(f"triton://{triton.grpc}/boxes", tmp_path / "far", like=package.path)
        with Model.open(remote.package) as far:
            asked = far.outputs([picture] * 3)
    at, found = length, {}
    for output in json.loads(body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        dtype = {"FP32": np.float32, "INT64": np.int64, "FP64": np.float64}[output["datatype"]]
        found[output["name"]] = np.frombuffer(body[at : at + size], dtype).reshape(output["shape"])
        at += size
    with Model.open(package.path, check=False) as model:
        expected = model.outputs([picture])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
        np.testing.assert_allclose(asked[name], np.repeat(value, 3, 0), atol=1e-6)
    _, place = preprocess.load(picture, package.manifest.preprocess)
    np.testing.assert_allclose(found["placement"][0, :3], (place.width, place.height, place.scale_x))
