"""What a variant costs: drops worked out by hand, overall and by class, what is refused, and what stays open."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from saccade import tasks
from saccade.optimization.judge import Budget, Drop, by_class, doubts, objections, overall, record, terms
from saccade.types import Labels, Number, Prediction, Sample, Scorecard, Table


@dataclass
class Measured:
    card: Scorecard
    shares: tuple = ()
    classes: dict = field(default_factory=dict)


def measured(right, of_a=10):
    """So many pictures of class a, then those of b; right: which are answered rightly."""
    right = np.asarray(right, float)
    n = len(right)
    rows = (("a", of_a, float(right[:of_a].mean())), ("b", n - of_a, float(right[of_a:].mean())))
    card = Scorecard(
        "t", "val", n, (Number("accuracy", float(right.mean()), n=n),),
        (Table("Other", ("x",), ()), Table("Classes", ("class", "images", "f1"), rows)),
        keys=tuple(map(str, range(n))), per_sample={"accuracy": tuple(right)},
    )  # fmt: skip
    members = np.arange(n)
    return Measured(card, classes={"a": members < of_a, "b": members >= of_a})


def test_equal_sides_drop_nothing_and_leave_open_what_so_few_cannot_show():
    one = measured(np.ones(20))
    drop, classes = overall(one, one), by_class(one, one)
    assert (drop.points, drop.low, drop.high) == (0, -15, 15), "3 of n, either way"
    assert [(d.points, d.low, d.high) for d in classes] == [(0, -30, 30)] * 2
    assert objections(drop, classes, Budget()) == []
    assert doubts(drop, classes, Budget()) == [
        "not proven: with 20 images a drop of accuracy up to 15.00 points cannot be excluded, allowed 0.5",
        "not proven for 2 of 2 classes: with 10 images a drop of a (f1) up to 30.00 points cannot be excluded, "
        "allowed 10.00",
    ]
    assert objections(drop, classes, Budget(proven=True)) == doubts(drop, classes, Budget())


def test_enough_pictures_prove_it():
    one = measured(np.ones(600), of_a=300)
    drop, classes = overall(one, one), by_class(one, one)
    assert (drop.high, classes[0].high, drop.least) == (0.5, 1.0, 0.5)
    assert doubts(drop, classes, Budget()) == objections(drop, classes, Budget(proven=True)) == []
    fewer = measured(np.ones(590), of_a=300)
    assert len(doubts(overall(fewer, fewer), by_class(fewer, fewer), Budget())) == 1


def test_a_drop_is_told_overall_and_by_class_with_its_interval():
    worse = np.ones(20)
    worse[[10, 11, 12]] = 0
    one, other = measured(np.ones(20)), measured(worse)
    drop, classes = overall(one, other), by_class(one, other)
    assert drop.points == pytest.approx(15)
    assert 0 <= drop.low < 15 < drop.high <= 40
    assert [(d.name, round(d.points, 6)) for d in classes] == [("a (f1)", 0), ("b (f1)", 30)]
    assert (classes[0].low, classes[0].high) == (-30, 30)
    assert classes[1].low < 30 < classes[1].high
    said = objections(drop, classes, Budget())
    assert len(said) == 2
    assert "drops 15.00 points, allowed 0.5; one of 20 images is 5.00 points" in said[0]
    assert "b (f1) drops 30.00 points on 10 images, allowed 10.00" in said[1]
    assert objections(drop, classes, Budget(max_drop=15, max_class_drop=30)) == []


@pytest.mark.parametrize(
    ("size", "lost", "refused"),
    [(10, 1, False), (10, 2, True), (20, 1, False), (9, 1, True), (5, 1, True), (1, 1, True), (100, 2, False)],
)
def test_a_class_may_lose_one_picture_where_that_is_little(size, lost, refused):
    worse = np.ones(200)
    worse[:lost] = 0
    one, other = measured(np.ones(200), of_a=size), measured(worse, of_a=size)
    said = objections(overall(one, other), by_class(one, other), Budget(max_drop=100))
    assert bool(said) == refused


def test_the_allowance_of_one_picture_is_bounded_and_told():
    budget = Budget()
    allowed = {n: budget.of_class(Drop("a", n, 1.0, 1.0, 0.0)) for n in (0, 1, 5, 10, 25, 1000)}
    assert allowed == {0: 2, 1: 2, 5: 2, 10: 10, 25: 4, 1000: 2}
    assert Budget(one_picture=20).of_class(Drop("a", 5, 1.0, 1.0, 0.0)) == 20
    told = record(Drop("a", 25, 1.0, 0.96, 4.0, 0.0, 12.0), 4.0)
    assert (told["allowed"], told["one_of_n"], told["smallest_provable"], told["high"]) == (4.0, 4.0, 12.0, 12.0)
    assert terms(measured(np.ones(20)).card, budget) == (
        "accuracy may drop 0.5 points, a class 2, or one of its pictures where that is 10 points or less; "
        "20 images exclude no drop below 15.00 points"
    )


def test_a_gain_is_no_drop_and_lower_may_be_better():
    worse = np.ones(20)
    worse[0] = 0
    gained = overall(measured(worse), measured(np.ones(20)))
    assert gained.points == pytest.approx(-5)
    assert gained.high == 15, "one picture gained does not say that none would be lost"
    card = Scorecard("t", "val", 10, (Number("error", 0.2, n=10, higher_is_better=False),))
    more = Scorecard("t", "val", 10, (Number("error", 0.3, n=10, higher_is_better=False),))
    assert overall(Measured(card), Measured(more)).points == pytest.approx(10)


def mapped(value, n=1000):
    return Scorecard("t", "val", n, (Number("map", value, n=n),))


def test_a_headline_that_is_no_mean_gets_its_interval_from_parts():
    card = Scorecard("t", "val", 1000, (Number("map", 0.8, n=1000),))
    after = Scorecard("t", "val", 1000, (Number("map", 0.79, n=1000),))
    one, two = (mapped(0.8), mapped(0.8), None), (mapped(0.78), mapped(0.80), mapped(0.7))
    drop = overall(Measured(card, one), Measured(after, two))
    # Two differences of 2 and 0 points: standard error 1, times 12.71.
    assert (drop.low, drop.high) == pytest.approx((1 - 12.71, 1 + 12.71))
    assert drop.interval == "paired differences on 2 disjoint parts of the images"
    both = Measured(card, (mapped(0.8), mapped(0.9)))
    same = overall(both, both)
    assert (same.low, same.high) == pytest.approx((-0.3, 0.3))
    none = overall(Measured(card), Measured(after))
    assert none.low is None
    assert none.interval.startswith("none")
    assert doubts(none, [], Budget(max_drop=2)) == ["not proven: 1000 images give no interval of map"]


def test_what_is_no_number_is_refused():
    nan = float("nan")
    card = Scorecard("t", "val", 10, (Number("map", 0.8, n=10),))
    after = Scorecard("t", "val", 10, (Number("map", nan, n=10),))
    assert objections(overall(Measured(card), Measured(after)), [], Budget(max_drop=100))


def test_classes_of_boxes_are_compared_as_their_own_card_tells_them():
    """A detector that loses a rare class altogether hardly moves the mean over thirty."""
    labels = Labels(("cell", "rare"), exclusive=False)
    task = tasks.find(tasks.fitting(("boxes", "box_classes"))[0])

    def judged(sees_rare, start=0, count=12):
        scorer = task.scorer(labels)
        for i in range(start, start + count):
            boxes = np.array([[5, 5, 25, 25], [40, 40, 60, 60]], np.float32)
            ids = np.array([0, 1])
            sample = Sample(str(i), np.zeros((80, 80, 3), np.uint8), {"boxes": boxes, "box_classes": ids})
            seen = np.array([True, sees_rare or i % 4 == 0])
            said = Prediction(80, 80, ids[seen], np.array([0.9, 0.8], np.float32)[seen], boxes[seen])
            scorer.add(said, sample)
        return scorer.card("val")

    def both(sees_rare):
        return Measured(judged(sees_rare), tuple(judged(sees_rare, start, 4) for start in (0, 4, 8)))

    classes = by_class(both(True), both(False))
    assert [(d.name, d.n, d.of) for d in classes] == [("cell (AP)", 12, "objects"), ("rare (AP)", 12, "objects")]
    lost = 100 * (1 - 26 / 101)  # found at a recall of 0.25: 26 of the 101 places of the curve
    assert classes[1].points == pytest.approx(lost)
    said = objections(overall(both(True), both(True)), classes, Budget())
    assert said == [f"rare (AP) drops {lost:.2f} points on 12 objects, allowed 8.33"]
    # Nothing changed for cells, of which 12 exclude no drop below 25 points; rare ones lost as much in each part.
    assert (classes[0].low, classes[0].high) == (-25, 25)
    assert (classes[1].low, classes[1].high) == pytest.approx((lost, lost))
    assert {d.interval for d in classes} == {"paired differences on 3 disjoint parts of the images"}
    assert len(doubts(overall(both(True), both(True)), classes, Budget())) == 2
    alone = by_class(Measured(judged(True)), Measured(judged(False)))
    assert {(d.high, d.interval) for d in alone} == {(None, "none: too few images for parts")}
    assert (
        doubts(overall(both(True), both(True)), alone, Budget())[-1]
        == "not proven: too few images show cell (AP), rare (AP)"
    )
    once = by_class(Measured(judged(True), (judged(True), None)), Measured(judged(True), (judged(True), None)))
    assert once[0].interval == "none: defined in 1 of 2 parts, 2 are needed"


def test_classes_of_masks_get_their_intervals_from_parts():
    labels = Labels(("ground", "crack"))
    task = tasks.find(tasks.fitting(("mask",))[0])
    truth = np.zeros((8, 8), np.uint8)
    truth[:4] = 1

    def judged(said, count=6):
        scorer = task.scorer(labels)
        for i in range(count):
            scorer.add(Prediction(8, 8, mask=said), Sample(str(i), np.zeros((8, 8, 3), np.uint8), {"mask": truth}))
        return scorer.card("val")

    less = truth.copy()
    less[3] = 0
    before = Measured(judged(truth), (judged(truth, 3), judged(truth, 3)))
    after = Measured(judged(less), (judged(less, 3), judged(less, 3)))
    classes = by_class(before, after)
    assert [(d.name, round(d.points, 2), d.of) for d in classes] == [("ground (iou)", 20, "images"),
                                                                    ("crack (iou)", 25, "images")]  # fmt: skip
    assert classes[1].low == pytest.approx(25)
    assert classes[1].high == pytest.approx(50), "six pictures exclude no drop below 50 points"
    assert all(d.interval.startswith("paired differences on 2") for d in classes)
