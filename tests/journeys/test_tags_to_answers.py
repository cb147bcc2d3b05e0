"""Pictures with several tags each, from a table to answers at the package's own thresholds."""

import json

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.package.reader import open_package
from saccade.verbs.seal import Trained

TAGS = ("red", "green", "blue")


def photo(held: list[bool], seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 90, (40, 40, 3))
    return (pixels + 160 * np.array(held)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("tags")
    random = np.random.default_rng(0)
    lines = ["image,red,green,blue"]
    for i in range(120):
        held = (random.random(3) < (0.5, 0.4, 0.2)).tolist()
        Image.fromarray(photo(held, i)).save(root / f"{i}.png")
        lines.append(f"{i}.png," + ",".join(str(int(h)) for h in held))
    (root / "tags.csv").write_text("\n".join(lines) + "\n")
    plan = {
        "network": "cnn-small",
        "filters": "8,16",
        "dense": 16,
        "size": 16,
        "epochs": 12,
        "cache": "none",
        "threads": 1,
    }
    return saccade.train(root / "tags.csv", out=tmp_path_factory.mktemp("run") / "run", model="tags", **plan)


def test_the_tags_are_learned_and_each_has_a_threshold(trained: Trained) -> None:
    manifest = open_package(trained.package).manifest
    assert manifest.labels.names == TAGS
    assert not manifest.labels.exclusive
    assert set(manifest.thresholds) == set(TAGS)
    assert trained.card["mean_average_precision"].value > 0.95
    certificate = json.loads((trained.package / "certificate.json").read_text())
    assert certificate["metric_trainer"] == certificate["metric_sealed"]


def test_an_answer_has_the_tags_that_hold_and_no_other(trained: Trained) -> None:
    """At the package's own thresholds; a tag may slip here and there."""
    random = np.random.default_rng(5)
    truth = random.random((60, 3)) < 0.4
    with saccade.load(trained.package) as model:
        least = np.array([model.manifest.thresholds[name] for name in TAGS])
        right = 0
        for i, held in enumerate(truth):
            answer = model.predict(photo(held.tolist(), 900 + i))
            scores = np.zeros(3)
            scores[answer.class_ids] = answer.scores
            right += int(((scores >= least) == held).sum())
    assert right >= 0.9 * truth.size
