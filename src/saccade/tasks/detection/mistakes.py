"""What is wrong among the answers that are shown: of each its kind, and the pictures and places that tell most.

The kinds follow TIDE, arXiv:2008.08115.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from saccade.images.geometry import iou_pairs
from saccade.tasks.detection import match as matching
from saccade.tasks.detection.match import Answers, Objects, Split
from saccade.types import Array, Box, Case, Labels, Matrix, Spot, Table

POOR = 0.1
"""Least IoU at which an answer is a poor box of its class rather than an answer to nothing."""
SHOWN_MATRIX = 60
SHOWN_WORST = 24
SHOWN_SPOTS = 12
"""Places of each kind of error that a card holds."""
NOTHING = "nothing"
ERRORS = ("wrong class", "poor box", "duplicate", "background", "missed")


@dataclass(frozen=True)
class Shown:
    """What a caller sees who names no threshold, judged at IoU 0.5.

    fault: int64 [D], place in ERRORS, -1 for a right answer, -2 for one not shown or not counted. mixed: int64 [D], the
    class that stands there instead. missed: bool [G]. right, extra, lost: counts by image, float64 [n].
    """

    fault: Array
    mixed: Array
    missed: Array
    right: Array
    extra: Array
    lost: Array


def shown(s: Split, cuts: Array) -> Shown:
    """What is right and what is wrong among the answers at or above their class's cut, float [C]."""
    a, o = s.answers, s.objects
    taken, ignored = s.matches.taken[0, 0], s.matches.ignored[0, 0]
    visible = (a.score >= cuts[a.class_id]) & ~ignored
    fault = np.where(taken >= 0, -1, 3)
    mixed = np.full(len(a.score), -1)
    wrong = visible & (taken < 0)
    # Every object of the same image, of whatever class, beside each wrong answer.
    where = np.flatnonzero(wrong)
    one = np.zeros(len(o.image), np.int64)
    everything = Objects(o.image, one, o.boxes, o.area, o.crowd, o.aside)
    asked = Answers(a.image[where], np.zeros(len(where), np.int64), a.boxes[where], a.score[where])
    left, right, overlap = matching.pairs(asked, everything, 1)
    same = a.class_id[where[left]] == o.class_id[right]
    best_same, best_other, other = np.zeros(len(where)), np.zeros(len(where)), np.full(len(where), -1)
    np.maximum.at(best_same, left[same], overlap[same])
    order = np.argsort(overlap, kind="stable")
    order = order[~same[order]]
    best_other[left[order]], other[left[order]] = overlap[order], o.class_id[right[order]]
    kind = np.select([best_same >= 0.5, best_other >= 0.5, best_same >= POOR], [2, 0, 1], 3)
    fault[where], mixed[where] = kind, np.where(kind == 0, other, -1)
    fault[~visible] = -2
    missed = ~s.matches.outside[0]
    found = taken[visible & (taken >= 0)]
    missed[found] = False
    count = lambda image, mask: np.bincount(image[mask], minlength=s.n).astype(np.float64)  # noqa: E731
    return Shown(fault, mixed, missed, count(a.image, fault == -1), count(a.image, fault >= 0), count(o.image, missed))


def image_f1(seen: Shown) -> Array:
    """F1 of each image; an empty image with no answer is right."""
    whole = 2 * seen.right + seen.extra + seen.lost
    return np.asarray(np.where(whole > 0, 2 * seen.right / np.maximum(whole, 1), 1.0))


def errors_table(s: Split, seen: Shown, labels: Labels) -> Table:
    rows: list[tuple[str | float | int | None, ...]] = []
    for c, name in enumerate(labels.names):
        mine = s.answers.class_id == c
        kinds = [int((mine & (seen.fault == k)).sum()) for k in range(4)]
        missed = int((seen.missed & (s.objects.class_id == c)).sum())
        rows.append((name, int((mine & (seen.fault == -1)).sum()), *kinds, missed))
    help = (
        "Answers at or above the package's threshold for their class, all where it has none, at IoU 0.5. Duplicate: "
        "the object is found already; wrong class: another class stands there; poor box: IoU 0.1 to 0.5 with its "
        "class; background: none of these."
    )
    return Table("Errors", ("class", "right", *ERRORS), tuple(rows), help)


def confusion(s: Split, seen: Shown, labels: Labels) -> tuple[Matrix, ...]:
    """Rows truth, columns answers, both with "nothing" last; an object called by a wrong class stands there once."""
    classes = len(labels)
    if classes > SHOWN_MATRIX:
        return ()
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    said = s.answers.class_id
    right = seen.fault == -1
    np.add.at(counts, (said[right], said[right]), 1)
    wrong = seen.fault == 0
    np.add.at(counts, (seen.mixed[wrong], said[wrong]), 1)
    other = seen.fault > 0
    np.add.at(counts, (np.full(int(other.sum()), classes), said[other]), 1)
    np.add.at(counts, (s.objects.class_id[seen.missed], np.full(int(seen.missed.sum()), classes)), 1)
    names = (*labels.names, NOTHING)
    rows = tuple(tuple(float(v) for v in row) for row in counts)
    help = "At IoU 0.5 and the package's thresholds, as far as it has any. Rows are the truth, columns the answers."
    return (Matrix("Confusion", names, names, rows, help),)


