"""How good classification answers were: every number of docs/05-evaluation.md, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from saccade.errors import DataError
from saccade.tasks import statistics
from saccade.tasks.statistics import Ranking
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Case, Curve, Labels, Matrix, Number, Prediction, Sample, Scorecard, Series, Table

BINS = 15
SHOWN_CURVES = 10
SHOWN_MATRIX = 200
SHOWN_WORST = 24
TINY = 1e-12
HELP = {
    "accuracy": "share of images whose best class is the true one",
    "top_3": "share of images whose true class is among the three best",
    "top_5": "share of images whose true class is among the five best",
    "exact_match": "share of images with every class right at its threshold",
    "macro_precision": "of what is called a class, how much is; mean over classes",
    "macro_recall": "of what is a class, how much is found; mean over classes",
    "macro_f1": "harmonic mean of precision and recall; mean over classes",
    "micro_f1": "F1 over all (image, class) pairs at the classes' thresholds",
    "roc_auc": "chance that a true image outranks a false one; mean over classes",
    "mean_average_precision": "area under precision over recall; mean over classes",
    "calibration_error": "mean distance of confidence from truth, 15 bins",
    "nll": "negative log-likelihood of the truth, nats",
    "brier": "squared distance of scores from the truth",
}
LOWER_IS_BETTER = frozenset({"calibration_error", "nll", "brier"})


@dataclass(frozen=True)
class Answers:
    """Scores float64 [n, C], truth bool [n, C], and what was answered, bool [n, C]."""

    scores: Array
    truth: Array
    said: Array
    exclusive: bool

    @property
    def n(self) -> int:
        return len(self.scores)


class ClassScorer(Scorer):
    def __init__(self, task: Task, labels: Labels) -> None:
        self._task, self._labels = task, labels
        self._scores: list[Array] = []
        self._targets: list[Array] = []
        self._keys: list[str] = []

    def add(self, prediction: Prediction, sample: Sample) -> None:
        """Raises DataError when the prediction does not hold every class once, or the truth does not fit the ledger."""
        ids, scores = prediction.class_ids, prediction.scores
        classes = len(self._labels)
        if ids is None or scores is None or len(ids) != classes or len(scores) != classes:
            raise DataError(f"{sample.key}: a scored answer holds all {classes} classes")
        row = np.full(classes, np.nan)
        row[ids] = scores
        if not np.isfinite(row).all():
            raise DataError(f"{sample.key}: every class needs one finite score")
        target = self._task.encode(sample, self._labels)["target"]
        self._scores.append(row)
        self._targets.append(np.arange(classes) == target if self._labels.exclusive else target > 0.5)
        self._keys.append(sample.key)

    def card(self, split: str) -> Scorecard:
        """Raises DataError when nothing was added."""
        if not self._keys:
            raise DataError(f"split {split!r} has no image that could be scored", hint="check the split")
        scores, truth = np.stack(self._scores), np.stack(self._targets)
        if self._labels.exclusive:
            said = np.zeros_like(truth)
            said[np.arange(len(said)), scores.argmax(1)] = True
        else:
            said = scores >= np.array([self.thresholds.get(n, 0.5) for n in self._labels.names])
        answers = Answers(scores, truth, said, self._labels.exclusive)
        each = per_sample(answers)
        rankings = [Ranking(scores[:, c], truth[:, c]) for c in range(len(self._labels))]
        found = numbers(answers, each, rankings)
        return Scorecard(
            task=self._task.name,
            split=split,
            n=answers.n,
            numbers=found,
            tables=(*tables(answers, rankings, self._labels, self.thresholds), *undefined(answers, found)),
            curves=curves(answers, rankings, self._labels),
            matrices=matrices(answers, self._labels),
            worst=worst(answers, each, self._labels, self._keys),
            keys=tuple(self._keys),
            per_sample={name: tuple(float(v) for v in values) for name, values in each.items()},
        )


def per_sample(a: Answers) -> dict[str, Array]:
    """One value per image for every number that is a plain mean."""
    p, y = a.scores, a.truth
    if a.exclusive:
        place = (p > (p * y).sum(1, keepdims=True)).sum(1)
        # Of equal scores the first class of the ledger is answered, so a later true class has lost its place.
        own = y.argmax(1)
        place += ((p == (p * y).sum(1, keepdims=True)) & (np.arange(p.shape[1]) < own[:, None])).sum(1)
        each = {"accuracy": place < 1}
        each.update({f"top_{k}": place < k for k in (3, 5) if p.shape[1] > k})
        each["nll"] = -np.log(np.maximum((p * y).sum(1), TINY))
        each["brier"] = ((p - y) ** 2).sum(1)
    else:
        each = {"exact_match": (a.said == y).all(1)}
        each["nll"] = -np.log(np.maximum(np.where(y, p, 1 - p), TINY)).mean(1)
        each["brier"] = ((p - y) ** 2).mean(1)
    return {name: values.astype(np.float64) for name, values in each.items()}


def numbers(a: Answers, each: dict[str, Array], rankings: list[Ranking]) -> tuple[Number, ...]:
    """Every headline number with its bootstrap interval, the headline first."""
    gaps = calibration_gaps(a)
    whole = np.ones((1, a.n), np.float32)
    points = {**_means(whole, each), **_counted(whole, a), **_calibrated(whole, gaps, a), **_ranked(whole, rankings)}
    drawn: dict[str, list[Array]] = {name: [] for name in points}
    for weights in statistics.resamples(a.n):
        found = {**_means(weights, each), **_counted(weights, a), **_calibrated(weights, gaps, a)}
        for name, values in found.items():
            drawn[name].append(values)
    # Areas cost draws * n * classes; a thousand classes get fewer draws, never fewer than 100.
    draws = int(np.clip(1e9 / a.scores.size, 100, statistics.DRAWS))
    for weights in statistics.resamples(a.n, draws):
        for name, values in _ranked(weights, rankings).items():
            drawn[name].append(values)
    first = ["accuracy"] if a.exclusive else ["mean_average_precision", "micro_f1"]
    order = first + [n for n in HELP if n in points and n not in first]
    # A number the split does not define (areas, when every image has the same class) is left out; a table says so.
    defined = [n for n in order if np.isfinite(points[n][0])]
    return tuple(_number(name, float(points[name][0]), drawn[name], each, a.n) for name in defined)


def _number(name: str, value: float, drawn: list[Array], each: dict[str, Array], n: int) -> Number:
    values = np.concatenate(drawn)
    if name == "calibration_error":
        # Resampling adds noise to every bin, so draws lie too high; they are moved back onto the value.
        values = np.maximum(values + (value - np.nanmean(values)), 0.0)
    low, high = statistics.interval(values)
    if name in each and name not in LOWER_IS_BETTER and value in (0.0, 1.0):
        low, high = statistics.wilson(round(value * n), n)
    return Number(name, value, low, high, n, name not in LOWER_IS_BETTER, HELP[name])


def _means(weights: Array, each: dict[str, Array]) -> dict[str, Array]:
    return {name: weights @ values / weights.shape[1] for name, values in each.items()}


def _counted(weights: Array, a: Answers) -> dict[str, Array]:
    hits = weights @ (a.truth & a.said).astype(np.float32)
    said = weights @ a.said.astype(np.float32)
    true = weights @ a.truth.astype(np.float32)
    present = (said + true) > 0
    found = {
        "macro_precision": _macro(hits, said, present),
        "macro_recall": _macro(hits, true, present),
        "macro_f1": _macro(2 * hits, said + true, present),
    }
    if not a.exclusive:
        found["micro_f1"] = 2 * hits.sum(1) / np.maximum((said + true).sum(1), 1)
    return found


def _macro(top: Array, bottom: Array, present: Array) -> Array:
    """Mean over the classes that occur in truth or answers (scikit-learn's rule); nothing over nothing is 0."""
    share = np.where(bottom > 0, top / np.maximum(bottom, 1), 0.0)
    return np.asarray((share * present).sum(1) / np.maximum(present.sum(1), 1))


def _ranked(weights: Array, rankings: list[Ranking]) -> dict[str, Array]:
    pairs = [r.areas(weights) for r in rankings]
    return {
        "roc_auc": _nan_mean(np.stack([area for area, _ in pairs])),
        "mean_average_precision": _nan_mean(np.stack([average for _, average in pairs])),
    }


def _nan_mean(rows: Array) -> Array:
    seen = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(seen, rows, 0.0).sum(0) / seen.sum(0))


