"""Detection without a framework: targets, answers, and every number against pycocotools, faster-coco-eval and paper."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from saccade import tasks
from saccade.errors import DataError, InferenceError
from saccade.images.preprocess import Placement
from saccade.tasks.detection.mistakes import ERRORS, confusion, errors_table, image_f1, shown, turns, worst
from saccade.tasks.detection.score import watched
from saccade.tasks.detection.task import survivors
from saccade.testing.tasks import check_task
from saccade.types import Array, Labels, Prediction, Sample, Scorecard, Spot

DETECTION = tasks.find("detection")
LABELS = Labels(("ball", "bat"))
PICTURE = np.zeros((100, 200, 3), np.uint8)


def sample(key: str, boxes: Sequence[Sequence[float]], classes: Sequence[int], **more: Any) -> Sample:
    held = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "box_classes": np.array(classes, np.int64)}
    return Sample(key, PICTURE, {**held, **{k: np.asarray(v) for k, v in more.items()}})


def said(boxes: Sequence[Sequence[float]], classes: Sequence[int], scores: Sequence[float]) -> Prediction:
    return Prediction(
        200,
        100,
        class_ids=np.array(classes, np.int64),
        scores=np.array(scores, np.float32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )


def card_of(pairs: Sequence[tuple[Prediction, Sample]], labels: Labels = LABELS) -> Scorecard:
    scorer = DETECTION.scorer(labels)
    for prediction, truth in pairs:
        scorer.add(prediction, truth)
    return scorer.card("test")


def class_rows(card: Scorecard) -> dict[str, dict[str, Any]]:
    """The table of classes by name and column."""
    table = next(t for t in card.tables if t.name == "Classes")
    return {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_keeps_the_contract_of_a_task() -> None:
    random = np.random.default_rng(0)
    samples = [sample(f"{i}", [[1, 2, 20, 28], [5, 5, 9, 9]], [0, 1]) for i in range(3)]
    low = random.random((3, 100, 2)).astype(np.float32) * 20
    outputs = {
        "boxes": np.concatenate([low, low + 10], -1),
        "scores": -np.sort(-random.random((3, 100)).astype(np.float32)),
        "class_ids": random.integers(0, 2, (3, 100)),
    }
    check_task(DETECTION, LABELS, outputs, samples)


def test_suppression_spares_other_classes_and_boxes_near_dropped_ones() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [0, 0, 10, 10]], np.float32)
    # The second goes for the first (IoU 0.67); the third overlaps only the dropped one by more than 0.5.
    assert survivors(boxes, np.array([0, 0, 0, 1]), 0.5).tolist() == [True, False, True, True]


def test_crowds_and_difficult_objects_become_ignored_regions() -> None:
    found = DETECTION.encode(
        sample("a", [[0, 0, 5, 5]] * 3, [0, 1, 1], box_crowd=[False, True, False], box_difficult=[False, False, True]),
        LABELS,
    )
    assert found["box_classes"].tolist() == [0, -2, -2]
    assert found["boxes"].dtype == np.float32
    assert DETECTION.encode(sample("none", [], []), LABELS)["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({}, "no boxes"),
        ({"boxes": np.zeros((1, 3)), "box_classes": np.zeros(1, int)}, r"\[1, 3\]"),
        ({"boxes": np.array([[5, 5, 5, 9]]), "box_classes": np.zeros(1, int)}, "box 0 .* no area"),
        ({"boxes": np.array([[0, 0, np.nan, 9]]), "box_classes": np.zeros(1, int)}, "box 0"),
        ({"boxes": np.array([[0, 0, 4, 9]]), "box_classes": np.array([2])}, "class 2"),
        ({"boxes": np.array([[0, 0, 4, 9]]), "box_classes": np.array([0.5])}, "integers"),
    ],
)
def test_an_annotation_that_does_not_fit_is_named(annotation: Mapping[str, Array], words: str) -> None:
    with pytest.raises(DataError, match=words):
        DETECTION.encode(Sample("bad", PICTURE, annotation), LABELS)


def test_answers_return_to_the_original_and_repeats_are_dropped() -> None:
    outputs = {
        "boxes": np.array([[[10, 20, 30, 40], [10, 20, 30, 41], [0, 0, 8, 4], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.9, 0.8, 0.7, 0.0]], np.float32),
        "class_ids": np.array([[1, 1, 1, 0]]),
    }
    answer = DETECTION.decode(outputs, [Placement(200, 100, 0.5, 0.5, 0, 10)], LABELS)[0]
    # A graph without suppression repeats itself; the third box lies in the border of the letterbox.
    assert answer.scores is not None
    assert answer.scores.tolist() == pytest.approx([0.9])
    assert answer.boxes is not None
    assert answer.boxes.tolist() == [[20, 20, 60, 60]]


def test_a_graph_that_does_not_fit_is_told() -> None:
    outputs = {"boxes": np.zeros((1, 2, 4)), "scores": np.ones((1, 2)), "class_ids": np.array([[0, 7]])}
    with pytest.raises(InferenceError, match="beyond the 2"):
        DETECTION.decode(outputs, [Placement(10, 10)], LABELS)
    with pytest.raises(InferenceError, match="do not fit"):
        DETECTION.decode({**outputs, "scores": np.ones((1, 3))}, [Placement(10, 10)], LABELS)


def test_runtimes_may_swap_ties_and_lose_faint_answers() -> None:
    one = {
        "boxes": np.array([[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.5, 0.5, 0.0]], np.float32),
        "class_ids": np.array([[0, 1, 0]]),
    }
    swapped = {k: v[:, [1, 0, 2]] for k, v in one.items()}
    assert DETECTION.difference(one, swapped) == 0
    faint = {k: v.copy() for k, v in one.items()}
    faint["boxes"][0, 2], faint["scores"][0, 2] = [20, 20, 30, 30], 0.0101
    assert DETECTION.difference(one, faint) == 0
    faint["scores"][0, 2] = 0.4
    assert DETECTION.difference(one, faint) == pytest.approx(0.38)
    moved = {**one, "boxes": one["boxes"] + np.array([1, 0, 1, 0], np.float32)}
    assert DETECTION.difference(one, moved) == pytest.approx(1 - 90 / 110, abs=1e-6)
    moved["scores"] = one["scores"] / 10
    assert DETECTION.difference({**one, "scores": one["scores"] / 10}, moved) == pytest.approx(
        0.1 * (1 - 90 / 110), abs=1e-6
    ), "hardly believed"


def test_average_precision_on_paper() -> None:
    truth = sample("a", [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 0])
    answers = said([[0, 0, 10, 10], [100, 0, 110, 10], [20, 0, 30, 10]], [0, 0, 0], [0.9, 0.8, 0.7])
    card = card_of([(answers, truth)])
    # Precision 1 up to recall 1/3 (recalls 0.00 to 0.33: 34 of 101), 2/3 up to recall 2/3 (33 more), then nothing.
    assert card["ap"].value == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert card["ar"].value == pytest.approx(2 / 3)
    rows = {row[0]: row for row in next(t for t in card.tables if t.name == "Classes").rows}
    assert rows["ball"][-2:] == (pytest.approx(0.7), pytest.approx(2 / 3))
    assert rows["bat"][3:] == (None,) * 7


def test_every_kind_of_error_is_told_apart() -> None:
    truth = sample("a", [[0, 0, 20, 20], [40, 0, 60, 20], [80, 0, 100, 20], [120, 0, 140, 20]], [0, 0, 1, 0])
    answers = said(
        [[0, 0, 20, 20], [1, 0, 21, 20], [48, 0, 72, 20], [80, 0, 100, 20], [160, 60, 180, 80], [120, 0, 140, 20]],
        [0, 0, 0, 0, 0, 0],
        [0.9, 0.8, 0.7, 0.6, 0.55, 0.5],
    )
    scorer = DETECTION.scorer(LABELS)
    scorer.add(answers, truth)
    split = scorer._split()  # type: ignore[attr-defined]
    seen = shown(split, np.zeros(2))
    errors = errors_table(split, seen, LABELS)
    found = dict(zip(errors.columns, errors.rows[0], strict=True))
    assert {k: found[k] for k in errors.columns[1:]} == {
        "right": 2, "wrong class": 1, "poor box": 1, "duplicate": 1, "background": 1, "missed": 1,
    }  # fmt: skip
    assert image_f1(seen)[0] == pytest.approx(2 * 2 / (4 + 4 + 2))
    case = worst(split, seen, image_f1(seen), LABELS, ["a"])[0]
    assert "missed ball 1" in case.answer
    assert case.truth == "ball 3, bat 1"
    # Rows are the truth, columns the answers; the last of both is "nothing".
    assert confusion(split, seen, LABELS)[0].values == ((2, 0, 1), (1, 0, 1), (3, 0, 0))


def test_every_kind_of_error_has_its_place_and_what_stands_there() -> None:
    truth = sample("a", [[0, 0, 20, 20], [40, 0, 60, 20], [80, 0, 100, 20], [120, 0, 140, 20]], [0, 0, 1, 0])
    answers = said(
        [[0, 0, 20, 20], [1, 0, 21, 20], [48, 0, 72, 20], [80, 0, 100, 20], [160, 60, 180, 80], [120, 0, 140, 20]],
        [0, 0, 0, 0, 0, 0],
        [0.9, 0.8, 0.7, 0.6, 0.55, 0.5],
    )
    card = card_of([(answers, truth)])
    assert [s.kind for s in card.spots] == [*ERRORS, "missed"]
    assert {s.key for s in card.spots} == {"a"}
    mixed, poor, twice, nothing, lost, called = card.spots
    assert (mixed.class_id, mixed.box, mixed.other_id, mixed.other) == (0, (80, 0, 100, 20), 1, (80, 0, 100, 20))
    assert mixed.score == pytest.approx(0.6)
    assert mixed.words == "bat stands there"
    assert (poor.box, poor.other_id, poor.other) == ((48, 0, 72, 20), 0, (40, 0, 60, 20))
    assert poor.words.startswith("ball overlaps by 0.3")
    assert (twice.box, twice.other, twice.words) == ((1, 0, 21, 20), (0, 0, 20, 20), "found already, with 0.90")
    assert (nothing.box, nothing.other_id, nothing.other) == ((160, 60, 180, 80), None, None)
    assert nothing.words == "nothing stands there"
    assert (lost.class_id, lost.score, lost.box, lost.other) == (0, None, (40, 0, 60, 20), (48, 0, 72, 20))
    assert lost.words.startswith("answered ball 0.70, which overlaps by 0.3")
    assert (called.class_id, called.score, called.other_id) == (1, None, 0)
    assert called.words == "answered ball 0.60, which overlaps by 1.00"


def test_places_survive_json() -> None:
    answers = said([[0, 0, 20, 20], [50, 50, 60, 60]], [0, 1], [0.9, 0.3])
    card = card_of([(answers, sample("a", [[1, 0, 21, 20], [100, 0, 120, 20]], [1, 0]))])
    assert len(card.spots) == 4
    record = json.loads(json.dumps(card.to_json(), allow_nan=False))
    again = [Spot(**{**s, "box": tuple(s["box"]), "other": s["other"] and tuple(s["other"])}) for s in record["spots"]]
    assert again == list(card.spots)


def test_classes_take_turns() -> None:
    ids, worth = np.array([0, 0, 0, 1, 1, 2]), np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.1])
    assert turns(ids, worth, 9).tolist() == [4, 0, 5, 1, 3, 2]
    assert turns(ids, worth, 4).tolist() == [4, 0, 5, 1]
    assert turns(np.zeros(3, int), np.full(3, 0.5), 2).tolist() == [0, 1], "equal ones as they come"
    assert turns(np.zeros(0, int), np.zeros(0), 4).tolist() == []


def test_a_rare_class_is_shown_among_many_mistakes_of_another() -> None:
    """Forty balls answered where nothing is, and one bat, fainter than any."""
    pairs = [(said([[0, 0, 9, 9]], [0], [0.9 - i / 100]), sample(f"{i}", [], [])) for i in range(40)]
    pairs.append((said([[0, 0, 9, 9]], [1], [0.05]), sample("rare", [], [])))
    found = card_of(pairs).spots
    assert {s.kind for s in found} == {"background"}
    assert [s.key for s in found] == ["0", "rare", *(f"{i}" for i in range(1, 11))]


def test_of_what_was_missed_the_largest_comes_first_in_each_turn() -> None:
    truth = sample("a", [[0, 0, 10, 10], [0, 20, 40, 60], [50, 0, 59, 9], [70, 0, 90, 20]], [0, 0, 1, 0])
    found = card_of([(said([], [], []), truth)]).spots
    assert [s.box[:2] for s in found] == [(0, 20), (50, 0), (70, 0), (0, 0)]
    assert {(s.kind, s.score, s.words, s.other) for s in found} == {
        ("missed", None, "nothing was answered there", None)
    }


def test_answers_below_the_threshold_and_objects_nobody_asks_about_have_no_place() -> None:
    truth = sample("a", [[0, 0, 20, 20], [40, 0, 60, 20]], [0, 0], box_difficult=[False, True])
    scorer = DETECTION.scorer(LABELS)
    scorer.thresholds = {"ball": 0.5, "bat": 0.5}
    scorer.add(said([[0, 0, 20, 20], [100, 0, 120, 20]], [1, 1], [0.4, 0.3]), truth)
    (missed,) = scorer.card("test").spots
    assert (missed.kind, missed.box, missed.words) == ("missed", (0, 0, 20, 20), "nothing was answered there")


def test_every_class_has_an_interval_that_holds_its_number() -> None:
    labels, samples, answers = crowded_world(4, False, images=20, classes=3)
    card = card_of(list(zip(answers, samples, strict=True)), Labels((*labels.names, "never")))
    rows = class_rows(card)
    for name in labels.names:
        row = rows[name]
        assert 0 <= row["AP low"] <= row["AP"] <= row["AP high"] <= 1
        assert row["AP low"] < row["AP high"]
    assert rows["never"]["AP"] is rows["never"]["AP low"] is rows["never"]["AP high"] is None
    json.dumps(card.to_json(), allow_nan=False)


def test_the_interval_of_an_only_class_is_that_of_the_mean() -> None:
    """The classes share the draws of the headline numbers."""
    labels, samples, answers = crowded_world(5, False, images=15, classes=1)
    card = card_of(list(zip(answers, samples, strict=True)), labels)
    row, ap = class_rows(card)["c0"], card["ap"]
    assert (row["AP low"], row["AP"], row["AP high"]) == pytest.approx((ap.low, ap.value, ap.high), abs=1e-12)


def test_a_class_in_one_image_has_an_interval_too() -> None:
    """Most draws lack that image and say nothing of the class."""
    balls = [(said([[0, 0, 20, 20]], [0], [0.9]), sample(f"{i}", [[0, 0, 20, 20]], [0])) for i in range(11)]
    both = said([[50, 0, 70, 20], [90, 0, 110, 20], [50, 40, 70, 60]], [1, 1, 1], [0.9, 0.8, 0.7])
    bats = sample("bats", [[50, 0, 70, 20], [50, 40, 70, 60]], [1, 1])
    row = class_rows(card_of([*balls, (both, bats)]))["bat"]
    assert row["objects"] == 2
    assert 0 < row["AP low"] <= row["AP"] <= row["AP high"] <= 1


def test_difficult_objects_are_neither_found_nor_missed() -> None:
    truth = sample("a", [[0, 0, 20, 20], [40, 0, 60, 20]], [0, 0], box_difficult=[False, True])
    both = said([[40, 0, 60, 20], [0, 0, 20, 20]], [0, 0], [0.9, 0.8])
    assert card_of([(both, truth)])["ap"].value == pytest.approx(1)
    assert card_of([(said([[0, 0, 20, 20]], [0], [0.8]), truth)])["ap"].value == pytest.approx(1)


def test_a_difficult_object_takes_any_number_of_answers() -> None:
    """As in Pascal VOC; of an object that counts the second answer is a mistake."""
    truth = sample("a", [[0, 0, 20, 20], [40, 0, 60, 20]], [0, 0], box_difficult=[False, True])
    answers = said([[40, 0, 60, 20], [41, 0, 61, 20], [42, 0, 62, 20], [0, 0, 20, 20]], [0] * 4, [0.9, 0.8, 0.7, 0.6])
    card = card_of([(answers, truth)])
    assert card["ap50"].value == pytest.approx(1)
    assert card["image_f1"].value == pytest.approx(1)
    twice = said([[0, 0, 20, 20], [1, 0, 21, 20]], [0, 0], [0.9, 0.8])
    assert card_of([(twice, truth)])["image_f1"].value == pytest.approx(2 / 3)


def test_a_split_without_objects_says_which_numbers_it_lacks() -> None:
    card = card_of([(said([], [], []), sample("a", [], [])), (said([[0, 0, 9, 9]], [1], [0.4]), sample("b", [], []))])
    assert [n.name for n in card.numbers] == ["image_f1"]
    assert card.headline.value == pytest.approx(0.5), "what is served where nothing is counts"
    assert {row[0] for row in card.tables[-1].rows} >= {"ap", "ap50", "ap_small"}


def test_an_answer_out_of_the_ledger_or_not_finite_is_refused() -> None:
    scorer = DETECTION.scorer(LABELS)
    with pytest.raises(DataError, match="ledger"):
        scorer.add(said([[0, 0, 1, 1]], [2], [1.0]), sample("a", [], []))
    with pytest.raises(DataError, match="finite"):
        scorer.add(said([[0, 0, np.inf, 1]], [0], [1.0]), sample("a", [], []))
    with pytest.raises(DataError, match="no image"):
        scorer.card("test")


def crowded_world(
    seed: int, rounded: bool, images: int = 30, classes: int = 4
) -> tuple[Labels, list[Sample], list[Prediction]]:
    """Answers near and far of objects of all sizes; `rounded` to multiples of 8 and 0.1, which makes ties
    everywhere."""
    random = np.random.default_rng(seed)
    samples, answers = [], []
    for i in range(images):
        count = int(random.integers(0, 15))
        low = random.random((count, 2)) * 500
        boxes = np.concatenate([low, low + np.exp(random.normal(3.8, 0.9, (count, 2))).clip(4, 400)], 1)
        ids = random.integers(0, classes, count)
        near = random.integers(0, max(count, 1), 40) if count else np.zeros(0, int)
        far = random.random((12, 2)) * 500
        guesses = np.concatenate(
            [boxes[near] + random.normal(0, 6, (len(near), 4)), np.concatenate([far, far + 40], 1)]
        )
        kinds = np.concatenate([ids[near], random.integers(0, classes, 12)])
        scores = random.random(len(guesses)).astype(np.float32)
        if rounded:
            boxes, guesses, scores = np.round(boxes / 8) * 8, np.round(guesses / 8) * 8, np.round(scores, 1)
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
        sound = (guesses[:, 2] > guesses[:, 0]) & (guesses[:, 3] > guesses[:, 1])
        order = np.flatnonzero(sound)[np.argsort(-scores[sound], kind="stable")]
        boxes = boxes.astype(np.float32)
        size = np.prod(boxes[:, 2:].astype(float) - boxes[:, :2], 1) * random.choice([1.0, 0.6], count)
        held = {"boxes": boxes, "box_classes": ids, "box_crowd": random.random(count) < 0.1, "box_area": size}
        samples.append(Sample(f"{i}", PICTURE, held))
        answers.append(Prediction(640, 640, kinds[order], scores[order], guesses[order].astype(np.float32)))
    return Labels(tuple(f"c{i}" for i in range(classes))), samples, answers


def as_coco(labels: Labels, samples: list[Sample], answers: list[Prediction], library: str) -> Array:
    """The twelve numbers of a COCO library."""
    truth: dict[str, Any] = {"images": [], "annotations": [], "info": {}, "licenses": []}
    truth["categories"] = [{"id": i + 1, "name": n} for i, n in enumerate(labels.names)]
    found = []

    def flat(box: Array) -> list[float]:
        x, y, right, bottom = (float(v) for v in box)
        return [x, y, right - x, bottom - y]

    for i, (one, answer) in enumerate(zip(samples, answers, strict=True), 1):
        truth["images"].append({"id": i, "width": 640, "height": 640})
        a = one.annotation
        for box, kind, crowd, size in zip(a["boxes"], a["box_classes"], a["box_crowd"], a["box_area"], strict=True):
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": i, "category_id": int(kind) + 1, "bbox": flat(box),
                 "area": float(size), "iscrowd": int(crowd)}
            )  # fmt: skip
        assert answer.boxes is not None
        assert answer.class_ids is not None
        assert answer.scores is not None
        for box, kind, score in zip(answer.boxes, answer.class_ids, answer.scores, strict=True):
            found.append({"image_id": i, "category_id": int(kind) + 1, "bbox": flat(box), "score": float(score)})
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Judge
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Judge
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        judge = Judge(known, known.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.asarray(judge.stats)


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize(("seed", "rounded"), [(0, False), (1, True), (2, True)])
def test_numbers_are_those_of_the_coco_libraries(library: str, seed: int, rounded: bool) -> None:
    labels, samples, answers = crowded_world(seed, rounded)
    card = card_of(list(zip(answers, samples, strict=True)), labels)
    theirs = as_coco(labels, samples, answers, library)
    for name, place in (
        ("ap", 0),
        ("ap50", 1),
        ("ap75", 2),
        ("ap_small", 3),
        ("ap_medium", 4),
        ("ap_large", 5),
        ("ar", 8),
    ):
        assert card[name].value == pytest.approx(theirs[place], abs=1e-12), name


def test_an_image_drawn_twice_counts_twice() -> None:
    """The bootstrap weighs images instead of repeating them: both give the same number."""
    from saccade.tasks.detection.score import _areas

    labels, samples, answers = crowded_world(3, False, images=12)
    scorer = DETECTION.scorer(labels)
    again = DETECTION.scorer(labels)
    weights = np.array([2, 0, 1, 1, 3, 0, 1, 1, 1, 2, 0, 0], np.float64)
    for weight, answer, one in zip(weights, answers, samples, strict=True):
        scorer.add(answer, one)
        for _ in range(int(weight)):
            again.add(answer, one)
    found, by_class = _areas(scorer._split(), weights[None])  # type: ignore[attr-defined]
    card = again.card("test")
    assert float(found["ap"][0]) == pytest.approx(card["ap"].value, abs=2e-3)
    assert by_class[:, 0].tolist() == pytest.approx([r["AP"] for r in class_rows(card).values()], abs=2e-2)


def test_what_a_run_watches_is_the_same_number() -> None:
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[:, 0] = [0, 0, 10, 10]
    kept = {"boxes": boxes, "scores": np.array([[0.9, 0, 0]] * 2), "class_ids": np.zeros((2, 3), np.int64)}
    targets = {"boxes": boxes, "box_classes": np.array([[0, -1, -1], [-2, -1, -1]])}
    value, error = watched(kept, targets, 2)
    assert value == pytest.approx(1)
    assert error > 0
    assert watched(kept, {**targets, "box_classes": np.full((2, 3), -1)}, 2)[0] == 0
    found = DETECTION.calibrate(kept, targets, LABELS)
    assert DETECTION.thresholds(found, LABELS) == {"ball": pytest.approx(0.9), "bat": pytest.approx(0.9)}


def test_a_class_that_says_too_little_is_shown_from_where_the_others_are() -> None:
    """Six balls found from 0.9 on, one bat found at 0.3 by luck, nets never found, gloves never there."""
    labels = Labels(("ball", "bat", "net", "glove"))
    boxes = np.zeros((8, 1, 4), np.float32)
    boxes[:] = [0, 0, 10, 10]
    said = boxes.copy()
    said[7] += 50
    ids = np.array([[0]] * 6 + [[1], [2]])
    kept = {"boxes": said, "scores": np.array([[0.9]] * 6 + [[0.3], [0.8]]), "class_ids": ids}
    found = DETECTION.thresholds(DETECTION.calibrate(kept, {"boxes": boxes, "box_classes": ids}, labels), labels)
    assert found == {name: pytest.approx(0.9) for name in labels.names}


def test_where_nothing_was_found_no_class_has_a_threshold() -> None:
    boxes = np.array([[[0, 0, 10, 10]]], np.float32)
    kept = {"boxes": boxes + 50, "scores": np.array([[0.9]]), "class_ids": np.zeros((1, 1), np.int64)}
    found = DETECTION.calibrate(kept, {"boxes": boxes, "box_classes": np.zeros((1, 1), np.int64)}, LABELS)
    assert DETECTION.thresholds(found, LABELS) == {}


def test_a_card_counts_answers_at_the_packages_thresholds() -> None:
    """One right answer at 0.4 and one for nothing at 0.6: which of them is seen is the package's to say."""

    def card(**thresholds: float) -> Scorecard:
        scorer = DETECTION.scorer(LABELS)
        scorer.thresholds = thresholds
        answer = Prediction(
            100, 100, np.zeros(2, np.int64), np.array([0.6, 0.4], np.float32),
            np.array([[50, 50, 60, 60], [0, 0, 10, 10]], np.float32),
        )  # fmt: skip
        scorer.add(answer, sample("a", [[0, 0, 10, 10]], [0]))
        return scorer.card("test")

    name = LABELS.names[0]
    assert card(**{name: 0.5})["image_f1"].value == 0
    assert card(**{name: 0.3})["image_f1"].value == pytest.approx(2 / 3)
    assert card(**{name: 0.9})["image_f1"].value == 0
    errors = next(t for t in card(**{name: 0.5}).tables if t.name == "Errors")
    assert errors.rows[0][1:] == (0, 0, 0, 0, 1, 1), "one for nothing, one missed"


