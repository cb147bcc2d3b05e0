"""How good boxes were: every number of docs/05-evaluation.md, with intervals.

Average precision follows pycocotools (Lin et al. 2014, arXiv:1405.0312): IoU 0.5 to 0.95, 101 recalls, 100 answers,
crowds ignored; difficult objects are ignored as in Pascal VOC, however often they are answered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from saccade.errors import DataError
from saccade.tasks import statistics
from saccade.tasks.detection import match as matching
from saccade.tasks.detection.match import AREAS, Objects, Ranked, Split
from saccade.tasks.detection.mistakes import confusion, errors_table, image_f1, shown, spots, worst
from saccade.tasks.detection.truth import flags, truth
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Curve, Labels, Number, Prediction, Sample, Scorecard, Series, Table

DRAW_CELLS = 1e8
"""How much the bootstrap of the areas may cost; a big split gets fewer draws, never fewer than 100."""
ENOUGH = 5
"""Objects of a class from which its own best threshold is worth more than that of the others."""
SHOWN_CURVES = 10
HELP = {
    "ap": "average precision over IoU 0.50 to 0.95 and 101 recalls; mean over classes (the COCO number)",
    "ap50": "average precision at IoU 0.50; mean over classes",
    "ap75": "average precision at IoU 0.75; mean over classes",
    "ap_small": "average precision on objects below 32 x 32 px of the original",
    "ap_medium": "average precision on objects of 32 x 32 to 96 x 96 px",
    "ap_large": "average precision on objects above 96 x 96 px",
    "ar": "share of objects found by at most 100 answers, mean over IoU 0.50 to 0.95 and classes",
    "image_f1": "F1 of one image's answers at IoU 0.50, as the package serves them; mean over images",
}


@dataclass(frozen=True)
class Draws:
    """Numbers with every image counted once, then with those of each bootstrap draw; NaN where no object counts.

    means: over classes, float64 [1 + D] by name. by_class: average precision, float64 [C, 1 + D].
    """

    means: Mapping[str, Array]
    by_class: Array

    @classmethod
    def of(cls, s: Split) -> "Draws":
        """The matches are made once, and one set of draws serves every number."""
        cost = 2 * len(s.answers.score) + 3 * len(s.objects.image) * len(matching.THRESHOLDS)
        draws = int(np.clip(DRAW_CELLS / max(cost, 1), 100, statistics.DRAWS))
        cells = int(np.clip(2e7 * s.n / max(1, len(s.answers.score)), s.n, 4e6))
        drawn = statistics.resamples(s.n, draws, cells=cells)
        parts = [_areas(s, weights) for weights in chain([np.ones((1, s.n))], drawn)]
        means = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
        return cls(means, np.concatenate([part[1] for part in parts], 1))


class BoxScorer(Scorer):
    def __init__(self, task: Task, labels: Labels) -> None:
        self._task, self._labels = task, labels
        self._answers: list[tuple[Array, Array, Array]] = []
        self._objects: list[tuple[Array, Array, Array, Array, Array]] = []
        self._keys: list[str] = []

    def add(self, prediction: Prediction, sample: Sample) -> None:
        """Raises DataError when the answer has no boxes, or the truth does not fit the ledger."""
        boxes, scores, ids = prediction.boxes, prediction.scores, prediction.class_ids
        if boxes is None or scores is None or ids is None:
            raise DataError(f"{sample.key}: a scored answer has boxes, scores and class_ids")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise DataError(f"{sample.key}: boxes and scores must be finite")
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self._labels):
            raise DataError(f"{sample.key}: an answer's class is beyond the {len(self._labels)} of the ledger")
        real, classes = truth(sample, self._labels)
        known = sample.annotation.get("box_area")
        size = np.prod(real[:, 2:] - real[:, :2], 1, dtype=np.float64) if known is None else np.asarray(known)
        crowd, difficult = (flags(sample, name, len(real)) for name in ("box_crowd", "box_difficult"))
        self._answers.append((boxes, scores, ids))
        self._objects.append((real, classes, size, crowd, difficult))
        self._keys.append(sample.key)

    def card(self, split: str) -> Scorecard:
        """Raises DataError when nothing was added."""
        if not self._keys:
            raise DataError(f"split {split!r} has no image that could be scored", hint="check the split")
        s = self._split()
        seen = shown(s, self._cuts())
        each = {"image_f1": image_f1(seen)}
        draws = Draws.of(s)
        return Scorecard(
            task=self._task.name,
            split=split,
            n=s.n,
            numbers=numbers(draws, each, s.n),
            tables=(classes_table(s, draws, self._labels), errors_table(s, seen, self._labels), *undefined(s)),
            curves=curves(s, self._labels),
            matrices=confusion(s, seen, self._labels),
            worst=worst(s, seen, each["image_f1"], self._labels, self._keys),
            keys=tuple(self._keys),
            per_sample={name: tuple(float(v) for v in values) for name, values in each.items()},
            spots=spots(s, seen, self._labels, self._keys),
        )

    def _cuts(self) -> Array:
        """The score from which each class is served, float64 [C]; without a threshold every answer is."""
        return np.array([self.thresholds.get(name, -np.inf) for name in self._labels.names])

    def _split(self) -> Split:
        n = len(self._keys)
        boxes, scores, ids = (_joined(self._answers, i) for i in range(3))
        image = np.repeat(np.arange(n), [len(a[1]) for a in self._answers])
        answers = matching.sort_answers(image, ids.astype(np.int64), _f64(boxes), scores.astype(np.float64))
        real, classes, size, crowd, difficult = (_joined(self._objects, i) for i in range(5))
        owner = np.repeat(np.arange(n), [len(o[1]) for o in self._objects])
        objects = Objects(owner, classes, _f64(real), size.astype(np.float64), crowd, difficult & ~crowd)
        return Split.of(n, answers, objects, len(self._labels))


def _joined(rows: Sequence[tuple[Array, ...]], place: int) -> Array:
    return np.concatenate([r[place] for r in rows])


def _f64(boxes: Array) -> Array:
    return boxes.reshape(-1, 4).astype(np.float64)


def numbers(draws: Draws, each: Mapping[str, Array], n: int) -> tuple[Number, ...]:
    """Every headline number of n images with its interval."""
    found = []
    for name, values in draws.means.items():
        value = float(values[0])
        if np.isfinite(value):
            found.append(Number(name, value, *_interval(values), n, help=HELP[name]))
    for name, values in each.items():
        low, high = statistics.mean_interval(values)
        found.append(Number(name, float(values.mean()), low, high, n, help=HELP[name]))
    return tuple(found)


def _interval(values: Array) -> tuple[float, float]:
    """Of a number, which comes first, by its draws. A draw repeats images, and repeats find no more objects: the
    interval must still hold its own number."""
    value = float(values[0])
    low, high = statistics.interval(values[1:])
    return min(value, low), max(value, high)


def _areas(s: Split, weights: Array) -> tuple[dict[str, Array], Array]:
    """Means over classes under each weighting, float64 [k], and average precision by class, float64 [C, k]; NaN where
    no class, or this one, has an object that counts."""
    found: dict[str, Array] = {}
    by_class = np.empty((0, len(weights)))
    for area, name in enumerate(AREAS):
        pairs = [r.averages(weights) for r in s.ranked[area]]
        average = np.stack([p[0] for p in pairs])
        found[f"ap_{name}" if name else "ap"] = _nan_mean(average.mean(1))
        if not name:
            by_class = average.mean(1)
            found["ap50"], found["ap75"] = _nan_mean(average[:, 0]), _nan_mean(average[:, 5])
            found["ar"] = _nan_mean(np.stack([p[1] for p in pairs]).mean(1))
    return {name: found[name] for name in HELP if name in found}, by_class


def _nan_mean(rows: Array) -> Array:
    seen = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(seen, rows, 0.0).sum(0) / seen.sum(0))


def classes_table(s: Split, draws: Draws, labels: Labels) -> Table:
    one = np.ones((1, s.n))
    rows: list[tuple[str | float | int | None, ...]] = []
    for c, (name, ranked) in enumerate(zip(labels.names, s.ranked[0], strict=True)):
        cut = ranked.best_f1()
        areas: tuple[float | None, ...] = (None,) * 5
        if len(ranked.objects):
            average = ranked.averages(one)[0][:, 0]
            areas = float(draws.by_class[c, 0]), *_interval(draws.by_class[c]), float(average[0]), float(average[5])
        rows.append((name, len(ranked.objects), len(ranked.score), *areas, *(cut or (None, None))))
    columns = ("class", "objects", "answers", "AP", "AP low", "AP high", "AP50", "AP75", "best threshold", "best F1")
    return Table("Classes", columns, tuple(rows), "Every class of the package; the best threshold has the highest F1 at "
                 "IoU 0.5. AP low to AP high is the 95 % interval over draws of images; it says little of a class that "
                 "few images show. A class without objects here has no numbers.")  # fmt: skip


def undefined(s: Split) -> tuple[Table, ...]:
    """Which numbers this split cannot give, and why."""
    rows = []
    for area, name in enumerate(AREAS):
        if not any(len(r.objects) for r in s.ranked[area]):
            which = (f"ap_{name}",) if name else ("ap", "ap50", "ap75", "ar")
            rows += [(w, f"the split has no {name} object" if name else "the split has no object") for w in which]
    return (Table("Not defined here", ("number", "why"), tuple(rows)),) if rows else ()


def curves(s: Split, labels: Labels) -> tuple[Curve, ...]:
    one = np.ones((1, s.n))
    have = [c for c, r in enumerate(s.ranked[0]) if len(r.objects)]
    at_half = {c: float(s.ranked[0][c].averages(one)[0][0, 0]) for c in have}
    drawn = sorted(sorted(have, key=lambda c: at_half[c])[:SHOWN_CURVES])
    note = "" if len(drawn) == len(have) else f"The {len(drawn)} classes with the lowest area."
    recalls, f1s = [], []
    for c in drawn:
        score, recall, precision = s.ranked[0][c].curve()
        x, y = np.append(0.0, recall), np.append(precision[:1] if len(precision) else 0.0, precision)
        recalls.append(Series(f"{labels.names[c]} {at_half[c]:.3f}", *statistics.thin(x, y)))
        f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)
        f1s.append(Series(labels.names[c], *statistics.thin(score[::-1], f1[::-1])))
    return (
        Curve("Precision and recall", "recall", "precision", tuple(recalls), "step", False,
              f"At IoU 0.5; legend: AP50. {note}"),
        Curve("F1 by threshold", "threshold", "F1", tuple(f1s), "line", False, f"At IoU 0.5. {note}"),
    )  # fmt: skip


def kept_split(kept: Mapping[str, Array], targets: Mapping[str, Array], classes: int) -> Split:
    """Padded answers (`boxes` [N, K, 4], `scores`, `class_ids`) and targets (`boxes` [N, M, 4], `box_classes`; below
    -1: ignored) of a validation split, in px of the network's input."""
    scores, real = np.asarray(kept["scores"]), np.asarray(targets["box_classes"])
    row, place = np.nonzero(scores > 0)
    answers = matching.sort_answers(
        row, np.asarray(kept["class_ids"])[row, place].astype(np.int64),
        _f64(np.asarray(kept["boxes"])[row, place]), scores[row, place].astype(np.float64),
    )  # fmt: skip
    image, which = np.nonzero(real >= 0)
    boxes = _f64(np.asarray(targets["boxes"])[image, which])
    plain = np.zeros(len(image), bool)
    size = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    # An ignored region takes answers of any class, as often as they come.
    at, other = np.nonzero(real < -1)
    regions = _f64(np.asarray(targets["boxes"])[at, other])
    ids = np.tile(np.arange(classes), len(at))
    at, regions = np.repeat(at, classes), np.repeat(regions, classes, 0)
    crowd = np.ones(len(at), bool)
    objects = Objects(
        np.concatenate([image, at]), np.concatenate([real[image, which], ids]), np.concatenate([boxes, regions]),
        np.concatenate([size, np.zeros(len(at))]), np.concatenate([plain, crowd]), np.concatenate([plain, ~crowd]),
    )  # fmt: skip
    matches = matching.match(answers, objects, classes, (AREAS[""],))
    ranked = (tuple(Ranked(answers, objects, matches, c, 0) for c in range(classes)),)
    return Split(len(scores), answers, objects, matches, ranked)


