"""What every trainer must keep: it learns, leaves a whole run folder, repeats itself, goes on where it stopped, ends on
time, refuses what it cannot do, and exports a graph that answers as it does.

Each check trains for seconds on coloured squares, in a folder of its own; what an answer's kind could change is checked
in every one of WORLDS.
"""

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import SaccadeError, TrainingError, UsageError
from saccade.inference import runtimes
from saccade.training import checkpoints
from saccade.training.events import Chosen, Epoch, Event, Finished, Started
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Trainer
from saccade.types import Array, Labels, Sample

NEAR = 1e-4
"""How far answers of the exported graph may lie from the trainer's."""
SIDE = 16


def squares(train: int = 48, val: int = 12, exclusive: bool = True) -> Dataset:
    """Noisy squares, redder, greener or bluer than grey."""
    random = np.random.default_rng(0)

    def sample(place: int, split: str) -> Sample:
        kind = place % 3
        pixels = (random.random((SIDE, SIDE, 3)) * 80).astype(np.uint8)
        pixels[..., kind] += 120
        return Sample(f"{split}/{place}", pixels, {"classes": np.array([kind], np.int64)})

    parts = {k: tuple(sample(i, k) for i in range(n)) for k, n in (("train", train), ("val", val))}
    return Dataset("arrays", Path("memory"), Labels(("red", "green", "blue"), exclusive=exclusive), parts)


def scenes(field: str, train: int = 24, val: int = 6) -> Dataset:
    """A bright square somewhere on noise, whose place is the truth. field: "boxes", or "mask"
    with ids up to the edge."""
    random = np.random.default_rng(0)
    side, inner = 64, 26

    def sample(place: int, split: str) -> Sample:
        pixels = (random.random((side, side, 3)) * 60).astype(np.uint8)
        (x, y), kind = random.integers(2, side - inner - 2, 2), place % 3
        pixels[y : y + inner, x : x + inner, kind] += 180
        mask = np.zeros((side, side), np.uint8)
        mask[y : y + inner, x : x + inner] = kind
        box = np.array([[x, y, x + inner, y + inner]], np.float32)
        boxes: dict[str, Array] = {"boxes": box, "box_classes": np.array([kind], np.int64)}
        return Sample(f"{split}/{place}", pixels, boxes if field == "boxes" else {"mask": mask})

    parts = {k: tuple(sample(i, k) for i in range(n)) for k, n in (("train", train), ("val", val))}
    return Dataset("arrays", Path("memory"), Labels(("red", "green", "blue")), parts)


@dataclass(frozen=True)
class World:
    """Pictures of one kind of truth, in memory. knobs: of a recipe that learns them in seconds, to at least `least` of
    the number that is watched. near: how far two answers may lie apart, as the task measures it."""

    data: Callable[..., Dataset]
    knobs: Mapping[str, Any]
    least: float
    near: float = NEAR

    @property
    def task(self) -> str:
        return tasks.fitting(self.data().fields)[0]


_SCENE = {"size": 64, "start_size": 1, "rate": 0.005, "dropout": 0, "epochs": 14, "mosaic": 0}
WORLDS: Mapping[str, World] = {
    "squares": World(
        squares,
        {"network": "cnn-small", "filters": "8,16", "dense": 16, "size": SIDE, "dropout": 0.2, "epochs": 8},
        0.9,
    ),
    "boxes": World(lambda *n: scenes("boxes", *n), {**_SCENE, "network": "residual-64", "finest": 8}, 0.2, 1e-3),
    "masks": World(lambda *n: scenes("mask", *n), {**_SCENE, "network": "light-mask"}, 0.4, 1e-3),
}


def recipe(trainer: Trainer, world: World = WORLDS["squares"], **changes: Any) -> Recipe:
    """A small one for the pictures of a world."""
    plain = {
        "task": world.task, "engine": trainer.name, "cache": "none", "threads": 1, "batch": 8, "precision": "float32",
        "device": "cpu", "weights": "none", **world.knobs, "epochs": 3,
    }  # fmt: skip
    return Recipe.load(None, {**plain, **changes})


def fit(
    trainer: Trainer, folder: Path, data: Dataset | None = None, world: World = WORLDS["squares"], **changes: Any
) -> tuple[Run, list[Event]]:
    dataset = data or world.data()
    run = Run.create(folder, recipe(trainer, world, **changes), dataset)
    return run, list(trainer.fit(run, dataset))


