"""The Keras trainer held to the torch one number by number, and what is its own: names, user networks, bfloat16,
kills."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from saccade import tasks
from saccade.errors import TrainingError, UsageError
from saccade.tasks.keras import keras, tf
from saccade.testing import trainers as suite
from saccade.training import checkpoints
from saccade.training.outset import half_of
from saccade.training.pictures import BORDER
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.keras import applications, augment, ema, export, learner, optimizers, session
from saccade.training.trainers.torch import augment as torch_augment
from saccade.training.trainers.torch import ema as torch_ema
from saccade.training.trainers.torch import optimizers as torch_optimizers
from saccade.types import Labels, TensorSpec

pytestmark = pytest.mark.timeout(900)  # TensorFlow traces each graph: seconds, but minutes where others compute too

TASK = tasks.fitting(suite.squares().fields)[0]
MOVING = {
    "rotation": 30.0, "shift": 0.2, "zoom": 0.3, "crop": 0.4, "flip_horizontal": True, "flip_vertical": True,
    "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "randaugment": 2, "erase": 0.5, "mixup": 0.4,
    "cutmix": 1.0, "mix_share": 1.0, "mosaic": 0,
}  # fmt: skip


STILL = {
    **dict.fromkeys(["rotation", "shift", "zoom", "brightness", "contrast", "saturation", "hue", "erase", "mixup", "cutmix", "mosaic"], 0), "crop": 1,
    "flip_horizontal": False, "flip_vertical": False,
}  # fmt: skip


def alike(theirs: np.ndarray, ours: np.ndarray) -> None:
    """Two samples from one distribution: the largest gap between theirs (Kolmogorov and Smirnov) is below what equal
    ones exceed once in a hundred thousand times."""
    both = np.sort(np.concatenate([theirs, ours]))
    n = len(theirs)
    assert len(ours) == n
    ranks = (np.searchsorted(np.sort(side), both, "right") / n for side in (theirs, ours))
    assert np.abs(next(ranks) - next(ranks)).max() < 2.47 * np.sqrt(2 / n)


def halves() -> tuple[object, object]:
    return half_of(tasks.find(TASK), "torch"), half_of(tasks.find(TASK), "keras")


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("kind", "exclusive"),
    [
        ("cross_entropy", True),
        ("bce", True),
        ("focal", True),
        ("mse", True),
        ("bce", False),
        ("focal", False),
        ("mse", False),
    ],
)
def test_losses_and_their_gradients_are_those_of_torch(
    kind: str, exclusive: bool, smoothing: float, weighed: bool
) -> None:
    theirs, ours = halves()
    random = np.random.default_rng(0)
    logits = random.normal(size=(5, 3)).astype(np.float32)
    rows = (
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] if exclusive else random.integers(0, 2, (5, 3)).astype(np.float32)
    )
    labels = Labels(("a", "b", "c"), exclusive=exclusive)
    weights = np.array([0.5, 1.0, 1.5], np.float32) if weighed else None
    options = {"loss": kind, "smoothing": smoothing, "focal_gamma": 2.0}
    given = torch.tensor(logits, requires_grad=True)
    value = theirs.loss(
        theirs.named(given), {"target": torch.tensor(rows)}, labels,
        {**options, "class_weights": torch.tensor(weights) if weighed else None},
    )  # fmt: skip
    value.backward()
    with tf.GradientTape() as tape:
        variable = tf.Variable(logits)
        found = ours.loss(
            ours.named(variable), {"target": tf.constant(rows)}, labels, {**options, "class_weights": weights}
        )
    assert float(found) == pytest.approx(float(value.detach()), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(found, variable).numpy(), given.grad.numpy(), atol=1e-6)


def test_targets_tails_and_evidence_are_those_of_torch() -> None:
    theirs, ours = halves()
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    ids = np.array([2, 0, 1, 1])
    for exclusive in (True, False):
        labels = Labels(("a", "b", "c"), exclusive=exclusive)
        left = theirs.tail(theirs.named(torch.tensor(logits)), {"temperature": 1.7}, labels)["scores"].numpy()
        right = ours.tail(ours.named(tf.constant(logits)), {"temperature": 1.7}, labels)["scores"].numpy()
        np.testing.assert_allclose(right, left, atol=1e-6)
    left = theirs.soft_targets({"target": torch.tensor(ids)}, labels)["target"].numpy()
    np.testing.assert_array_equal(ours.soft_targets({"target": tf.constant(ids)}, labels)["target"].numpy(), left)
    left = theirs.evidence(theirs.named(torch.tensor(logits)), torch.tensor(ids)).numpy()
    np.testing.assert_array_equal(ours.evidence(ours.named(tf.constant(logits)), tf.constant(ids)).numpy(), left)


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("name", ["gradient_descent", "sgd", "momentum", "nesterov", "adam", "adamw"])
def test_optimizers_walk_as_those_of_torch(name: str, clip: float) -> None:
    knobs = Recipe(optimizer=name, rate=0.1, weight_decay=0.05, clip=clip)
    random = np.random.default_rng(1)
    weight, bias = random.normal(size=(3, 4)).astype(np.float32), random.normal(size=3).astype(np.float32)
    linear = nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weight))
        linear.bias.copy_(torch.tensor(bias))
    theirs = torch_optimizers.make(knobs, linear)
    ours = [keras.Variable(weight), keras.Variable(bias)]
    walker = optimizers.Optimizer(knobs, ours)
    for _ in range(5):
        slopes = [random.normal(size=v.shape).astype(np.float32) for v in (weight, bias)]
        linear.weight.grad, linear.bias.grad = (torch.tensor(s) for s in slopes)
        if clip:
            nn.utils.clip_grad_norm_(linear.parameters(), clip)
        theirs.step()
        walker.move(optimizers.clipped([tf.constant(s) for s in slopes], clip), tf.constant(0.1))
    np.testing.assert_allclose(ours[0].numpy(), linear.weight.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1].numpy(), linear.bias.detach().numpy(), rtol=1e-5, atol=1e-5)
    again = optimizers.Optimizer(knobs, ours)
    again.fill(walker.state())
    assert all(np.array_equal(v, again.state()[k]) for k, v in walker.state().items())


def test_averages_are_those_of_torch() -> None:
    network = nn.Linear(2, 2)
    theirs = torch_ema.Average(network, 0.5)
    variable = keras.Variable(network.weight.detach().numpy())
    ours = ema.Average([variable], 0.5)
    for t in range(12):
        with torch.no_grad():
            network.weight.add_(t)
        variable.assign(network.weight.detach().numpy())
        theirs.update(network)
        ours.update()
    np.testing.assert_allclose(next(iter(ours.arrays().values())), theirs.state["weight"].numpy(), rtol=1e-6)


def test_what_is_drawn_is_drawn_from_the_same_distributions() -> None:
    """Two samples of 4,000 of every number that decides a picture; the largest gap of their distributions (Kolmogorov
    and Smirnov) stays below what equal ones exceed once in a hundred thousand times."""
    knobs, n, same = Recipe.load(None, {k: v for k, v in MOVING.items() if k not in ("mixup", "cutmix")}), 4000, alike
    generator, random = torch.Generator().manual_seed(0), np.random.default_rng(0)
    shape = torch.Size((n, 3, 20, 30))
    moves, colours = torch_augment._moves(knobs, n, 30, 20, generator), torch_augment._colours(knobs, n, generator)
    theirs = torch_augment._randaugment(knobs, moves, colours, shape, generator)
    mine = augment.moves_of(knobs, n, 30, 20, random), augment.colours_of(knobs, n, random)
    ours = augment._randaugment(knobs, *mine, n, (20, 30), random)
    for left, right in ((moves, mine[0]), (theirs[0], ours[0]), (theirs[1][0], ours[1][0])):
        for row in range(2):
            for column in range(3):
                same(left[:, row, column].numpy(), right[:, row, column])
    same(theirs[1][1].numpy(), ours[1][1])
    for place in range(4):
        same(theirs[2][:, place].numpy(), ours[2][:, place])


def test_the_same_draw_gives_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Geometry, colour, tones and masks: torch is handed what numpy drew."""
    knobs = Recipe.load(None, {**MOVING, "erase": 0, "mixup": 0, "cutmix": 0})
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (6, 20, 30, 3), np.uint8)
    mask = random.integers(0, 5, (6, 20, 30)).astype(np.uint8)
    for share in (1.0, 0.8):
        drawn, _ = augment.draw(knobs, {"mask": mask}, 6, (20, 30), 7, share, True)
        again = np.random.default_rng(7)
        moves, colours = augment.moves_of(knobs, 6, 30, 20, again), augment.colours_of(knobs, 6, again)
        found = augment._randaugment(knobs, moves, colours, 6, (20, 30), again)
        handed = (
            torch.tensor(found[0], dtype=torch.float32),
            tuple(torch.tensor(f, dtype=torch.float32) for f in found[1]),
            torch.tensor(found[2], dtype=torch.float32),
        )
        monkeypatch.setattr(torch_augment, "_randaugment", lambda *_, handed=handed: handed)
        theirs, moved = torch_augment.Augment(knobs)(torch.tensor(pixels), {"mask": torch.tensor(mask)}, 0, share)
        ours, kept = augment.apply(pixels, {"mask": tf.constant(mask)}, drawn)
        gaps = np.abs(ours.numpy() - theirs.permute(0, 2, 3, 1).numpy())
        # A pixel whose place rounds to the other side of an edge, or of a solarising threshold, may differ.
        assert np.quantile(gaps, 0.99) < 1e-3
        assert (kept["mask"].numpy() == moved["mask"].numpy()).mean() > 0.99


