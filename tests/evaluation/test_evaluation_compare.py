"""Two cards on the same images: differences, paired intervals, exact p."""

import numpy as np
import pytest

from saccade.errors import DataError
from saccade.evaluation.compare import by_class, compare, mcnemar
from saccade.types import Labels, Number, Sample, Scorecard


def card(right: list[int], keys: str) -> Scorecard:
    number = Number("accuracy", float(np.mean(right)), 0, 1, len(right))
    return Scorecard("t", "test", len(right), (number,), keys=tuple(keys), per_sample={"accuracy": tuple(right)})


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (1, 5, 0.21875), (3, 3, 1.0)]
)
def test_mcnemar_by_hand(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == pytest.approx(p)
    assert mcnemar(lost, won) == pytest.approx(p)


def test_pairs_by_key() -> None:
    found = compare(card([1, 1, 0, 0], "abcd"), card([0, 0, 1, 1], "dcba")).differences[0]
    assert found.value == 0
    assert (found.won, found.lost) == (0, 0)


def test_a_clear_win_and_a_shrug() -> None:
    keys = "".join(chr(97 + i) for i in range(20))
    win = compare(card([1] * 20, keys), card([1] * 8 + [0] * 12, keys))
    assert win.differences[0].significant
    assert "higher" in win.sentence
    assert "is significant" in win.sentence
    shrug = compare(card([1] * 11 + [0] * 9, keys), card([1] * 10 + [0] * 10, keys))
    assert "not significant" in shrug.sentence
    assert "equal" in compare(card([1] * 20, keys), card([1] * 20, keys)).sentence


def test_refuses_other_images() -> None:
    with pytest.raises(DataError, match="differ in 2 images"):
        compare(card([1, 0], "ab"), card([1, 0], "ac"))


def test_classes_are_those_an_image_holds_in_any_form() -> None:
    samples = [
        Sample("a", b"", {"boxes": np.zeros((2, 4), np.float32), "box_classes": np.array([1, 1])}),
        Sample("b", b"", {"mask": np.array([[0, 255]], np.uint8)}),
        Sample("c", b"", {"classes": np.array([0])}),
        Sample("d", b"", {"classes": np.array([0, 1])}),
    ]
    found = by_class(card([1, 0, 1, 1], "abcd"), card([0, 0, 1, 1], "abcd"), samples, Labels(("x", "y")))
    assert [(c.label, c.n, c.difference.value) for c in found] == [("x", 3, 0.0), ("y", 2, 0.5)]
