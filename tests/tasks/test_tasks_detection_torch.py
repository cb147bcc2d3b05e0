"""Detection in PyTorch: overlaps, assignment and losses on paper, one batch learned by heart, the graph against
itself."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from saccade import tasks
from saccade.errors import UsageError
from saccade.tasks.detection import torch as half
from saccade.tasks.detection.plan import BINS
from saccade.tasks.detection.torch.assign import heat, task_aligned
from saccade.tasks.detection.torch.boxes import ciou, giou, iou
from saccade.tasks.detection.torch.dense import distances, grid_points
from saccade.tasks.detection.torch.loss import distribution, ignored
from saccade.tasks.detection.torch.suppress import suppress
from saccade.training.choices import Facts
from saccade.training.pictures import BORDER
from saccade.training.recipe import Recipe
from saccade.training.trainers.torch import export, networks
from saccade.training.trainers.torch.augment import Augment
from saccade.types import Labels, TensorSpec

LABELS = Labels(("ball", "bat"))
OPTIONS = {"loss": "task_aligned", "focal_gamma": 2.0, "class_weights": None, "box_loss": "giou", "finest": 8}


def network(seed: int = 0, name: str = "residual-224", finest: int = 8) -> networks.Network:
    torch.manual_seed(seed)
    body = networks.backbone(Recipe(network=name), 96, 64, "maps")
    return networks.Network(body, half.head(body.features, LABELS, {"finest": finest}), 0.0)


def test_overlaps_by_hand() -> None:
    a, b = torch.tensor([0.0, 0, 10, 10]), torch.tensor([5.0, 0, 15, 10])
    assert float(iou(a, b)) == pytest.approx(1 / 3)
    assert float(giou(a, b)) == pytest.approx(1 / 3)  # the hull is full
    apart = torch.tensor([20.0, 0, 30, 10])
    assert float(giou(a, apart)) == pytest.approx(-100 / 300)
    # Same shape: only the centres count, 5 px apart in a hull of 15 x 10.
    assert float(ciou(a, b)) == pytest.approx(1 / 3 - 25 / (225 + 100))


def test_a_side_is_the_mean_of_its_bins() -> None:
    sides = torch.full((1, 4 * BINS), -50.0)
    for side, bin_ in enumerate((0, 3, 7, 15)):
        sides[0, side * BINS + bin_] = 50
    assert distances(sides, torch.tensor([8.0]))[0].tolist() == pytest.approx([0, 24, 56, 120], abs=1e-3)
    even = torch.zeros(1, 4, BINS)
    assert float(distribution(even, torch.full((1, 4), 2.25))) == pytest.approx(np.log(BINS), rel=1e-5)


def test_points_are_the_centres_of_cells() -> None:
    assert grid_points(2, 3, 8, torch.device("cpu")).tolist() == [
        [4, 4, 8], [12, 4, 8], [20, 4, 8], [4, 12, 8], [12, 12, 8], [20, 12, 8],
    ]  # fmt: skip


def test_the_point_that_answers_best_owns_the_box() -> None:
    points = grid_points(4, 4, 8, torch.device("cpu"))
    boxes = torch.tensor([[[0.0, 0, 16, 16], [0, 0, 0, 0]]])
    classes = torch.tensor([[1, -1]])
    guesses = torch.zeros(1, 16, 4)
    guesses[0, 0] = torch.tensor([0.0, 0, 16, 16])
    guesses[0, 5] = torch.tensor([0.0, 0, 16, 8])
    guesses[0, 15] = torch.tensor([0.0, 0, 16, 16])  # a perfect guess from outside the box
    scores = torch.full((1, 16, 2), 0.5)
    found = task_aligned(scores, guesses, points, boxes, classes)
    assert found.positive[0].nonzero()[:, 0].tolist() == [0, 1, 4, 5]
    assert found.quality[0, [0, 5, 15]].tolist() == pytest.approx([1.0, 0.5**6, 0.0])
    assert not task_aligned(scores, guesses, points, boxes[:, :0], classes[:, :0]).positive.any()


def test_a_box_between_points_still_has_an_owner() -> None:
    points = grid_points(4, 4, 8, torch.device("cpu"))
    boxes = torch.tensor([[[7.0, 7, 9, 9]]])
    found = task_aligned(torch.full((1, 16, 2), 0.1), torch.zeros(1, 16, 4), points, boxes, torch.tensor([[0]]))
    assert found.positive.any()


def test_heat_is_one_at_the_centre_and_on_one_level() -> None:
    points = torch.cat([grid_points(8, 8, s, torch.device("cpu")) for s in (8, 16)])
    boxes = torch.tensor([[[10.0, 10, 26, 30], [0, 0, 100, 100], [16, 16, 32, 32]]])
    warm = heat(points, boxes, torch.tensor([[0, 1, -2]]))
    assert [(int((row == 1).sum()), int((row[:64] > 0).sum() > 0)) for row in warm[0]] == [(1, 1), (1, 0), (0, 0)]
    assert points[warm[0, 0].argmax()].tolist() == [20, 20, 8]


def test_ignored_regions_teach_nothing() -> None:
    points = grid_points(2, 2, 8, torch.device("cpu"))
    boxes = torch.tensor([[[0.0, 0, 8, 16]]])
    assert ignored(points, boxes, torch.tensor([[-2]]))[0].tolist() == [True, False, True, False]
    assert not ignored(points, boxes, torch.tensor([[-1]])).any()
    raw = (torch.zeros(1, 4, 2, requires_grad=True), torch.zeros(1, 4, 4 * BINS, requires_grad=True), points[None])
    for kind in half.learning.losses(LABELS):
        targets = {"boxes": boxes, "box_classes": torch.tensor([[-2]])}
        (gradient,) = torch.autograd.grad(
            half.loss(half.named(raw), targets, LABELS, {**OPTIONS, "loss": kind}), raw[0]
        )
        assert (gradient[0].abs().sum(1) > 0).tolist() == [False, True, False, True], kind


@pytest.mark.parametrize("kind", half.learning.losses(LABELS))
def test_the_loss_of_a_picture_without_objects_is_finite(kind: str) -> None:
    net = network()
    targets = {"boxes": torch.zeros(2, 0, 4), "box_classes": torch.zeros(2, 0, dtype=torch.int64)}
    value = half.loss(half.named(net(torch.rand(2, 3, 64, 96))), targets, LABELS, {**OPTIONS, "loss": kind})
    value.backward()
    assert bool(torch.isfinite(value))
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", half.learning.losses(LABELS))
def test_one_batch_is_learned_by_heart(kind: str) -> None:
    torch.manual_seed(0)
    images = torch.full((2, 3, 64, 96), 0.4)
    images[0, :, 10:30, 12:40], images[1, 0, 28:56, 50:80] = 0.9, 0.0
    targets = {
        "boxes": torch.tensor([[[12.0, 10, 40, 30]], [[50, 28, 80, 56]]]),
        "box_classes": torch.tensor([[0], [1]]),
    }
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    options = {**OPTIONS, "loss": kind}
    for _ in range(60):
        optimizer.zero_grad()
        half.loss(half.named(net(images)), targets, LABELS, options).backward()
        optimizer.step()
    net.train()
    with torch.no_grad():
        kept = half.keep(half.named(net(images)), targets, LABELS)
    found = kept["boxes"][:, 0], kept["class_ids"][:, 0].tolist()
    assert found[1] == [0, 1]
    assert float(iou(found[0], targets["boxes"][:, 0]).min()) > 0.8
    name, value, _ = half.watch(
        {k: v.numpy() for k, v in kept.items()}, {k: v.numpy() for k, v in targets.items()}, LABELS
    )
    assert name == "ap"
    assert value > 0.6


def test_suppression_is_that_of_the_onnx_operator() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [50, 50, 60, 60]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.05], [0.0, 0.3, 0.2, 0.2]]])
    kept = suppress(boxes, scores, 0.5, 0.1, 2)
    np.testing.assert_allclose(kept[0], [[0.9, 0, 0.7, 0], [0, 0.3, 0, 0.2]])


def test_the_graph_answers_as_the_network_at_any_batch(tmp_path: Path) -> None:
    net = network()
    torch.manual_seed(1)
    torch.nn.init.normal_(net.head.scores.weight, std=0.3)
    torch.nn.init.normal_(net.head.sides.weight, std=0.5)
    torch.nn.init.zeros_(net.head.scores.bias)
    net.train()(torch.rand(8, 3, 64, 96))
    sealed = export.Sealed(net.eval(), half, LABELS, {})
    task = tasks.find("detection")
    file = tmp_path / "model.onnx"
    names = tuple(o.name for o in task.outputs(LABELS))
    export.write(sealed, names, TensorSpec("image", "uint8", (None, 64, 96, 3)), file, {})
    graph = onnxruntime.InferenceSession(file)
    assert [o.shape[1:] for o in graph.get_outputs()] == [[100, 4], [100], [100]]
    for rows in (1, 2, 7):
        images = np.random.default_rng(rows).integers(0, 255, (rows, 64, 96, 3), dtype=np.uint8)
        ours = dict(zip(names, graph.run(list(names), {"image": images}), strict=True))
        assert task.difference(export.run(sealed, images), ours) < 1e-4
        assert (ours["scores"] > 0.02).sum() > 5 * rows
        assert ours["class_ids"].dtype == np.int64


@pytest.mark.parametrize(("finest", "cells"), [(4, 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3), (8, 8 * 12 + 4 * 6 + 2 * 3)])
def test_the_finest_map_is_chosen(finest: int, cells: int) -> None:
    net = network(finest=finest).eval()
    logits, sides, points = net(torch.zeros(1, 3, 64, 96))
    assert logits.shape == (1, cells, 2)
    assert sides.shape == (1, cells, 4 * BINS)
    assert points.shape == (1, cells, 3)
    assert networks.parameters(net) < 5e6


@pytest.mark.parametrize("seed", range(10))
def test_boxes_follow_the_pixels_into_a_mosaic(seed: int) -> None:
    """Four coloured rectangles, one a picture: after the mosaic every whole box lies around its colour."""
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], dtype=torch.uint8)
    images = torch.full((4, 96, 64, 3), round(BORDER * 255), dtype=torch.uint8)
    boxes = torch.zeros(4, 1, 4)
    for i, colour in enumerate(colours):
        x, y = 10 + 5 * i, 20 + 9 * i
        images[i, y : y + 18, x : x + 22] = colour
        boxes[i, 0] = torch.tensor([x, y, x + 22, y + 18])
    still = {"rotation": 0, "shift": 0.1, "zoom": 0.3, "crop": 1, "flip_horizontal": True, "flip_vertical": True,
             "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "erase": 0, "mixup": 0, "cutmix": 0}  # fmt: skip
    augment = Augment(Recipe.load(None, {**still, "mosaic": 1.0}))
    targets = {"boxes": boxes, "box_classes": torch.arange(4)[:, None]}
    out, moved = augment(images, targets, seed)
    assert moved["boxes"].shape == (*moved["box_classes"].shape, 4)
    assert moved["boxes"].shape[1] == int((moved["box_classes"] != -1).sum(1).max()) <= 4, "none is carried for nothing"
    seen = 0
    for picture, row, ids in zip(out, moved["boxes"], moved["box_classes"], strict=True):
        for box, kind in zip(row, ids.tolist(), strict=True):
            if kind < 0:
                continue
            seen += 1
            away = (picture - colours[kind].float().view(3, 1, 1) / 255).abs().amax(0)
            x0, y0, x1, y1 = (round(float(v)) for v in box)
            inside = away[y0:y1, x0:x1] < 0.35
            assert float(inside.float().mean()) > 0.75
            grown = away[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] < 0.35
            assert int(grown.sum()) - int(inside.sum()) <= (x1 - x0) + (y1 - y0) + 4
    assert seen >= 4
    closed, unmoved = augment(images, targets, seed, several=False)
    assert unmoved["boxes"].shape[1] <= 1
    assert closed.shape == out.shape


@pytest.mark.parametrize(
    ("smallest", "size", "smoke", "start"), [(0.1, "auto", False, 0.7), (0.02, "auto", False, 1.0), (0.1, 192, False, 1.0),
                                             (0.1, "auto", True, 1.0)],
)  # fmt: skip
def test_a_run_begins_small_where_boxes_are_not(smallest: float, size: object, smoke: bool, start: float) -> None:
    facts = Facts(
        train=200, classes=("a",), counts=(1,), exclusive=False, widths=(640,), heights=(480,), cores=2, device="cpu",
        bfloat16=False, loss="task_aligned", geometry=True, smallest=smallest,
    )  # fmt: skip
    chosen = half.prefer(facts, Recipe.load(None, {"size": size, "smoke": smoke}))
    assert chosen["start_size"][0] == start
    for other in ({"network": "resnet18"}, {"engine": "keras"}):
        still = half.prefer(facts, Recipe.load(None, {"size": size, "smoke": smoke, **other}))
        assert still["start_size"][0] == 1


needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")


@pytest.fixture
def small_queries(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a small RT-DETRv2."""
    from saccade.tasks.detection.torch import transformers

    more = {
        "d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_layers": 2,
        "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 64, "decoder_attention_heads": 4, "hidden_expansion": 0.5,
    }  # fmt: skip
    small = transformers.Size((1, 1, 1, 1), "basic", (64, 64, 64, 96), more)
    monkeypatch.setitem(transformers.SIZES, "rtdetrv2-small", small)
    return "hf-rtdetrv2-small"


