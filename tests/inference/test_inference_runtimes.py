"""Every runtime keeps the contract, in every format it opens; what would run code when opened is refused."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from saccade.errors import InferenceError, PackageError
from saccade.inference import runtimes
from saccade.testing.graphs import channel_means
from saccade.testing.runtimes import check


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_contract_on_onnx(name, tmp_path):
    check(runtimes.find(name), tmp_path)


def intermediate(file):
    openvino.save_model(openvino.Core().read_model(channel_means(file.with_suffix(".onnx"))), file)
    return file


def test_openvino_on_its_own_format(tmp_path):
    check(runtimes.find("openvino"), tmp_path, intermediate)


@pytest.mark.parametrize(
    ("short_s", "gain", "fails", "of_its_own"),
    [(60.0, 0.0, False, True), (0.0, 0.0, False, False), (60.0, 1e9, False, False), (60.0, 0.0, True, False)],
    ids=["faster", "long runs", "not faster", "takes no such shape"],
)
def test_single_rows_have_a_shape_of_their_own_where_that_is_faster(
    tmp_path, monkeypatch, short_s, gain, fails, of_its_own
):
    module = sys.modules[type(runtimes.find("openvino")).__module__]
    monkeypatch.setattr(module, "SHORT_S", short_s)
    monkeypatch.setattr(module, "GAIN", gain)
    if fails:

        def refuse(model):
            raise RuntimeError("no such shape")

        monkeypatch.setattr(module, "_of_one_row", refuse)
    graph = runtimes.find("openvino").open(channel_means(tmp_path / "m.onnx"))
    assert (graph._one is not None) == of_its_own
    if of_its_own:
        graph._any.run = None  # single rows do not go there
    row = np.full((1, 32, 32, 3), 51, np.uint8)
    np.testing.assert_allclose(graph.run({"image": row})["scores"], [[0.2] * 3], atol=1e-5)
    graph.close()
    check(runtimes.find("openvino"), tmp_path)


class Means(torch.nn.Module):
    def forward(self, image):
        return {"scores": image.float().mean((1, 2)) / 255}


def program(file, examples=False):
    rows = torch.export.Dim("rows")
    exported = torch.export.export(
        Means(), (torch.zeros(2, 32, 32, 3, dtype=torch.uint8),), dynamic_shapes=({0: rows},)
    )
    if not examples:
        exported._example_inputs = None
    torch.export.save(exported, file)
    return file


def test_torch(tmp_path):
    check(runtimes.find("torch"), tmp_path, program)


def test_a_program_with_a_pickle_is_not_opened(tmp_path):
    with pytest.raises(PackageError, match="pickle") as caught:
        runtimes.find("torch").open(program(tmp_path / "m.pt2", examples=True))
    assert caught.value.code == "package_format_forbidden"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("models/model.json", lambda r: r | {"more": [{"expr_str": "exec(open)"}]}),
        ("models/model.json", lambda r: r | {"more": {"expr_str": "s0.__class__"}}),
        ("data/weights/model_weights_config.json", lambda r: r | {"w": {"use_pickle": True}}),
    ],
)
def test_a_program_that_would_evaluate_is_not_opened(part, change, tmp_path):
    told = io.BytesIO()
    with zipfile.ZipFile(program(tmp_path / "m.pt2")) as old, zipfile.ZipFile(told, "w") as new:
        assert f"m/{part}" in old.namelist()
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(data))) if name == f"m/{part}" else data)
    (tmp_path / "m.pt2").write_bytes(told.getvalue())
    with pytest.raises(PackageError) as caught:
        runtimes.find("torch").open(tmp_path / "m.pt2")
    assert caught.value.code == "package_format_forbidden"


def test_an_openvino_graph_says_its_precision(tmp_path):
    model = openvino.Core().read_model(channel_means(tmp_path / "m.onnx"))
    model.set_rt_info("bf16", ["saccade", "precision"])
    openvino.save_model(model, tmp_path / "m.xml")
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if able:
        graph = runtimes.find("openvino").open(tmp_path / "m.xml")
        scores = graph.run({"image": np.full((1, 32, 32, 3), 255, np.uint8)})["scores"]
        np.testing.assert_allclose(scores, 1, atol=1e-2)
    else:
        with pytest.raises(InferenceError, match="no bf16"):
            runtimes.find("openvino").open(tmp_path / "m.xml")


def test_unknown_and_missing_runtimes(monkeypatch):
    with pytest.raises(InferenceError, match="no runtime 'nothing'"):
        runtimes.find("nothing")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(InferenceError, match=r"saccade\[openvino\]"):
        runtimes.find("openvino")
    assert runtimes.names() == []


def test_no_library_reports_home_or_leaves_an_id(tmp_path: Path) -> None:
    code = (
        "from saccade.inference import runtimes; runtimes.find('onnxruntime'); runtimes.find('openvino'); "
        "import nncf; nncf.Dataset([])"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
