"""From a sealed package and pictures to certified variants: real quantisers, real runtimes, and who serves in the
end."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from saccade import process
from saccade.cli.main import main
from saccade.errors import PackageError, UsageError
from saccade.inference import choice
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.reader import open_package
from saccade.package.writer import reseal
from saccade.testing.packages import colors, png
from saccade.verbs.optimize import optimize

COLORS = {"red": (190, 60, 50), "green": (50, 180, 70), "blue": (60, 50, 200)}


def photos(root, train=8, val=6, flip=0):
    dice = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val), ("test", 1)):
        for name, color in COLORS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(dice.normal(color, 30, (40, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A package with every variant that can be had here, speed left aside."""
    root = tmp_path_factory.mktemp("optimised")
    colors(root / "p", network=True, exclusive=True)
    heard = []
    done = optimize(root / "p", photos(root / "data"), min_gain=0, seconds=0.05, listen=heard.append)
    return root, done, heard


def test_every_variant_is_certified_and_answers(made):
    root, done, heard = made
    tried = {t.name: t for t in done.tried}
    wanted = {"onnxruntime-f32", "onnxruntime-int8", "openvino-f32", "openvino-int8"}
    assert wanted <= {name for name, t in tried.items() if t.kept}
    assert set(tried) == wanted | {"openvino-bf16"}
    package = open_package(root / "p")
    assert package.digest == done.digest
    assert set(package.manifest.graphs) == {"default", *(n for n, t in tried.items() if t.kept)}
    for name in wanted:
        certified = package.manifest.graphs[name].certified
        record = json.loads((root / "p" / certified.file).read_bytes())
        assert certified.host == record["host"] == process.host()
        assert set(certified.latency_ms) == {"1", "8"}
        assert record["drop"]["before"] == record["drop"]["after"] == 1.0
        assert record["held_back_images"] == 18
        assert [c["name"].split()[0] for c in record["classes"]] == ["red", "green", "blue"]
        assert record["largest_difference"] <= certified.allowed_difference
        assert record["versions"]["saccade"]
        assert certified.runtime_version == choice.installed(package.manifest.graphs[name].runtime)
        served = Options().resolved()
        assert record["served"] == {"runners": served.runners, "threads": served.threads}
        assert "with 18 images a drop of accuracy up to 16.67 points" in record["not_proven"][0]
        with Model.open(root / "p", options=Options(variant=name)) as model:
            assert model.choice.variant == name
            answers = model.predict([png(*c) for c in COLORS.values()])
            assert [int(a.class_ids[0]) for a in answers] == [0, 1, 2]
    made_by = json.loads((root / "p/variants/onnxruntime-int8/certificate.json").read_bytes())["made"]
    assert made_by["calibration"] in made_by["mean_difference"]
    assert set(made_by["mean_difference"]) == {"minmax", "entropy", "percentile"}
    assert 0 < made_by["float_nodes"] < 3, "the softmax stays float, the layers do not"
    assert any(h.startswith("kept") for h in heard)


def consumers(op):
    return [there.get_node() for out in op.outputs() for there in out.get_target_inputs()]


def test_a_graph_without_weights_has_no_int8(tmp_path):
    from saccade.optimization.optimizer import Unfit
    from saccade.optimization.optimizers import openvino

    package = colors(tmp_path / "p", exclusive=True)
    pictures = np.zeros((8, 32, 32, 3), np.uint8)
    found = {
        c.name: c for c in openvino.OPTIMIZER.candidates(package.graph_path(), pictures, tmp_path, lambda a, b: 0.0)
    }
    assert found["openvino-int8"] == Unfit("openvino-int8", "the graph has no layer with weights")


def test_int8_is_int8(made):
    import onnx
    import openvino

    graph = onnx.load(made[0] / "p/variants/onnxruntime-int8/model-int8.onnx").graph
    assert sum(n.op_type == "QuantizeLinear" for n in graph.node) >= 3
    model = openvino.Core().read_model(made[0] / "p/variants/openvino-int8/int8.xml")
    assert any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    how = json.loads((made[0] / "p/variants/openvino-int8/certificate.json").read_text())["made"]
    assert how["preset"] == min(how["mean_difference"], key=how["mean_difference"].get)
    assert set(how["mean_difference"]) == {"performance", "mixed"}
    assert how["float_nodes"] >= 1
    tail = [op for op in model.get_ordered_ops() if op.get_type_name() in ("Softmax", "SoftMax", "Sigmoid")]
    assert tail
    assert not [op for last in tail for op in consumers(last) if op.get_type_name() == "FakeQuantize"]
    assert how["seven_bit_weights"] == ("vnni" not in process.host())


