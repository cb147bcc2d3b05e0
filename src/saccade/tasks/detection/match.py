"""Which answer found which object: the greedy matching of pycocotools, over a whole split at once.

An answer and an object belong to a group: one image and one class. Answers of a group go best first; each takes the
object it overlaps most among those still free, ignored objects only when no other fits. Crowds and difficult objects
can be taken again.
Held to pycocotools and faster-coco-eval number by number in the tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.images.geometry import iou_pairs
from saccade.types import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {"": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Objects by px² of the original picture."""
MOST = 100
"""Answers that count, by image and class."""
CHUNK = 4_000_000
"""Cells of one round's work; keeps memory small."""


@dataclass(frozen=True)
class Objects:
    """What there is: image int64 [G], class_id int64 [G], boxes [G, 4], area [G] px², crowd bool [G], aside bool [G]
    (difficult: neither found nor missed, however many answers lie on it)."""

    image: Array
    class_id: Array
    boxes: Array
    area: Array
    crowd: Array
    aside: Array


@dataclass(frozen=True)
class Answers:
    """What was said: image int64 [D], class_id int64 [D], boxes [D, 4], score float64 [D]; by
    image, class, then score."""

    image: Array
    class_id: Array
    boxes: Array
    score: Array


@dataclass(frozen=True)
class Matches:
    """For ranges of area A and THRESHOLDS T: taken int32 [A, T, D] is the object each answer took or -1; ignored bool
    [A, T, D] answers that count neither way; outside bool [A, G] objects that nobody must find."""

    taken: Array
    ignored: Array
    outside: Array


def sort_answers(image: Array, class_id: Array, boxes: Array, score: Array) -> Answers:
    """By image, class, falling score (equal scores as they came), at most MOST of a group."""
    order = np.lexsort((-score, class_id, image))
    group = np.stack([image[order], class_id[order]], 1)
    starts = np.flatnonzero(np.append(True, (np.diff(group, axis=0) != 0).any(1))) if len(order) else np.zeros(0, int)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    order = order[rank < MOST]
    return Answers(image[order], class_id[order], boxes[order], score[order])


def pairs(answers: Answers, objects: Objects, classes: int) -> tuple[Array, Array, Array]:
    """Every answer beside every object of its group: places among the answers and the objects, and their IoU."""
    group_a = answers.image * classes + answers.class_id
    group_o = objects.image * classes + objects.class_id
    order = np.argsort(group_o, kind="stable")
    low = np.searchsorted(group_o[order], group_a, "left")
    count = np.searchsorted(group_o[order], group_a, "right") - low
    left = np.repeat(np.arange(len(group_a)), count)
    step = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    right = order[np.repeat(low, count) + step]
    return left, right, iou_pairs(answers.boxes[left], objects.boxes[right], objects.crowd[right])


