"""Which number of rows costs least a row: found from runs, kept while it is so, found again when it changes."""

import random

from hypothesis import given
from hypothesis import strategies as some

from saccade.inference.sizes import LIKE, Sizes


def served(sizes, cost, runs, dice=None):
    """Runs with as many rows as are wished for. cost: seconds of a run of so many rows."""
    for _ in range(runs):
        rows = sizes.next()
        sizes.learn(rows, cost(rows) * (dice.uniform(0.97, 1.03) if dice else 1))


def test_nothing_is_held_back_before_the_most_was_seen():
    sizes = Sizes(16)
    assert sizes.best == 16
    for rows in (1, 2, 4, 3):
        sizes.learn(rows, 0.001)
    assert [sizes.next() for _ in range(100)] == [16] * 100


def test_one_row_where_every_further_one_costs_more():
    sizes = Sizes(16)
    served(sizes, lambda rows: 0.001 * rows**1.2, 2000, random.Random(0))
    assert sizes.best == 1


def test_all_rows_where_a_run_costs_the_same_whatever_it_holds():
    sizes = Sizes(32)
    served(sizes, lambda rows: 0.02 + 0.0001 * rows, 2000, random.Random(0))
    assert sizes.best == 32


def test_the_valley_in_between_is_found_from_its_neighbours():
    sizes = Sizes(32)
    served(sizes, lambda rows: 0.004 + 0.001 * rows + 0.0003 * rows**2, 3000, random.Random(0))
    assert sizes.best == 4


def test_what_changed_is_noticed():
    sizes = Sizes(16)
    served(sizes, lambda rows: 0.001 * rows**1.2, 1000)
    assert sizes.best == 1
    served(sizes, lambda rows: 0.02, 4000)
    assert sizes.best == 16


@given(most=some.integers(1, 64), costs=some.lists(some.floats(1e-6, 10), min_size=8, max_size=8))
def test_the_best_of_all_that_is_known_is_taken_and_the_smallest_like_it(most, costs):
    sizes = Sizes(most)
    steps = [2**i for i in range(7) if 2**i < most] + [most]
    known = dict(zip(steps, costs, strict=False))
    for rows, each in known.items():
        sizes.learn(rows, each * rows)
    if len(known) == len(steps):
        least = min(known.values())
        assert known[sizes.best] <= least * LIKE * (1 + 1e-9)
        assert all(known[step] > least * LIKE * (1 - 1e-9) for step in steps if step < sizes.best)
    assert all(1 <= sizes.next() <= most for _ in range(50))


def test_whether_sharing_saves_much_is_told_once_by_what_was_measured_at_rest():
    for dear, lone in ((1.1, True), (1.3, False)):
        sizes = Sizes(16)
        for rows, each in ((1, dear), (4, 1.0), (16, 1.05)):
            sizes.learn(rows, rows * each)
        assert not sizes.lone, "nothing says so before it was asked"
        sizes.settle()
        assert sizes.lone == lone
        for _ in range(100):
            sizes.learn(1, 9.0)  # under load every run takes longer, and only some sizes are seen
        assert sizes.lone == lone
    sizes = Sizes(16)
    sizes.learn(4, 1.0)
    sizes.settle()
    assert not sizes.lone, "what a row alone costs was never seen"
