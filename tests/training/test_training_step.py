"""One step of the loop by hand-written formulas: gradients in pieces, clipping, averages, losses, optimizers,
memory."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.training import checkpoints, schedules
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch import optimizers
from saccade.training.trainers.torch.augment import Augment
from saccade.training.trainers.torch.batches import Pack
from saccade.training.trainers.torch.checkpoints import to_tensors
from saccade.training.trainers.torch.ema import Average
from saccade.training.trainers.torch.session import Session, open_session, torch_half
from saccade.training.trainers.torch.step import find_rate, one_step
from saccade.types import Labels, Sample

LABELS = Labels(("a", "b", "c"))
STILL = {
    "rotation": 0, "shift": 0, "zoom": 0, "crop": 1, "flip_horizontal": False, "brightness": 0, "contrast": 0,
    "saturation": 0, "hue": 0, "erase": 0, "mixup": 0, "cutmix": 0,
}  # fmt: skip
PLAIN = {
    "task": tasks.names()[0], "network": "cnn-small", "filters": "4", "dense": 8, "size": 12, "width": 12, "height": 12,
    "weights": "none", "epochs": 2, "batch": 16, "threads": 1, "cache": "none", "precision": "float32", "device": "cpu",
    "loss": "cross_entropy", "smoothing": 0, "class_weights": "none", "optimizer": "sgd", "rate": 0.1, "ema": 0,
    "weight_decay": 0, "clip": 0, "start_size": 1,
}  # fmt: skip


def recipe(**changes: object) -> Recipe:
    return Recipe.load(None, {**PLAIN, **STILL, **changes})


def pack(n: int = 16) -> Pack:
    images = torch.randint(0, 256, (n, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Pack(images, {"target": torch.arange(n) % 3})


def session(**changes: object) -> Session:
    return open_session(recipe(**changes), LABELS, tasks.find(str(PLAIN["task"])), pack(), [])


def gradients(s: Session) -> list[Tensor]:
    return [p.grad.clone() for p in s.network.parameters() if p.grad is not None]


def test_gradients_in_pieces_equal_those_of_the_whole_batch() -> None:
    found = []
    for micro in (16, 5, 1):
        s = session()
        s.micro = micro
        one_step(s, pack(), torch.arange(16), Augment(s.recipe))
        found.append(gradients(s))
    for pieces in found[1:]:
        for whole, added in zip(found[0], pieces, strict=True):
            torch.testing.assert_close(added, whole)


def test_accumulated_batches_move_the_weights_like_one_large_batch(tmp_path: Path) -> None:
    def weights(name: str, **changes: object) -> dict[str, Tensor]:
        samples = tuple(
            Sample(f"{i}", pack(24).images[i].numpy(), {"classes": np.array([i % 3], np.int64)}) for i in range(24)
        )
        data = Dataset("arrays", Path("memory"), LABELS, {"train": samples[:16], "val": samples[16:]})
        run = Run.create(tmp_path / name, recipe(**changes), data)
        for _ in find("torch").fit(run, data):
            pass
        return to_tensors(checkpoints.read(checkpoints.last(run)).part("network"))

    large, added = weights("large", batch=8), weights("added", batch=2, accumulate=4)
    for name, value in large.items():
        torch.testing.assert_close(added[name], value)


def test_full_batch_gradient_descent_takes_one_step_an_epoch_along_the_mean_gradient() -> None:
    s = session(optimizer="gradient_descent", rate=0.1)
    before = [p.detach().clone() for p in s.network.parameters()]
    data = pack()
    logits = s.network(data.images.permute(0, 3, 1, 2).float() / 255)
    exact = torch.autograd.grad(
        nn.functional.cross_entropy(logits, data.targets["target"]), list(s.network.parameters())
    )
    optimizers.set_rate(s.optimizer, 0.1)
    one_step(s, data, torch.arange(16), Augment(s.recipe))
    for was, slope, now in zip(before, exact, s.network.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), was - 0.1 * slope)


def test_clipping_bounds_the_norm_and_keeps_the_direction() -> None:
    free, bound = session(), session(clip=0.01)
    for s in (free, bound):
        one_step(s, pack(), torch.arange(16), Augment(s.recipe))
    left, right = (torch.cat([g.flatten() for g in gradients(s)]) for s in (free, bound))
    assert float(left.norm()) > 0.02
    assert float(right.norm()) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(right / right.norm(), left / left.norm())


def test_averages_follow_their_formula() -> None:
    network = nn.BatchNorm1d(2)
    average = Average(network, 0.5)
    expected = network.weight.detach().clone()
    for t in range(1, 20):
        with torch.no_grad():
            network.weight.copy_(torch.tensor([float(t), -float(t)]))
            network.num_batches_tracked.fill_(t)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * network.weight.detach()
        average.update(network)
    torch.testing.assert_close(average.state["weight"], expected)
    assert int(average.state["num_batches_tracked"]) == 19


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-z)))


LOSSES: dict[tuple[str, bool], Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    ("cross_entropy", True): lambda z, y, w: float((-w * y * np.log(softmax(z))).sum(1).mean()),
    ("focal", True): lambda z, y, w: float((-w * y * (1 - softmax(z)) ** 2 * np.log(softmax(z))).sum(1).mean()),
    ("mse", True): lambda z, y, w: float((w * (softmax(z) - y) ** 2).mean()),
    ("bce", False): lambda z, y, w: float(
        (-w * (y * np.log(sigmoid(z)) + (1 - y) * np.log(1 - sigmoid(z)))).mean()
    ),
    ("focal", False): lambda z, y, w: float(
        (w * (y + sigmoid(z) - 2 * y * sigmoid(z)) ** 2 * -(y * np.log(sigmoid(z)) + (1 - y) * np.log(sigmoid(-z))))
        .sum(1)
        .mean()
    ),
    ("mse", False): lambda z, y, w: float((w * (sigmoid(z) - y) ** 2).mean()),
}  # fmt: skip


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("kind", "exclusive"), list(LOSSES))
def test_losses_follow_their_formulas(kind: str, exclusive: bool, smoothing: float, weighed: bool) -> None:
    half = torch_half(tasks.find(str(PLAIN["task"])))
    random = np.random.default_rng(0)
    logits = random.normal(size=(5, 3))
    rows = np.eye(3)[[0, 1, 2, 0, 1]] if exclusive else random.integers(0, 2, (5, 3)).astype(float)
    weights = np.array([0.5, 1.0, 1.5]) if weighed else np.ones(3)
    labels = Labels(("a", "b", "c"), exclusive=exclusive)
    options = {
        "loss": kind, "smoothing": smoothing, "focal_gamma": 2.0,
        "class_weights": torch.tensor(weights, dtype=torch.float32) if weighed else None,
    }  # fmt: skip
    got = half.loss({"logits": torch.tensor(logits)}, {"target": torch.tensor(rows).float()}, labels, options)
    smooth = rows * (1 - smoothing) + smoothing * (1 / 3 if exclusive else 0.5)
    assert float(got) == pytest.approx(LOSSES[kind, exclusive](logits, smooth, weights), rel=1e-5)


def test_balanced_weights_are_inverse_to_how_common_a_class_is() -> None:
    half = torch_half(tasks.find(str(PLAIN["task"])))
    found = half.class_weights({"target": np.array([0, 0, 0, 0, 1, 1, 2])}, LABELS)
    np.testing.assert_allclose(found, np.array([0.25, 0.5, 1]) * 7 / 3, rtol=1e-6)
    s = session(class_weights="balanced")
    assert s.options["class_weights"].shape == (3,)
    assert session(class_weights="none").options["class_weights"] is None


def momentum(w: float, g: float, m: dict[str, float], ahead: bool) -> float:
    m["v"] = 0.9 * m.get("v", 0) + g
    return w - 0.1 * (g + 0.9 * m["v"] if ahead else m["v"])


def adam(w: float, g: float, m: dict[str, float], t: int, second: float) -> float:
    m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
    m["v"] = second * m.get("v", 0) + (1 - second) * g * g
    return float(w - 0.1 * (m["m"] / (1 - 0.9**t)) / ((m["v"] / (1 - second**t)) ** 0.5 + 1e-8))


MOVES: dict[str, Callable[[float, float, dict[str, float], int], float]] = {
    "gradient_descent": lambda w, g, m, t: w - 0.1 * g,
    "sgd": lambda w, g, m, t: w - 0.1 * g,
    "momentum": lambda w, g, m, t: momentum(w, g, m, ahead=False),
    "nesterov": lambda w, g, m, t: momentum(w, g, m, ahead=True),
    "adam": lambda w, g, m, t: adam(w, g, m, t, 0.999),
    "adamw": lambda w, g, m, t: adam(w, g, m, t, 0.99),
}


@pytest.mark.parametrize("name", list(MOVES))
def test_optimizers_follow_their_formulas(name: str) -> None:
    """Downhill on w squared, four moves; the slope at w is 2 w."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(3.0)
    optimizer = optimizers.make(recipe(optimizer=name, momentum=0.9), network)
    expected, memory = 3.0, dict[str, float]()
    for t in range(1, 5):
        optimizer.zero_grad()
        network.weight.square().sum().backward()
        optimizer.step()
        expected = MOVES[name](expected, 2 * expected, memory, t)
        assert network.weight.item() == pytest.approx(expected, rel=1e-5)


