"""Classification: targets, temperature, answers and every number against hand-made values and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as reference

from saccade import tasks
from saccade.errors import DataError, SaccadeError, UsageError
from saccade.images.preprocess import Placement
from saccade.tasks import statistics
from saccade.tasks.classification import learning
from saccade.testing.tasks import check_task
from saccade.types import Array, Labels, Sample, Scorecard

ABC = Labels(("a", "b", "c"))
MANY = Labels(("a", "b", "c"), exclusive=False)
PIXEL = np.zeros((1, 1, 3), np.uint8)


def sample(i: int, *ids: int) -> Sample:
    return Sample(f"s{i}", PIXEL, {"classes": np.array(ids, np.int64)})


def score(scores: Array, truths: list[tuple[int, ...]], labels: Labels = ABC) -> Scorecard:
    task = tasks.find("classification")
    scorer = task.scorer(labels)
    places = [Placement(4, 3)] * len(scores)
    answers = task.decode({"scores": np.asarray(scores, np.float32)}, places, labels)
    for i, (answer, ids) in enumerate(zip(answers, truths, strict=True)):
        scorer.add(answer, sample(i, *ids))
    return scorer.card("test")


def random_case(n: int, labels: Labels, seed: int = 0) -> tuple[Array, Array]:
    """Scores and truth [n, C], informative but imperfect, as multi-hot."""
    random = np.random.default_rng(seed)
    c = len(labels)
    if labels.exclusive:
        truth = np.eye(c)[random.integers(0, c, n)]
        logits = random.normal(size=(n, c)) + 1.2 * truth
        e = np.exp(logits)
        return (e / e.sum(1, keepdims=True)).astype(np.float32), truth
    truth = (random.random((n, c)) < 0.4).astype(float)
    return (1 / (1 + np.exp(-(random.normal(size=(n, c)) + 1.5 * truth - 0.7)))).astype(np.float32), truth


def test_found_by_name() -> None:
    assert "classification" in tasks.names()
    assert tasks.fitting({"classes", "boxes"}).count("classification") == 1
    assert "classification" not in tasks.fitting({"mask"})
    with pytest.raises(UsageError, match="did you mean 'classification'"):
        tasks.find("clasification")


@pytest.mark.parametrize("labels", [ABC, MANY])
def test_keeps_the_contract(labels: Labels) -> None:
    scores, truth = random_case(40, labels)
    samples = [sample(i, *np.flatnonzero(row)) for i, row in enumerate(truth)]
    check_task(tasks.find("classification"), labels, {"scores": scores}, samples)


def test_encode() -> None:
    task = tasks.find("classification")
    one = task.encode(sample(0, 2), ABC)["target"]
    assert one.dtype == np.int64
    assert one.shape == ()
    assert one == 2
    several = task.encode(sample(0, 0, 2), MANY)["target"]
    assert several.dtype == np.float32
    assert several.tolist() == [1, 0, 1]
    assert task.encode(sample(0), MANY)["target"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [sample(0), sample(0, 0, 1), sample(0, 3), sample(0, -1), Sample("x", PIXEL)])
def test_encode_refuses(bad: Sample) -> None:
    with pytest.raises(DataError):
        tasks.find("classification").encode(bad, ABC)


def test_decode_is_stable() -> None:
    answer = tasks.find("classification").decode({"scores": np.array([[0.2, 0.4, 0.4]])}, [Placement(9, 7)], ABC)[0]
    assert answer.class_ids is not None
    assert answer.class_ids.tolist() == [1, 2, 0]
    assert (answer.width, answer.height) == (9, 7)
    with pytest.raises(SaccadeError, match="expected"):
        tasks.find("classification").decode({"scores": np.zeros((1, 4))}, [Placement(1, 1)], ABC)


@pytest.mark.parametrize("labels", [ABC, MANY])
def test_temperature_is_recovered(labels: Labels) -> None:
    random = np.random.default_rng(1)
    honest = random.normal(size=(6000, 3)) * 2
    if labels.exclusive:
        chance = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
        target = (chance.cumsum(1) > random.random((6000, 1))).argmax(1)
    else:
        target = (random.random((6000, 3)) < 1 / (1 + np.exp(-honest))).astype(np.float32)
    fitted = tasks.find("classification").calibrate({"logits": honest * 3}, {"target": target}, labels)
    assert fitted["temperature"] == pytest.approx(3.0, rel=0.06)


def test_temperature_stays_within_bounds() -> None:
    fitted = tasks.find("classification").calibrate({"logits": np.eye(3)}, {"target": np.arange(3)}, ABC)
    assert fitted["temperature"] == pytest.approx(0.25, rel=1e-3)
    with pytest.raises(DataError, match="finite"):
        tasks.find("classification").calibrate({"logits": np.eye(3) * np.nan}, {"target": np.arange(3)}, ABC)


def test_numbers_by_hand() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    card = score(scores, [(0,), (1,), (1,), (2,)])
    assert card.headline.name == "accuracy"
    assert card["accuracy"].value == 0.75
    assert card["macro_precision"].value == pytest.approx((0.5 + 1 + 1) / 3)
    assert card["macro_recall"].value == pytest.approx((1 + 0.5 + 1) / 3)
    assert card["macro_f1"].value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert card["nll"].value == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.6]).mean(), rel=1e-5)
    assert card["brier"].value == pytest.approx((0.14 + 0.86 + 0.06 + 0.24) / 4, rel=1e-5)
    # Bins of 1/15: 0.6 (wrong and right share a bin: |1 - 1.2|), 0.7 (|1 - 0.7|), 0.8 (|1 - 0.8|); over 4.
    assert card["calibration_error"].value == pytest.approx((0.2 + 0.3 + 0.2) / 4, abs=1e-5)
    assert card.matrices[0].values == ((1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    assert [c.key for c in card.worst] == ["s1"]
    assert card.worst[0].truth == "b"
    assert card.per_sample["accuracy"] == (1.0, 0.0, 1.0, 1.0)


def test_numbers_against_scikit_learn() -> None:
    labels = Labels(tuple("abcdef"))
    scores, truth = random_case(300, labels)
    own = truth.argmax(1)
    said = scores.argmax(1)
    card = score(scores, [(int(i),) for i in own], labels)
    p, r, f, _ = reference.precision_recall_fscore_support(own, said, average="macro", zero_division=0)
    areas = [reference.roc_auc_score(truth[:, c], scores[:, c]) for c in range(6)]
    averages = [reference.average_precision_score(truth[:, c], scores[:, c]) for c in range(6)]
    expected = {
        "accuracy": reference.accuracy_score(own, said),
        "top_3": reference.top_k_accuracy_score(own, scores, k=3),
        "top_5": reference.top_k_accuracy_score(own, scores, k=5),
        "macro_precision": p, "macro_recall": r, "macro_f1": f,
        "roc_auc": np.mean(areas), "mean_average_precision": np.mean(averages),
        "nll": reference.log_loss(own, scores / scores.sum(1, keepdims=True, dtype=np.float64)),
    }  # fmt: skip
    for name, value in expected.items():
        assert card[name].value == pytest.approx(value, abs=1e-5), name
    assert np.array_equal(np.array(card.matrices[0].values), reference.confusion_matrix(own, said))
    for number in card.numbers:
        assert number.low is not None
        assert number.high is not None
        assert number.low <= number.value <= number.high, number.name
        assert number.low < number.high


def test_multi_label_against_scikit_learn() -> None:
    scores, truth = random_case(200, MANY)
    card = score(scores, [tuple(np.flatnonzero(row)) for row in truth], MANY)
    said = scores >= 0.5
    assert card.headline.name == "mean_average_precision"
    assert card["mean_average_precision"].value == pytest.approx(
        reference.average_precision_score(truth, scores, average="macro"), abs=1e-6
    )
    assert card["micro_f1"].value == pytest.approx(reference.f1_score(truth, said, average="micro"), abs=1e-6)
    assert card["macro_f1"].value == pytest.approx(reference.f1_score(truth, said, average="macro"), abs=1e-6)
    assert card["exact_match"].value == pytest.approx(reference.accuracy_score(truth, said), abs=1e-6)
    for c, row in enumerate(card.tables[0].rows):
        threshold, best = row[-2], row[-1]
        everywhere = [reference.f1_score(truth[:, c], scores[:, c] >= t) for t in np.unique(scores[:, c])]
        assert best == pytest.approx(max(everywhere), abs=1e-6)
        assert isinstance(threshold, float)
        assert reference.f1_score(truth[:, c], scores[:, c] >= np.float32(threshold)) == pytest.approx(max(everywhere))


def test_intervals_are_seeded_and_cover() -> None:
    scores, truth = random_case(60, ABC)
    truths = [(int(i),) for i in truth.argmax(1)]
    assert score(scores, truths) == score(scores, truths)
    covered = 0
    for seed in range(60):
        values = np.random.default_rng(seed).random(80) < 0.7
        low, high = statistics.mean_interval(values)
        covered += low <= 0.7 <= high
    assert covered >= 50


def test_perfection_on_few_images_is_not_certainty() -> None:
    card = score(np.eye(3), [(0,), (1,), (2,)])
    assert card["accuracy"].value == 1.0
    assert card["accuracy"].low is not None
    assert card["accuracy"].low < 0.5


def test_a_class_without_images_gives_no_area() -> None:
    card = score(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), [(0,), (1,)])
    assert card["roc_auc"].value == 1.0
    assert card.tables[0].rows[2][-1] is None


@pytest.mark.parametrize(("classes", "images", "told"), [(5, 3, ""), (12, 12, "The 10 classes with the lowest area.")])
def test_curves_tell_of_classes_that_were_ranked_away_alone(classes: int, images: int, told: str) -> None:
    """A class without images has no curve, and is not one of higher area."""
    labels = Labels(tuple("abcdefghijkl"[:classes]))
    card = score(np.eye(classes)[:images] * 0.5 + 0.5 / classes, [(i,) for i in range(images)], labels)
    roc = card.curves[0]
    assert len(roc.series) == min(images, 10)
    assert roc.help == f"Legend: area. {told}"


def test_ties_share_a_threshold() -> None:
    random = np.random.default_rng(3)
    scores = random.integers(0, 4, 90) / 4
    truth = random.random(90) < scores
    area, average = statistics.Ranking(scores, truth).areas()
    assert area == pytest.approx(reference.roc_auc_score(truth, scores))
    assert average == pytest.approx(reference.average_precision_score(truth, scores))
    weights = random.integers(0, 3, (5, 90)).astype(np.float32)
    areas, averages = statistics.Ranking(scores, truth).areas(weights)
    for w, a, b in zip(weights, areas, averages, strict=True):
        assert a == pytest.approx(reference.roc_auc_score(truth, scores, sample_weight=w))
        assert b == pytest.approx(reference.average_precision_score(truth, scores, sample_weight=w))


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="no image"):
        tasks.find("classification").scorer(ABC).card("test")


def test_thresholds_of_several_classes_are_where_f1_is_best() -> None:
    """Class a is separated between logits -1 and -2, b nowhere well, c is shown by too few images to say."""
    task = tasks.find("classification")
    a = [3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0]
    truth_a = [1, 1, 1, 1, 1, 0, 0, 0]
    b = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    truth_b = [1, 1, 1, 1, 1, 0, 1, 1]
    c = [5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0, -5.0]
    truth_c = [1, 0, 0, 0, 0, 0, 0, 0]
    logits, truth = np.array([a, b, c]).T, np.array([truth_a, truth_b, truth_c], np.float32).T
    constants = task.calibrate({"logits": logits}, {"target": truth}, MANY)
    found = task.thresholds(constants, MANY)

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x / constants["temperature"])))

    assert found["a"] == pytest.approx((sigmoid(-1) + sigmoid(-2)) / 2)
    assert found["b"] == pytest.approx(sigmoid(1.0) / 2)
    assert found["c"] == 0.5
    one = task.calibrate({"logits": np.array([[2.0, 0, 0], [0, 1.0, 0]])}, {"target": np.array([0, 1])}, ABC)
    assert task.thresholds(one, ABC) == {}
    assert list(one) == ["temperature"]


def test_a_card_counts_answers_at_the_packages_thresholds() -> None:
    task = tasks.find("classification")
    scores = np.array([[0.3, 0.9, 0.1], [0.1, 0.6, 0.2], [0.35, 0.1, 0.9]], np.float32)
    truths = [(0, 1), (), (0, 2)]
    cards = []
    for thresholds in ({}, {"a": 0.25, "b": 0.7}):
        scorer = task.scorer(MANY)
        scorer.thresholds = thresholds
        answers = task.decode({"scores": scores}, [Placement(4, 3)] * 3, MANY)
        for i, (answer, ids) in enumerate(zip(answers, truths, strict=True)):
            scorer.add(answer, sample(i, *ids))
        cards.append(scorer.card("test"))
    plain, fitted = cards
    assert plain["exact_match"].value == 0.0
    assert fitted["exact_match"].value == 1.0
    assert fitted["micro_f1"].value == 1.0
    assert plain.headline.name == fitted.headline.name == "mean_average_precision"
    assert plain.headline.value == fitted.headline.value
    columns = fitted.tables[0].columns
    assert [row[columns.index("threshold")] for row in fitted.tables[0].rows] == [0.25, 0.7, 0.5]


def test_many_rare_tags_have_a_number_and_an_error_to_steer_by() -> None:
    """A draw without any picture of some tag still says something of the others."""
    random = np.random.default_rng(0)
    labels = Labels(tuple(f"tag {i}" for i in range(40)), exclusive=False)
    target = np.zeros((60, 40), np.float32)
    target[:, :15] = random.random((60, 15)) < 0.4
    target[np.arange(25), 15 + np.arange(25)] = 1
    name, value, error = learning.watch({"logits": random.normal(size=(60, 40))}, {"target": target}, labels)
    assert name == "mean_average_precision"
    assert 0 < value < 1
    assert 0 < error < 0.2


@pytest.mark.parametrize("counts", [[500] * 10 + [5], [500] * 10 + [0], [7, 7, 7], [3, 0, 0]])
def test_balanced_weights_keep_the_size_of_the_loss(counts: list[int]) -> None:
    """Their mean over the pictures is 1, and a class without any weighs like the rarest that has some."""
    target = np.repeat(np.arange(len(counts)), counts)
    weights = learning.class_weights({"target": target}, Labels(tuple(f"c{i}" for i in range(len(counts)))))
    assert weights[target].mean() == pytest.approx(1, rel=1e-5)
    held = np.array(counts, float)
    rarest = min(c for c in counts if c)
    np.testing.assert_allclose(weights / weights[0], counts[0] / np.maximum(held, rarest), rtol=1e-5)