@needs_transformers
def test_queries_learn_one_batch_by_heart_and_are_sealed(small_queries: str, tmp_path: Path) -> None:
    """At a size that is no multiple of the stride, with fewer places than queries; weights of a snapshot and of our
    own."""
    torch.manual_seed(0)
    made = half.whole(small_queries, LABELS, 90, 60, "none")
    assert made is not None
    body, mean, std, said = made
    assert said == "from scratch"
    model = networks.Network(body, nn.Identity(), 0.0, mean, std)
    pictures = torch.rand(2, 3, 60, 90) * 0.2
    pictures[0, 0, 10:40, 20:60] = 1
    pictures[1, 1, 20:50, 5:35] = 1
    targets = {
        "boxes": torch.tensor([[[20.0, 10, 60, 40], [0, 0, 0, 0]], [[5, 20, 35, 50], [50, 5, 80, 30]]]),
        "box_classes": torch.tensor([[0, -1], [1, -2]]),
    }
    options = {**OPTIONS, "loss": "matching"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        loss = half.loss(half.named(model(pictures)), targets, LABELS, options)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        answer = half.tail(half.named(model(pictures)), {}, LABELS)
    assert answer["class_ids"][:, 0].tolist() == [0, 1]
    assert bool((iou(answer["boxes"][:, 0], targets["boxes"][:, 0]) > 0.7).all())
    assert (answer["scores"].diff(dim=1) <= 0).all()

    from safetensors.torch import load_file, save_file

    state = body.state_dict()
    body.network.save_pretrained(tmp_path / "snapshot")  # type: ignore[operator, union-attr]
    snapshot = tmp_path / "snapshot" / "model.safetensors"
    assert not set(load_file(snapshot)) <= set(body.network.state_dict()), "its names are older than the library's own"  # type: ignore[union-attr]
    again = half.whole(small_queries, LABELS, 90, 60, str(snapshot))
    assert again is not None
    assert again[-1] == "model.safetensors"
    assert all(torch.equal(v, state[k]) for k, v in again[0].state_dict().items())
    others = half.whole(small_queries, Labels(("a", "b", "c")), 90, 60, str(snapshot))
    assert others is not None
    assert re.match(r"model.safetensors, all but \d tensors \(model", others[-1]), "other classes: all but the heads"
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"no tensor of x\.safetensors fits"):
        half.whole(small_queries, LABELS, 90, 60, str(tmp_path / "x.safetensors"))

    sealed = export.Sealed(model, half, LABELS, {})
    names = ("boxes", "scores", "class_ids")
    export.write(sealed, names, TensorSpec("image", "uint8", (None, 60, 90, 3)), tmp_path / "m.onnx", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    given = (pictures * 255).byte().permute(0, 2, 3, 1).numpy()
    for rows in (given[:1], np.concatenate([given, given[:1]])):
        ours = dict(zip(names, session.run(None, {"image": rows}), strict=True))
        theirs = export.run(sealed, rows)
        assert ours["boxes"].shape == (len(rows), 100, 4)
        assert np.abs(ours["scores"] - theirs["scores"]).max() < 1e-4
        assert np.abs(ours["boxes"][:, 0] - theirs["boxes"][:, 0]).max() < 0.01


@needs_transformers
def test_a_loss_goes_with_its_network(small_queries: str) -> None:
    made = half.whole(small_queries, LABELS, 64, 64, "none")
    assert made is not None
    targets = {"boxes": torch.zeros(1, 1, 4), "box_classes": torch.full((1, 1), -1)}
    queries, dense = half.named(made[0](torch.rand(1, 3, 64, 64))), half.named(network()(torch.rand(1, 3, 64, 64)))
    with pytest.raises(UsageError, match="set loss=matching"):
        half.loss(queries, targets, LABELS, OPTIONS)
    with pytest.raises(UsageError, match="set loss=task_aligned or centers"):
        half.loss(dense, targets, LABELS, {**OPTIONS, "loss": "matching"})
    matching = {**OPTIONS, "loss": "matching"}
    assert float(half.loss(queries, targets, LABELS, matching).detach()) > 0, "nothing to find"
    with pytest.raises(UsageError, match="class_weights=none"):
        half.loss(queries, targets, LABELS, {**matching, "class_weights": torch.ones(2)})
    lost = {**queries, "boxes": queries["boxes"] * torch.nan}
    assert not np.isfinite(float(half.loss(lost, targets, LABELS, matching).detach())), "the loop tells of divergence"


@needs_transformers
def test_queries_answer_in_float32_whatever_they_are_taught_in(small_queries: str) -> None:
    made = half.whole(small_queries, LABELS, 64, 64, "none")
    assert made is not None
    with torch.autocast("cpu", torch.bfloat16):
        told = made[0](torch.rand(1, 3, 64, 64))
    assert {k: v.dtype for k, v in told.items()} == dict.fromkeys(told, torch.float32)


@needs_transformers
def test_queries_in_an_ignored_region_learn_no_class(small_queries: str) -> None:
    made = half.whole(small_queries, LABELS, 64, 64, "none")
    assert made is not None
    told = made[0].eval()(torch.rand(1, 3, 64, 64))
    logits = told["logits"].detach().requires_grad_()
    boxes = torch.tensor([[2.0, 2, 20, 20], [30, 30, 60, 60], [31, 31, 59, 59]])
    queries = {**told, "logits": logits, "boxes": told["boxes"].detach().clone()}
    queries["boxes"][0, :3] = boxes
    region = {"boxes": torch.tensor([[[28.0, 28, 64, 64], [31, 31, 59, 60]]]), "box_classes": torch.tensor([[-2, 1]])}
    half.loss(queries, region, LABELS, {**OPTIONS, "loss": "matching"}).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad[0, 0].abs().sum() > 0), "outside it is background"
    assert bool(logits.grad[0, 1].abs().sum() > 0), "an object in it is still one"
    region["box_classes"][0, 1] = -1
    logits.grad = None
    half.loss(queries, region, LABELS, {**OPTIONS, "loss": "matching"}).backward()  # type: ignore[no-untyped-call]
    assert bool(logits.grad[0, 1:3].abs().sum() == 0)  # type: ignore[index]


def test_an_unknown_network_with_queries_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean hf-rtdetrv2-r18"):
        half.whole("hf-rtdetr2-r18", LABELS, 64, 64, "none")
