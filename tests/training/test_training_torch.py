"""The torch trainer on coloured squares: learning, resume, refusal, export."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from saccade.data.dataset import Dataset
from saccade.errors import StorageError, TrainingError
from saccade.images import fonts
from saccade.training import judge, learner, loop, outset, schedules
from saccade.training.events import Epoch, Event, Finished
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch import augment, optimizers
from saccade.training.trainers.torch import judge as torch_judge
from saccade.training.trainers.torch import learner as torch_learner
from saccade.training.trainers.torch.session import torch_half
from saccade.types import Labels, Sample

TASK = "classi" + "fication"


def squares(train: int = 48, val: int = 12, size: int = 16, exclusive: bool = True) -> Dataset:
    random = np.random.default_rng(0)

    def sample(place: int, split: str) -> Sample:
        kind = place % 3
        pixels = (random.random((size, size, 3)) * 80).astype(np.uint8)
        pixels[..., kind] += 120
        return Sample(f"{split}/{place}", pixels, {"classes": np.array([kind], np.int64)})

    parts = {k: tuple(sample(i, k) for i in range(n)) for k, n in (("train", train), ("val", val))}
    return Dataset("arrays", Path("memory"), Labels(("red", "green", "blue"), exclusive=exclusive), parts)


def recipe(**changes: object) -> Recipe:
    plain = {"task": TASK, "cache": "none", "threads": 1, "epochs": 3, "batch": 8, "size": 16, "precision": "float32"}
    return Recipe.load(None, {**plain, **changes})


def fit(folder: Path, data: Dataset | None = None, **changes: object) -> tuple[Run, list[Event]]:
    dataset = data or squares()
    run = Run.create(folder, recipe(**changes), dataset)
    return run, list(find("torch").fit(run, dataset))


def test_it_learns_colours_and_leaves_a_whole_run_folder(tmp_path: Path) -> None:
    run, said = fit(tmp_path / "run", network="cnn-small", filters="8,16", dense=16, epochs=8)
    assert isinstance(said[-1], Finished)
    assert said[-1].metric > 0.9
    names = {p.name for p in run.folder.iterdir()}
    assert names >= {"recipe.toml", "events.jsonl", "metrics.csv", "dataset.lock.json", "checkpoints", "samples"}
    assert (run.samples / "first_batch.png").stat().st_size > 100
    assert list(Run.open(run.folder).events()) == said
    assert Run.open(run.folder).recipe == run.recipe


@pytest.mark.parametrize("network", ["cnn-small", "residual-32", "residual-64", "residual-224"])
def test_the_exported_graph_answers_like_torch(tmp_path: Path, network: str) -> None:
    run, _ = fit(tmp_path / "run", network=network, epochs=1)
    trainer = find("torch")
    graph = trainer.export(run, squares(), tmp_path / "graph")
    session = onnxruntime.InferenceSession(str(graph.file))
    for rows in (1, 3, 12):
        images = graph.probe_inputs["image"][:rows]
        (scores,) = session.run(["scores"], {"image": images})
        np.testing.assert_allclose(scores, graph.probe_outputs["scores"][:rows], atol=1e-5)
        np.testing.assert_allclose(scores, trainer.outputs(run, images)["scores"], atol=1e-5)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert session.get_inputs()[0].type == "tensor(uint8)"


@pytest.mark.parametrize("optimizer", ["gradient_descent", "sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "focal", "mse"])
def test_every_optimizer_lowers_every_loss(optimizer: str, loss: str) -> None:
    half = torch_half(__import__("saccade.tasks", fromlist=["find"]).find(TASK))
    torch.manual_seed(0)
    network = torch.nn.Linear(6, 3)
    inputs, targets = torch.eye(6), {"target": torch.eye(3).repeat(2, 1)}
    knobs = recipe(optimizer=optimizer, loss=loss, rate=0.1, weight_decay=0)
    moves = optimizers.make(knobs, network)
    options = {"loss": loss, "smoothing": 0.0, "focal_gamma": 2.0, "class_weights": None}
    labels = Labels(("a", "b", "c"))
    losses = []
    for _ in range(20):
        moves.zero_grad()
        value = half.loss(half.named(network(inputs)), targets, labels, options)
        value.backward()
        moves.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0]


def test_schedules_start_peak_and_end_where_they_say() -> None:
    assert schedules.factor(Recipe(schedule="constant"), 0.7) == 1
    cosine = Recipe(schedule="cosine", warmup=0.1)
    assert schedules.factor(cosine, 0.05) == pytest.approx(0.5)
    assert schedules.factor(cosine, 0.1) == pytest.approx(1)
    assert schedules.factor(cosine, 1.0) == pytest.approx(schedules.FLOOR)
    step = Recipe(schedule="step", step_every=0.25, step_factor=0.1)
    assert [schedules.factor(step, p) for p in (0.2, 0.3, 0.5)] == pytest.approx([1, 0.1, 0.01])
    assert schedules.factor(Recipe(schedule="one_cycle"), 0.3) == pytest.approx(1)


def test_augmentation_keeps_shape_and_range_and_follows_its_seed() -> None:
    knobs = recipe(
        rotation=30, shift=0.2, zoom=0.3, crop=0.4, flip_horizontal=True, flip_vertical=True, brightness=0.4,
        contrast=0.4, saturation=0.4, hue=0.1, randaugment=2, erase=1.0, mixup=0.4, cutmix=1.0, mix_share=1.0,
    )  # fmt: skip
    change = augment.Augment(knobs)
    images = torch.randint(0, 256, (6, 20, 30, 3), dtype=torch.uint8)
    first, again, other = (change(images, {}, seed)[0] for seed in (1, 1, 2))
    assert first.shape == (6, 3, 20, 30)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    for seed in range(8):
        _, mixed = change.mix(first, {"target": torch.eye(6)}, seed)
        torch.testing.assert_close(mixed["target"].sum(1), torch.ones(6))


def test_flip_alone_is_an_exact_mirror() -> None:
    knobs = recipe(
        rotation=0, shift=0, zoom=0, crop=1, flip_horizontal=True, brightness=0, contrast=0, saturation=0, hue=0,
        erase=0, mixup=0, cutmix=0,
    )  # fmt: skip
    images = torch.randint(0, 256, (16, 8, 12, 3), dtype=torch.uint8)
    plain, changed = augment.as_float(images), augment.Augment(knobs)(images, {}, 0)[0]
    mirrored = [torch.allclose(c, p.flip(-1), atol=1e-5) for c, p in zip(changed, plain, strict=True)]
    same = [torch.allclose(c, p, atol=1e-5) for c, p in zip(changed, plain, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only steps (1 s each) and looks at a split (1.5 s a picture) move."""
    now = 0.0

    def slow(part: Any, seconds: Callable[..., float]) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            nonlocal now
            now += seconds(*given)
            return part(*given, **named)

        return wrapped

    for module in (loop, judge, learner, torch_judge):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(torch_learner, "one_step", slow(torch_learner.one_step, lambda *_: 1.0))
    monkeypatch.setattr(torch_judge, "look", slow(torch_judge.look, lambda s, network, val, *_: 1.5 * len(val)))


