"""A task of another distribution, found by its entry point, goes the whole way with a loss that nobody here has heard
of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade import tasks
from saccade.errors import UsageError
from saccade.package import reader

TASK = '''
from saccade.tasks.classification.task import Classification

class Grading(Classification):
    """How far along is it? The classes are steps of a scale."""

    name = "grading"
'''
HALF = """
import torch
from saccade.tasks.classification.torch import *  # all but how far an answer is off

def losses(labels):
    return ("steps_off",)

def loss(outputs, targets, labels, options):
    assert options["loss"] == "steps_off"
    steps = torch.arange(len(labels), dtype=torch.float32)
    chances = outputs["logits"].float().softmax(1)
    true = (targets["target"] * steps).sum(1, keepdim=True)
    return (chances * (steps - true).square()).sum(1).mean()
"""


@pytest.fixture
def grading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Installed as pip would: a package, and beside it what it says of itself."""
    site = tmp_path / "site"
    (site / "scales").mkdir(parents=True)
    (site / "scales" / "__init__.py").write_text("")
    (site / "scales" / "task.py").write_text(TASK)
    (site / "scales" / "torch.py").write_text(HALF)
    about = site / "scales-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: scales\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[saccade.tasks]\ngrading = scales.task:Grading\n")
    monkeypatch.syspath_prepend(str(site))
    return "grading"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three steps from dark to bright, sixteen pictures each."""
    random = np.random.default_rng(0)
    for step, name in enumerate(("dark", "dusk", "light")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(16):
            pixels = np.clip(random.normal(50 + 70 * step, 15, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_a_new_task_is_checked_trained_judged_sealed_and_asked(grading: str, photos: Path, tmp_path: Path) -> None:
    assert grading in tasks.names()
    assert not [f for f in saccade.check(photos).findings if f.severity == "ERROR"]
    plan = {
        "network": "cnn-small",
        "filters": "8,8",
        "dense": 8,
        "size": 24,
        "epochs": 24,
        "batch": 8,
        "threads": 1,
        "rate": 0.005,
    }
    made = saccade.train(photos, task=grading, out=tmp_path / "run", cache="none", **plan)
    assert made.card.task == grading
    assert made.card.headline.value > 0.8
    assert reader.open_package(made.package).manifest.task == grading
    with saccade.load(made.package) as model:
        answer = model.predict(photos / "light" / "3.png")
        assert model.labels.names[int(answer.class_ids[0])] == "light"
    again = saccade.evaluate(made.package, photos, split="test")
    assert again.headline.value == made.card.headline.value


def test_a_loss_is_the_tasks_to_know(grading: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="grading has no loss 'cross_entropy'"):
        saccade.train(photos, task=grading, out=tmp_path / "a", loss="cross_entropy", epochs=1)
    with pytest.raises(UsageError, match="has no loss 'cross_entrpy'") as caught:
        saccade.train(photos, task="classification", out=tmp_path / "b", loss="cross_entrpy", epochs=1)
    assert "did you mean 'cross_entropy'?" in str(caught.value.hint)
