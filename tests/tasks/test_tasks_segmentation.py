"""Segmentation: targets, answers at the original's size and every number, by hand and against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade import tasks
from saccade.errors import DataError, InferenceError
from saccade.images import preprocess
from saccade.images.encode import to_png
from saccade.images.masks import VOID
from saccade.images.preprocess import Placement, PreprocessSpec
from saccade.inference.record import record, shown
from saccade.tasks.segmentation import score as rooms
from saccade.testing.tasks import check_task
from saccade.types import Array, Labels, Prediction, Sample, Scorecard

ABC = Labels(("a", "b", "c"))
TASK = tasks.find("segmentation")


def sample(mask: Array, key: str = "s") -> Sample:
    return Sample(key, np.zeros((*mask.shape, 3), np.uint8), {"mask": mask})


def grid(*rows: str) -> Array:
    """A mask from text: "aab" is a row, "." an ignored pixel."""
    ids = {"a": 0, "b": 1, "c": 2, ".": 255}
    return np.array([[ids[c] for c in row] for row in rows], np.uint8)


def scored(pairs: list[tuple[Array, Array]], labels: Labels = ABC) -> Scorecard:
    scorer = TASK.scorer(labels)
    for i, (truth, said) in enumerate(pairs):
        scorer.add(Prediction(said.shape[1], said.shape[0], mask=said), sample(truth, f"s{i}"))
    return scorer.card("test")


def random_pairs(n: int, labels: Labels, seed: int, side: int = 24) -> list[tuple[Array, Array]]:
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        coarse = random.integers(0, len(labels), (side // 6, side // 6)).astype(np.uint8)
        truth = np.kron(coarse, np.ones((6, 6), np.uint8))
        said = np.roll(truth, 1, 1)
        said = np.where(random.random(said.shape) < 0.15, random.integers(0, len(labels), said.shape), said)
        truth = np.where(random.random(truth.shape) < 0.1, 255, truth)
        pairs.append((truth.astype(np.uint8), said.astype(np.uint8)))
    return pairs


def test_keeps_the_contract() -> None:
    random = np.random.default_rng(0)
    samples = [sample(random.integers(0, 3, (30, 40 + i)).astype(np.uint8), f"s{i}") for i in range(6)]
    masks = random.integers(0, 3, (6, 16, 16)).astype(np.uint8)
    check_task(TASK, ABC, {"mask": masks}, samples)


def test_fits_masks_alone() -> None:
    assert "segmentation" in tasks.fitting({"mask"})
    assert "segmentation" not in tasks.fitting({"classes", "boxes"})


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (grid("ab", "c.").astype(np.int64), r"uint8 \[H, W\], got int64"),
        (np.zeros((2, 2, 3), np.uint8), r"got uint8 \[2, 2, 3\]"),
        (np.zeros((0, 2), np.uint8), "got uint8"),
        (np.full((4, 4), 3, np.uint8), r"pixel value 3 of the mask \(16 px\) is not in the ledger of 3"),
    ],
)
def test_a_mask_of_the_wrong_kind_is_named(mask: Array, words: str) -> None:
    with pytest.raises(DataError, match=words) as told:
        TASK.encode(Sample("folder/one.png", np.zeros((4, 4, 3), np.uint8), {"mask": mask}), ABC)
    assert "folder/one.png" in str(told.value)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(to_png(np.zeros((20, 30, 3), np.uint8)))
    with pytest.raises(DataError, match="the mask is 20x30 px, its picture 30x20 px"):
        TASK.encode(Sample("one.png", file, {"mask": np.zeros((30, 20), np.uint8)}), ABC)
    assert TASK.encode(Sample("one.png", file, {"mask": np.zeros((20, 30), np.uint8)}), ABC)["mask"].shape == (20, 30)


def test_no_mask_and_too_many_classes() -> None:
    with pytest.raises(DataError, match="has no mask"):
        TASK.encode(Sample("x", np.zeros((2, 2, 3), np.uint8)), ABC)
    full = Labels(tuple(f"c{i}" for i in range(255)))
    assert TASK.encode(sample(np.full((2, 2), 254, np.uint8)), full)["mask"].max() == 254
    with pytest.raises(DataError, match="at most 255 classes"):
        TASK.encode(sample(np.zeros((2, 2), np.uint8)), Labels(tuple(f"c{i}" for i in range(256))))


def test_the_edges_of_the_ledger() -> None:
    assert (TASK.encode(sample(grid("c.")), ABC)["mask"] == grid("c.")).all()
    with pytest.raises(DataError, match="pixel value 254"):
        TASK.encode(sample(np.full((1, 1), 254, np.uint8)), ABC)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "center_crop"])
def test_answers_have_the_originals_size(mode: str) -> None:
    """What is painted in the picture comes back where it was, whatever the network's input looks like."""
    picture = np.zeros((90, 200, 3), np.uint8)
    picture[:, 100:] = 255
    spec = PreprocessSpec(64, 64, mode=mode)  # type: ignore[arg-type]
    seen, place = preprocess.load(picture, spec)
    answer = TASK.decode({"mask": (seen[None, :, :, 0] > 127).astype(np.uint8)}, [place], ABC)[0]
    assert answer.mask is not None
    assert answer.mask.shape == (90, 200)
    truth = (picture[:, :, 0] > 127).astype(np.uint8)
    known = answer.mask != VOID
    assert known.mean() > (0.4 if mode == "center_crop" else 0.999)
    assert (answer.mask == truth)[known].mean() > 0.97
    if mode == "center_crop":
        assert (answer.mask[:, 0] == VOID).all()