def with_gains(made, folder, **gains):
    """A copy of the package whose variants are this many times as fast; the others are slower than the default
    graph."""
    shutil.copytree(made[0] / "p", folder)
    package = open_package(folder)
    graphs = {
        name: replace(g, certified=replace(g.certified, gain=gains.get(name.replace("-", "_"), 0.9)))
        if g.certified
        else g
        for name, g in package.manifest.graphs.items()
    }
    return reseal(package, graphs=graphs).path


def test_what_optimize_says_will_serve_serves(made):
    root, done, _ = made
    gains = {n: g.certified.gain for n, g in open_package(root / "p").manifest.graphs.items() if g.certified}
    fastest = max(gains, key=gains.get)
    with Model.open(root / "p") as model:
        assert model.choice.variant == done.serves == (fastest if gains[fastest] >= 1 else "default")


def test_the_fastest_that_was_certified_here_answers(made, tmp_path, monkeypatch, caplog):
    folder = with_gains(made, tmp_path / "p", openvino_int8=2.5, openvino_f32=1.2)
    fastest = "openvino-int8"
    with caplog.at_level(logging.INFO, "saccade.inference"), Model.open(folder) as model:
        assert model.choice.variant == fastest
        assert model.choice.passed["onnxruntime-f32"] == "it is slower than the default graph: 0.90 times as fast"
    assert f"{fastest}: certified here, 2.50 times as fast" in caplog.text
    monkeypatch.setattr(process, "host", lambda: "another CPU, 64 cores")
    with Model.open(folder) as model:
        assert model.choice.variant == "default"
        assert "this is another CPU, 64 cores" in model.choice.passed[fastest]
    with Model.open(folder, options=Options(variant=fastest)) as model:
        assert model.choice.reason == "it was asked for"
    monkeypatch.undo()
    monkeypatch.setattr(choice.runtimes, "names", lambda: ["onnxruntime"])
    with Model.open(folder) as model:
        assert model.choice.variant == "default"
        assert "saccade[openvino]" in model.choice.passed[fastest]


def test_a_variant_whose_golden_answers_do_not_hold_is_passed_over_aloud(made, tmp_path, monkeypatch, caplog):
    folder = with_gains(made, tmp_path / "p", openvino_int8=2.5, openvino_f32=1.2)
    first, second = [way.variant for way in choice.order(open_package(folder))][:2]
    assert (first, second) == ("openvino-int8", "openvino-f32")
    true = Model._warm

    def off(model):
        true(model)
        if model.choice.variant == first:
            run = model._graph.run

            def turned(arrays, deadline):
                return {"scores": run(arrays)["scores"][:, ::-1]}

            monkeypatch.setattr(model._batcher, "_run", turned)

    monkeypatch.setattr(Model, "_warm", off)
    with caplog.at_level(logging.WARNING, "saccade.inference"), Model.open(folder) as model:
        assert model.choice.variant == second
        assert "a certificate allows" in model.choice.passed[first]
    assert f"variant {first} is refused" in caplog.text
    with pytest.raises(PackageError) as caught:
        Model.open(folder, options=Options(variant=first))
    assert caught.value.code == "golden_mismatch"
    with pytest.raises(PackageError, match="no variant 'fp4'"):
        Model.open(folder, options=Options(variant="fp4"))


def test_what_is_not_faster_or_not_as_good_is_told_and_left_out(tmp_path, capsys):
    colors(tmp_path / "p", network=True, exclusive=True)
    before = open_package(tmp_path / "p").digest
    data = photos(tmp_path / "data")
    command = ["optimize", str(tmp_path / "p"), "--calibrate", str(data), "--only", "onnxruntime"]
    assert main([*command, "--min-gain", "1000"]) == 0
    told = capsys.readouterr().out
    assert "not faster" in told
    assert "serves   default" in told
    assert open_package(tmp_path / "p").digest == before
    assert main([*command, "--min-gain", "0", "--max-drop", "-1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [t["kept"] for t in record["tried"]] == [False, False]
    assert "accuracy drops 0.00 points, allowed -1" in record["tried"][0]["objections"][0]
    assert open_package(tmp_path / "p").digest == before


def test_variants_of_an_earlier_run_go(tmp_path):
    colors(tmp_path / "p", network=True, exclusive=True)
    data = photos(tmp_path / "data")
    first = optimize(tmp_path / "p", data, min_gain=0, seconds=0.01, only=["onnxruntime"])
    assert (tmp_path / "p/variants/onnxruntime-int8").is_dir()
    again = optimize(tmp_path / "p", data, min_gain=1000, seconds=0.01, only=["onnxruntime"])
    assert again.serves == "default"
    assert not (tmp_path / "p/variants").exists()
    assert first.digest != again.digest
    with pytest.raises(UsageError, match="no optimizer 'magic'"):
        optimize(tmp_path / "p", data, only=["magic"])
    with pytest.raises(UsageError, match="never change"):
        optimize("colors@stable", data)
