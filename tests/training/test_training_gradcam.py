"""Grad-CAM against a network small enough to do by hand, and on the networks of the house."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.errors import TrainingError
from saccade.training.recipe import Recipe
from saccade.training.trainers.torch import networks
from saccade.training.trainers.torch.gradcam import gradcam, last_map


class Hand(nn.Module):
    """Two channels, red and green; class 0 is mean red, class 1 is mean green minus half of mean red."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.see.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])
            self.head.weight.copy_(torch.tensor([[1.0, 0], [-0.5, 1]]))

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(self.relu(self.see(images)).mean((2, 3)))
        return answer


def of(*ids: int):  # type: ignore[no-untyped-def]
    wanted = torch.tensor(ids)
    return lambda raw, rows: raw.gather(1, wanted[rows][:, None])[:, 0]


@pytest.mark.parametrize("inplace", [False, True])
def test_by_hand(inplace: bool) -> None:
    images = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = gradcam(Hand(inplace=inplace), images, of(0, 1, 1), rows=2)
    red, green = images[:, 0].numpy(), images[:, 1].numpy()
    expected = np.maximum(np.stack([red[0], green[1] - 0.5 * red[1], green[2] - 0.5 * red[2]]), 0)
    expected /= expected.max((1, 2), keepdims=True)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_what_never_speaks_for_a_class_is_dark() -> None:
    images = torch.zeros(1, 3, 4, 4)
    images[:, 0] = 1
    assert not gradcam(Hand(), images, of(1)).any()


def test_a_frozen_network_and_inference_around_it_do_no_harm() -> None:
    network = Hand().requires_grad_(False).train()
    with torch.no_grad():
        found = gradcam(network, torch.rand(2, 3, 4, 4), of(0, 0))
    assert found.max() == 1
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "size", "side"), [("cnn-small", 64, 8), ("residual-64", 64, 8), ("residual-224", 96, 3)]
)
def test_networks_of_ours_give_their_last_map(name: str, size: int, side: int) -> None:
    body = networks.backbone(Recipe(network=name), size, size)
    network = networks.Network(body, nn.Linear(body.features, 4), 0.0)  # type: ignore[arg-type]
    found = gradcam(network, torch.rand(2, 3, size, size), of(1, 3))
    assert found.shape == (2, side, side)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


class Tokens(nn.Module):
    """A transformer's shape: patches to tokens, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(self.mix(self.patches(images).flatten(2).transpose(1, 2)).mean(1))
        return answer


class ChannelsLast(Tokens):
    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(self.mix(self.patches(images).permute(0, 2, 3, 1)).mean((1, 2)))
        return answer


@pytest.mark.parametrize("network", [Tokens(), ChannelsLast()])
def test_a_network_without_a_feature_map_at_its_end_is_refused(network: nn.Module) -> None:
    with pytest.raises(TrainingError, match="needs a convolutional feature map"):
        last_map(network, torch.rand(1, 3, 16, 16))
