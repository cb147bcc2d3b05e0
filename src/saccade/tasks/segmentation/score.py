"""How good masks were: every number of docs/05-evaluation.md, with intervals.

Class-mean IoU follows Everingham et al. 2015 (counts over the whole split, ignored pixels left out); the boundary
F-score Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?".
"""

from dataclasses import dataclass

import numpy as np

from saccade.errors import DataError
from saccade.images.masks import VOID
from saccade.tasks import statistics
from saccade.tasks.task import Scorer, Task
from saccade.types import Array, Case, Curve, Labels, Matrix, Number, Prediction, Sample, Scorecard, Series, Table

TOLERANCE = 0.0075
"""How far an answered boundary may lie from the true one, as a share of the picture's diagonal (Csurka et al. 2013)."""

SHOWN_MATRIX = 60
SHOWN_WORST = 24
HELP = {
    "mean_iou": "intersection over union of each class over all pixels of the split; mean over classes",
    "mean_dice": "2 x intersection over the sum of both areas, over the split; mean over classes",
    "pixel_accuracy": "share of pixels with the right class",
    "mean_accuracy": "share of a class's pixels that are found; mean over classes",
    "boundary_f": f"F1 of boundaries within {100 * TOLERANCE:g} % of the diagonal; mean over classes",
    "image_iou": "mean IoU of the classes in one image; mean over images",
}
BINS = 15
SURE = "calibration_error"
SURE_HELP = f"how far confidence and the share of right pixels lie apart, over {BINS} bins of confidence"
"""Of models that tell how sure they are (Guo et al. 2017, over pixels)."""


@dataclass(frozen=True)
class Counts:
    """Pixels int64 [n, C] by image and class: right, truth (ignored ones left out), said. Boundary F1 float [n, C], NaN
    where neither has one. mixed: int64 [C, C + 1], rows truth, columns answers, the last for pixels not seen."""

    right: Array
    truth: Array
    said: Array
    boundary: Array
    mixed: Array

    @property
    def n(self) -> int:
        return len(self.right)


class MaskScorer(Scorer):
    def __init__(self, task: Task, labels: Labels) -> None:
        self._task, self._labels = task, labels
        self._rows: list[tuple[Array, Array, Array, Array]] = []
        self._mixed = np.zeros((len(labels), len(labels) + 1), np.int64)
        self._worst: list[tuple[str, str, int]] = []
        self._keys: list[str] = []
        self._sure: list[Array] = []

    def add(self, prediction: Prediction, sample: Sample) -> None:
        """Raises DataError when the answer has no mask of the picture's size, or the truth does not fit the ledger."""
        truth = self._task.encode(sample, self._labels)["mask"]
        said = prediction.mask
        if said is None or said.shape != truth.shape:
            got = "none" if said is None else f"{said.shape[1]}x{said.shape[0]} px"
            raise DataError(f"{sample.key}: the answer needs a mask of {truth.shape[1]}x{truth.shape[0]} px, got {got}")
        mixed = confusion(truth, said, len(self._labels))
        right = mixed.diagonal().copy()
        boundary = boundary_f(truth, said, len(self._labels))
        self._rows.append((right, mixed.sum(1), mixed[:, :-1].sum(0), boundary))
        self._worst.append(_told(mixed, self._labels))
        self._mixed += mixed
        self._keys.append(sample.key)
        if prediction.confidence is not None:
            self._sure.append(sureness(truth, said, prediction.confidence))

    def _calibration(self) -> tuple[Number, ...]:
        """Where every answer told how sure it is."""
        return (calibration(np.stack(self._sure)),) if len(self._sure) == len(self._keys) else ()

    def card(self, split: str) -> Scorecard:
        """Raises DataError when nothing was added, or every pixel of the split is ignored."""
        if not self._keys:
            raise DataError(f"split {split!r} has no image that could be scored", hint="check the split")
        if not self._mixed.any():
            raise DataError(f"every pixel of split {split!r} is ignored", hint="check the masks")
        right, truth, said, boundary = (np.stack(column) for column in zip(*self._rows, strict=True))
        counts = Counts(right, truth, said, boundary, self._mixed)
        each = per_sample(counts)
        return Scorecard(
            task=self._task.name,
            split=split,
            n=counts.n,
            numbers=(*numbers(counts, each), *self._calibration()),
            tables=tables(counts, self._labels),
            curves=curves(each),
            matrices=matrices(counts, self._labels),
            worst=worst(each, self._worst, self._keys),
            keys=tuple(self._keys),
            per_sample={name: tuple(float(v) for v in values) for name, values in each.items()},
        )