def confidences(a: Answers) -> tuple[Array, Array]:
    """Confidence and rightness, flat: of the best class (exclusive), or of every (image, class) pair."""
    if a.exclusive:
        best = a.scores.argmax(1)
        rows = np.arange(a.n)
        return a.scores[rows, best], a.truth[rows, best]
    return a.scores.ravel(), a.truth.ravel()


def calibration_gaps(a: Answers) -> Array:
    """Rightness minus confidence by image and bin, float32 [n, BINS], so that weighted errors are one product."""
    confidence, right = confidences(a)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    owner = np.repeat(np.arange(a.n), len(confidence) // a.n)
    gaps = np.bincount(owner * BINS + place, right - confidence, a.n * BINS)
    return np.asarray(gaps.reshape(a.n, BINS), np.float32)


def _calibrated(weights: Array, gaps: Array, a: Answers) -> dict[str, Array]:
    pairs = a.n if a.exclusive else a.scores.size
    return {"calibration_error": np.abs(weights @ gaps).sum(1) / pairs}


def tables(a: Answers, rankings: list[Ranking], labels: Labels, thresholds: Mapping[str, float]) -> tuple[Table, ...]:
    hits, said, true = (a.truth & a.said).sum(0), a.said.sum(0), a.truth.sum(0)
    columns = ["class", "images", "precision", "recall", "f1", "average precision", "roc auc"]
    columns += [] if a.exclusive else ["threshold", "best here", "best f1"]
    rows: list[tuple[str | float | int | None, ...]] = []
    for c, ranking in enumerate(rankings):
        area, average = (float(v) for v in ranking.areas())
        cells: list[str | float | int | None] = [labels.names[c], int(true[c])]
        cells += [float(hits[c] / max(said[c], 1)), float(hits[c] / true[c]) if true[c] else None]
        cells += [float(2 * hits[c] / (said[c] + true[c])) if said[c] + true[c] else None]
        cells += [v if np.isfinite(v) else None for v in (average, area)]
        if not a.exclusive:
            cells += [thresholds.get(labels.names[c], 0.5), *ranking.best_f1()]
        rows.append(tuple(cells))
    found = [
        Table(
            "Classes",
            tuple(columns),
            tuple(rows),
            "Every class of the package. A class without images here has no recall; one never answered has precision 0.",
        )
    ]
    if a.exclusive:
        counts = confusion(a)
        np.fill_diagonal(counts, 0)
        pairs = np.dstack(np.unravel_index(np.argsort(-counts, axis=None, kind="stable")[:10], counts.shape))[0]
        mixed = [(labels.names[t], labels.names[s], int(counts[t, s]), float(counts[t, s] / true[t]))
                 for t, s in pairs if counts[t, s]]  # fmt: skip
        found.append(Table("Most confused", ("truth", "answer", "images", "share of truth"), tuple(mixed)))
    return tuple(found)


def confusion(a: Answers) -> Array:
    """Counts int64 [C, C]: rows are truth, columns answers."""
    classes = a.truth.shape[1]
    flat = a.truth.argmax(1) * classes + a.said.argmax(1)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def undefined(a: Answers, found: tuple[Number, ...]) -> tuple[Table, ...]:
    """Which numbers this split cannot give, and why."""
    have = {n.name for n in found}
    missing = [n for n in ("roc_auc", "mean_average_precision") if n not in have]
    why = "no class has images that show it beside images that do not"
    if not a.truth.any():
        why = "no image shows any class"
    return (Table("Not defined here", ("number", "why"), tuple((n, why) for n in missing)),) if missing else ()


def matrices(a: Answers, labels: Labels) -> tuple[Matrix, ...]:
    if not a.exclusive or len(labels) > SHOWN_MATRIX:
        return ()
    rows = tuple(tuple(float(v) for v in row) for row in confusion(a))
    return (Matrix("Confusion", labels.names, labels.names, rows, "Rows are the truth, columns the answers."),)


def curves(a: Answers, rankings: list[Ranking], labels: Labels) -> tuple[Curve, ...]:
    have = [c for c in range(len(labels)) if 0 < a.truth[:, c].sum() < a.n]
    # Of many classes the hardest are drawn: those with the lowest area.
    drawn = sorted(sorted(have, key=lambda c: float(rankings[c].areas()[0]))[:SHOWN_CURVES])
    note = "" if len(drawn) == len(have) else f"The {len(drawn)} classes with the lowest area."
    roc, recall = [], []
    for c in drawn:
        area, average = (float(v) for v in rankings[c].areas())
        roc.append(Series(f"{labels.names[c]} {area:.3f}", *statistics.thin(*rankings[c].roc())))
        recall.append(Series(f"{labels.names[c]} {average:.3f}", *statistics.thin(*rankings[c].precision_recall())))
    confidence, right = confidences(a)
    counts, mean, share = statistics.calibration_bins(confidence, right, BINS)
    used = counts > 0
    error = float((counts[used] * np.abs(share[used] - mean[used])).sum() / counts.sum())
    centres = (np.arange(BINS) + 0.5) / BINS
    rates = Series("share right", tuple(centres[used]), tuple(float(v) for v in share[used]))
    sure = Series("mean confidence", tuple(centres[used]), tuple(float(v) for v in mean[used]))
    spread = Series("share of answers", tuple(centres), tuple(float(v) for v in counts / counts.sum()))
    return (
        Curve("ROC", "false positive rate", "true positive rate", tuple(roc), "line", True, f"Legend: area. {note}"),
        Curve("Precision and recall", "recall", "precision", tuple(recall), "step", False,
              f"Legend: average precision. {note}"),
        Curve("Reliability", "confidence", "share right", (rates, sure), "bars", True,
              f"Calibration error {error:.3f}. On the diagonal, 80 % sure means right 80 times in 100."),
        Curve("Confidence", "confidence", "share of answers", (spread,), "bars"),
    )  # fmt: skip


def worst(a: Answers, each: dict[str, Array], labels: Labels, keys: list[str]) -> tuple[Case, ...]:
    """Wrong answers, the most surprising truth first."""
    wrong = np.flatnonzero((a.said != a.truth).any(1))
    order = wrong[np.argsort(-each["nll"][wrong], kind="stable")][:SHOWN_WORST]
    cases = []
    for i in order:
        truth = [labels.names[c] for c in np.flatnonzero(a.truth[i])]
        best = [int(a.scores[i].argmax())] if a.exclusive else [int(c) for c in np.flatnonzero(a.said[i])]
        said = [f"{labels.names[c]} {a.scores[i, c]:.2f}" for c in best]
        looked_at = best[0] if best else int(a.scores[i].argmax())
        cases.append(Case(keys[i], float(each["nll"][i]), ", ".join(truth) or "none", ", ".join(said) or "none",
                          looked_at))  # fmt: skip
    return tuple(cases)