def test_mixing_keeps_shares_and_follows_its_seed() -> None:
    knobs = Recipe.load(None, MOVING)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)
    seen = set()
    for seed in (1, 1, 2, 3, 4, 5):
        drawn, _ = augment.draw(knobs, {}, 6, (20, 30), seed, 1.0, True)
        images, targets = augment.apply(pixels, {"target": tf.eye(6)}, drawn)
        np.testing.assert_allclose(targets["target"].numpy().sum(1), 1, rtol=1e-5)
        assert images.shape == (6, 20, 30, 3)
        assert 0 <= float(tf.reduce_min(images)) <= float(tf.reduce_max(images)) <= 1
        seen.add(images.numpy().tobytes())
        assert int(drawn["mix_kind"]) in (1, 2)
    assert len(seen) == 5


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
def test_mixed_pictures_and_rows_are_those_of_torch(kind: str) -> None:
    """Both draw with numpy here, so the same seed is the same draw."""
    random = np.random.default_rng(4)
    pixels, rows = random.integers(0, 256, (6, 20, 30, 3), np.uint8), np.eye(6, dtype=np.float32)
    off = {"both": {}, "mixup": {"cutmix": 0}, "cutmix": {"mixup": 0}}[kind]
    knobs = Recipe.load(None, {**STILL, "mixup": 0.4, "cutmix": 1.0, "mix_share": 0.7, **off})
    seen = set()
    for seed in range(12):
        drawn, _ = augment.draw(knobs, {}, 6, (20, 30), seed, 1.0, True)
        ours, soft = augment.apply(pixels, {"target": tf.constant(rows)}, drawn)
        images = torch_augment.as_float(torch.tensor(pixels))
        theirs, mixed = torch_augment.Augment(knobs).mix(images, {"target": torch.tensor(rows)}, (seed, 1))  # type: ignore[arg-type]
        np.testing.assert_allclose(ours.numpy(), theirs.permute(0, 2, 3, 1).numpy(), atol=1e-6)
        np.testing.assert_allclose(soft["target"].numpy(), mixed["target"].numpy(), atol=1e-6)
        seen.add(int(drawn["mix_kind"]))
    assert seen == {"both": {0, 1, 2}, "mixup": {0, 1}, "cutmix": {0, 2}}[kind]