def test_decode_refuses_other_shapes() -> None:
    for wrong in (np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4), np.int64), np.zeros((1, 4, 4), np.uint8)):
        with pytest.raises(InferenceError, match="expected uint8"):
            TASK.decode({"mask": wrong}, [Placement(4, 4)] * 2, ABC)


def test_a_graph_that_names_classes_beyond_the_ledger_is_refused() -> None:
    place = [Placement(4, 4)]
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, 0, 0] = 255
    assert TASK.decode({"mask": mask}, place, ABC)[0].mask is not None
    mask[0, 0, 0] = 3
    with pytest.raises(InferenceError, match="beyond the 3 known") as caught:
        TASK.decode({"mask": mask}, place, ABC)
    assert caught.value.code == "model_does_not_fit"


def test_how_sure_a_pixel_is_goes_along() -> None:
    """To the original's size, 0 where nothing was seen; a threshold makes unsure pixels void; a class tells its
    mean."""
    answer = {"mask": grid("aab", "abb")[None], "confidence": np.array([[[255, 51, 204], [153, 102, 255]]], np.uint8)}
    check_task(TASK, ABC, {k: np.concatenate([v, v]) for k, v in answer.items()}, [sample(grid("aab", "abb"))] * 2)
    (found,) = TASK.decode(answer, [Placement(6, 4, scale_x=0.5, scale_y=0.5, shift_x=0, shift_y=0)], ABC)
    assert found.confidence is not None
    assert (found.confidence == answer["confidence"][0].repeat(2, 0).repeat(2, 1)).all()
    (wide,) = TASK.decode(answer, [Placement(3, 3, shift_y=-1.0)], ABC)
    assert wide.confidence is not None
    assert (wide.confidence[0] == 0).all()
    (found,) = TASK.decode(answer, [Placement(3, 2)], ABC)
    told = record(shown(found, ABC, {}), ABC)["classes"]
    assert [row["confidence"] for row in told] == [pytest.approx(0.6), pytest.approx(0.7333, abs=1e-4)]
    assert told[1]["pixels"] == 3
    cut = shown(found, ABC, {}, threshold=0.5)
    assert cut.mask is not None
    assert (cut.mask == grid("a.b", "a.b")).all()
    assert "confidence" not in record(Prediction(3, 2, mask=grid("aab", "abb")), ABC)["classes"][0]


def test_a_card_tells_how_honest_confidence_is() -> None:
    """By hand: 3 pixels at 0.8 of which 2 are right, 2 at 1.0 that are both right; an ignored one counts nowhere."""
    truth, said = grid("aab", "ab.", "aaa")[:2], grid("aaa", "abb", "aaa")[:2]
    sure = np.array([[204, 204, 204], [255, 255, 10]], np.uint8)
    scorer = TASK.scorer(ABC)
    scorer.add(Prediction(3, 2, mask=said, confidence=sure), sample(truth))
    found = {n.name: n for n in scorer.card("test").numbers}["calibration_error"]
    assert found.value == pytest.approx((abs(3 * 0.8 - 2) + 0) / 5)
    assert not found.higher_is_better
    scorer.add(Prediction(3, 2, mask=said), sample(truth, "without"))
    assert "calibration_error" not in {n.name for n in scorer.card("test").numbers}


def test_a_graph_that_is_wrongly_sure_differs() -> None:
    mask = grid("aab", "abb")[None]
    one, other = ({"mask": mask, "confidence": np.full(mask.shape, v, np.uint8)} for v in (255, 204))
    assert TASK.difference(one, one) == 0
    assert TASK.difference(one, other) == pytest.approx(0.2)


