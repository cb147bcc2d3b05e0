"""What a variant costs: drops worked out by hand, overall and by class, and what is refused."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from saccade import tasks
from saccade.optimization.judge import Budget, by_class, objections, overall
from saccade.types import Labels, Number, Prediction, Sample, Scorecard, Table


@dataclass
class Measured:
    card: Scorecard
    parts: np.ndarray = field(default_factory=lambda: np.array([]))
    classes: dict = field(default_factory=dict)


def measured(right, *, of=None):
    """Ten pictures of class a, then ten of b; right: which are answered rightly."""
    right = np.asarray(right, float)
    rows = (("a", 10, float(right[:10].mean())), ("b", 10, float(right[10:].mean())))
    card = Scorecard(
        "t", "val", 20, (Number("accuracy", float(right.mean()), n=20),),
        (Table("Other", ("x",), ()), Table("Classes", ("class", "images", "f1"), rows)),
        keys=tuple(map(str, range(20))), per_sample={"accuracy": tuple(right)},
    )  # fmt: skip
    members = np.arange(20)
    return Measured(card, classes={"a": members < 10, "b": members >= 10})


def test_equal_sides_drop_nothing():
    one = measured(np.ones(20))
    drop = overall(one, one)
    assert (drop.points, drop.low, drop.high) == (0, 0, 0)
    assert [d.points for d in by_class(one, one)] == [0, 0]
    assert objections(drop, by_class(one, one), Budget()) == []


def test_a_drop_is_told_overall_and_by_class_with_its_interval():
    worse = np.ones(20)
    worse[[10, 11, 12]] = 0
    one, other = measured(np.ones(20)), measured(worse)
    drop, classes = overall(one, other), by_class(one, other)
    assert drop.points == pytest.approx(15)
    assert 0 <= drop.low < 15 < drop.high <= 40
    assert [(d.name, round(d.points, 6)) for d in classes] == [("a (f1)", 0), ("b (f1)", 30)]
    assert classes[0].low == classes[0].high == 0
    assert classes[1].low < 30 < classes[1].high
    said = objections(drop, classes, Budget())
    assert len(said) == 2
    assert "drops 15.00 points, allowed 0.5; one of 20 images is 5.00 points" in said[0]
    assert "b (f1) drops 30.00 points on 10 images, allowed 10.00" in said[1]
    assert objections(drop, classes, Budget(max_drop=15, max_class_drop=30)) == []


@pytest.mark.parametrize(("lost", "refused"), [(1, False), (2, True)])
def test_a_class_may_lose_one_picture(lost, refused):
    worse = np.ones(20)
    worse[10 : 10 + lost] = 0
    one, other = measured(np.ones(20)), measured(worse)
    said = objections(overall(one, other), by_class(one, other), Budget(max_drop=100))
    assert bool(said) == refused


def test_a_gain_is_no_drop_and_lower_may_be_better():
    worse = np.ones(20)
    worse[0] = 0
    assert overall(measured(worse), measured(np.ones(20))).points == pytest.approx(-5)
    card = Scorecard("t", "val", 10, (Number("error", 0.2, n=10, higher_is_better=False),))
    more = Scorecard("t", "val", 10, (Number("error", 0.3, n=10, higher_is_better=False),))
    assert overall(Measured(card), Measured(more)).points == pytest.approx(10)


def test_a_headline_that_is_no_mean_gets_its_interval_from_parts():
    card = Scorecard("t", "val", 10, (Number("map", 0.8, n=10),))
    after = Scorecard("t", "val", 10, (Number("map", 0.79, n=10),))
    drop = overall(Measured(card, np.array([0.8, 0.8, np.nan])), Measured(after, np.array([0.78, 0.80, 0.7])))
    # Two differences of 2 and 0 points: standard error 1, times 12.71.
    assert (drop.low, drop.high) == pytest.approx((1 - 12.71, 1 + 12.71))
    assert overall(Measured(card), Measured(after)).low is None


def test_what_is_no_number_is_refused():
    nan = float("nan")
    card = Scorecard("t", "val", 10, (Number("map", 0.8, n=10),))
    after = Scorecard("t", "val", 10, (Number("map", nan, n=10),))
    assert objections(overall(Measured(card), Measured(after)), [], Budget(max_drop=100))


def test_classes_of_boxes_are_compared_as_their_own_card_tells_them():
    """A detector that loses a rare class altogether hardly moves the mean over thirty."""
    labels = Labels(("cell", "rare"), exclusive=False)
    task = tasks.find("detection")

    def judged(sees_rare):
        scorer = task.scorer(labels)
        for i in range(12):
            boxes = np.array([[5, 5, 25, 25], [40, 40, 60, 60]], np.float32)
            ids = np.array([0, 1])
            sample = Sample(str(i), np.zeros((80, 80, 3), np.uint8), {"boxes": boxes, "box_classes": ids})
            seen = np.array([True, sees_rare])
            said = Prediction(80, 80, ids[seen], np.array([0.9, 0.8], np.float32)[seen], boxes[seen])
            scorer.add(said, sample)
        return Measured(scorer.card("val"), parts=np.full(10, np.nan))

    classes = by_class(judged(True), judged(False))
    assert [(d.name, d.n) for d in classes] == [("cell (AP)", 12), ("rare (AP)", 12)]
    assert classes[1].points == pytest.approx(100)
    assert any("rare (AP) drops" in said for said in objections(overall(judged(True), judged(True)), classes, Budget()))