def test_boxes_of_blended_pictures_are_those_of_torch() -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    boxes, classes = random.random((5, 4, 4)).astype(np.float32), random.integers(-2, 3, (5, 4))
    knobs = Recipe.load(None, {**STILL, "mixup": 0.3, "cutmix": 0, "mix_share": 1})
    hidden = 0
    for seed in range(8):
        drawn, asked = augment.draw(knobs, {"boxes": boxes, "box_classes": classes}, 5, (16, 16), seed, 1.0, True)
        given = {"boxes": torch.tensor(boxes), "box_classes": torch.tensor(classes)}
        images = torch_augment.as_float(torch.tensor(pixels))
        theirs, wanted = torch_augment.Augment(knobs).mix(images, given, (seed, 1))  # type: ignore[arg-type]
        np.testing.assert_array_equal(asked["box_classes"], wanted["box_classes"].numpy())
        np.testing.assert_array_equal(asked["boxes"], wanted["boxes"].numpy())
        ours, _ = augment.apply(pixels, {k: tf.constant(v) for k, v in asked.items()}, drawn)
        np.testing.assert_allclose(ours.numpy(), theirs.permute(0, 2, 3, 1).numpy(), atol=1e-6)
        hidden += int((asked["box_classes"] == -2).sum()) > 2 * int((classes == -2).sum())
    assert hidden, "a picture that is hardly seen asks for nothing"


