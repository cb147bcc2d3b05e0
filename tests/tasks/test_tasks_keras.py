"""The learning halves of masks and boxes in Keras, held to the torch ones number by number, and trained."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from saccade import tasks
from saccade.errors import UsageError
from saccade.tasks.keras import tf
from saccade.tasks.segmentation.keras import network, terms
from saccade.tasks.segmentation.learning import LOSSES
from saccade.tasks.segmentation.torch import network as torch_network
from saccade.tasks.segmentation.torch import terms as torch_terms
from saccade.testing.trainers import scenes
from saccade.training.outset import half_of
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.types import Labels

pytestmark = pytest.mark.timeout(900)  # TensorFlow traces each graph: seconds, but minutes where others compute too

LABELS = Labels(("a", "b", "c"))
BOXES, MASKS = "detection", "segmentation"


def halves(task: str) -> tuple[object, object]:
    return half_of(tasks.find(task), "torch"), half_of(tasks.find(task), "keras")


def test_every_task_of_ours_can_be_learned_with_both_engines() -> None:
    for name in (BOXES, MASKS, "classification"):
        assert all(half.losses(LABELS) for half in halves(name))
    with pytest.raises(UsageError, match=r"cannot be learned with keras"):
        half_of(tasks.find("tensors"), "keras")


@pytest.mark.parametrize("size", [(8, 8), (4, 5)])
def test_shares_of_a_mask_are_those_of_torch(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).choice([0, 1, 2, 255], (2, 16, 18)).astype(np.uint8)
    theirs = torch_terms.shares(torch.tensor(mask), size, 3).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(terms.shares(tf.constant(mask), size, 3).numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_mask_losses_and_gradients_are_those_of_torch(name: str, weighed: bool, smoothing: float) -> None:
    theirs, ours = halves(MASKS)
    random = np.random.default_rng(1)
    logits, coarse = (
        random.normal(size=(2, 8, 8, 3)).astype(np.float32),
        random.normal(size=(2, 2, 2, 3)).astype(np.float32),
    )
    mask = random.choice([0, 1, 255], (2, 16, 16), p=[0.5, 0.4, 0.1]).astype(np.uint8)
    weights = np.array([0.5, 1.0, 1.5], np.float32) if weighed else None
    options = {"loss": name, "smoothing": smoothing, "focal_gamma": 2.0}
    given = torch.tensor(logits).permute(0, 3, 1, 2).contiguous().requires_grad_()
    value = theirs.loss(
        {"logits": given, "coarse": torch.tensor(coarse).permute(0, 3, 1, 2)}, {"mask": torch.tensor(mask)}, LABELS,
        {**options, "class_weights": torch.tensor(weights) if weighed else None},
    )  # fmt: skip
    value.backward()
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        found = ours.loss(
            {"logits": variable, "coarse": tf.constant(coarse)}, {"mask": tf.constant(mask)}, LABELS,
            {**options, "class_weights": weights},
        )  # fmt: skip
    assert float(found) == pytest.approx(float(value.detach()), rel=1e-4)
    expected = given.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(tape.gradient(found, variable).numpy(), expected, atol=1e-5)


def test_masks_are_enlarged_and_answered_as_in_torch() -> None:
    theirs, ours = halves(MASKS)
    logits = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    large = network.larger(tf.constant(logits), [20, 24]).numpy()
    channels_first = torch.tensor(logits).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(channels_first, scale_factor=4.0, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(large, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    left = theirs.tail({"logits": channels_first}, {}, LABELS)["mask"].numpy()
    np.testing.assert_array_equal(ours.tail({"logits": tf.constant(logits)}, {}, LABELS)["mask"].numpy(), left)
    ids = np.array([1, 2])
    spoke = theirs.evidence({"logits": channels_first}, torch.tensor(ids)).numpy()
    np.testing.assert_allclose(
        ours.evidence({"logits": tf.constant(logits)}, tf.constant(ids)).numpy(), spoke, rtol=1e-5
    )


def test_the_light_network_has_the_size_of_torchs() -> None:
    theirs = torch_network.light(3, (64, 64))
    body, maps = network.body()
    head = network.Pyramid(maps, 3, (64, 64))
    images = np.zeros((1, 64, 64, 3), np.float32)
    assert head(body(images)).shape == (1, 64, 64, 3)
    fine, coarse = head(body(images), training=True)
    assert (fine.shape, coarse.shape) == ((1, 16, 16, 3), (1, 2, 2, 3))
    learned = sum(int(np.prod(v.shape)) for m in (body, head) for v in m.trainable_variables)
    assert learned == sum(p.numel() for p in theirs.parameters())
    with pytest.raises(ValueError, match="halves 16 px"):
        network.unet(3, (24, 64))


def dense(random: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the detector might say on a 64 px picture with strides 8, 16 and 32, and what is there."""
    points = [[(x + 0.5) * s, (y + 0.5) * s, s] for s in (8, 16, 32) for y in range(64 // s) for x in range(64 // s)]
    a = len(points)
    outputs = {
        "logits": random.normal(-2, 1, (2, a, 3)).astype(np.float32),
        "sides": random.normal(size=(2, a, 64)).astype(np.float32),
        "points": np.tile(np.array(points, np.float32), (2, 1, 1)),
    }
    boxes = [[[4, 4, 30, 28], [33, 30, 61, 60], [20, 40, 24, 43]], [[10, 10, 50, 50], [0, 0, 0, 0], [1, 50, 9, 62]]]
    return outputs, {"boxes": np.array(boxes, np.float32), "box_classes": np.array([[0, 2, 1], [1, -1, -2]])}


@pytest.mark.parametrize("box_loss", ["giou", "ciou"])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("name", ["task_aligned", "centers"])
@pytest.mark.parametrize("empty", [False, True])
def test_box_losses_and_gradients_are_those_of_torch(name: str, weighed: bool, box_loss: str, empty: bool) -> None:
    theirs, ours = halves(BOXES)
    outputs, targets = dense(np.random.default_rng(2))
    if empty:
        targets = {"boxes": targets["boxes"][:, :0], "box_classes": targets["box_classes"][:, :0]}
    weights = np.array([0.5, 1.0, 1.5], np.float32) if weighed else None
    options = {"loss": name, "box_loss": box_loss, "focal_gamma": 2.0}
    given = {k: torch.tensor(v, requires_grad=k != "points") for k, v in outputs.items()}
    value = theirs.loss(
        given, {k: torch.tensor(v) for k, v in targets.items()}, LABELS,
        {**options, "class_weights": torch.tensor(weights) if weighed else None},
    )  # fmt: skip
    value.backward()
    variables = {k: tf.Variable(v) for k, v in outputs.items()}
    with tf.GradientTape() as tape:
        found = ours.loss(
            variables, {k: tf.constant(v) for k, v in targets.items()}, LABELS, {**options, "class_weights": weights}
        )
    assert float(found) == pytest.approx(float(value.detach()), rel=1e-4)
    slopes = tape.gradient(found, [variables["logits"], variables["sides"]], unconnected_gradients="zero")
    for slope, key in zip(slopes, ("logits", "sides"), strict=True):
        np.testing.assert_allclose(slope.numpy(), given[key].grad.numpy(), atol=1e-5)


def test_the_boxes_that_are_left_are_those_of_torch() -> None:
    theirs, ours = halves(BOXES)
    outputs, _ = dense(np.random.default_rng(3))
    outputs["logits"] += 2
    left = theirs.tail({k: torch.tensor(v) for k, v in outputs.items()}, {}, LABELS)
    right = ours.settle(
        {k: v.numpy() for k, v in ours.tail({k: tf.constant(v) for k, v in outputs.items()}, {}, LABELS).items()}
    )
    np.testing.assert_allclose(right["scores"], left["scores"].numpy(), atol=1e-5)
    np.testing.assert_array_equal(right["class_ids"], left["class_ids"].numpy())
    np.testing.assert_allclose(right["boxes"], left["boxes"].numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("task", "name", "epochs", "least"),
    [(MASKS, "unet", 8, 0.4), (BOXES, "residual-224", 3, 0.0)],
)
def test_it_learns_and_all_its_graphs_answer_alike(
    task: str, name: str, epochs: int, least: float, tmp_path: Path
) -> None:
    data = scenes("boxes" if task == BOXES else "mask")
    knobs = Recipe.load(None, {
        "task": task, "engine": "keras", "network": name, "size": 64, "epochs": epochs, "batch": 8, "threads": 1, "cache": "none",
        "weights": "none", "start_size": 1, "rate": 0.005, "device": "cpu", "rotation": 10.0,
        "multi_scale": 0.2 if task == BOXES else 0,
    })  # fmt: skip
    run = Run.create(tmp_path / "run", knobs, data)
    trainer = find("keras")
    said = list(trainer.fit(run, data))
    assert said[-1].metric >= least
    losses = [e.loss for e in said if e.kind == "epoch"]
    assert losses[-1] < losses[0]
    graph = trainer.export(run, data, tmp_path / "graph")
    opened = onnxruntime.InferenceSession(str(graph.file))
    kind = tasks.find(task)
    for rows in (1, 6):
        images = graph.probe_inputs["image"][:rows]
        ours = dict(zip([o.name for o in graph.outputs], opened.run(None, {"image": images}), strict=True))
        assert kind.difference({k: v[:rows] for k, v in graph.probe_outputs.items()}, ours) < 1e-3
        for spec in graph.outputs:
            assert ours[spec.name].dtype == np.dtype(spec.dtype)
            assert all(s in (None, n) for s, n in zip(spec.shape, ours[spec.name].shape, strict=True))
    served = tf.saved_model.load(str(tmp_path / "graph" / "saved_model"))
    told = {k: v.numpy() for k, v in served.signatures["serving_default"](tf.constant(images)).items()}
    assert kind.difference({k: v[:rows] for k, v in graph.probe_outputs.items()}, told) < 1e-3
    heat = trainer.explain(run, images, np.zeros(len(images), np.int64))
    assert heat.shape[0] == len(images)