def test_a_package_without_thresholds_is_judged_by_all_that_it_serves() -> None:
    """One right answer, and a fainter one for nothing that no threshold of this split's own choice may hide."""
    answer = said([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0], [0.9, 0.1])
    card = card_of([(answer, sample("a", [[0, 0, 10, 10]], [0]))])
    assert card["image_f1"].value == pytest.approx(2 / 3)
    errors = next(t for t in card.tables if t.name == "Errors")
    assert errors.rows[0][1:] == (1, 0, 0, 0, 1, 0), "one right, one for nothing"
    classes = next(t for t in card.tables if t.name == "Classes")
    assert classes.rows[0][-2:] == (pytest.approx(0.9), pytest.approx(1)), "where it would be best is told beside"


def test_a_twin_that_rounding_kept_is_no_difference_and_any_other_is() -> None:
    def outputs(*rows: tuple[float, float, float, float, float]) -> dict[str, Array]:
        table = np.array([*rows, *[(0, 0, 0, 0, 0)] * (4 - len(rows))], np.float32)[None]
        return {"scores": table[..., 0], "boxes": table[..., 1:], "class_ids": np.zeros((1, 4), np.int64)}

    best = (0.9, 0, 0, 100, 100)
    twin, other = (0.5, 0, 0, 60.04, 100), (0.5, 0, 0, 55, 100)
    assert DETECTION.difference(outputs(best, twin), outputs(best)) == 0
    assert DETECTION.difference(outputs(best), outputs(best, twin)) == 0
    assert DETECTION.difference(outputs(best, other), outputs(best)) == pytest.approx(0.48, abs=1e-6)
    better = (0.95, 0, 0, 60.04, 100)
    assert DETECTION.difference(outputs(better, best), outputs(best)) > 0.9, "the better of two twins stays for certain"


def test_the_truth_is_drawn_like_an_answer() -> None:
    told = DETECTION.truth(sample("a", [[2, 3, 10, 12]], [1]), LABELS)
    assert told is not None
    assert told.boxes is not None
    assert told.boxes.tolist() == [[2, 3, 10, 12]]
    drawn = DETECTION.draw(np.zeros((told.height, told.width, 3), np.uint8), told, LABELS)
    assert drawn.any()
