"""How good class scores are: accuracy, per-class numbers, curves and calibration, with bootstrap intervals."""

from collections.abc import Callable

import numpy as np

from saccade.errors import DataError
from saccade.tasks.task import Scorer
from saccade.types import Array, Case, Curve, Labels, Matrix, Number, Prediction, Sample, Scorecard, Series, Table

ROUNDS = 1000
SEED = 0
BINS = 15
WORST = 24


class ClassScorer(Scorer):
    """Holds scores [N, C] and truths [N, C] until the card is asked for."""

    def __init__(self, task: str, labels: Labels) -> None:
        self.task, self.labels = task, labels
        self._scores: list[Array] = []
        self._truth: list[Array] = []
        self._keys: list[str] = []

    def add(self, prediction: Prediction, sample: Sample) -> None:
        if prediction.class_ids is None or prediction.scores is None:
            raise DataError(f"{sample.key}: an answer without class scores cannot be judged")
        scores = np.zeros(len(self.labels), np.float64)
        scores[prediction.class_ids] = prediction.scores
        truth = np.zeros(len(self.labels), np.int64)
        truth[np.asarray(sample.annotation["classes"], np.int64)] = 1
        self._scores.append(scores)
        self._truth.append(truth)
        self._keys.append(sample.key)

    def card(self, split: str) -> Scorecard:
        """Raises DataError when nothing was added."""
        if not self._keys:
            raise DataError(f"split {split!r} has no sample that could be judged")
        scores, truth = np.stack(self._scores), np.stack(self._truth)
        return self._exclusive(split, scores, truth) if self.labels.exclusive else self._several(split, scores, truth)

    def _exclusive(self, split: str, scores: Array, truth: Array) -> Scorecard:
        target, guess = truth.argmax(1), scores.argmax(1)
        right = (target == guess).astype(np.float64)
        n, c = scores.shape
        rank = (scores > scores[np.arange(n), target][:, None]).sum(1)
        nll = -np.log(np.maximum(scores[np.arange(n), target], 1e-12))
        brier = ((scores - truth) ** 2).sum(1)
        confidence = scores.max(1)
        numbers = [_mean("accuracy", right, help="share of pictures whose best class is the true one")]
        numbers += [_mean(f"top-{k} accuracy", (rank < k).astype(float)) for k in (3, 5) if k < c]
        numbers += [
            _number(f"macro {name}", n, lambda i, j=j: float(_per_class(target[i], guess[i], c)[j].mean()))
            for j, name in enumerate(("precision", "recall", "F1"))
        ]
        numbers += [
            _number("calibration error", n, lambda i: _ece(confidence[i], right[i]), better=False,
                    help=f"expected calibration error, {BINS} equal bins"),
            _mean("negative log-likelihood", nll, better=False),
            _mean("Brier score", brier, better=False),
        ]  # fmt: skip
        confusion = np.zeros((c, c), int)
        np.add.at(confusion, (target, guess), 1)
        names = self.labels.names
        matrix = Matrix(
            "confusion", names, names, tuple(tuple(float(v) for v in row) for row in confusion), "rows: truth"
        )
        return Scorecard(
            self.task, split, n, tuple(numbers),
            (self._class_table(target, guess, scores, truth),),
            (*_rank_curves(scores, truth, names), _reliability(confidence, right)),
            (matrix,), self._worst(scores, truth, guess),
            tuple(self._keys), {"accuracy": tuple(right.tolist()), "nll": tuple(nll.tolist())},
        )  # fmt: skip

    def _several(self, split: str, scores: Array, truth: Array) -> Scorecard:
        n, c = scores.shape
        guess = (scores >= 0.5).astype(int)
        every = np.arange(n)
        right = (guess == truth).mean(1)
        numbers = (
            _number("mAP", n, lambda i: _mean_ap(scores[i], truth[i])),
            _number("macro F1", n, lambda i: float(_binary_f1(guess[i], truth[i]).mean())),
            _number("micro F1", n, lambda i: _micro_f1(guess[i], truth[i])),
            _mean("label accuracy", right, help="share of right yes-or-no answers"),
            _mean("exact match", (guess == truth).all(1).astype(float)),
        )
        rows = []
        for k, name in enumerate(self.labels.names):
            threshold, best = _best_threshold(scores[:, k], truth[:, k])
            f1 = float(_binary_f1(guess[every], truth[every])[k])
            rows.append((name, int(truth[:, k].sum()), average_precision(scores[:, k], truth[:, k]), f1, threshold, best))
        table = Table("per class", ("class", "images", "AP", "F1 at 0.5", "best threshold", "best F1"), tuple(rows))
        return Scorecard(
            self.task, split, n, numbers, (table,), _rank_curves(scores, truth, self.labels.names), (),
            self._worst(scores, truth, None), tuple(self._keys), {"label accuracy": tuple(right.tolist())},
        )  # fmt: skip

    def _class_table(self, target: Array, guess: Array, scores: Array, truth: Array) -> Table:
        precision, recall, f1 = _per_class(target, guess, len(self.labels))
        rows = tuple(
            (name, int((target == k).sum()), float(precision[k]), float(recall[k]), float(f1[k]),
             average_precision(scores[:, k], truth[:, k]))
            for k, name in enumerate(self.labels.names)
        )  # fmt: skip
        return Table("per class", ("class", "images", "precision", "recall", "F1", "AP"), rows)

    def _worst(self, scores: Array, truth: Array, guess: Array | None) -> tuple[Case, ...]:
        cost = -(truth * np.log(np.maximum(scores, 1e-12))).sum(1)
        if guess is None:
            cost = cost - ((1 - truth) * np.log(np.maximum(1 - scores, 1e-12))).sum(1)
            wrong = ((scores >= 0.5) != truth.astype(bool)).any(1)
        else:
            wrong = guess != truth.argmax(1)
        names = self.labels.names
        cases = []
        for i in sorted(np.flatnonzero(wrong), key=lambda i: -cost[i])[:WORST]:
            true = ", ".join(names[k] for k in np.flatnonzero(truth[i])) or "none"
            if guess is None:
                said = ", ".join(f"{names[k]} {scores[i, k]:.2f}" for k in np.flatnonzero(scores[i] >= 0.5)) or "none"
            else:
                said = f"{names[guess[i]]} {scores[i, guess[i]]:.2f}"
            cases.append(Case(self._keys[i], float(cost[i]), true, said, int(scores[i].argmax())))
        return tuple(cases)