def sureness(truth_HW: Array, said_HW: Array, confidence_HW: Array) -> Array:
    """By bin of confidence, float64 [3, BINS]: pixels, their confidence and the right ones among them; ignored truth is
    left out, and so is what was not seen."""
    known = (truth_HW != VOID) & (said_HW != VOID)
    levels = confidence_HW[known]
    counts = np.bincount(levels, minlength=256).astype(np.float64)
    right = np.bincount(levels[truth_HW[known] == said_HW[known]], minlength=256)
    shares = np.arange(256) / 255
    place = np.clip(np.ceil(shares * BINS).astype(int) - 1, 0, BINS - 1)
    return np.stack([np.bincount(place, values, BINS) for values in (counts, counts * shares, right)])


def confusion(truth_HW: Array, said_HW: Array, classes: int) -> Array:
    """Pixels by truth and answer, int64 [C, C + 1]; ignored truth is left out, answers beyond C are "not seen"."""
    joint = np.bincount((truth_HW.astype(np.uint16) << 8 | said_HW).ravel(), minlength=1 << 16).reshape(256, 256)
    asked = joint[:classes]
    return np.concatenate([asked[:, :classes], asked[:, classes:].sum(1, keepdims=True)], 1)


def boundary_f(truth_HW: Array, said_HW: Array, classes: int) -> Array:
    """F1 of the boundary of each class, float64 [C]; NaN where neither mask has one.

    A boundary pixel is of the class and beside (4 neighbours) a pixel of another; edges of the picture and of ignored
    regions are none. It is right when a boundary pixel of the other mask lies within TOLERANCE of the diagonal, at
    least 1 px (Euclidean).
    """
    reach = max(1.0, TOLERANCE * float(np.hypot(*truth_HW.shape)))
    said_HW = np.where(truth_HW == VOID, np.uint8(VOID), said_HW)
    true, ours = (np.where(_edges(mask), mask, np.uint8(VOID)) for mask in (truth_HW, said_HW))
    found_true, all_true = _near(true, ours, reach, classes)
    found_ours, all_ours = _near(ours, true, reach, classes)
    precision, recall = found_ours / np.maximum(all_ours, 1), found_true / np.maximum(all_true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(all_true + all_ours > 0, f1, np.nan)


def _edges(mask: Array) -> Array:
    """bool [H, W]: beside a pixel of another class that is not ignored."""
    found = np.zeros(mask.shape, bool)
    for one, other in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        apart = (mask[one] != mask[other]) & (mask[one] != VOID) & (mask[other] != VOID)
        found[one] |= apart
        found[other] |= apart
    return found


def _near(owners: Array, others: Array, reach: float, classes: int) -> tuple[Array, Array]:
    """Boundary pixels by class, int64 [C]: those with one of the same class in `others` within `reach` px, and all.

    owners, others: uint8 [H, W], the class a boundary pixel belongs to, VOID elsewhere. Boundaries are thin and mostly
    near each other, so looking around every pixel, nearest places first, is far cheaper than a distance map a class.
    """
    far = int(reach)
    around = np.pad(others, far, constant_values=VOID)
    wide = around.shape[1]
    steps = np.arange(-far, far + 1)
    distance = np.hypot(steps[:, None], steps[None])
    order = np.argsort(distance, axis=None, kind="stable")
    order = order[distance.ravel()[order] <= reach + 1e-9]
    offsets = (steps[:, None] * wide + steps[None]).ravel()[order]
    ys, xs = np.nonzero(owners != VOID)
    own, places, flat = owners[ys, xs], (ys + far) * wide + xs + far, around.ravel()
    total = np.bincount(own, minlength=256)[:classes]
    for offset in offsets:
        missing = flat[places + offset] != own
        own, places = own[missing], places[missing]
        if not own.size:
            break
    return total - np.bincount(own, minlength=256)[:classes], total


def calibration(bins_N3B: Array) -> Number:
    """The expected calibration error over all pixels, with its bootstrap interval over images. bins: of `sureness`."""
    n = len(bins_N3B)

    def measured(weights: Array) -> Array:
        counts, sure, right = (weights @ bins_N3B.reshape(n, -1)).reshape(-1, 3, BINS).transpose(1, 0, 2)
        return np.asarray(np.abs(sure - right).sum(1) / np.maximum(counts.sum(1), 1))

    value = float(measured(np.ones((1, n)))[0])
    draws = [measured(weights.astype(np.float64)) for weights in statistics.resamples(n)]
    low, high = statistics.interval(np.concatenate(draws))
    return Number(SURE, value, min(low, value), max(high, value), n, False, SURE_HELP)


def per_sample(c: Counts) -> dict[str, Array]:
    """One value per image. An image whose every pixel is ignored counts as right."""
    union = c.truth + c.said - c.right
    held = union > 0
    iou = np.where(held, c.right / np.maximum(union, 1), 0.0).sum(1) / np.maximum(held.sum(1), 1)
    asked = c.truth.sum(1)
    return {
        "image_iou": np.where(held.any(1), iou, 1.0),
        "image_accuracy": np.where(asked > 0, c.right.sum(1) / np.maximum(asked, 1), 1.0),
    }


def numbers(c: Counts, each: dict[str, Array]) -> tuple[Number, ...]:
    """Every headline number with its bootstrap interval over images, the headline first."""
    pixels = np.stack([c.right, c.truth, c.said], 1).astype(np.float64)
    edges = np.stack([np.nan_to_num(c.boundary), np.isfinite(c.boundary)], 1).astype(np.float64)
    images = each["image_iou"]
    points = _measured(np.ones((1, c.n)), pixels, edges, images)
    draws: dict[str, list[Array]] = {name: [] for name in points}
    for weights in statistics.resamples(c.n):
        for name, values in _measured(weights.astype(np.float64), pixels, edges, images).items():
            draws[name].append(values)
    found = []
    for name in HELP:
        value = float(points[name][0])
        if not np.isfinite(value):
            continue
        low, high = statistics.interval(np.concatenate(draws[name]))
        # A class of few images is missing from some draws, which may push all of them to one side of the value.
        found.append(Number(name, value, min(low, value), max(high, value), c.n, True, HELP[name]))
    return tuple(found)


def _measured(weights: Array, pixels: Array, edges: Array, images: Array) -> dict[str, Array]:
    """Each number under weights [k, n] of the images, float64 [k]: one product over all counts."""
    k, n = weights.shape
    right, truth, said = (weights @ pixels.reshape(n, -1)).reshape(k, 3, -1).transpose(1, 0, 2)
    score, count = (weights @ edges.reshape(n, -1)).reshape(k, 2, -1).transpose(1, 0, 2)
    return {
        "mean_iou": _mean(right, truth + said - right),
        "mean_dice": _mean(2 * right, truth + said),
        "pixel_accuracy": right.sum(1) / np.maximum(truth.sum(1), 1),
        "mean_accuracy": _mean(right, truth),
        "boundary_f": _mean(score, count),
        "image_iou": weights @ images / n,
    }


def _mean(top: Array, bottom: Array) -> Array:
    """Mean over the classes whose bottom is not 0, float64 [k]; NaN when there are none."""
    held = bottom > 0
    shares = np.where(held, top / np.maximum(bottom, 1e-9), 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(shares.sum(1) / held.sum(1))


def tables(c: Counts, labels: Labels) -> tuple[Table, ...]:
    right, truth, said = c.right.sum(0), c.truth.sum(0), c.said.sum(0)
    images = (c.truth > 0).sum(0)
    seen = np.isfinite(c.boundary)
    edge = np.nan_to_num(c.boundary).sum(0) / np.maximum(seen.sum(0), 1)
    intervals = _class_intervals(c)

    def share(top: Array, bottom: Array, i: int) -> float | None:
        return float(top[i] / bottom[i]) if bottom[i] else None

    rows = []
    for i, name in enumerate(labels.names):
        iou = share(right, truth + said - right, i)
        low, high = (None, None) if iou is None else (min(intervals[i][0], iou), max(intervals[i][1], iou))
        rows.append(
            (name, int(images[i]), float(truth[i] / truth.sum()), iou, low, high, share(2 * right, truth + said, i),
             share(right, said, i), share(right, truth, i), float(edge[i]) if seen[:, i].any() else None)
        )  # fmt: skip
    columns = ("class", "images", "share of pixels", "iou", "iou from", "iou to", "dice", "precision", "recall",
               "boundary f")  # fmt: skip
    note = "Over all pixels of the split; a class in neither truth nor answers has no IoU and is left out of the means."
    return (Table("Classes", columns, tuple(rows), note), *_confused(c, labels))


def _class_intervals(c: Counts) -> list[tuple[float, float]]:
    draws = []
    right, union = c.right.astype(np.float64), (c.truth + c.said - c.right).astype(np.float64)
    for weights in statistics.resamples(c.n):
        top, bottom = weights @ right, weights @ union
        draws.append(np.where(bottom > 0, top / np.maximum(bottom, 1e-9), np.nan))
    whole = np.concatenate(draws)
    return [statistics.interval(whole[:, i]) for i in range(whole.shape[1])]


def _confused(c: Counts, labels: Labels) -> tuple[Table, ...]:
    wrong = c.mixed[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    if not wrong.any():
        return ()
    pairs = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:10], wrong.shape))[0]
    total, truth = c.truth.sum(), c.truth.sum(0)
    rows = tuple(
        (labels.names[t], labels.names[s], float(wrong[t, s] / total), float(wrong[t, s] / truth[t]))
        for t, s in pairs
        if wrong[t, s]
    )
    return (Table("Most confused", ("truth", "answer", "share of pixels", "share of truth"), rows),)