def test_the_temperature_makes_the_scores_of_pixels_honest() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (40, 64, 3))
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    asked = (random.random((40, 64, 1)) > chances.cumsum(-1)).sum(-1).clip(max=2).astype(np.uint8)
    asked[:, :5] = 255
    fitted = TASK.calibrate({"sampled": logits * 3, "asked": asked}, {}, ABC)
    assert fitted["temperature"] == pytest.approx(3, rel=0.1)
    assert TASK.calibrate({"sampled": logits, "asked": np.full_like(asked, 255)}, {}, ABC) == {}
    with pytest.raises(DataError, match="not finite"):
        TASK.calibrate({"sampled": logits * np.nan, "asked": asked}, {}, ABC)


def test_evidence_is_the_share_of_a_class() -> None:
    masks = np.stack([grid("aab", "abb"), grid("ccc", "ccc")])
    assert TASK.evidence({"mask": masks}, 1).tolist() == [0.5, 0.0]
    assert TASK.evidence({"mask": masks}, 2).tolist() == [0.0, 1.0]


def test_difference_is_the_share_of_pixels() -> None:
    one, other = grid("aab", "abb")[None], grid("aab", "abc")[None]
    assert TASK.difference({"mask": one}, {"mask": one}) == 0
    assert TASK.difference({"mask": one}, {"mask": other}) == pytest.approx(1 / 6)


def test_numbers_by_hand() -> None:
    """Two images; class c is in no truth and no answer; one pixel is ignored.

    a: right 3 + 0, truth 4 + 0, said 3 + 1; b: right 1 + 3, truth 1 + 4, said 2 + 3.
    """
    card = scored([(grid("aaa", "a.b"), grid("aaa", "bab")), (grid("bb", "bb"), grid("ab", "bb"))])
    a, b = 3 / (4 + 4 - 3), 4 / (5 + 5 - 4)
    assert card.headline.name == "mean_iou"
    assert card["mean_iou"].value == pytest.approx((a + b) / 2)
    assert card["mean_dice"].value == pytest.approx((6 / 8 + 8 / 10) / 2)
    assert card["pixel_accuracy"].value == pytest.approx(7 / 9)
    assert card["mean_accuracy"].value == pytest.approx((3 / 4 + 4 / 5) / 2)
    first, second = (3 / 4 + 1 / 2) / 2, (0 + 3 / 4) / 2
    assert card["image_iou"].value == pytest.approx((first + second) / 2)
    assert card.per_sample["image_iou"] == pytest.approx((first, second))
    assert card.per_sample["image_accuracy"] == pytest.approx((4 / 5, 3 / 4))
    assert "pixel_accuracy" not in card.per_sample, "a mean over images is another number than one over pixels"
    rows = {row[0]: row for row in card.tables[0].rows}
    assert rows["c"][3] is None
    assert rows["a"][3] == pytest.approx(a)
    assert card.matrices[0].values[0] == pytest.approx((75.0, 25.0, 0.0))
    assert [c.key for c in card.worst] == ["s1", "s0"]
    assert card.worst[0].class_id == 0
    assert card.worst[0].truth == "b 100 %"
    assert card.worst[0].answer == "25 % wrong: b called a 25 %"


def test_against_scikit_learn() -> None:
    labels = Labels(tuple("abcdefg"))
    pairs = random_pairs(12, labels, seed=3)
    card = scored(pairs, labels)
    truth = np.concatenate([t.ravel() for t, _ in pairs])
    said = np.concatenate([s.ravel() for _, s in pairs])[truth != 255]
    truth = truth[truth != 255]
    ids = list(range(len(labels)))
    assert card["mean_iou"].value == pytest.approx(reference.jaccard_score(truth, said, labels=ids, average="macro"))
    assert card["mean_dice"].value == pytest.approx(reference.f1_score(truth, said, labels=ids, average="macro"))
    assert card["pixel_accuracy"].value == pytest.approx(reference.accuracy_score(truth, said))
    assert card["mean_accuracy"].value == pytest.approx(reference.balanced_accuracy_score(truth, said))
    mixed = reference.confusion_matrix(truth, said, labels=ids, normalize="true")
    assert np.allclose(np.array(card.matrices[0].values) / 100, mixed, atol=6e-4)
    columns = {name: i for i, name in enumerate(card.tables[0].columns)}
    each = reference.precision_recall_fscore_support(truth, said, labels=ids)
    for i, row in enumerate(card.tables[0].rows):
        assert row[columns["precision"]] == pytest.approx(each[0][i])
        assert row[columns["recall"]] == pytest.approx(each[1][i])
        assert row[columns["iou"]] == pytest.approx(reference.jaccard_score(truth == i, said == i))
        assert row[columns["iou from"]] <= row[columns["iou"]] <= row[columns["iou to"]]