def _mean(name: str, values: Array, better: bool = True, help: str = "") -> Number:
    return _number(name, len(values), lambda i: float(values[i].mean()), better, help)


def _number(
    name: str, n: int, measure: Callable[[Array], float], better: bool = True, help: str = ""
) -> Number:
    """Value on all samples and the percentile bootstrap interval over `ROUNDS` seeded resamples."""
    random = np.random.default_rng(SEED)
    drawn = [measure(random.integers(0, n, n)) for _ in range(ROUNDS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Number(name, measure(np.arange(n)), float(low), float(high), n, better, help)


def _per_class(target: Array, guess: Array, c: int) -> tuple[Array, Array, Array]:
    hit = np.bincount(target[target == guess], minlength=c).astype(float)
    said, true = np.bincount(guess, minlength=c), np.bincount(target, minlength=c)
    precision, recall = hit / np.maximum(said, 1), hit / np.maximum(true, 1)
    return precision, recall, 2 * hit / np.maximum(said + true, 1)


def _binary_f1(guess: Array, truth: Array) -> Array:
    hit = (guess * truth).sum(0)
    return np.asarray(2 * hit / np.maximum(guess.sum(0) + truth.sum(0), 1), float)


def _micro_f1(guess: Array, truth: Array) -> float:
    return float(2 * (guess * truth).sum() / max(guess.sum() + truth.sum(), 1))


def _ece(confidence: Array, right: Array) -> float:
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.bincount(place, confidence - right, BINS)
    return float(np.abs(gap).sum() / len(right))


def _reliability(confidence: Array, right: Array) -> Curve:
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    used = count > 0
    x = np.bincount(place, confidence, BINS)[used] / count[used]
    y = np.bincount(place, right, BINS)[used] / count[used]
    series = Series("this model", tuple(x.tolist()), tuple(y.tolist()))
    return Curve("reliability", "confidence", "accuracy", (series,), diagonal=True, help="on the diagonal: honest")


def average_precision(scores: Array, truth: Array) -> float:
    """Area under the precision-recall steps, as scikit-learn defines it; 0 without positives."""
    recall, precision = _pr(scores, truth)
    return float((np.diff(recall, prepend=0.0) * precision).sum()) if truth.any() else 0.0


def _mean_ap(scores: Array, truth: Array) -> float:
    return float(np.mean([average_precision(scores[:, k], truth[:, k]) for k in range(scores.shape[1])]))


def _pr(scores: Array, truth: Array) -> tuple[Array, Array]:
    hits, misses = _sweep(scores, truth)
    return hits / max(int(truth.sum()), 1), hits / np.maximum(hits + misses, 1)


def _sweep(scores: Array, truth: Array) -> tuple[Array, Array]:
    """True and false positives at every distinct threshold, highest first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[ends].astype(float)
    return hits, ends + 1 - hits


def _best_threshold(scores: Array, truth: Array) -> tuple[float, float]:
    levels = np.unique(scores)
    f1 = [2 * (truth[scores >= t].sum()) / max((scores >= t).sum() + truth.sum(), 1) for t in levels]
    best = int(np.argmax(f1))
    return float(levels[best]), float(f1[best])


def _rank_curves(scores: Array, truth: Array, names: tuple[str, ...]) -> tuple[Curve, Curve]:
    roc, pr = [], []
    for k, name in enumerate(names[:20]):
        hits, misses = _sweep(scores[:, k], truth[:, k])
        positive = max(int(truth[:, k].sum()), 1)
        negative = max(len(truth) - int(truth[:, k].sum()), 1)
        x, y = np.append(0, misses / negative), np.append(0, hits / positive)
        area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
        roc.append(Series(f"{name} (AUC {area:.3f})", tuple(x.tolist()), tuple(y.tolist())))
        recall, precision = _pr(scores[:, k], truth[:, k])
        area = average_precision(scores[:, k], truth[:, k])
        pr.append(Series(f"{name} (AP {area:.3f})", tuple(recall.tolist()), tuple(precision.tolist())))
    return (
        Curve("ROC", "false positive rate", "true positive rate", tuple(roc), diagonal=True),
        Curve("precision-recall", "recall", "precision", tuple(pr), kind="step"),
    )