def test_what_is_erased_is_as_large_and_lies_as_in_torch() -> None:
    """Of 4,000 black pictures the share that is erased, and the middle of it, from the same distributions."""
    knobs, n = Recipe.load(None, {**STILL, "erase": 0.6}), 4000
    drawn, _ = augment.draw(knobs, {}, n, (24, 32), 0, 1.0, True)
    ours = augment.apply(np.zeros((n, 24, 32, 3), np.uint8), {}, drawn)[0].numpy()
    theirs = torch_augment.Augment(knobs)(torch.zeros(n, 24, 32, 3, dtype=torch.uint8), {}, 0)[0]
    told = [_erased_of(ours), _erased_of(theirs.permute(0, 2, 3, 1).numpy())]
    for row in range(4):
        alike(told[0][row], told[1][row])
    assert 0.55 < (told[0][0] > 0).mean() < 0.65


def _erased_of(images: np.ndarray) -> np.ndarray:
    """Share of each picture, its middle's row and column, and the colour, [4, N]; 0 where nothing was erased."""
    inside = (images > 0).any(3)
    count = np.maximum(inside.sum((1, 2)), 1)
    rows, columns = (inside * np.arange(s).reshape(shape) for s, shape in ((24, (1, -1, 1)), (32, (1, 1, -1))))
    return np.stack(
        [inside.mean((1, 2)), rows.sum((1, 2)) / count, columns.sum((1, 2)) / count, images.max((1, 2))[:, 0]]
    )


def test_a_mosaic_is_drawn_as_in_torch_and_shows_what_torch_shows() -> None:
    moving = {"rotation": 10.0, "shift": 0.1, "zoom": 0.5, "flip_horizontal": True}
    knobs, n = Recipe.load(None, {**STILL, **moving, "mosaic": 1, "erase": 0}), 400
    random = np.random.default_rng(6)
    low = random.random((n, 3, 2)) * 40
    boxes = np.concatenate([low, low + 4 + random.random((n, 3, 2)) * 20], 2).astype(np.float32)
    classes = random.integers(0, 3, (n, 3))
    seams, left = [[], []], [[], []]
    for seed in range(60):
        drawn, asked = augment.draw(knobs, {"boxes": boxes, "box_classes": classes}, n, (64, 64), seed, 1.0, True)
        seams[0].append(drawn["windows"][0, 2:])
        left[0].append(asked)
    place = torch_augment.move_boxes

    def noted(*given: object) -> dict[str, torch.Tensor]:
        if given[5][:2] == (0, 0):  # type: ignore[index]
            seams[1].append(np.array(given[5][2:]))  # type: ignore[index]
        return place(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_augment, "move_boxes", noted)
        for seed in range(60):
            given = {"boxes": torch.tensor(boxes), "box_classes": torch.tensor(classes)}
            blank = torch.zeros(n, 64, 64, 3, dtype=torch.uint8)
            asked = torch_augment.Augment(knobs)(blank, given, seed)[1]
            left[1].append({k: v.numpy() for k, v in asked.items()})
    for axis in range(2):
        alike(*(np.array(s)[:, axis] for s in seams))
    kept = [np.concatenate([p["boxes"][p["box_classes"] >= 0] for p in side]) for side in left]
    assert abs(len(kept[0]) / len(kept[1]) - 1) < 0.1
    shares = [np.mean(np.concatenate([(p["box_classes"] == -2).ravel() for p in side])) for side in left]
    assert abs(shares[0] / shares[1] - 1) < 0.2
    # The boxes of one batch meet at one seam, so sixty batches are sixty draws, not as many as there are boxes.
    for quantile in (0.1, 0.5, 0.9):
        sizes = [np.quantile(k[:, 2:] - k[:, :2], quantile, 0) for k in kept]
        np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.1)

    pixels = random.integers(0, 256, (5, 48, 64, 3), np.uint8)
    parts = augment._mosaic(knobs, 5, (48, 64), (40, 56), np.random.default_rng(1))
    drawn = {
        "parts": np.stack([augment.to_pixels(m, (48, 64), (40, 56), w[:2]) for m, w, _ in parts]),
        "windows": np.array([w for _, w, _ in parts], np.int32),
    }
    ours = augment.apply(pixels, {"boxes": tf.zeros((5, 0, 4))}, drawn)[0].numpy()
    plain = torch_augment.as_float(torch.tensor(pixels)) - BORDER
    for moves, (x0, y0, x1, y1), step in parts:
        grid = torch_augment.sampling(torch.tensor(moves, dtype=torch.float32), (40, 56), (x0, y0, x1, y1))
        shown = torch.nn.functional.grid_sample(plain.roll(step, 0), grid, padding_mode="zeros", align_corners=False)
        gaps = np.abs(ours[:, y0:y1, x0:x1] - (shown + BORDER).permute(0, 2, 3, 1).numpy())
        assert np.quantile(gaps, 0.99) < 1e-3


