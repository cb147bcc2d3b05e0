"""Thirds of the images, and whether one of them is weaker than luck allows."""

import numpy as np
import pytest
from scipy import stats

from saccade.evaluation.slices import chance_of_worse, holm, slices, terciles, traits
from saccade.images.encode import to_png
from saccade.types import Array, Number, Sample, Scorecard


def grey(value: int, width: int = 40, height: int = 30) -> Array:
    return np.full((height, width, 3), value, np.uint8)


def test_traits_are_what_they_say() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    found = traits([Sample("a", grey(10)), Sample("b", to_png(grey(200, 1000, 500))), Sample("c", noise)])
    assert found[("size", "MP")] == pytest.approx([0.0012, 0.5, 0.06])
    assert found[("brightness", "")][:2] == pytest.approx([10, 200])
    assert found[("sharpness", "")][0] == 0
    assert found[("sharpness", "")][2] > 10


def test_terciles_keep_equal_amounts_together() -> None:
    groups = terciles(np.arange(9.0))
    assert [g.sum() for _, _, g in groups] == [3, 3, 3]
    assert [(low, high) for low, high, _ in groups] == [(0, 2), (3, 5), (6, 8)]
    assert [g.sum() for _, _, g in terciles(np.array([1.0, 1, 1, 1, 1, 2]))] == [5, 1]
    assert terciles(np.ones(5)) == []
    every = terciles(np.array([3.0, 1, 2, 2, 1, 3, 3, 2]))
    assert sum(g.astype(int) for _, _, g in every).tolist() == [1] * 8  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_fishers_for_right_and_wrong(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, member = (random.random(60) < 0.7).astype(float), random.random(60) < 0.3
    right, n = values[member].sum(), member.sum()
    rest = values.sum() - right
    table = [[right, n - right], [rest, 60 - n - rest]]
    assert chance_of_worse(values, member) == pytest.approx(stats.fisher_exact(table, alternative="less")[1])


def test_chance_of_other_values_agrees_with_permutations() -> None:
    random = np.random.default_rng(1)
    values, member = random.normal(size=80), np.arange(80) < 25
    values[member] -= 0.35
    dealt = [values[random.permutation(80)[:25]].mean() for _ in range(4000)]
    share = np.mean([d <= values[member].mean() for d in dealt])
    assert chance_of_worse(values, member) == pytest.approx(share, abs=0.015)
    assert chance_of_worse(np.full(10, 0.5), np.arange(10) < 4) == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def card(values: list[float], headline: str = "accuracy") -> Scorecard:
    keys = tuple(f"s{i}" for i in range(len(values)))
    number = Number(headline, float(np.mean(values)), 0, 1, len(values))
    return Scorecard("t", "test", len(values), (number,), keys=keys, per_sample={"accuracy": tuple(values)})


def test_a_dark_third_that_fails_is_called_worse() -> None:
    samples = [Sample(f"s{i}", grey(20 + 7 * i)) for i in range(30)]
    found = slices(card([0.0] * 10 + [1.0] * 20), samples)
    assert [(s.trait, s.n, s.value, s.worse) for s in found] == [
        ("brightness", 10, 0.0, True),
        ("brightness", 10, 1.0, False),
        ("brightness", 10, 1.0, False),
    ]
    assert found[0].range == "20 to 83"
    assert 0 < found[0].high < 0.35
    calm = slices(card([1.0, 0.0] * 15), samples)
    assert not any(s.worse for s in calm)


def test_too_small_a_slice_is_never_judged() -> None:
    samples = [Sample(f"s{i}", grey(10 * i)) for i in range(12)]
    found = slices(card([0.0] * 4 + [1.0] * 8), samples)
    assert [s.n for s in found] == [4, 4, 4]
    assert not any(s.worse for s in found)


def test_a_headline_that_is_no_mean_is_sliced_by_the_first_that_is() -> None:
    samples = [Sample(f"s{i}", grey(10 * i)) for i in range(6)]
    assert {s.metric for s in slices(card([1.0] * 6, "mean_average_precision"), samples)} == {"accuracy"}