def test_weight_decay_pulls_weights_and_leaves_biases_alone() -> None:
    network = nn.Linear(2, 2)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = optimizers.make(recipe(optimizer="adamw", weight_decay=0.5), network)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(network.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    torch.testing.assert_close(network.bias.detach(), before[1])


def test_schedules_are_the_curves_they_are_named_after() -> None:
    module = nn.Linear(1, 1)
    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 100, eta_min=schedules.FLOOR)
    steps = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(module.parameters(), lr=1.0), 25, 0.5)
    for t in range(100):
        plain = recipe(schedule="cosine", warmup=0)
        assert schedules.factor(plain, t / 100) == pytest.approx(cosine.get_last_lr()[0], abs=1e-6)
        drops = recipe(schedule="step", step_every=0.25, step_factor=0.5)
        assert schedules.factor(drops, t / 100) == pytest.approx(steps.get_last_lr()[0])
        sgd.step()
        cosine.step()
        steps.optimizer.step()
        steps.step()
    rise = [schedules.factor(recipe(schedule="one_cycle"), t / 100) for t in range(101)]
    assert rise.index(max(rise)) == 30
    assert rise[:31] == sorted(rise[:31])
    assert rise[30:] == sorted(rise[30:], reverse=True)


def test_the_range_test_leaves_no_trace_and_finds_a_rate_that_learns() -> None:
    s = session(rate="find")
    before = {k: v.clone() for k, v in s.network.state_dict().items()}
    found = find_rate(s, pack(), Augment(s.recipe))
    assert all(torch.equal(v, before[k]) for k, v in s.network.state_dict().items())
    assert not s.optimizer.state_dict()["state"]
    assert list(found.rates) == sorted(found.rates)
    assert 1e-6 <= found.rate <= 0.1
    assert found.rate == pytest.approx(found.rates[int(np.argmin(found.losses))] / 10)