def matrices(c: Counts, labels: Labels) -> tuple[Matrix, ...]:
    if len(labels) > SHOWN_MATRIX:
        return ()
    columns = labels.names
    mixed = c.mixed
    if mixed[:, -1].any():
        columns = (*columns, "(not seen)")
    else:
        mixed = mixed[:, :-1]
    shares = 100 * mixed / np.maximum(mixed.sum(1, keepdims=True), 1)
    rows = tuple(tuple(round(float(v), 1) for v in row) for row in shares)
    note = "Rows are the truth, columns the answers, in percent of the truth's pixels."
    return (Matrix("Confusion", labels.names, columns, rows, note),)


def curves(each: dict[str, Array]) -> tuple[Curve, ...]:
    counts, ends = np.histogram(each["image_iou"], bins=20, range=(0.0, 1.0))
    centres = tuple(float(v) for v in (ends[:-1] + ends[1:]) / 2)
    spread = Series("share of images", centres, tuple(float(v) for v in counts / counts.sum()))
    return (Curve("Images by their IoU", "mean IoU of the classes in the image", "share of images", (spread,), "bars"),)


def worst(each: dict[str, Array], told: list[tuple[str, str, int]], keys: list[str]) -> tuple[Case, ...]:
    """Images with wrong pixels, the lowest image IoU first; class_id: the class most wrongly answered."""
    badness = 1.0 - each["image_iou"]
    order = [int(i) for i in np.argsort(-badness, kind="stable") if badness[i] > 0][:SHOWN_WORST]
    return tuple(Case(keys[i], float(badness[i]), *told[i]) for i in order)


def _told(mixed: Array, labels: Labels) -> tuple[str, str, int]:
    """Truth and answer in words, and the class most wrongly answered (of pixels not seen: most missed)."""
    total = max(1, int(mixed.sum()))
    truth = mixed.sum(1)
    largest = [i for i in np.argsort(-truth, kind="stable")[:4] if truth[i]]
    wrong = mixed.copy()
    wrong[np.arange(len(labels)), np.arange(len(labels))] = 0
    pairs = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:2], wrong.shape))[0]
    names = (*labels.names, "not seen")
    said = [f"{labels.names[t]} called {names[s]} {100 * wrong[t, s] / total:.0f} %" for t, s in pairs if wrong[t, s]]
    by_answer = wrong[:, :-1].sum(0)
    looked_at = int(by_answer.argmax()) if by_answer.any() else int(wrong[:, -1].argmax())
    return (
        ", ".join(f"{labels.names[i]} {100 * truth[i] / total:.0f} %" for i in largest) or "nothing asked",
        f"{100 * wrong.sum() / total:.0f} % wrong" + (f": {', '.join(said)}" if said else ""),
        looked_at,
    )
