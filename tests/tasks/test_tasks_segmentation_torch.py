"""The learning half of masks: losses by hand, the light network, networks of smp, what validation keeps."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import UsageError
from saccade.tasks.segmentation import torch as half
from saccade.tasks.segmentation.learning import LIGHT, LOSSES
from saccade.tasks.segmentation.torch import network, smp, terms
from saccade.tasks.segmentation.torch.network import Pyramid, light
from saccade.training.trainers.torch import export, networks
from saccade.types import Labels, TensorSpec

ABC = Labels(("a", "b", "c"))
OPTIONS = {"loss": "cross_entropy+dice", "smoothing": 0.0, "focal_gamma": 2.0, "class_weights": None}


def random_case(seed: int, n: int = 2, side: int = 8, void: float = 0.2) -> tuple[Tensor, Tensor]:
    """Logits [n, 3, side, side] and masks of the same size, some pixels ignored."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn((n, 3, side, side), generator=random)
    mask = torch.randint(0, 3, (n, side, side), generator=random)
    mask[torch.rand(mask.shape, generator=random) < void] = 255
    return logits, mask.byte()


def test_shares_by_hand() -> None:
    mask = torch.tensor([[[0, 0, 1, 255], [0, 1, 1, 255], [2, 2, 255, 255], [2, 2, 255, 255]]], dtype=torch.uint8)
    rows = terms.shares(mask, (2, 2), 3)
    assert rows.shape == (1, 3, 2, 2)
    assert rows[0, :, 0, 0].tolist() == [0.75, 0.25, 0.0]
    assert rows[0, :, 0, 1].tolist() == [0.0, 0.5, 0.0]
    assert rows[0, :, 1, 0].tolist() == [0.0, 0.0, 1.0]
    assert rows[0, :, 1, 1].tolist() == [0.0, 0.0, 0.0]
    whole = terms.shares(mask, (4, 4), 3)
    assert whole.sum() == 10
    assert (whole.argmax(1)[mask != 255] == mask[mask != 255]).all()


def test_shares_of_a_side_that_is_no_multiple() -> None:
    """240 px in 8 rows have a stride of 32, as the network's: the last row hangs over. So here, with a stride of 4."""
    mask = torch.ones((1, 5, 6), dtype=torch.uint8)
    rows = terms.shares(mask, (2, 2), 3)
    assert torch.allclose(rows[0, 1], torch.tensor([[1.0, 0.5], [0.25, 0.125]]))
    edge = torch.zeros((1, 240, 320), dtype=torch.uint8)
    edge[:, 224:] = 1
    assert terms.shares(edge, (8, 10), 2)[0, 1, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0.5]


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=25, deadline=None)
def test_cross_entropy_is_that_of_torch(seed: int, weighted: bool) -> None:
    logits, mask = random_case(seed)
    weights = torch.tensor([0.5, 1.0, 3.0]) if weighted else None
    expected = F.cross_entropy(logits, mask.long(), weights, ignore_index=255)
    got = terms.cross_entropy(logits, terms.shares(mask, (8, 8), 3), weights)
    assert torch.allclose(got, expected, atol=1e-5)


def test_focal_by_hand() -> None:
    """One pixel with p = 0.8 of its class, one with 0.5, one ignored; gamma 2."""
    chance = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]).log().T.reshape(1, 2, 1, 3)
    mask = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    got = terms.focal(chance, terms.shares(mask, (1, 3), 2), None, 2.0)
    assert float(got) == pytest.approx((0.04 * -np.log(0.8) + 0.25 * -np.log(0.5)) / 2, rel=1e-5)
    plain = terms.focal(chance, terms.shares(mask, (1, 3), 2), None, 0.0)
    assert torch.allclose(plain, terms.cross_entropy(chance, terms.shares(mask, (1, 3), 2), None))


