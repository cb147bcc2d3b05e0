"""Networks of ours in torch: `cnn-small` is the tutorials', its keys mean what they say, and arithmetic is a choice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade import tasks
from saccade.testing import trainers as suite
from saccade.training.events import Finished
from saccade.training.outset import half_of
from saccade.training.recipe import Recipe
from saccade.training.trainers import find
from saccade.training.trainers.torch import user
from saccade.training.trainers.torch.networks import Small
from saccade.types import Labels


def small(**knobs: object) -> Small:
    torch.manual_seed(0)
    return Small(Recipe.load(None, {"network": "cnn-small", **knobs}), 64, 48).eval()


def convolutions(network: Small) -> list[nn.Conv2d]:
    return [m for m in network.blocks if isinstance(m, nn.Conv2d)]


def test_cnn_small_is_the_network_of_the_tutorials() -> None:
    """Convolution 3x3, relu, pooling 2x2, three times, then one dense layer. Here pooling comes before relu, which is
    the same."""
    network, images = small(), torch.randn(2, 3, 48, 64)
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.padding) for c in convolutions(network)] == [
        (3, 32, (3, 3), (1, 1)), (32, 64, (3, 3), (1, 1)), (64, 128, (3, 3), (1, 1)),
    ]  # fmt: skip
    grid: Tensor = images
    for convolution in convolutions(network):
        grid = F.max_pool2d(torch.relu(convolution(grid)), 2)
    assert grid.shape == (2, 128, 6, 8)
    dense = network.dense[1]
    assert isinstance(dense, nn.Linear)
    assert (dense.in_features, dense.out_features) == (128 * 6 * 8, 128)
    torch.testing.assert_close(network(images), torch.relu(dense(grid.flatten(1))))


@pytest.mark.parametrize(
    ("knobs", "grid"),
    [
        ({}, (128, 6, 8)),
        ({"kernel": 5}, (128, 6, 8)),
        ({"kernel": 5, "padding": "valid"}, (128, 2, 4)),
        ({"stride": 2, "filters": "8,16"}, (16, 3, 4)),
        ({"pooling": "average"}, (128, 6, 8)),
        ({"pooling": "none", "filters": "4,4"}, (4, 48, 64)),
        ({"filters": "10,20"}, (20, 12, 16)),
        ({"dense": 7}, (128, 6, 8)),
    ],
)
def test_its_keys_mean_what_they_say(knobs: dict[str, object], grid: tuple[int, int, int]) -> None:
    network = small(**knobs)
    assert network.blocks(torch.zeros(1, 3, 48, 64)).shape[1:] == grid
    assert network(torch.zeros(2, 3, 48, 64)).shape == (2, knobs.get("dense", 128))
    assert all(c.kernel_size == (knobs.get("kernel", 3),) * 2 for c in convolutions(network))


@pytest.mark.parametrize("knobs", [{"precision": "bfloat16"}, {"channels_last": False}])
def test_arithmetic_and_layout_are_a_choice(knobs: dict[str, object], tmp_path: Path) -> None:
    """Whatever learned, the sealed graph is float32 and answers as the trainer does."""
    trainer, data = find("torch"), suite.squares()
    run, said = suite.fit(trainer, tmp_path / "run", data, epochs=6, **knobs)
    assert isinstance(said[-1], Finished)
    assert said[-1].metric > 0.9
    graph = trainer.export(run, data, tmp_path / "graph")
    assert all(v.dtype == np.float32 for k, v in graph.probe_outputs.items() if k == "scores")
    plain = replace(run.recipe, precision="float32", channels_last=True)
    assert run.recipe.different(plain) == list(knobs)


class Gated(nn.Module):
    """Its softmax runs last, and the gate that weighs channels was registered after it."""

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.end: nn.Module = nn.Sigmoid() if shared else nn.Softmax(1)
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)
        self.gate = self.end if shared else nn.Sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        grid = self.body(images)
        answer: Tensor = self.end(self.fc((grid * self.gate(grid.mean((2, 3), keepdim=True))).mean((2, 3))))
        return answer


class Open(Gated):
    """The same without an end: it gives raw scores."""

    def forward(self, images: Tensor) -> Tensor:
        grid = self.body(images)
        answer: Tensor = self.fc((grid * self.gate(grid.mean((2, 3), keepdim=True))).mean((2, 3)))
        return answer


def taken(made: nn.Module, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, str]:
    monkeypatch.setattr(user.given, "make", lambda *given: made)
    half = half_of(tasks.find(suite.WORLDS["squares"].task), "torch")
    return user.body("mine:build", half, Labels(("a", "b", "c")), 16, 16)


def test_a_network_of_ones_own_loses_the_softmax_that_ends_it_and_no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    made, images = Gated(), torch.rand(2, 3, 16, 16)
    before = made(images)
    network, said = taken(made, monkeypatch)
    assert "without its last Softmax" in said
    torch.testing.assert_close(network(images).softmax(1), before)
    assert isinstance(made.gate, nn.Sigmoid)
    assert not made.gate._forward_hooks
    for whole in (Open(), Gated(shared=True)):
        before = whole(images)
        network, said = taken(whole, monkeypatch)
        assert "its last layer taken as raw scores" in said
        torch.testing.assert_close(network(images), before)


def test_layouts_learn_the_same(tmp_path: Path) -> None:
    """channels_last is a matter of speed: to within rounding the same weights come out."""
    ends = []
    for number, value in enumerate((True, False)):
        run, _ = suite.fit(find("torch"), tmp_path / str(number), epochs=2, channels_last=value)
        ends.append(suite.weights(run))
    for name, one in ends[0].items():
        if name.startswith("network."):
            np.testing.assert_allclose(ends[1][name], one, atol=2e-3, err_msg=name)
