"""Truth beside answer: what is right, wrong and missed can be told from the picture."""

import numpy as np

from saccade.evaluation import beside
from saccade.images import draw
from saccade.types import Labels, Prediction

LABELS = Labels(("cat", "dog"))
PICTURE = np.full((600, 800, 3), 128, np.uint8)


def boxed(*rows: tuple[int, float, float, float, float, float]) -> Prediction:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Prediction(800, 600, table[:, 0].astype(np.int64), table[:, 1], table[:, 2:])


def test_the_best_score_takes_the_box_and_a_second_is_wrong() -> None:
    truth = boxed((0, 1, 100, 100, 200, 200), (1, 1, 400, 100, 500, 200), (0, 1, 600, 400, 700, 500))
    answer = boxed(
        (0, 0.9, 105, 100, 205, 200),  # right
        (0, 0.8, 100, 100, 200, 200),  # the same cat once more
        (0, 0.7, 400, 100, 500, 200),  # a dog called cat
        (1, 0.6, 600, 100, 650, 150),  # nothing there
    )
    right, found = beside.match(truth, answer)
    assert right.tolist() == [True, False, False, False]
    assert found.tolist() == [True, False, False]
    assert [len(m) for m in beside.match(boxed(), answer)] == [4, 0]
    assert beside.iou_matrix(answer.boxes, truth.boxes)[1, 0] == 1


def test_what_nobody_is_asked_about_is_neither_missed_nor_wrong() -> None:
    truth = boxed((0, 0, 100, 100, 500, 500), (0, 1, 600, 100, 700, 200), (1, 0, 600, 300, 700, 400))
    answer = boxed(
        (0, 0.9, 200, 200, 260, 260),  # a member of the crowd
        (1, 0.8, 600, 300, 700, 400),  # the difficult one
        (1, 0.7, 200, 300, 260, 360),  # another class in the crowd
    )
    right, found = beside.match(truth, answer)
    assert right.tolist() == [True, True, False]
    assert found.tolist() == [True, False, True]
    (_, told), (_, drawn) = beside.pictures(PICTURE, truth, answer, LABELS)
    assert (told[102:498, 100] == 128).all(), "the crowd is not drawn"
    assert draw.colour(0) in {tuple(p) for p in told[110:190, 600].tolist()}
    assert draw.colour(0) not in {tuple(p) for p in drawn[110:490, 100].tolist()}


def test_missed_boxes_are_dashed_and_wrong_ones_named() -> None:
    truth = boxed((0, 1, 100, 100, 300, 300), (1, 1, 400, 100, 600, 300))
    answer = boxed((0, 0.9, 100, 100, 300, 300), (0, 0.5, 100, 400, 300, 550))
    (_, told), (_, drawn) = beside.pictures(PICTURE, truth, answer, LABELS)
    assert tuple(told[200, 100]) == draw.colour(0)
    assert tuple(told[200, 400]) == draw.colour(1)
    rim = {tuple(p) for p in drawn[110:290, 400].tolist()}
    assert len(rim) == 2, "dashed"
    assert draw.colour(1) in rim
    assert {tuple(p) for p in drawn[110:290, 100].tolist()} == {draw.colour(0)}
    assert (drawn[75:98, 100:300] == 128).all(), "what is right needs no caption"
    assert (drawn[380:399, 100:200] == draw.colour(0)).all(2).any(), "what is wrong has one"


def test_wrong_pixels_are_red_and_open_ones_dark() -> None:
    truth, answer = np.zeros((600, 800), np.uint8), np.zeros((600, 800), np.uint8)
    answer[:100] = 1
    truth[:50] = 255
    shown = dict(beside.pictures(PICTURE, Prediction(800, 600, mask=truth), Prediction(800, 600, mask=answer), LABELS))
    assert list(shown) == ["truth", "answer", "wrong pixels"]
    wrong = shown["wrong pixels"]
    assert tuple(wrong[70, 0]) == (220, 38, 38)
    assert wrong[20, 0].max() < 60
    assert wrong[300, 0].min() > 120


def test_answers_without_a_place_have_nothing_to_draw() -> None:
    plain = Prediction(800, 600, np.array([0]), np.array([0.5], np.float32))
    assert beside.pictures(PICTURE, plain, plain, LABELS) == []