def match(answers: Answers, objects: Objects, classes: int, areas: Sequence[tuple[float, float]]) -> Matches:
    """The greedy matching for every range of area and threshold."""
    low, high = (np.array([a[i] for a in areas])[:, None] for i in (0, 1))
    again = objects.crowd | objects.aside
    outside = again | (objects.area < low) | (objects.area > high)
    spread = (answers.boxes[:, 2] - answers.boxes[:, 0]) * (answers.boxes[:, 3] - answers.boxes[:, 1])
    taken = np.full((len(areas), len(THRESHOLDS), len(spread)), -1, np.int32)
    used = np.zeros((len(areas), len(THRESHOLDS), len(objects.area)), bool)
    left, right, overlaps = pairs(answers, objects, classes)
    near = overlaps >= min(THRESHOLDS[0], 1 - 1e-10)
    left, right, overlaps = left[near], right[near], overlaps[near]

    who, begin, count = np.unique(left, return_index=True, return_counts=True)
    group = answers.image[who] * classes + answers.class_id[who]
    first = np.flatnonzero(np.append(True, np.diff(group) != 0)) if len(who) else np.zeros(0, int)
    turn = np.arange(len(who)) - np.repeat(first, np.diff(np.append(first, len(who))))
    bars = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None, None]
    # Answers of one turn belong to different groups, so they cannot want the same object.
    for now in range(int(turn.max(initial=-1)) + 1):
        these = np.flatnonzero(turn == now)
        these = these[np.argsort(count[these], kind="stable")]
        cells = len(areas) * len(THRESHOLDS)
        for part in _pieces(count[these], CHUNK // cells):
            some = these[part]
            most = int(count[some].max())
            # From the last object to the first: of equal overlaps pycocotools takes the later one.
            step = np.arange(most)[::-1]
            real = step < count[some][:, None]
            place = np.where(real, begin[some][:, None] + step, 0)
            wanted, overlap = right[place], np.where(real, overlaps[place], -1.0)
            free = (overlap >= bars) & (~used[:, :, wanted] | again[wanted])
            worth = np.where(free, overlap + 2.0 * ~outside[:, None, wanted], -1.0)
            best = worth.argmax(-1)
            found = np.take_along_axis(worth, best[..., None], -1)[..., 0] > 0
            target = wanted[np.arange(len(some)), best]
            taken[:, :, who[some]] = np.where(found, target, -1)
            a, t, s = np.nonzero(found)
            used[a, t, target[a, t, s]] = True

    hit = taken >= 0
    a = np.arange(len(areas))[:, None, None]
    beyond = (spread < low) | (spread > high)
    ignored = np.where(hit, outside[a, np.where(hit, taken, 0)] if outside.size else False, beyond[:, None])
    return Matches(taken, ignored, outside)


def _pieces(counts: Array, cells: int) -> list[slice]:
    """Slices of rising counts whose padded size stays below `cells`."""
    found, start = [], 0
    while start < len(counts):
        end = start + 1
        while end < len(counts) and (end + 1 - start) * int(counts[end]) <= cells:
            end = min(len(counts), end + max(1, (end - start) // 2))
            if (end - start) * int(counts[end - 1]) > cells:
                end = start + max(1, cells // int(counts[end - 1]))
                break
        found.append(slice(start, end))
        start = end
    return found


class Ranked:
    """The answers of one class for one range of area, best first over the whole split, ready for many weightings.

    Precision and recall are weighed by how often an image counts, so a bootstrap draw needs no new matching.
    """

    STEPS = np.linspace(0.0, 1.0, 101)

    def __init__(self, answers: Answers, objects: Objects, matches: Matches, class_id: int, area: int) -> None:
        mine = np.flatnonzero(answers.class_id == class_id)
        order = mine[np.argsort(-answers.score[mine], kind="stable")]
        self.score = answers.score[order]
        self.image = answers.image[order]
        self.counted = ~matches.ignored[area][:, order]
        self.hits = (matches.taken[area][:, order] >= 0) & self.counted
        self.objects = objects.image[(objects.class_id == class_id) & ~matches.outside[area]]

    def averages(self, weights: Array) -> tuple[Array, Array]:
        """Average precision over 101 recalls and the highest recall, float64 [T, k]; NaN where no object counts.

        weights: [k, n] how often each image counts. Equals pycocotools where every weight is 1.
        """
        w = np.asarray(weights, np.float64)
        there = w[:, self.objects].sum(1)
        always = np.flatnonzero(self.counted.all(0))
        said_always = _sums(w[:, self.image[always]])
        found = np.full((2, len(THRESHOLDS), len(w)), np.nan)
        for t in range(len(THRESHOLDS)):
            # Precision can only peak, and recall only rise, where an object is found.
            at = np.flatnonzero(self.hits[t])
            sometimes = np.setdiff1d(np.flatnonzero(self.counted[t]), always, assume_unique=True)
            said = said_always[:, np.searchsorted(always, at, "right")]
            said = said + _sums(w[:, self.image[sometimes]])[:, np.searchsorted(sometimes, at, "right")]
            right = np.cumsum(w[:, self.image[at]], 1)
            precision = right / np.maximum(said, np.spacing(1))
            best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            recall = right / np.maximum(there, 1e-300)[:, None]
            reached = np.searchsorted(self.STEPS, recall.ravel(), "right").reshape(recall.shape)
            gained = np.diff(reached, axis=1, prepend=0)
            found[0, t] = (best * gained).sum(1) / len(self.STEPS)
            found[1, t] = recall[:, -1] if at.size else 0.0
        found[:, :, there == 0] = np.nan
        return found[0], found[1]

    def curve(self, threshold: int = 0) -> tuple[Array, Array, Array]:
        """Score, recall and precision after each counted answer, best first."""
        counted = self.counted[threshold]
        right = np.cumsum(self.hits[threshold][counted])
        return self.score[counted], right / max(1, len(self.objects)), right / np.arange(1, len(right) + 1)

    def best_f1(self) -> tuple[float, float] | None:
        """The score from which on answering gives the best F1 at IoU 0.5, and that F1; None without objects."""
        score, recall, precision = self.curve()
        if not len(self.objects):
            return None
        # Only the last of equal scores is a threshold that can be set.
        ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1) if len(score) else np.zeros(0, int)
        f1 = 2 * recall[ends] * precision[ends] / np.maximum(recall[ends] + precision[ends], 1e-12)
        if not f1.any():
            return 1.0, 0.0
        best = int(f1.argmax())
        return float(score[ends[best]]), float(f1[best])


def _sums(rows: Array) -> Array:
    """Sums of the first 0, 1, 2... columns, float64 [k, D + 1]."""
    return np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, 1)], 1)


@dataclass(frozen=True)
class Split:
    """All answers and objects of a split of n images, matched in every range of AREAS, and each class ranked."""

    n: int
    answers: Answers
    objects: Objects
    matches: Matches
    ranked: tuple[tuple[Ranked, ...], ...]

    @classmethod
    def of(cls, n: int, answers: Answers, objects: Objects, classes: int) -> "Split":
        matches = match(answers, objects, classes, tuple(AREAS.values()))
        ranked = tuple(
            tuple(Ranked(answers, objects, matches, c, a) for c in range(classes)) for a in range(len(AREAS))
        )
        return cls(n, answers, objects, matches, ranked)
