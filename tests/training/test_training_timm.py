"""Backbones by their timm name."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.errors import UsageError
from saccade.training.trainers.torch import timm

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")

NAME = "mobilenetv3_small_050"


def test_a_backbone_by_name_with_local_weights(tmp_path: Path) -> None:
    network, features, mean, _, said = timm.backbone(NAME, "none", 32, 32)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, features)
    assert len(mean) == 3
    assert said == "from scratch"
    file = tmp_path / "weights.safetensors"
    save_file({k: v.clone().contiguous() for k, v in network.state_dict().items()}, file)
    again, _, _, _, said = timm.backbone(NAME, str(file), 32, 32)
    assert "tensors from weights.safetensors" in said
    state = again.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        timm.backbone("resnet_18", "none", 32, 32)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        timm.backbone(NAME, str(file), 32, 32)
