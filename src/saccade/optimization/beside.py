"""A graph and the default one asked the same: how far apart are their answers at most, and on the golden pictures?"""

import math
from collections.abc import Mapping
from typing import Any

from saccade.images import preprocess
from saccade.images.preprocess import Placement
from saccade.inference import golden
from saccade.optimization.optimizer import Run
from saccade.package.reader import Package
from saccade.tasks.task import Task
from saccade.types import Array, Labels

LEAST = 1e-2
"""So far apart rounding alone may bring two answers."""


class Beside:
    """Runs a graph and the default one on the same pictures, and keeps the largest difference on any one of them.

    Raises PackageError(golden_mismatch) where the outputs have other shapes.
    """

    def __init__(self, run: Run, default: Run, task: Task) -> None:
        self._run, self._default, self._task = run, default, task
        self.largest = self.largest_golden = 0.0
        self.most = math.inf
        """The farthest from the golden pictures that can be certified."""

    def __call__(self, arrays: Any) -> dict[str, Array]:
        ours = self._run(arrays)
        theirs = golden.shaped(self._default(arrays), ours, "held-back pictures")
        for i in range(len(next(iter(ours.values())))):
            self._look({k: v[i : i + 1] for k, v in theirs.items()}, {k: v[i : i + 1] for k, v in ours.items()})
        return ours

    def objections(self, package: Package) -> list[str]:
        """Looks at the golden pictures as well, whose outputs every server will compare; in sentences, why the graph
        cannot be certified to give them."""
        found, turned = list[str](), list[str]()
        for i, sample in enumerate(package.golden()):
            pixels, placement = preprocess.load(sample.image_bytes, package.manifest.preprocess)
            ours = self._run({"image": pixels[None]})
            theirs = golden.shaped(sample.expected, ours, f"golden picture {i}")
            self.most = min(self.most, golden.most(self._task, theirs))
            self.largest_golden = max(self.largest_golden, self._look(theirs, ours))
            other = self._other(theirs, ours, placement, package.manifest.labels)
            turned += [f"on golden picture {i} it says {other}"] if other else []
        if turned:
            more = f", and another class on {len(turned) - 1} more" if turned[1:] else ""
            found.append(turned[0] + more)
        if self.largest_golden > self.most:
            found.append(
                f"it lies {self.largest_golden:.2g} from the golden outputs, no more than {self.most:.2g} is certified"
            )
        return found

    def _look(self, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> float:
        gap = self._task.difference(theirs, ours)
        # A difference that is no number is as large as can be.
        gap = gap if math.isfinite(gap) else math.inf
        self.largest = max(self.largest, gap)
        return gap

    def _other(
        self, theirs: Mapping[str, Array], ours: Mapping[str, Array], placement: Placement, labels: Labels
    ) -> str:
        """Where a picture has one class and another one is best than the default graph says, and not for rounding
        alone: both by name."""
        if not labels.exclusive:
            return ""
        before, after = (self._task.decode(outputs, [placement], labels)[0] for outputs in (theirs, ours))
        if before.boxes is not None or before.class_ids is None or before.scores is None or after.class_ids is None:
            return ""
        scores = dict(zip(before.class_ids.tolist(), before.scores.tolist(), strict=True))
        one, other = int(before.class_ids[0]), int(after.class_ids[0])
        lost = scores[one] - scores.get(other, 0.0)
        return f"{labels.names[other]} where the default graph says {labels.names[one]}" if lost > LEAST else ""