def weights(run: Run) -> Mapping[str, Array]:
    return checkpoints.read(checkpoints.last(run)).arrays


def check_learning(trainer: Trainer, folder: Path, world: World = WORLDS["squares"]) -> None:
    """It learns, says so in events that stand in the folder, and its graph answers as it does."""
    data, task = world.data(), tasks.find(world.task)
    run, said = fit(trainer, folder / "run", data, world, epochs=world.knobs["epochs"])
    kinds = [e.kind for e in said]
    assert isinstance(said[-1], Finished)
    assert said[-1].metric > world.least
    losses = [e.loss for e in said if isinstance(e, Epoch)]
    assert losses[-1] < losses[0]
    assert kinds.index(Chosen.kind) < kinds.index(Started.kind) < kinds.index(Epoch.kind)
    assert list(Run.open(run.folder).events()) == said
    assert Run.open(run.folder).recipe == run.recipe
    assert "auto" not in [str(v) for k, v in vars(run.recipe).items() if k != "cache"]
    names = {p.name for p in run.folder.iterdir()}
    assert names >= {"recipe.toml", "events.jsonl", "metrics.csv", "dataset.lock.json", "checkpoints", "samples"}
    assert (run.samples / "first_batch.png").stat().st_size > 100

    graph = trainer.export(run, data, folder / "graph")
    opened = runtimes.find("onnxruntime").open(graph.file, "cpu", 1)
    assert [(i.name, i.dtype) for i in opened.inputs] == [("image", "uint8")]
    assert {o.name for o in opened.outputs} == {o.name for o in graph.outputs}
    for rows in (1, 3, len(graph.probe_inputs["image"])):
        images = graph.probe_inputs["image"][:rows]
        theirs, ours = trainer.outputs(run, images), opened.run({"image": images})
        for spec in graph.outputs:
            assert ours[spec.name].dtype == np.dtype(spec.dtype)
            assert all(side in (None, n) for side, n in zip(spec.shape, ours[spec.name].shape, strict=True))
        assert task.difference({k: v[:rows] for k, v in graph.probe_outputs.items()}, ours) < world.near
        assert task.difference(theirs, ours) < world.near
    opened.close()
    heat = trainer.explain(run, graph.probe_inputs["image"], np.zeros(len(graph.probe_inputs["image"]), np.int64))
    assert heat.ndim == 3
    assert 0 <= heat.min() <= heat.max() <= 1


def check_resume(trainer: Trainer, folder: Path, world: World = WORLDS["squares"]) -> None:
    """The same seed gives the same bits, whether a run was cut off inside an epoch, between two, or not at all."""
    data = world.data(32, 8)
    plain: dict[str, Any] = {"epochs": 4, "checkpoint_every": 0, "validation_share": 1, "rotation": 15.0, "erase": 0.5}
    whole, _ = fit(trainer, folder / "whole", data, world, **plain)
    expected = weights(whole)
    for cut in (3, 4, 6) if world is WORLDS["squares"] else (6,):  # of four steps an epoch, so 4 is between two
        run = Run.create(folder / f"cut-{cut}", recipe(trainer, world, **plain), data)
        events = trainer.fit(run, data)
        # A checkpoint stands after every step here; whoever stops listening ends the run.
        for event in events:
            if event.kind == "step" and event.step >= cut and cut % 4:  # type: ignore[attr-defined]
                break
            if isinstance(event, Epoch) and event.step >= cut:
                break
        events.close()  # type: ignore[attr-defined]
        said = list(trainer.fit(Run.open(run.folder), data))
        assert "resumed" in [e.kind for e in said]
        found = weights(run)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    rows = (whole.folder / "metrics.csv").read_text().splitlines()
    assert (run.folder / "metrics.csv").read_text().splitlines() == rows


def check_budget(trainer: Trainer, folder: Path, seconds: float = 12.0) -> None:
    """A budget ends about on time, and the rate has fallen by then."""
    began = time.monotonic()
    _, said = fit(trainer, folder / "run", budget=f"{seconds}s", epochs="auto")
    assert isinstance(said[-1], Finished)
    assert said[-1].reason == "the budget is spent"
    assert time.monotonic() - began < 2 * seconds
    rates = [e.rate for e in said if isinstance(e, Epoch)]
    assert rates[-1] < 0.1 * max(rates)


