"""A split that is decoded once and scored many times, for comparing graphs of one package."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from saccade.errors import DataError
from saccade.images import preprocess
from saccade.images.preprocess import PreprocessSpec
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Labels, Sample, Scorecard

BATCH = 16
PARTS = 10
LEAST = 5
"""Pictures a part must have."""

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Measured:
    """card: over every picture. shares: of disjoint shares of them, None for one that has none; empty where the
    headline is a mean over pictures, which are then paired one by one.

    classes: by name, which of card.keys hold the class, bool [n]; only for samples with `classes`.
    """

    card: Scorecard
    shares: tuple[Scorecard | None, ...]
    classes: dict[str, Array]


class Heldout:
    """Pixels lie in a file below `folder`, so memory does not grow with the split."""

    def __init__(
        self,
        samples: Sequence[Sample],
        spec: PreprocessSpec,
        task: Task,
        labels: Labels,
        split: str,
        folder: Path,
        thresholds: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """thresholds: from which a package shows an answer, by class; what is served is what is judged."""
        self._thresholds = thresholds
        self._samples, self._task, self._labels, self._split = samples, task, labels, split
        shape = (len(samples), spec.height, spec.width, 3)
        self._pixels = np.lib.format.open_memmap(folder / "heldout.npy", "w+", np.uint8, shape)
        self._placements = []
        for i, sample in enumerate(samples):
            self._pixels[i], placement = preprocess.load(sample.image, spec)
            self._placements.append(placement)

    def score(self, run: Run) -> Measured:
        """What the task's scorer says of a graph. Raises DataError, InferenceError."""
        n = len(self._samples)
        parts = min(PARTS, n // LEAST)
        whole, *shares = (self._task.scorer(self._labels) for _ in range(1 + (parts if parts > 1 else 0)))
        for scorer in (whole, *shares):
            scorer.thresholds = self._thresholds
        for start in range(0, n, BATCH):
            outputs = run({"image": np.ascontiguousarray(self._pixels[start : start + BATCH])})
            placements = self._placements[start : start + BATCH]
            for k, answer in enumerate(self._task.decode(outputs, placements, self._labels)):
                sample = self._samples[start + k]
                whole.add(answer, sample)
                if shares:
                    shares[(start + k) % parts].add(answer, sample)
        card = whole.card(self._split)
        paired = card.headline.name in card.per_sample
        return Measured(card, () if paired else tuple(self._card(s) for s in shares), self._classes(card))

    def _card(self, scorer: Scorer) -> Scorecard | None:
        try:
            return scorer.card(self._split)
        except DataError:
            return None

    def _classes(self, card: Scorecard) -> dict[str, Array]:
        held = {s.key: np.asarray(s.annotation["classes"]) for s in self._samples if "classes" in s.annotation}
        if len(held) < len(self._samples):
            return {}
        return {name: np.array([i in held[key] for key in card.keys]) for i, name in enumerate(self._labels.names)}