def test_dice_by_hand() -> None:
    """Class 0: 2 (0.8 + 0.4) + 1 over (0.8 + 0.4 + 0.3) + 2 + 1; class 1: 2 * 0.7 + 1 over 1.5 + 1 + 1; class 2 is
    absent."""
    chance = torch.tensor([[0.8, 0.2, 1e-9], [0.4, 0.6, 1e-9], [0.3, 0.7, 1e-9], [0.1, 0.9, 1e-9]])
    logits = chance.log().T.reshape(1, 3, 1, 4)
    mask = torch.tensor([[[0, 0, 1, 255]]], dtype=torch.uint8)
    got = terms.dice(logits, terms.shares(mask, (1, 4), 3))
    first, second = 1 - (2 * 1.2 + 1) / (1.5 + 2 + 1), 1 - (2 * 0.7 + 1) / (1.5 + 1 + 1)
    assert float(got) == pytest.approx((first + second) / 2, rel=1e-5)


def test_lovasz_by_hand() -> None:
    """Class 0 is true of the first pixel, class 1 of the others; the Lovász extension, step by step.

    Errors of class 0: 0.4, 0.3, 0.1 in falling order on truths 1, 0, 0: Jaccard losses 1, 1, 1, so 0.4 alone counts.
    Errors of class 1 are the same on truths 0, 1, 1: losses 1/3, 2/3, 1, so each counts a third.
    """
    chance = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.5, 0.5]])
    logits = chance.log().T.reshape(1, 2, 1, 4)
    mask = torch.tensor([[[0, 1, 1, 255]]], dtype=torch.uint8)
    got = terms.lovasz(logits, terms.shares(mask, (1, 4), 2))
    assert float(got) == pytest.approx((0.4 + (0.4 + 0.3 + 0.1) / 3) / 2, rel=1e-5)


def test_lovasz_of_hard_answers_is_one_minus_the_iou() -> None:
    """On corners of the cube the extension is the set function itself."""
    random = torch.Generator().manual_seed(5)
    said, truth = (torch.randint(0, 3, (1, 6, 6), generator=random) for _ in range(2))
    logits = 200.0 * F.one_hot(said, 3).permute(0, 3, 1, 2)
    ious = [((said == c) & (truth == c)).sum() / ((said == c) | (truth == c)).sum() for c in range(3)]
    got = terms.lovasz(logits, terms.shares(truth.byte(), (6, 6), 3))
    assert float(got) == pytest.approx(1 - float(torch.stack(ious).mean()), abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_teach_nothing(name: str) -> None:
    logits, mask = random_case(3)
    logits.requires_grad_()
    loss = terms.by_name(name, 2.0)
    loss(logits, terms.shares(mask, (8, 8), 3), None).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(1)
    assert (moved[mask == 255] == 0).all()
    assert (moved[mask != 255] > 0).any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_asked_pixels_is_finite(name: str) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = terms.by_name(name, 2.0)(logits, terms.shares(torch.full((2, 4, 4), 255).byte(), (4, 4), 3), None)
    value.backward()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOSSES)
def test_a_right_answer_costs_little(name: str) -> None:
    _, mask = random_case(1, side=16, void=0.1)
    sure = 12.0 * F.one_hot(mask.clamp(max=2).long(), 3).permute(0, 3, 1, 2).float()
    loss = terms.by_name(name, 2.0)
    rows = terms.shares(mask, (16, 16), 3)
    assert float(loss(sure, rows, None)) < 0.01 < float(loss(-sure, rows, None))


def test_class_weights_are_tempered() -> None:
    mask = np.repeat(np.array([0, 1, 255], np.uint8), [100, 4, 50])[None, None]
    weights = half.class_weights({"mask": mask}, ABC)
    assert weights.sum() == pytest.approx(3.0)
    assert weights[1] / weights[0] == pytest.approx(5.0)
    assert weights[2] == weights[1]


def test_the_light_network_is_small_and_answers_at_the_pictures_size() -> None:
    network = light(11, (66, 90))
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
    images = torch.rand(2, 3, 66, 90)
    scores, coarse = network(images)
    assert scores.shape == (2, 11, 17, 23)
    assert coarse.shape == (2, 11, 3, 3)
    assert network.eval()(images).shape == (2, 11, 66, 90)