def test_pixels_not_seen_are_wrong() -> None:
    card = scored([(grid("ab"), grid("a.")), (grid("ab"), grid("ab"))])
    assert card["pixel_accuracy"].value == pytest.approx(3 / 4)
    assert card["mean_iou"].value == pytest.approx((1 + 1 / 2) / 2)
    assert card.matrices[0].columns[-1] == "(not seen)"
    assert card.worst[0].answer == "50 % wrong: b called not seen 50 %"


def test_ignored_images_stay_in_the_count() -> None:
    card = scored([(grid("..", ".."), grid("ab", "ba")), (grid("aa", "bb"), grid("aa", "bb"))])
    assert card.n == 2
    assert card["mean_iou"].value == 1.0
    assert card.worst == ()
    with pytest.raises(DataError, match="every pixel of split 'test' is ignored"):
        scored([(grid("."), grid("a"))])


def test_boundary_by_hand() -> None:
    """A border 3 px off in a picture whose reach is 1.5 px (100 x 173, diagonal 200) misses; 1 px off is right."""
    truth = np.zeros((100, 173), np.uint8)
    truth[:, 80:] = 1
    for off, expected in ((0, 1.0), (1, 1.0), (5, 0.0)):
        said = np.zeros_like(truth)
        said[:, 80 + off :] = 1
        found = rooms.boundary_f(truth, said, 3)
        assert found[:2] == pytest.approx([expected, expected])
        assert np.isnan(found[2])


def test_boundary_half_found() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 1
    said = truth.copy()
    said[:100, 100:] = 0
    found = rooms.boundary_f(truth, said, 2)
    # Recall of class 1 is a little over a half, precision loses the horizontal edge that is not there.
    reach = max(1.0, rooms.TOLERANCE * np.hypot(200, 200))
    recall = (100 + int(reach)) / 200
    precision = (99 + 1 + int(reach)) / (100 + 99)
    assert found[1] == pytest.approx(2 * precision * recall / (precision + recall), abs=0.02)


def test_boundary_knows_no_edge_of_the_ignored() -> None:
    truth, said = grid("aaaa", "....", "bbbb"), grid("aaaa", "aaab", "bbbb")
    assert np.isnan(rooms.boundary_f(truth, said, 3)).all()
    assert np.isnan(rooms.boundary_f(grid("aaaa"), grid("aaaa"), 3)).all()
    only = rooms.boundary_f(grid("aaaa"), grid("aabb"), 3)
    assert only[:2].tolist() == [0.0, 0.0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_confusion_counts_every_asked_pixel(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, said = (random.choice([0, 1, 2, 3, 255], (7, 9)).astype(np.uint8) for _ in range(2))
    truth[truth == 3] = 255
    mixed = rooms.confusion(truth, said, 3)
    assert mixed.sum() == (truth != 255).sum()
    for t in range(3):
        for s in range(3):
            assert mixed[t, s] == ((truth == t) & (said == s)).sum()
        assert mixed[t, 3] == ((truth == t) & (said >= 3)).sum()


def test_intervals_hold_the_value_and_shrink() -> None:
    labels = Labels(tuple("abcd"))
    few, many = scored(random_pairs(5, labels, 1), labels), scored(random_pairs(80, labels, 1), labels)
    for name in ("mean_iou", "pixel_accuracy", "boundary_f", "image_iou"):
        spans = []
        for card in (few, many):
            number = card[name]
            assert number.low is not None and number.high is not None  # noqa: PT018
            assert number.low <= number.value <= number.high
            spans.append(number.high - number.low)
        assert spans[1] < spans[0]


def test_the_scorer_refuses_answers_of_another_size() -> None:
    scorer = TASK.scorer(ABC)
    with pytest.raises(DataError, match="needs a mask of 2x1 px, got none"):
        scorer.add(Prediction(2, 1), sample(grid("ab")))
    with pytest.raises(DataError, match="got 3x1 px"):
        scorer.add(Prediction(3, 1, mask=grid("abc")), sample(grid("ab")))
    with pytest.raises(DataError, match="no image that could be scored"):
        scorer.card("test")


def test_drawing_lays_the_classes_over_the_picture() -> None:
    picture = np.full((60, 200, 3), 100, np.uint8)
    left, right = np.zeros((60, 200), np.uint8), np.zeros((60, 200), np.uint8)
    left[:, :100] = 1
    right[:, 100:] = 1
    one, other = (TASK.draw(picture, Prediction(200, 60, mask=mask), ABC) for mask in (left, right))
    assert one.shape == other.shape
    assert one.shape[0] > 60
    assert (one != other).any()
    assert (picture == 100).all()
    with pytest.raises(InferenceError, match="has a mask"):
        TASK.draw(picture, Prediction(200, 60), ABC)
