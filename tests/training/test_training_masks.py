"""Masks in the training loop: learned from scratch, sealed with the same answers, continued to the same bits."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import UsageError
from saccade.training.events import Epoch, Event, Finished
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.types import Labels, Sample

needs_keras = pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed")

(TASK,) = tasks.fitting({"mask"})
LABELS = Labels(("ground", "square"), exclusive=False)


def dataset(train: int = 16, val: int = 6) -> Dataset:
    """Bright squares on noise, 40 x 56 px; the lowest row is never judged."""
    random = np.random.default_rng(0)

    def sample(place: int, split: str) -> Sample:
        pixels = (random.random((40, 56, 3)) * 90).astype(np.uint8)
        mask = np.zeros((40, 56), np.uint8)
        top, left = random.integers(0, 18), random.integers(0, 34)
        pixels[top : top + 20, left : left + 20] += 140
        mask[top : top + 20, left : left + 20] = 1
        mask[-1] = 255
        return Sample(f"{split}/{place}.png", pixels, {"mask": mask})

    splits = {
        "train": tuple(sample(i, "train") for i in range(train)),
        "val": tuple(sample(i, "val") for i in range(val)),
    }
    return Dataset("memory", Path(), LABELS, splits)


def recipe(**knobs: object) -> Recipe:
    known = {"task": TASK, "size": 48, "epochs": 2, "batch": 8, "threads": 1, "cache": "none", "precision": "float32"}
    return Recipe.load(None, {**known, **knobs})


def fit(run: Run, data: Dataset) -> list[Event]:
    return list(find("torch").fit(run, data))


def test_squares_are_found_and_the_sealed_graph_says_the_same(tmp_path: Path) -> None:
    data = dataset(train=24)
    run = Run.create(tmp_path / "run", recipe(epochs=12, rate=0.005), data)
    last = [e for e in fit(run, data) if isinstance(e, Epoch)][-1]
    assert last.metric_name == "mean_iou"
    assert last.metric > 0.7
    graph = find("torch").export(run, data, tmp_path / "export")
    assert [o.name for o in graph.outputs] == ["mask"]
    session = onnxruntime.InferenceSession(str(graph.file), providers=["CPUExecutionProvider"])
    for rows in (1, 2, 5):
        pixels = graph.probe_inputs["image"][:rows]
        answer = session.run(None, {"image": pixels})[0]
        assert answer.dtype == np.uint8
        assert answer.shape == pixels.shape[:3]
        assert tasks.find(TASK).difference({"mask": answer}, {"mask": graph.probe_outputs["mask"][:rows]}) < 1e-3


@pytest.mark.parametrize("engine", ["torch", pytest.param("keras", marks=needs_keras)])
def test_a_graph_tells_how_sure_it_is_where_the_recipe_says_so(tmp_path: Path, engine: str) -> None:
    data = dataset()
    run = Run.create(tmp_path / "run", recipe(engine=engine, epochs=6, rate=0.005, confidence=True), data)
    *_, last = find(engine).fit(run, data)
    assert isinstance(last, Finished)
    assert last.calibration["temperature"] > 0
    graph = find(engine).export(run, data, tmp_path / "export")
    assert [o.name for o in graph.outputs] == ["mask", "confidence"]
    session = onnxruntime.InferenceSession(str(graph.file), providers=["CPUExecutionProvider"])
    mask, sure = session.run(["mask", "confidence"], {"image": graph.probe_inputs["image"]})
    assert mask.shape == sure.shape
    assert sure.dtype == np.uint8
    assert sure.min() >= 127, "of two classes the better one has half at least"
    assert len(np.unique(sure)) > 20
    assert np.abs(sure.astype(int) - graph.probe_outputs["confidence"]).max() <= 1


def test_an_output_of_another_task_is_refused(tmp_path: Path) -> None:
    pictures = [Sample(f"{i}", np.zeros((8, 8, 3), np.uint8), {"classes": np.array([i % 2])}) for i in range(8)]
    data = Dataset("memory", Path(), Labels(("a", "b")), {"train": tuple(pictures), "val": tuple(pictures)})
    run = Run.create(tmp_path / "run", Recipe.load(None, {"confidence": True, "cache": "none"}), data)
    with pytest.raises(UsageError, match="has no output named confidence"):
        fit(run, data)


needs_smp = pytest.mark.skipif(
    find_spec("segmentation_models_pytorch") is None, reason="segmentation-models-pytorch is not installed"
)


needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


@pytest.mark.parametrize(
    "network",
    [
        "residual-64",
        pytest.param("smp-unet-mobilenet_v2", marks=needs_smp),
        pytest.param("mobilenetv3_small_050", marks=needs_timm),
        pytest.param("hf-segformer-b0", marks=needs_transformers),
    ],
)
def test_other_networks_learn_masks_too(tmp_path: Path, network: str) -> None:
    data = dataset(train=8, val=4)
    run = Run.create(tmp_path / "run", recipe(network=network, weights="none", epochs=1, batch=4, size=40), data)
    (epoch,) = [e for e in fit(run, data) if isinstance(e, Epoch)]
    assert 0 < epoch.metric <= 1
    outputs = find("torch").outputs(run, np.zeros((2, run.preprocess.height, run.preprocess.width, 3), np.uint8))
    assert outputs["mask"].shape == (2, run.preprocess.height, run.preprocess.width)


def test_a_loss_of_another_task_is_refused(tmp_path: Path) -> None:
    data = dataset(train=8, val=4)
    run = Run.create(tmp_path / "run", recipe(loss="bce"), data)
    with pytest.raises(UsageError, match=r"has no loss 'bce'.*lovasz"):
        fit(run, data)


def test_what_auto_means_for_masks(tmp_path: Path) -> None:
    data = dataset(train=8, val=4)
    run = Run.create(tmp_path / "run", Recipe.load(None, {"task": TASK, "smoke": True, "cache": "none"}), data)
    fit(run, data)
    assert run.recipe.network == "light-mask"
    assert run.recipe.loss == "cross_entropy+dice"
    assert run.recipe.mixup == run.recipe.cutmix == 0
    assert (run.folder / "samples" / "first_batch.png").is_file()