@pytest.mark.parametrize("kind", ["boxes", "mask", "plain"])
def test_at_the_end_of_a_run_pictures_stay_in_place_under_the_same_names(kind: str) -> None:
    moving = {
        "rotation": 30,
        "shift": 0.3,
        "zoom": 1.0,
        "crop": 0.3,
        "mosaic": 1.0 if kind == "boxes" else 0,
        "erase": 1,
    }
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 24, 32, 3), np.uint8)
    targets = {
        "boxes": {"boxes": np.array([[[3, 5, 20, 21]]] * 6, np.float32), "box_classes": np.zeros((6, 1), np.int64)},
        "mask": {"mask": pixels[..., 0] % 3},
        "plain": {},
    }[kind]
    for extra in ({}, {"flip_horizontal": True}, {"randaugment": 2, "randaugment_strength": 0}):
        knobs = Recipe.load(None, {**STILL, **moving, **extra})
        before, _ = augment.draw(knobs, targets, 6, (24, 32), 3, 1.0, True)
        drawn, asked = augment.draw(knobs, targets, 6, (24, 32), 3, 1.0, False, still=True)
        assert {k: (v.shape, v.dtype) for k, v in drawn.items()} == {k: (v.shape, v.dtype) for k, v in before.items()}
        images, kept = augment.apply(pixels, {k: tf.constant(v) for k, v in asked.items()}, drawn)
        given = pixels / np.float32(255)
        for i in range(6):
            ways = (given[i], given[i, :, ::-1]) if "flip_horizontal" in extra else (given[i],)
            assert min(np.abs(way - images[i]).max() for way in ways) < 1e-4
        if "flip_horizontal" not in extra:
            for name, values in targets.items():
                np.testing.assert_allclose(kept[name].numpy()[:, : values.shape[1]], values, atol=1e-4)


def test_the_objects_of_both_pictures_are_asked_for() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    targets = {
        "boxes": random.random((3, 2, 4)).astype(np.float32),
        "box_classes": np.array([[0, -1], [1, 0], [2, -1]], np.int64),
    }
    quiet = "rotation shift zoom brightness contrast saturation hue erase cutmix mosaic"
    still = dict.fromkeys(quiet.split(), 0)
    knobs = suite.recipe(find("keras"), **still, crop=1, flip_horizontal=False, mixup=8, mix_share=1)
    drawn, asked = augment.draw(knobs, targets, 3, (16, 16), 5, 1.0, True)
    assert [sorted(row[row != -1].tolist()) for row in asked["box_classes"]] == [[0, 2], [0, 0, 1], [0, 1, 2]]
    first = {tuple(box) for box in asked["boxes"][0].tolist()}
    assert {tuple(targets["boxes"][0, 0].tolist()), tuple(targets["boxes"][2, 0].tolist())} <= first
    images, kept = augment.apply(pixels, {k: tf.constant(v) for k, v in asked.items()}, drawn)
    share = drawn["mix_share"][:, None, None, None]
    np.testing.assert_allclose(images, (share * pixels + (1 - share) * np.roll(pixels, 1, 0)) / 255, atol=1e-5)
    np.testing.assert_array_equal(kept["boxes"], asked["boxes"])
    drawn, asked = augment.draw(knobs, targets, 3, (16, 16), 5, 1.0, False)
    assert not drawn["mix_kind"]
    assert asked["boxes"].shape == (3, 2, 4)


def test_moved_boxes_are_those_of_torch() -> None:
    random = np.random.default_rng(3)
    low = random.random((8, 5, 2)) * 40
    boxes = np.concatenate([low, low + 2 + random.random((8, 5, 2)) * 20], 2).astype(np.float32)
    classes = random.integers(-2, 3, (8, 5))
    moves = augment.moves_of(Recipe.load(None, MOVING), 8, 64, 48, random)
    for window in (None, (10, 5, 40, 30)):
        left = torch_augment.move_boxes(
            torch.tensor(boxes),
            torch.tensor(classes),
            torch.tensor(moves, dtype=torch.float32),
            (48, 64),
            (40, 56),
            window,
        )
        right = augment.move_boxes(boxes, classes, moves, (48, 64), (40, 56), window)
        np.testing.assert_allclose(right["boxes"], left["boxes"].numpy(), atol=1e-3)
        np.testing.assert_array_equal(right["box_classes"], left["box_classes"].numpy())