def test_a_pyramid_leaves_out_maps_finer_than_four() -> None:
    maps = [(8, 2), (12, 4), (16, 8), (24, 16)]
    pyramid = Pyramid(maps, 3, (64, 64)).eval()
    grids = [torch.rand(1, channels, 64 // stride, 64 // stride) for channels, stride in maps]
    assert pyramid.stride == 4
    assert pyramid(grids).shape == (1, 3, 64, 64)
    assert Pyramid([(8, 16)], 3, (64, 64)).eval()([torch.rand(1, 8, 4, 4)]).shape == (1, 3, 64, 64)


def test_one_batch_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    network = light(3, (32, 32))
    random = torch.Generator().manual_seed(0)
    images = torch.rand((4, 3, 32, 32), generator=random) * 0.2
    mask = torch.zeros((4, 32, 32), dtype=torch.uint8)
    for i in range(4):
        images[i, :, 4 * i : 4 * i + 12, 8:24] += 0.6
        mask[i, 4 * i : 4 * i + 12, 8:24] = 1
        mask[i, 28:] = 255
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        loss = half.loss(half.named(network(images)), {"mask": mask}, ABC, OPTIONS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        kept = half.keep(half.named(network.eval()(images)), {"mask": mask}, ABC)
    name, value, error = half.watch(kept, {}, ABC)
    assert name == "mean_iou"
    assert value > 0.85
    assert 0 <= error < 0.2


def test_watch_is_the_iou_of_all_pixels() -> None:
    logits = F.one_hot(torch.tensor([[[0, 1], [1, 2]], [[0, 0], [1, 1]]]), 3).permute(0, 3, 1, 2).float()
    mask = torch.tensor([[[0, 1], [0, 255]], [[0, 0], [1, 0]]], dtype=torch.uint8)
    kept = half.keep({"logits": logits}, {"mask": mask}, ABC)
    assert kept["pixels"].tolist() == [[[1, 1, 0], [2, 1, 0], [1, 2, 0]], [[2, 1, 0], [3, 1, 0], [2, 2, 0]]]
    assert half.watch(kept, {}, ABC)[1] == pytest.approx((3 / 5 + 2 / 4) / 2)


def test_captions_name_the_largest() -> None:
    mask = torch.tensor([[[0, 0], [0, 2]], [[255, 255], [255, 255]]], dtype=torch.uint8)
    assert half.captions({"mask": mask}, ABC) == ["a 75 % c 25 %", "ignored"]


def test_evidence_rises_with_the_class() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[0, 1, :2] = 5.0
    assert half.evidence({"logits": logits}, torch.tensor([1, 1])).tolist() == [5.0, 0.0]


class _Plain(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(images)
        return answer


def test_the_sealed_graph_gives_the_same_mask(tmp_path: Path) -> None:
    """uint8 in, one byte a pixel out, at any number of rows; runtimes round differently only where classes tie."""
    torch.manual_seed(1)
    network = light(5, (64, 96))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    sealed = export.Sealed(_Plain(network), half, Labels(tuple("abcde")), {})
    file = tmp_path / "model.onnx"
    export.write(sealed, ("mask",), TensorSpec("image", "uint8", (None, 64, 96, 3)), file, {})
    graph = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 64, 96, 3)).astype(np.uint8)
        theirs = export.run(sealed, images)["mask"]
        ours = graph.run(None, {"image": images})[0]
        assert ours.dtype == np.uint8
        assert ours.shape == (batch, 64, 96)
        assert len(np.unique(ours)) > 1
        assert (ours == theirs).mean() > 0.999


def test_a_light_network_is_whole_and_others_are_not_ours() -> None:
    made = half.whole(LIGHT, ABC, 64, 64, "none")
    assert made is not None
    assert made[-1] == "from scratch"
    assert half.whole("resnet18", ABC, 64, 64, "none") is None


needs_smp = pytest.mark.skipif(
    find_spec("segmentation_models_pytorch") is None, reason="segmentation-models-pytorch is not installed"
)


@needs_smp
def test_a_network_of_smp_by_name_at_any_size(tmp_path: Path) -> None:
    made = half.whole("smp-unet-mobilenet_v2", ABC, 72, 40, "none")
    assert made is not None
    network, _, _, said = made
    assert said == "from scratch"
    assert network.eval()(torch.rand(1, 3, 40, 72)).shape == (1, 3, 40, 72)
    from safetensors.torch import save_file

    file = tmp_path / "weights.safetensors"
    save_file({k: v.clone().contiguous() for k, v in network.state_dict().items()}, file)
    again = half.whole("smp-unet-mobilenet_v2", ABC, 72, 40, str(file))
    assert again is not None
    assert "tensors from weights.safetensors" in again[-1]
    state = again[0].state_dict()
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")


@needs_transformers
def test_a_segformer_by_name_learns_and_is_sealed(tmp_path: Path) -> None:
    """At a size that is no multiple of its stride; weights of a snapshot and of our own file; the graph at any
    batch."""
    made = half.whole("hf-segformer-b0", ABC, 50, 38, "none")
    assert made is not None
    network, mean, std, said = made
    assert said == "from scratch"
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(3.7e6, rel=0.03), "the size of its paper"
    pictures = torch.rand(2, 3, 38, 50)
    mask = torch.randint(0, 3, (2, 38, 50), dtype=torch.uint8)
    scores = network.train()(pictures)
    assert scores.shape == (2, 3, 10, 13)
    loss = half.loss(half.named(scores), {"mask": mask}, ABC, OPTIONS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in network.parameters())

    state = network.state_dict()
    network.network.save_pretrained(tmp_path / "snapshot")  # type: ignore[operator, union-attr]
    again = half.whole("hf-segformer-b0", ABC, 50, 38, str(tmp_path / "snapshot" / "model.safetensors"))
    assert again is not None
    assert again[-1] == "model.safetensors"
    assert all(torch.equal(v, state[k]) for k, v in again[0].state_dict().items())
    sealed = export.Sealed(networks.Network(network, nn.Identity(), 0.0, mean, std), half, ABC, {})
    export.write(sealed, ("mask",), TensorSpec("image", "uint8", (None, 38, 50, 3)), tmp_path / "m.onnx", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 3):
        given = np.random.default_rng(rows).integers(0, 256, (rows, 38, 50, 3)).astype(np.uint8)
        (ours,) = session.run(None, {"image": given})
        assert ours.shape == (rows, 38, 50)
        assert (ours == export.run(sealed, given)["mask"]).mean() > 0.999


def test_an_unknown_network_of_transformers_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean hf-segformer-b2"):
        half.whole("hf-segfromer-b2", ABC, 64, 64, "none")


@needs_smp
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smp-unett-resnet18", "did you mean 'unet'"),
        ("smp-unet-resnet_18", "did you mean 'resnet18'"),
        ("smp-unet", "no encoder ''"),
    ],
)
def test_an_unknown_network_of_smp_gets_a_suggestion(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        smp.network(name, 3, "none")


def test_maps_grow_by_their_strides_and_are_cut() -> None:
    """8 rows over 240 px lie where 15 of half the stride do: every second one is between two of theirs."""
    rows = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 10)
    grown = network._enlarged(rows, 2, (15, 20))
    assert grown.shape == (1, 1, 15, 20)
    assert torch.allclose(grown[0, 0, 1:, 0], 0.5 * torch.arange(1, 15) - 0.25)


@needs_smp
def test_a_pair_that_smp_cannot_make_is_refused_whatever_its_weights() -> None:
    for weights in ("auto", "none"):
        with pytest.raises(UsageError, match="smp-linknet-mit_b0 cannot be made"):
            half.whole("smp-linknet-mit_b0", ABC, 64, 64, weights)
