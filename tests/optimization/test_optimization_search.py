"""Candidates that are worse, far off, or break their library: what is told of each, and what is sealed all the same."""

import json
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from saccade.cli.main import main
from saccade.inference import runtimes
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.optimization import optimizers
from saccade.optimization import search as searching
from saccade.optimization.optimizer import Candidate, Optimizer, attempt
from saccade.optimization.quantising import parted
from saccade.package.reader import open_package
from saccade.testing.packages import colors, png
from saccade.verbs.optimize import optimize

COLORS = {"red": (190, 60, 50), "green": (50, 180, 70), "blue": (60, 50, 200)}


class Edited(Optimizer):
    """Offers the sealed graph again and again, each time with one weight changed. edits: by candidate, weight and
    how."""

    name = "edited"

    def __init__(self, **edits):
        self.edits = edits

    def candidates(self, graph, images_NHWC, folder, distance):
        for name, (weight, change) in self.edits.items():
            yield attempt(name, partial(edited, graph, folder / name, weight, change))


def edited(graph, folder, weight, change):
    folder.mkdir()
    model = onnx.load(graph)
    [found] = [w for w in model.graph.initializer if w.name == weight]
    found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found)).astype(np.float32), weight))
    file = folder / "model.onnx"
    onnx.save(model, file)
    return Candidate(folder.name, "onnxruntime", file, (file,), {"changed": weight})


class Breaks(Optimizer):
    """Offers nothing, for its library falls over."""

    name = "breaks"

    def candidates(self, graph, images_NHWC, folder, distance):
        raise TypeError("no kernel for this node\n  at line 7 of somebody's code")
        yield


class Loses(Optimizer):
    """Offers a graph one of whose files is not there, and one of a runtime that nobody has."""

    name = "loses"

    def candidates(self, graph, images_NHWC, folder, distance):
        yield Candidate("lost", "onnxruntime", graph, (graph, folder / "weights.bin"))
        yield Candidate("foreign", "abacus", graph, (graph,))


