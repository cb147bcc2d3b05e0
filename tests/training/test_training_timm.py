"""Backbones by their timm name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from saccade.data.dataset import Dataset
from saccade.errors import UsageError
from saccade.training.events import Chosen, Finished
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


@pytest.mark.parametrize("name", ["inception_v3", "legacy_xception", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_maps_lie_over_the_whole_picture(name: str) -> None:
    """Whether a network pads nothing, rounds down, or has its channels last."""
    network, features, *_ = timm.backbone(name, "none", 160, 96, "maps")
    assert not [k for k in network.state_dict() if k.startswith("network.")], "weights keep the names timm gives them"
    for width, height in ((160, 96), (232, 168)) if "swin" not in name else ((160, 96),):
        with torch.no_grad():
            maps = network(torch.zeros(2, 3, height, width))
        assert [tuple(m.shape) for m in maps] == [(2, c, -(-height // s), -(-width // s)) for c, s in features]


def test_maps_that_lost_too_much_are_refused() -> None:
    with pytest.raises(UsageError, match="inception_v3 gives no maps that lie over a picture of 98x98 px") as caught:
        timm.backbone("inception_v3", "none", 98, 98, "maps")
    assert caught.value.hint


@pytest.mark.parametrize("network", ["convnext_atto", "mambaout_femto"])
def test_masks_go_the_whole_way_on_maps_that_had_to_be_laid(tmp_path: Path, network: str) -> None:
    """At 40 px convnext gives 2 rows where 3 are asked for, and mambaout has its channels last."""
    random = np.random.default_rng(0)
    samples = tuple(
        Sample(
            f"{i}", random.integers(0, 256, (40, 40, 3)).astype(np.uint8), {"mask": np.full((40, 40), i % 2, np.uint8)}
        )
        for i in range(8)
    )
    data = Dataset("memory", Path(), Labels(("a", "b")), {"train": samples, "val": samples[:4]})
    plan = {"network": network, "weights": "none", "size": 40, "epochs": 1, "batch": 4, "threads": 1, "cache": "none"}
    run = Run.create(tmp_path / "run", Recipe.load(None, {**plan, "precision": "float32"}), data)
    assert isinstance(list(find("torch").fit(run, data))[-1], Finished)
    graph = find("torch").export(run, data, tmp_path / "graph")
    session = onnxruntime.InferenceSession(str(graph.file), providers=["CPUExecutionProvider"])
    (mask,) = session.run(["mask"], {"image": graph.probe_inputs["image"]})
    assert mask.shape == (4, 40, 40)
    assert (mask != graph.probe_outputs["mask"]).mean() < 1e-3


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        timm.backbone("resnet_18", "none", 32, 32)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        timm.backbone(NAME, str(file), 32, 32)


@pytest.mark.parametrize("there", [True, False])
def test_what_cannot_be_had_is_not_reckoned_with(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From scratch a network wants a rate several times that of one which knows pictures already."""
    made = timm._made

    def offline(library: Any, name: str, sides: tuple[int, int], pretrained: bool, extra: dict[str, Any]) -> Any:
        if pretrained and not there:
            raise ConnectionError("no way out")
        return made(library, name, sides, False, extra)

    monkeypatch.setattr(timm, "_made", offline)
    random = np.random.default_rng(0)
    samples = tuple(
        Sample(f"{i}", random.integers(0, 256, (32, 32, 3)).astype(np.uint8), {"classes": np.array([i % 2])})
        for i in range(8)
    )
    data = Dataset("memory", Path(), Labels(("a", "b")), {"train": samples, "val": samples})
    run = Run.create(
        tmp_path / "run", Recipe.load(None, {"network": NAME, "epochs": 1, "size": 32, "cache": "none"}), data
    )
    said = list(find("torch").fit(run, data))
    [reason] = [e.reason for e in said if isinstance(e, Chosen) and e.key == "weights"]
    if there:
        assert (run.recipe.weights, run.recipe.rate) == ("auto", pytest.approx(0.0003))
    else:
        assert (run.recipe.weights, run.recipe.rate) == ("none", 0.002)
        assert "could not be had (ConnectionError)" in reason
