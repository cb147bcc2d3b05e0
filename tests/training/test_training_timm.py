"""Backbones by their timm name."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saccade.data.dataset import Dataset
from saccade.errors import UsageError
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.training.trainers.torch import timm
from saccade.types import Labels, Sample

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


@pytest.mark.parametrize("knobs", [{"multi_scale": 0.3}, {"start_size": 0.5}])
def test_a_network_of_one_size_is_not_shown_others(tmp_path: Path, knobs: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    samples = tuple(
        Sample(f"{i}", random.integers(0, 256, (48, 48, 3)).astype(np.uint8), {"classes": np.array([i % 2])})
        for i in range(8)
    )
    data = Dataset("memory", Path(), Labels(("a", "b")), {"train": samples, "val": samples})
    plan = {"network": "vit_tiny_patch16_224", "weights": "none", "size": 48, "epochs": 1, "cache": "none", **knobs}
    run = Run.create(tmp_path / "run", Recipe.load(None, plan), data)
    with pytest.raises(UsageError, match=r"pictures of one size only .*multi_scale=0"):
        list(find("torch").fit(run, data))


def test_a_transformer_is_made_for_the_size_of_the_run() -> None:
    network, features, *_ = timm.backbone("vit_tiny_patch16_224", "none", 48, 32)
    assert network(torch.zeros(2, 3, 32, 48)).shape == (2, features)
    with pytest.raises(UsageError, match="takes no pictures of 8x8 px"):
        timm.backbone("vit_tiny_patch16_224", "none", 8, 8)


def test_weights_of_another_size_are_resampled(tmp_path: Path) -> None:
    """Embeddings of places come from the file, not from chance."""
    large, *_ = timm.backbone("vit_tiny_patch16_224", "none", 64, 64)
    with torch.no_grad():
        large.pos_embed.copy_(torch.ones_like(large.pos_embed) * 3)  # type: ignore[operator, union-attr, arg-type]
    file = tmp_path / "weights.safetensors"
    save_file({k: v.clone().contiguous() for k, v in large.state_dict().items()}, file)
    small, _, _, _, said = timm.backbone("vit_tiny_patch16_224", str(file), 32, 32)
    total = len(small.state_dict())
    assert said == f"{total} of {total} tensors from weights.safetensors"
    assert torch.allclose(small.pos_embed, torch.full_like(small.pos_embed, 3.0), atol=1e-3)  # type: ignore[arg-type]


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        timm.backbone("resnet_18", "none", 32, 32)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        timm.backbone(NAME, str(file), 32, 32)