TINY = {"network": "cnn-small", "filters": "4", "dense": 4, "epochs": 100_000}


@pytest.mark.usefixtures("clock")
def test_a_budget_ends_on_time(tmp_path: Path) -> None:
    _, said = fit(tmp_path / "run", **TINY, budget="600s", validation_share=0.2)
    finished = said[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "the budget is spent"
    assert 580 <= finished.elapsed_s <= 610
    rates = [e.rate for e in said if isinstance(e, Epoch)]
    assert len(rates) > 3
    assert rates[-1] < 0.05 * max(rates)


@pytest.mark.usefixtures("clock")
def test_a_budget_holds_a_validation_that_nobody_has_seen_yet(tmp_path: Path) -> None:
    _, said = fit(tmp_path / "run", **TINY, budget="100s", validation_share=0.001)
    finished = said[-1]
    assert isinstance(finished, Finished)
    assert [e.kind for e in said].count("epoch") == 1
    # 3 and 24 s to rehearse with 1 and with 8 of 12 pictures, 36 s for the end.
    assert finished.step == 100 - 27 - 36
    assert finished.elapsed_s == 100


@pytest.mark.usefixtures("clock")
def test_a_budget_that_holds_nothing_still_leaves_weights(tmp_path: Path) -> None:
    run, said = fit(tmp_path / "run", **TINY, budget="1s")
    assert isinstance(said[-1], Finished)
    assert said[-1].step == 1
    assert (run.checkpoints / "best.safetensors").is_file()


def test_a_loss_that_is_not_a_number_stops_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) at step \d+ of epoch \d+ \(rate .*lower the rate"):
        fit(tmp_path / "run", network="cnn-small", filters="8", dense=8, optimizer="sgd", rate=1e30, clip=0, ema=0)


def test_smoke_and_range_test_and_early_stop(tmp_path: Path) -> None:
    _, said = fit(tmp_path / "smoke", network="cnn-small", smoke=True, epochs="auto", rate="find")
    assert {"rate_found", "finished"} <= {e.kind for e in said}
    _, said = fit(tmp_path / "early", network="cnn-small", filters="8", dense=8, epochs=60, patience=2, rate=1e-9)
    assert isinstance(said[-1], Finished)
    assert "no gain" in said[-1].reason


def test_packed_images_are_kept_once_and_swept(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    torn = cache / "torn.1.half"
    torn.write_bytes(b"x")
    os.utime(torn, (0, 0))
    for run in ("one", "two"):
        fit(tmp_path / run, network="cnn-small", filters="8", dense=8, epochs=1, cache=str(cache))
        assert sorted(f.suffix for f in cache.iterdir()) == [".u8", ".u8"]


def test_packed_images_without_room_are_a_typed_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(StorageError, match=r"packed images \(0 MB\) cannot be kept in .*cache=none"):
        fit(tmp_path / "one", network="cnn-small", filters="8", dense=8, cache=str(file / "cache"))
    program = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "from saccade.training.packed import reserve\n"
        "try: reserve(Path(sys.argv[1]), 10_000)\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "full")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"


def test_a_budget_too_short_to_learn_is_told() -> None:
    assert not list(loop._too_short(recipe(weights="none"), 1))
    assert not list(loop._too_short(recipe(budget="60s", weights="none"), loop.FEW))
    (note,) = loop._too_short(recipe(budget="60s", weights="none"), 3)
    assert "60 s held 3 passes" in note.text()
    assert not list(loop._too_short(recipe(budget="60s", weights="auto"), 3)), "it knows pictures already"


def test_names_that_read_alike_without_accents_stop_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No font here has their letters, so the sheet of the first batch calls them by their ids."""
    monkeypatch.setattr(fonts, "_file", lambda letters: None if letters else fonts.OWN)
    data = replace(squares(), labels=Labels(("dừa", "dứa", "dưa")))
    run, said = fit(tmp_path / "run", data, **{**TINY, "epochs": 1})
    assert isinstance(said[-1], Finished)
    assert (run.samples / "first_batch.png").stat().st_size > 100


@pytest.mark.parametrize("count", [100, 190, 40])
def test_a_smoke_run_sees_every_class(count: int) -> None:
    """Splits are sorted by class, so the first pictures would be those of the first classes."""
    samples = tuple(Sample(f"{i}", np.zeros((1, 1, 3), np.uint8), {"classes": np.array([i * 5 // count])})
                    for i in range(count))  # fmt: skip
    data = Dataset("memory", Path(), Labels(tuple("abcde")), {"train": samples, "val": samples})
    train, val = outset.samples_of(data, recipe(smoke=True))
    assert len(train) == len(val) == min(count, 64)
    held = np.bincount([int(s.annotation["classes"][0]) for s in train])
    assert held.max() - held.min() <= 1


@pytest.mark.usefixtures("clock")
def test_no_weights_are_judged_twice_when_a_budget_ends(tmp_path: Path) -> None:
    _, said = fit(tmp_path / "run", **TINY, budget="60s")
    steps = [e.step for e in said if isinstance(e, Epoch)]
    assert steps == sorted(set(steps))
    assert all(e.loss > 0 for e in said if isinstance(e, Epoch))
