"""Boxes in the training loop: any backbone's maps, a validation split without objects, and what is said of boxes
that are tiny or too many."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import saccade
from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.data.formats import keepers
from saccade.errors import TrainingError
from saccade.images.preprocess import PreprocessSpec
from saccade.training import checkpoints
from saccade.training.events import Epoch, Event, Finished, Note
from saccade.training.outset import _facts_of_boxes
from saccade.training.packed import targets_of
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.schedules import size_share
from saccade.training.trainers import find
from saccade.training.trainers.torch.learner import TorchLearner
from saccade.types import Array, Labels, Sample

(TASK,) = tasks.fitting({"boxes", "box_classes"})
LABELS = Labels(("red", "green"), exclusive=False)
SIDE = 64


def sample(key: str, place: int, objects: int = 1) -> Sample:
    """A square of 16 to 32 px in a picture of noise, or none."""
    random = np.random.default_rng(place)
    pixels = (random.random((SIDE, SIDE, 3)) * 90).astype(np.uint8)
    boxes = []
    for _ in range(objects):
        side, left, top = random.integers(16, 33), random.integers(0, 31), random.integers(0, 31)
        pixels[top : top + side, left : left + side, place % 2] += 140
        boxes.append([left, top, left + side, top + side])
    record = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "box_classes": np.full(objects, place % 2, np.int64)}
    return Sample(key, pixels, record)


def dataset(train: int = 16, val: int = 6, seen: int = 1) -> Dataset:
    """seen: objects in each picture of the validation split."""
    splits = {
        "train": tuple(sample(f"train/{i}.png", i) for i in range(train)),
        "val": tuple(sample(f"val/{i}.png", 100 + i, seen) for i in range(val)),
        "test": tuple(sample(f"test/{i}.png", 200 + i) for i in range(4)),
    }
    return Dataset("memory", Path(), LABELS, splits)


def recipe(**knobs: object) -> Recipe:
    known = {"task": TASK, "size": SIDE, "epochs": 1, "batch": 8, "threads": 1, "cache": "none", "precision": "float32"}
    return Recipe.load(None, {**known, **knobs})


def fit(folder: Path, data: Dataset, **knobs: object) -> tuple[Run, list[Event]]:
    run = Run.create(folder, recipe(**knobs), data)
    return run, list(find("torch").fit(run, data))


needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


@pytest.mark.parametrize("network", ["residual-64", pytest.param("mobilenetv3_small_050", marks=needs_timm)])
def test_other_backbones_learn_boxes_and_are_sealed(tmp_path: Path, network: str) -> None:
    data = dataset()
    run, said = fit(tmp_path / "run", data, network=network, weights="none", finest=8)
    assert [e for e in said if isinstance(e, Epoch)]
    graph = find("torch").export(run, data, tmp_path / "graph")
    session = onnxruntime.InferenceSession(str(graph.file), providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        pixels = graph.probe_inputs["image"][:rows]
        answer = dict(zip((o.name for o in graph.outputs), session.run(None, {"image": pixels}), strict=True))
        ours = {k: v[:rows] for k, v in graph.probe_outputs.items()}
        assert tasks.find(TASK).difference(answer, ours) < 1e-3


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_queries_learn_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The knobs are those of such networks, and Grad-CAM finds a map."""
    from saccade.tasks.detection.torch import transformers

    more = {"d_model": 32, "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32], "decoder_layers": 2}
    monkeypatch.setitem(
        transformers.SIZES, "rtdetrv2-r18", transformers.Size((1,) * 4, "basic", (64, 64, 64, 96), more)
    )
    data = dataset()
    run, said = fit(tmp_path / "run", data, network="hf-rtdetrv2-r18", weights="none")
    assert [e for e in said if isinstance(e, Epoch)]
    assert (run.recipe.loss, run.recipe.rate, run.recipe.start_size) == ("matching", 1e-4, 1.0)
    pixels = np.stack([np.asarray(s.image) for s in data.splits["val"][:1]])
    heat = find("torch").explain(run, pixels, np.zeros(1, np.int64))
    assert heat.shape == (1, 2, 2)


def test_a_validation_split_without_objects(tmp_path: Path) -> None:
    """Nothing can be watched, so the last weights stay, no threshold is set, and the package is judged all the same."""
    keepers()["coco"].write(dataset(train=24, seen=0), tmp_path / "data")
    found = {f.id for f in saccade.check(tmp_path / "data").findings}
    assert "absent_from_val" in found
    heard: list[Event] = []
    made = saccade.train(
        tmp_path / "data",
        out=tmp_path / "run",
        listen=lambda said: heard.append(said) if isinstance(said, Event) else None,
        **{k: v for k, v in recipe(epochs=2).__dict__.items() if k in ("size", "epochs", "batch", "threads", "cache")},
    )
    epochs = [e for e in heard if isinstance(e, Epoch)]
    assert all(e.metric == 0 and e.kept for e in epochs)
    (finished,) = [e for e in heard if isinstance(e, Finished)]
    assert finished.calibration == {}
    assert made.card.headline.name == "ap"
    with saccade.load(made.package) as model:
        assert not model.manifest.thresholds
        assert model.record(model.predict(dataset().splits["test"][0].image)) is not None


def test_a_split_without_objects_is_judged(tmp_path: Path) -> None:
    keepers()["coco"].write(dataset(), tmp_path / "data")
    made = saccade.train(tmp_path / "data", out=tmp_path / "run", smoke=True, cache="none")
    bare = Dataset("memory", Path(), LABELS, {"test": tuple(sample(f"{i}.png", i, 0) for i in range(3))})
    keepers()["coco"].write(bare, tmp_path / "bare")
    card = saccade.evaluate(made.package, tmp_path / "bare")
    assert [n.name for n in card.numbers] == ["image_f1"]
    assert ("ap", "the split has no object") in card.tables[-1].rows


def test_boxes_that_the_input_cannot_show_are_told(tmp_path: Path) -> None:
    data = dataset()
    _, said = fit(tmp_path / "large", data, smoke=True)
    assert not [e for e in said if isinstance(e, Note) and "narrower" in e.message]
    wide = [Sample(s.key, np.tile(s.image, (1, 16, 1)), s.annotation) for s in data.splits["train"]]  # type: ignore[arg-type]
    _, said = fit(tmp_path / "small", Dataset("memory", Path(), LABELS, {**data.splits, "train": tuple(wide)}))
    (note,) = [e for e in said if isinstance(e, Note) and "narrower" in e.message]
    assert "16 of 16 boxes are narrower than 3 px at 64 x 16 px" in note.message


def test_what_boxes_say_of_sizes_is_told_as_the_input_will_show_them() -> None:
    """An input keeps the shape that its pictures share: a box of 60 x 22 px of a picture 1920 px long is 7 px high in
    one 640 px long, and a square stays one."""

    def facts(width: int, height: int, boxes: list[list[int]]) -> dict[str, float]:
        held = {"boxes": np.array(boxes, np.float32), "box_classes": np.zeros(len(boxes), np.int64)}
        samples = (Sample("a", np.zeros((height, width, 3), np.uint8), held),)
        targets = targets_of(samples, LABELS, tasks.find(TASK), PreprocessSpec(64, 64))
        return _facts_of_boxes(targets, samples)

    assert facts(1920, 1080, [[100, 100, 160, 122]])["smallest"] == pytest.approx(22 / 1920, rel=1e-4)
    assert facts(1080, 1920, [[100, 100, 122, 160]])["smallest"] == pytest.approx(22 / 1920, rel=1e-4)
    squares = [[50, top, 70, top + 20] for top in range(0, 200, 20)]
    assert facts(300, 200, squares)["no_up"]
    assert not facts(300, 200, [[50, top, 70, top + 40] for top in range(0, 180, 20)])["no_up"], "they stand upright"


def test_a_small_set_makes_an_epoch_by_being_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image as often as any other; epochs that were asked for are passes."""
    run, said = fit(tmp_path / "run", dataset(train=6), epochs="auto", budget="2s", batch=4)
    assert run.recipe.repeat == 67
    given, _ = fit(tmp_path / "given", dataset(train=6), epochs=2, batch=4)
    assert given.recipe.repeat == 1
    _, said = fit(tmp_path / "twice", dataset(train=6), epochs=2, repeat=2, batch=4, validation_share=1)
    assert [e.step for e in said if isinstance(e, Epoch)] == [3, 6], "12 images make 3 whole batches"
    seen: list[list[int]] = []
    step = TorchLearner.step

    def watched(learner: TorchLearner, places: Array) -> tuple[float, list[str]]:
        seen.append(places.tolist())
        return step(learner, places)

    monkeypatch.setattr(TorchLearner, "step", watched)
    fit(tmp_path / "seen", dataset(train=6), epochs=2, repeat=2, batch=6)
    assert all(sorted(places) == list(range(6)) for places in seen)
    assert len({tuple(places) for places in seen}) == 4, "every pass has its own order"


def test_a_run_from_before_a_knob_existed_goes_on(tmp_path: Path) -> None:
    run, _ = fit(tmp_path / "run", dataset())
    found = checkpoints.read(checkpoints.last(run))
    new = {"repeat", "multi_scale", "confidence", "still"}
    record = {**found.record, "recipe": {k: v for k, v in found.record["recipe"].items() if k not in new}}
    parts = {name: found.part(name) for name in ("network", "optimizer", "average")}
    checkpoints.write(run, checkpoints.last(run), parts, record)
    plan = run.folder / "recipe.toml"
    plan.write_text("".join(line for line in plan.read_text().splitlines(True) if line.split()[0] not in new))
    run = Run.open(run.folder)
    assert any(isinstance(e, Finished) for e in find("torch").fit(run, dataset()))
    checkpoints.write(run, checkpoints.last(run), parts, record)
    assert "still = 0.0" in plan.read_text(), "what began without it goes on without it"
    plan.write_text(
        plan.read_text().replace("repeat = 1", "repeat = 3").replace("multi_scale = 0.0", "multi_scale = 0.3")
    )
    with pytest.raises(TrainingError, match=r"changed since this run began: multi_scale, repeat"):
        list(find("torch").fit(Run.open(run.folder), dataset()))


def test_sizes_that_change_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    knobs = {"multi_scale": 0.25, "epochs": 2, "seed": 3}
    losses = [
        [
            e.loss
            for e in fit(tmp_path / str(turn), dataset(), **{**knobs, "multi_scale": scale})[1]
            if isinstance(e, Epoch)
        ]
        for turn, scale in enumerate((0.25, 0.25, 0.0))
    ]
    assert losses[0] == losses[1] != losses[2]
    shares = {size_share(Recipe.load(None, {**knobs, "start_size": 1}), 0.5, step) for step in range(50)}
    assert len(shares) == 50
    assert 0.75 <= min(shares) < 0.8
    assert 1.2 < max(shares) <= 1.25


def test_pictures_with_more_boxes_than_an_answer_has_are_told(tmp_path: Path) -> None:
    data = dataset()
    crowd = tuple(sample(s.key, i, 101 if i < 3 else 100) for i, s in enumerate(data.splits["train"]))
    _, said = fit(tmp_path / "run", Dataset("memory", Path(), LABELS, {**data.splits, "train": crowd}), smoke=True)
    (note,) = [e for e in said if isinstance(e, Note) and "hold more than" in e.message]
    assert "3 of 16 pictures hold more than 100 boxes" in note.message