def check_ends(trainer: Trainer, folder: Path) -> None:
    """A smoke run with a range test, a stop for want of gain, several classes at once."""
    _, said = fit(trainer, folder / "smoke", smoke=True, epochs="auto", rate="find")
    assert {"rate_found", "finished"} <= {e.kind for e in said}
    _, said = fit(trainer, folder / "early", epochs=60, patience=2, rate=1e-9)
    assert isinstance(said[-1], Finished)
    assert "no gain" in said[-1].reason
    run, said = fit(trainer, folder / "several", squares(exclusive=False), epochs=2)
    scores = trainer.outputs(run, np.zeros((2, SIDE, SIDE, 3), np.uint8))["scores"]
    assert scores.shape == (2, 3)
    assert said[-1].metric_name == "mean_average_precision"  # type: ignore[attr-defined]


def check_earlier(trainer: Trainer, folder: Path) -> None:
    """A run starts from an earlier one: its network, and its weights class by class though the classes
    stand in another order."""
    first, _ = fit(trainer, folder / "first", epochs=8)
    data = squares()

    def named(*names: str) -> Dataset:
        labels = Labels(names)
        ids = [labels.id(name) for name in data.labels.names]
        turned = {
            name: tuple(replace(s, annotation={"classes": np.array([ids[int(c)] for c in s.annotation["classes"]])}) for s in part)
            for name, part in data.splits.items()
        }  # fmt: skip
        return replace(data, labels=labels, splits=turned)

    changed = named("blue", "red", "green")
    start: dict[str, Any] = {"network": "auto", "size": "auto", "filters": "32,64,128", "dense": 128, "rate": 1e-9}
    start |= {"weights": str(first.folder), "epochs": 1}
    run, said = fit(trainer, folder / "second", changed, **start)
    assert (run.recipe.network, run.recipe.width, run.recipe.height) == ("cnn-small", SIDE, SIDE)
    assert (run.recipe.filters, run.recipe.dense) == ((8, 16), 16), "as the earlier run had them"
    assert isinstance(said[-1], Finished)
    assert said[-1].metric > 0.9, "at this rate nothing is learned: what it knows, it brought"
    _, said = fit(trainer, folder / "more", named("blue", "grey", "red", "green"), **start)
    notes = [str(vars(e)) for e in said if e.kind == "note"]
    assert any("tensors from" in n and "new classes: grey" in n for n in notes)
    shutil.rmtree(first.folder)
    said = list(trainer.fit(Run.open(run.folder), changed))
    assert "resumed" in [e.kind for e in said], "what has begun needs no earlier run"

    alien = Run.create(folder / "alien", recipe(trainer), data)
    file = alien.folder / "recipe.toml"
    file.write_text(file.read_text().replace(f'engine = "{trainer.name}"', 'engine = "other"'))
    with pytest.raises(UsageError, match=f"trained with other, whose weights {trainer.name} cannot take"):
        fit(trainer, folder / "third", weights=str(alien.folder))
    bare = Run.create(folder / "bare", recipe(trainer), data)
    with pytest.raises(UsageError, match="has no weights yet"):
        fit(trainer, folder / "fourth", weights=str(bare.folder))


def check_refusals(trainer: Trainer, folder: Path) -> None:
    """What cannot be is said in one sentence with a cure, before or while learning."""
    number = itertools.count()

    def refused(kind: type[SaccadeError], **changes: Any) -> str:
        with pytest.raises(kind) as caught:
            fit(trainer, folder / str(next(number)), **changes)
        assert caught.value.hint
        return str(caught.value)

    assert "loss became" in refused(TrainingError, optimizer="sgd", rate=1e30, clip=0, ema=0)
    assert "has no loss 'dice'" in refused(UsageError, loss="dice")
    assert "no network is called 'residual-46'" in refused(UsageError, network="residual-46")
    assert "too small" in refused(UsageError, filters="4,4,4,4,4,4", padding="valid")
    assert "has no function 'build'" in refused(UsageError, network="json:build")
    assert "no_such_module" in refused(UsageError, network="no_such_module:build")
    run, data = Run.create(folder / "untrained", recipe(trainer, width=SIDE, height=SIDE), squares()), squares()
    with pytest.raises(TrainingError, match="missing"):
        trainer.export(run, data, folder / "graph")
    run, _ = fit(trainer, folder / "other", epochs=1)
    run.keep_recipe(run.recipe.replace_from({"epochs": 5}), {})
    with pytest.raises(TrainingError, match=r"changed since this run began: epochs"):
        list(trainer.fit(Run.open(run.folder), data))