def worst(s: Split, seen: Shown, f1: Array, labels: Labels, keys: Sequence[str]) -> tuple[Case, ...]:
    """Images with errors: the lowest F1 first, of equal ones the image with more errors."""
    errors = seen.extra + seen.lost
    badness = (1 - f1) + errors / (1e3 + errors)
    order = np.argsort(-badness, kind="stable")
    cases = []
    for i in order[errors[order] > 0][:SHOWN_WORST]:
        here = s.answers.image == i
        there = (s.objects.image == i) & ~s.matches.outside[0]
        wrong: Counter[tuple[str, int]] = Counter()
        for k in range(4):
            wrong.update((ERRORS[k], int(c)) for c in s.answers.class_id[here & (seen.fault == k)])
        wrong.update((ERRORS[4], int(c)) for c in s.objects.class_id[there & seen.missed])
        held = Counter(int(c) for c in s.objects.class_id[there])
        said = ", ".join(f"{kind} {labels.names[c]} {count}" for (kind, c), count in wrong.most_common(5))
        cases.append(Case(keys[i], float(badness[i]), _counted(held, labels), said, wrong.most_common(1)[0][0][1]))
    return tuple(cases)


def _counted(held: Counter[int], labels: Labels) -> str:
    return ", ".join(f"{labels.names[c]} {count}" for c, count in held.most_common(5)) or "nothing"


def spots(s: Split, seen: Shown, labels: Labels, keys: Sequence[str]) -> tuple[Spot, ...]:
    """Places of every kind of error, SHOWN_SPOTS each at most, classes in turns: of wrong answers the surest first, of
    missed objects the largest."""
    a, o = s.answers, s.objects
    found: list[Spot] = []
    for kind in range(len(ERRORS) - 1):
        wrong = np.flatnonzero(seen.fault == kind)
        picked = wrong[turns(a.class_id[wrong], a.score[wrong], SHOWN_SPOTS)]
        found += [_wrong_spot(s, seen, int(d), kind, labels, keys) for d in picked]
    missed = np.flatnonzero(seen.missed)
    picked = missed[turns(o.class_id[missed], o.area[missed], SHOWN_SPOTS)]
    return (*found, *(_missed_spot(s, seen, int(g), labels, keys) for g in picked))


def turns(class_ids: Array, worth: Array, most: int) -> Array:
    """Places of at most `most` things, int64 [k]: the best of every class, best first, then the second of each, ..."""
    order = np.lexsort((-worth, class_ids))
    ids = class_ids[order]
    turn = np.arange(len(order)) - np.searchsorted(ids, ids, "left")
    return np.asarray(order[np.lexsort((-worth[order], turn))][:most])


def _wrong_spot(s: Split, seen: Shown, d: int, kind: int, labels: Labels, keys: Sequence[str]) -> Spot:
    """Answer d beside the object that it was taken for: of the class that stands there, of its own, or of any."""
    a, o = s.answers, s.objects
    image, own = int(a.image[d]), int(a.class_id[d])
    plain = Spot(keys[image], ERRORS[kind], own, _box(a.boxes[d]), float(a.score[d]), words="nothing stands there")
    there = np.flatnonzero(o.image == image)
    if kind < 3:
        there = there[o.class_id[there] == (seen.mixed[d] if kind == 0 else own)]
    overlaps = iou_pairs(a.boxes[d], o.boxes[there], o.crowd[there])
    if overlaps.max(initial=0.0) < POOR:
        return plain
    best = int(overlaps.argmax())
    g = int(there[best])
    other = int(o.class_id[g])
    taker = np.flatnonzero(s.matches.taken[0, 0] == g)
    twice = f"found already, with {float(a.score[taker[0]]):.2f}" if len(taker) else "found already"
    near = f"{labels.names[other]} overlaps by {float(overlaps[best]):.2f}"
    words = (f"{labels.names[other]} stands there", near, twice, near)[kind]
    return replace(plain, other_id=other, other=_box(o.boxes[g]), words=words)


def _missed_spot(s: Split, seen: Shown, g: int, labels: Labels, keys: Sequence[str]) -> Spot:
    """Object g beside the answer, of those shown, that overlaps it most."""
    a, o = s.answers, s.objects
    image, own = int(o.image[g]), int(o.class_id[g])
    plain = Spot(keys[image], ERRORS[-1], own, _box(o.boxes[g]), words="nothing was answered there")
    there = np.flatnonzero((a.image == image) & (seen.fault > -2))
    overlaps = iou_pairs(o.boxes[g], a.boxes[there])
    if overlaps.max(initial=0.0) < POOR:
        return plain
    best = int(overlaps.argmax())
    d = int(there[best])
    other = int(a.class_id[d])
    words = f"answered {labels.names[other]} {float(a.score[d]):.2f}, which overlaps by {float(overlaps[best]):.2f}"
    return replace(plain, other_id=other, other=_box(a.boxes[d]), words=words)


def _box(box: Array) -> Box:
    left, top, right, bottom = (float(v) for v in box)
    return left, top, right, bottom