def watched(kept: Mapping[str, Array], targets: Mapping[str, Array], classes: int) -> tuple[float, float]:
    """AP of a validation split and its standard error, from twenty bootstrap draws. 0 without objects."""
    s = kept_split(kept, targets, classes)
    weights = next(statistics.resamples(s.n, 20))
    rows = np.stack([r.averages(np.concatenate([np.ones((1, s.n)), weights]))[0].mean(0) for r in s.ranked[0]])
    values = _nan_mean(rows)
    if not np.isfinite(values[0]):
        return 0.0, 1.0
    return float(values[0]), float(max(float(np.nanstd(values[1:])), 1e-3))


def best_thresholds(kept: Mapping[str, Array], targets: Mapping[str, Array], classes: int) -> list[float | None]:
    """The score with the best F1 at IoU 0.5 of each class.

    A class with fewer than ENOUGH objects, or that was never found, says too little and gets the median of the others.
    Where all have so few, those that were found speak for themselves; where none was found, there is no threshold and
    every class gets None.
    """
    ranked = kept_split(kept, targets, classes).ranked[0]
    best = [r.best_f1() for r in ranked]
    own = {c: b[0] for c, b in enumerate(best) if b is not None and b[1] > 0}
    own = {c: score for c, score in own.items() if len(ranked[c].objects) >= ENOUGH} or own
    usual = float(np.median(list(own.values()))) if own else None
    return [own.get(c, usual) for c in range(classes)]
