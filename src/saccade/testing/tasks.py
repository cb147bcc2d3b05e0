"""What every task must keep, for this house and for authors of plug-ins."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.images.preprocess import Placement
from saccade.tasks.task import Task
from saccade.types import Array, Labels, Sample

GEOMETRY = ("boxes", "mask")
"""Targets in pixels of the original, which the trainer brings to one size."""


def check_task(task: Task, labels: Labels, outputs: Mapping[str, Array], samples: Sequence[Sample]) -> None:
    """Walks a task from annotation to scorecard. Raises AssertionError naming the promise that was broken.

    outputs: what a sealed graph gave for the samples (whose images are pixels), in order, by the names of
    task.outputs(labels).
    """
    specs = task.outputs(labels)
    assert [s.name for s in specs] and {s.name for s in specs} <= set(outputs), "outputs() names what a graph gives"
    assert all(s.shape[0] is None for s in specs), "the first axis is free"
    assert task.needs, "a task says what it learns from"
    targets = [task.encode(s, labels) for s in samples]
    assert len({tuple((k, v.shape, v.dtype) for k, v in t.items() if k not in GEOMETRY) for t in targets}) == 1, (
        "targets stack"
    )
    places = [Placement(*_size(s)) for s in samples]
    together = task.decode(outputs, places, labels)
    assert [(p.width, p.height) for p in together] == [(p.width, p.height) for p in places], "sizes are the originals'"
    for i, place in enumerate(places):
        alone = task.decode({k: v[i : i + 1] for k, v in outputs.items()}, [place], labels)[0]
        for name in ("class_ids", "scores", "boxes", "mask", "confidence"):
            a, b = getattr(alone, name), getattr(together[i], name)
            assert (a is None) == (b is None) and (a is None or np.array_equal(a, b)), "rows do not touch each other"
    for class_id in range(len(labels)):
        evidence = task.evidence(outputs, class_id)
        assert evidence.shape == (len(samples),) and np.isfinite(evidence).all(), "evidence is one scalar a row"
    cards = []
    for order in (range(len(samples)), range(len(samples))):
        scorer = task.scorer(labels)
        for i in order:
            scorer.add(together[i], samples[i])
        cards.append(scorer.card("test"))
    card = cards[0]
    assert card == cards[1], "the same answers give the same card"
    assert card.task == task.name and card.n == len(samples) == len(card.keys), "the card counts its samples"
    for number in card.numbers:
        assert number.low is not None and number.high is not None, f"{number.name} has an interval"
        assert not number.low > number.value + 1e-9 and not number.value > number.high + 1e-9, number.name
    assert all(len(v) == card.n for v in card.per_sample.values()), "per-sample values align with keys"
    assert [c.badness for c in card.worst] == sorted((c.badness for c in card.worst), reverse=True), "worst first"
    picture = np.zeros((places[0].height, places[0].width, 3), np.uint8)
    drawn = task.draw(picture, together[0], labels)
    assert drawn.dtype == np.uint8 and drawn.ndim == 3 and not picture.any(), "draw leaves the picture alone"


def _size(sample: Sample) -> tuple[int, int]:
    assert isinstance(sample.image, np.ndarray), "the suite wants pixels"
    return int(sample.image.shape[1]), int(sample.image.shape[0])