SAME = ("matrix", lambda m: m)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A package, its photos, and a call of optimize with the optimizers of a test instead of those of the house."""
    dice = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 6), ("test", 1)):
        for name, color in COLORS.items():
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(dice.normal(color, 30, (40, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    colors(tmp_path / "p", network=True, exclusive=True)

    def go(*made, **how):
        monkeypatch.setattr(optimizers, "find", lambda names=(): (list(made), []))
        heard = []
        done = optimize(tmp_path / "p", tmp_path / "data", min_gain=0, seconds=0, listen=heard.append, **how)
        return {t.name: t for t in done.tried}, heard

    return tmp_path / "p", go


def test_a_graph_that_is_really_worse_is_refused_for_its_answers(world):
    package, go = world
    blind = ("matrix", lambda m: m * np.array([1, 1, 0.2]))
    tried, heard = go(Edited(blind=blind, rounded=("first", np.round), same=SAME))
    assert set(open_package(package).manifest.graphs) == {"default", "same"}
    assert tried["blind"].drop.points == pytest.approx(100 / 3)
    assert tried["blind"].objections == (
        "accuracy drops 33.33 points, allowed 0.5; one of 18 images is 5.56 points",
        "red (f1) drops 33.33 points on 6 images, allowed 2.00",
        "blue (f1) drops 100.00 points on 6 images, allowed 2.00",
    )
    assert any("accuracy drops 66.67 points, allowed 0.5" in said for said in tried["rounded"].objections)
    assert any(line.startswith("refused  blind") and "accuracy drops 33.33" in line for line in heard)
    tried, _ = go(Edited(blind=blind), max_drop=100, max_class_drop=100)
    assert tried["blind"].kept, "nothing else spoke against it"


def test_far_from_the_golden_answers_is_refused_though_every_number_is_as_good(world):
    package, go = world
    tried, _ = go(Edited(flat=("matrix", lambda m: m / 5), mild=("matrix", lambda m: m / 2.5)))
    assert tried["flat"].drop.points == tried["mild"].drop.points == 0
    assert tried["flat"].objections == ("it lies 0.41 from the golden outputs, no more than 0.25 is certified",)
    assert tried["mild"].largest_golden == pytest.approx(0.21, abs=0.005)
    graphs = open_package(package).manifest.graphs
    assert graphs["mild"].certified.allowed_difference == 0.25, "not half as much again"
    with Model.open(package, options=Options(variant="mild")) as model:
        assert int(model.predict(png(*COLORS["green"])).class_ids[0]) == 1


def test_what_breaks_costs_itself_alone_and_what_was_kept_is_sealed(world):
    package, go = world
    broken = ("matrix", lambda m: m.reshape(5))
    tried, heard = go(Edited(before=SAME, broken=broken, after=SAME), Breaks(), Loses(), Edited(last=SAME))
    assert {n: t.objections[0] for n, t in tried.items() if not t.kept} == {
        "broken": "ValueError: cannot reshape array of size 9 into shape (5,)",
        "breaks": "TypeError: no kernel for this node",
        "lost": tried["lost"].objections[0],
        "foreign": "there is no runtime 'abacus'; " + tried["foreign"].objections[0].partition("; ")[2],
    }
    assert tried["lost"].objections[0].startswith("FileNotFoundError: ")
    assert list(tried) == ["before", "broken", "after", "breaks", "lost", "foreign", "last"]
    assert all("\n" not in line for line in heard)
    assert set(open_package(package).manifest.graphs) == {"default", "before", "after", "last"}
    with Model.open(package, options=Options(variant="last")) as model:
        assert int(model.predict(png(*COLORS["blue"])).class_ids[0]) == 2


def test_a_quantiser_that_gives_up_leaves_the_other_graphs_of_its_library(world, monkeypatch):
    package, go = world
    [house], _ = optimizers.find(["onnxruntime"])

    def gives_up(*args, **options):
        raise RuntimeError("Unexpected operand type\nTraceback")

    monkeypatch.setattr("saccade.optimization.optimizers.onnxruntime.quantize_static", gives_up)
    tried, _ = go(house)
    assert tried["onnxruntime-f32"].kept
    assert tried["onnxruntime-int8"].objections == ("RuntimeError: Unexpected operand type",)
    assert set(open_package(package).manifest.graphs) == {"default", "onnxruntime-f32"}


def test_graphs_are_opened_and_raced_as_a_server_runs_them(world, monkeypatch):
    package, go = world
    monkeypatch.setattr("saccade.inference.options.cores", lambda: 6)
    opened, streams = [], []
    kind = type(runtimes.find("onnxruntime"))
    opens, races = kind.open, searching.race

    def open_graph(self, graph, device="cpu", threads=None):
        opened.append(threads)
        return opens(self, graph, device, threads)

    def race(*args, **how):
        streams.append(how["streams"])
        return races(*args, **how)

    monkeypatch.setattr(kind, "open", open_graph)
    monkeypatch.setattr(searching, "race", race)
    go(Edited(same=SAME))
    assert set(opened) == {3}
    assert streams == [2]
    record = json.loads((package / "variants/same/certificate.json").read_bytes())
    assert record["served"] == {"runners": 2, "threads": 3}


def test_what_is_not_proven_is_said_and_recorded_or_refused(world):
    package, go = world
    tried, heard = go(Edited(same=SAME))
    doubt = "not proven: with 18 images a drop of accuracy up to 16.67 points cannot be excluded, allowed 0.5"
    assert tried["same"].doubts[0] == doubt
    assert (
        tried["same"]
        .doubts[1]
        .startswith("not proven for 3 of 3 classes: with 6 images a drop of red (f1) up to 50.00")
    )
    assert any(line.startswith("kept     same") and doubt in line for line in heard)
    assert any("18 images exclude no drop below 16.67 points" in line for line in heard)
    record = json.loads((package / "variants/same/certificate.json").read_bytes())
    assert record["not_proven"] == list(tried["same"].doubts)
    assert (record["drop"]["high"], record["drop"]["allowed"]) == (pytest.approx(100 / 6), 0.5)
    assert record["drop"]["smallest_provable"] == pytest.approx(100 / 6)
    assert {c["interval"] for c in record["classes"]} == {"paired bootstrap of accuracy over the images of the class"}
    assert [(c["one_of_n"], c["allowed"]) for c in record["classes"]] == [(pytest.approx(100 / 6), 2.0)] * 3
    tried, _ = go(Edited(same=SAME), proven=True)
    assert tried["same"].objections[0] == doubt
    assert set(open_package(package).manifest.graphs) == {"default"}
    tried, _ = go(Edited(same=SAME), proven=True, max_drop=17, max_class_drop=51)
    assert tried["same"].kept, "so much is proven"


def test_the_command_says_and_refuses_what_is_not_proven(world, capsys):
    package, go = world
    go(Edited(same=SAME))
    command = ["optimize", str(package), "--calibrate", str(package.parent / "data"), "--min-gain", "0"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "kept; not proven: with 18 images a drop of accuracy up to 16.67 points" in told
    assert main([*command, "--proven", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(t["name"], t["kept"]) for t in record["tried"]] == [("same", False)]
    assert record["tried"][0]["smallest_provable"] == pytest.approx(100 / 6)
    assert record["serves"] == "default"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 96, 128])
def test_ranges_are_fitted_and_judged_on_pictures_of_every_class(count):
    """Pictures of a split come sorted by class, here four of them."""
    pictures = (np.arange(count) * 4 // count).astype(np.uint8)[:, None, None, None]
    fit, judge = parted(pictures)
    assert len(fit) >= 1
    assert len(judge) >= 1
    if count >= 16:
        assert len(fit) + len(judge) == count
        assert np.bincount(judge.ravel()).tolist() == [count // 16] * 4
        assert np.bincount(fit.ravel()).tolist() == [count * 3 // 16] * 4