def test_cnn_small_is_the_network_of_the_tutorials() -> None:
    knobs = suite.recipe(find("keras"), filters="32,64,128", dense=128, dropout=0, width=64, height=64, size=64)
    network, _ = session.build(knobs, half_of(tasks.find(TASK), "keras"), Labels(tuple("abcdefghij")), 64, 64, "none")
    classic = keras.Sequential([
        keras.layers.Input((64, 64, 3)),
        keras.layers.Conv2D(32, (3, 3), activation="relu", padding="same"), keras.layers.MaxPooling2D((2, 2)),
        keras.layers.Conv2D(64, (3, 3), activation="relu", padding="same"), keras.layers.MaxPooling2D((2, 2)),
        keras.layers.Conv2D(128, (3, 3), activation="relu", padding="same"), keras.layers.MaxPooling2D((2, 2)),
        keras.layers.Flatten(), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    assert [tuple(v.shape) for v in network.trainable_variables] == [
        tuple(v.shape) for v in classic.trainable_variables
    ]
    classic.set_weights(network.get_weights())
    images = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32)
    ours = tf.nn.softmax(network(images)).numpy()
    np.testing.assert_allclose(ours, classic(network.prepare(images)).numpy(), atol=1e-5)


def test_a_backbone_by_its_name_in_keras(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no network is called 'MobilNetV2'.*did you mean 'MobileNetV2'"):
        applications.backbone("MobilNetV2", "none", (64, 64))
    body, features, prepare, said = applications.backbone("MobileNetV2", "none", (64, 64))
    assert (features, said) == (1280, "from scratch")
    np.testing.assert_allclose(prepare(np.array([0.0, 0.5, 1.0], np.float32)), [-1, 0, 1], atol=1e-6)
    assert body(np.zeros((1, 64, 64, 3), np.float32)).shape == (1, 1280)
    maps, features, _, _ = applications.backbone("MobileNetV2", "none", (64, 64), "maps")
    assert [stride for _, stride in features] == [4, 8, 16, 32]
    assert [tuple(m.shape[1:]) for m in maps.outputs] == [(64 // s, 64 // s, c) for c, s in features]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras about numpy
        body.save_weights(str(tmp_path / "own.weights.h5"))
    again, _, _, said = applications.backbone("MobileNetV2", str(tmp_path / "own.weights.h5"), (64, 64))
    assert said.endswith("tensors changed by own.weights.h5")
    other = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(5, 7)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.save_weights(str(tmp_path / "other.weights.h5"))
    with pytest.raises(UsageError, match=r"no tensor of other\.weights\.h5 fits"):
        applications.backbone("MobileNetV2", str(tmp_path / "other.weights.h5"), (64, 64))
    np.testing.assert_array_equal(again.get_weights()[0], body.get_weights()[0])
    (tmp_path / "no.weights.h5").write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read"):
        applications.backbone("MobileNetV2", str(tmp_path / "no.weights.h5"), (64, 64))


FAMILIES = [
    "ConvNeXtTiny",
    "EfficientNetB0",
    "InceptionV3",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50V2",
    "VGG16",
    "Xception",
]
"""One of each kind of padding and of going down."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAMILIES else [pytest.mark.long]) for n in applications.names()]
)
def test_every_backbone_gives_whole_maps(name: str) -> None:
    """At a size that nothing divides evenly but 32 does, and at one that it does not."""
    for height, width in ((128, 160), (100, 76)):
        model, features, _, _ = applications.backbone(name, "none", (height, width), "maps")
        assert [stride for _, stride in features] == [4, 8, 16, 32]
        sides = [tuple(out.shape[1:3]) for out in model.outputs]
        assert sides == [(-(-height // s), -(-width // s)) for _, s in features]
        assert [int(out.shape[-1]) for out in model.outputs] == [channels for channels, _ in features]
    keras.backend.clear_session()


def test_a_saved_model_answers_as_onnx_and_keras_do(tmp_path: Path) -> None:
    trainer = find("keras")
    run, _ = suite.fit(trainer, tmp_path / "run", epochs=2)
    graph = trainer.export(run, suite.squares(), tmp_path / "graph")
    served = tf.saved_model.load(str(tmp_path / "graph" / "saved_model")).signatures
    images = graph.probe_inputs["image"]
    found = served["serving_default"](tf.constant(images))["scores"].numpy()
    np.testing.assert_allclose(found, graph.probe_outputs["scores"], atol=1e-4)
    encoded = [tf.io.encode_png(i).numpy() for i in images]
    np.testing.assert_allclose(served["encoded"](tf.constant(encoded))["scores"].numpy(), found, atol=1e-5)
    large = tf.io.encode_jpeg(np.full((90, 70, 3), 120, np.uint8)).numpy()
    assert served["encoded"](tf.constant([large]))["scores"].shape == (1, 3)
    framed, _ = suite.fit(trainer, tmp_path / "framed", epochs=1, resize="letterbox")
    trainer.export(framed, suite.squares(), tmp_path / "other")
    signatures = tf.saved_model.load(str(tmp_path / "other" / "saved_model")).signatures
    assert set(signatures) == {"serving_default"}, "a stretched picture is not what this network learned from"


GIVEN = """
def build(width, height, classes):
    import keras
    return keras.Sequential([keras.layers.Input((height, width, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(),
                             keras.layers.Dense(classes, activation="softmax")])

def layered(classes):
    import keras
    given = keras.Input((None, None, 3))
    grid = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(given))
    return keras.Model(given, keras.layers.Softmax()(keras.layers.Dense(classes)(grid)))

def five():
    import keras
    return keras.Sequential([keras.layers.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(5)])

def seven_by_seven():
    import keras
    return keras.Sequential([keras.layers.Input((7, 7, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])

def nothing():
    return "a network"

def broken():
    raise RuntimeError("no luck")

def greedy(depth):
    return depth

def module(classes):
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes), nn.Softmax(1))
"""


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's own, in which saccade is run."""
    (tmp_path / "my_module.py").write_text(GIVEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    return tmp_path


@pytest.mark.parametrize(("engine", "function"), [("keras", "build"), ("keras", "layered"), ("torch", "module")])
def test_a_network_of_ones_own_trains_and_exports(given: Path, engine: str, function: str) -> None:
    trainer = find(engine)
    run, said = suite.fit(trainer, given / "run", network=f"my_module:{function}", epochs=6, rate=0.02, weights="auto")
    assert any("raw scores" in e.text() for e in said if e.kind == "note")
    assert said[-1].metric > 0.6
    graph = trainer.export(run, suite.squares(), given / "graph")
    np.testing.assert_allclose(graph.probe_outputs["scores"].sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("engine", "function", "reason"),
    [
        ("keras", "five", r"my_module:five answers \[N, 5\] to a batch of N pictures, expected \[N, 3\]"),
        ("keras", "seven_by_seven", r"my_module:seven_by_seven answers .*expected \[N, 3\]"),
        ("keras", "nothing", r"returned builtins.str, expected a keras.Model"),
        ("keras", "module", r"returned torch.nn.modules.container.Sequential, expected a keras.Model"),
        ("torch", "five", r"expected a torch.nn.Module"),
        ("keras", "broken", r"my_module:broken failed: RuntimeError: no luck"),
        ("torch", "greedy", r"wants depth, and may be given width, height and classes"),
        ("keras", "missing", r"my_module has no function 'missing'"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_by_name(given: Path, engine: str, function: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        suite.fit(find(engine), given / "run", network=f"my_module:{function}")
    assert caught.value.hint


def test_an_operator_onnx_has_no_words_for_is_named(tmp_path: Path) -> None:
    class Odd(keras.layers.Layer):
        def call(self, images: object) -> object:
            return tf.math.bessel_i0(tf.reduce_mean(images, [1, 2]))

    given = keras.Input((8, 8, 3))
    model = keras.Model(given, Odd(name="my_odd_layer")(given))
    spec = TensorSpec("image", "uint8", (None, 8, 8, 3))
    sealed = export.Sealed(model, half_of(tasks.find(TASK), "keras"), Labels(("a", "b", "c")), {}, spec)
    with pytest.raises(TrainingError, match=r"BesselI0.*my_odd_layer") as caught:
        export.write(sealed, ("scores",), tmp_path / "model.onnx", {})
    assert "layer" in str(caught.value.hint)


def test_bfloat16_trains_and_exports_float32(tmp_path: Path) -> None:
    run, said = suite.fit(find("keras"), tmp_path / "run", precision="bfloat16", epochs=6, dropout=0)
    assert said[-1].metric > 0.9
    assert {str(v.dtype) for k, v in suite.weights(run).items() if k.endswith(".kernel")} == {"float32"}
    graph = find("keras").export(run, suite.squares(), tmp_path / "graph")
    assert graph.probe_outputs["scores"].dtype == np.float32


def test_memory_that_runs_out_makes_smaller_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's own error from a real allocation: half a petabyte for any piece of more than two pictures."""
    half = half_of(tasks.find(TASK), "keras")
    plain = half.loss

    def greedy(outputs: dict[str, object], targets: object, labels: Labels, options: object) -> object:
        rows = tf.shape(outputs["logits"])[0]
        many = tf.cast(rows > 2, tf.int64) * 2**47 + 1
        return plain(outputs, targets, labels, options) + 1e-30 * tf.reduce_sum(tf.random.uniform([many], seed=1)[:1])

    monkeypatch.setattr(half, "loss", greedy)
    run = Run.create(tmp_path / "run", suite.recipe(find("keras"), epochs=1, smoothing=0.0), suite.squares(24, 2))
    said = list(find("keras").fit(run, suite.squares(24, 2)))
    notes = [e.text() for e in said if e.kind == "note"]
    assert any("images now go through 2 at a time, gradients are added up" in n for n in notes)
    assert said[-1].kind == "finished"


def test_another_backend_is_refused_in_one_sentence() -> None:
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'torch'\nimport keras\n"
        "from saccade.errors import UsageError\nfrom saccade.training.trainers import find\n"
        "try: find('keras')\nexcept UsageError as error: print(error, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Keras was imported with the backend 'torch', and training needs tensorflow" in done.stdout
    assert "KERAS_BACKEND=tensorflow" in done.stdout


def test_a_missing_tensorflow_is_told_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from saccade.errors import UsageError\nfrom saccade.training.trainers import find\n"
        "try: find('keras')\nexcept UsageError as error: print(error, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the keras trainer needs tensorflow, which is not installed" in done.stdout
    assert "pip install 'saccade[keras]'" in done.stdout


LEARN = """
import sys
from pathlib import Path
from saccade.testing import trainers as suite
from saccade.training.run import Run
from saccade.training.trainers import find
folder, trainer, data = Path(sys.argv[1]), find("keras"), suite.squares(32, 8)
knobs = dict(epochs=int(sys.argv[2]), checkpoint_every=0, validation_share=1, rotation=15.0, repeat=2)
knobs.update(network="residual-32", multi_scale=0.2)
run = Run.open(folder) if (folder / "recipe.toml").exists() else Run.create(folder, suite.recipe(trainer, **knobs), data)
for event in trainer.fit(run, data):
    print(event.kind, flush=True)
"""


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def learn(folder: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", LEARN, str(folder), "6"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    whole = learn(tmp_path / "whole")
    cut = learn(tmp_path / "cut")
    last = tmp_path / "cut" / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 200
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    assert cut.returncode == -signal.SIGKILL
    whole.communicate()
    assert whole.returncode == 0
    again = learn(tmp_path / "cut")
    said, _ = again.communicate()
    assert again.returncode == 0
    assert "resumed" in said
    expected = checkpoints.read(checkpoints.last(Run.open(tmp_path / "whole"))).arrays
    found = checkpoints.read(checkpoints.last(Run.open(tmp_path / "cut"))).arrays
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("engine", ["keras", "torch"])
def test_a_network_of_ones_own_takes_weights_from_a_file(given: Path, engine: str) -> None:
    trainer, function = find(engine), {"keras": "layered", "torch": "module"}[engine]
    plan = {"network": f"my_module:{function}", "epochs": 1, "rate": 1e-9, "ema": 0}
    first, _ = suite.fit(trainer, given / "first", **plan, seed=1)
    part = checkpoints.read(checkpoints.best(first)).part("network")
    file = given / "own.safetensors"
    save_file({k.removeprefix("backbone."): v for k, v in part.items() if k not in ("mean", "std")}, file)
    second, said = suite.fit(trainer, given / "second", **plan, seed=2, weights=str(file))
    told = " ".join(str(vars(e)) for e in said if e.kind == "note")
    assert "tensors from own.safetensors" in told
    assert "from scratch" not in told
    again = checkpoints.read(checkpoints.best(second)).part("network")
    for name, value in part.items():
        np.testing.assert_allclose(again[name], value, atol=1e-5, err_msg=name)


def test_xla_learns_and_what_it_cannot_compile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = find("keras")
    _, said = suite.fit(trainer, tmp_path / "run", epochs=6, compile=True)
    assert said[-1].metric > 0.9  # type: ignore[attr-defined]

    def refuses(*_: object) -> None:
        told = "Detected unsupported operations when trying to compile graph f on XLA_CPU_JIT: ResizeNearestNeighborGrad (No"
        raise tf.errors.InvalidArgumentError(None, None, told)

    made = learner.KerasLearner.__init__

    def broken(self: learner.KerasLearner, *given: object) -> None:
        made(self, *given)  # type: ignore[arg-type]
        self._slopes = refuses

    monkeypatch.setattr(learner.KerasLearner, "__init__", broken)
    with pytest.raises(
        TrainingError, match="XLA cannot compile this network: its operation ResizeNearestNeighborGrad"
    ) as caught:
        suite.fit(trainer, tmp_path / "other", epochs=1, compile=True)
    assert caught.value.hint == "set compile=false"