NARROW = """
import resource, sys
sys.path.insert(0, {here!r})
import torch
import test_training_step as world
from saccade.training.trainers.torch.step import one_step
from saccade.training.trainers.torch.augment import Augment
torch.set_num_threads(1)
s = world.session(filters="128", size=64, width=64, height=64, batch=128)
images = torch.randint(0, 256, (128, 64, 64, 3), dtype=torch.uint8)
data = world.Pack(images, {{"target": torch.arange(128) % 3}})
s.micro = 1
one_step(s, data, torch.arange(1), Augment(s.recipe))
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 100_000_000,) * 2)
s.micro = 128
loss, words = one_step(s, data, torch.arange(128), Augment(s.recipe))
print(s.micro, loss, words)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_that_runs_out_in_the_real_allocator_makes_smaller_pieces() -> None:
    code = NARROW.format(here=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.match(r"(\d+) ([\d.]+) (.*)", done.stdout)
    assert found is not None
    assert int(found[1]) < 128
    assert "out of memory: images now go through" in found[3]


def test_the_end_of_a_run_shows_pictures_alone_then_in_place() -> None:
    told = Recipe(mosaic_close=0.4, still=0.2)
    assert [schedules.joins(told, p) for p in (0, 0.59, 0.61, 1)] == [True, True, False, False]
    assert [schedules.rests(told, p) for p in (0, 0.79, 0.81, 1)] == [False, False, True, True]
    assert not schedules.joins(Recipe(mosaic_close=0, still=0.3), 0.8), "what is joined is not seen whole"
    assert not any(schedules.rests(Recipe(still=still), 0.99) for still in (0, "auto"))
    assert all(schedules.rests(Recipe(still=1), p) for p in (0, 1))
    calm = schedules.resting(Recipe(rotation=5, shift=0.1, zoom=0.5, crop=0.3, flip_vertical=True, hue=0.1))
    assert (calm.rotation, calm.shift, calm.zoom, calm.crop) == (0, 0, 0, 1)
    assert (calm.flip_vertical, calm.hue) == (True, 0.1)
