"""Which few of many stand for all."""

import numpy as np
import pytest

from saccade.tasks.statistics import spread


@pytest.mark.parametrize(("n", "most"), [(0, 8), (1, 8), (7, 8), (8, 8), (9, 8), (190, 128), (255, 128), (100_000, 16)])
def test_few_of_many_reach_from_the_first_to_the_last(n: int, most: int) -> None:
    places = spread(n, most)
    assert len(places) == min(n, most)
    assert (np.diff(places) > 0).all()
    if n:
        assert (places[0], places[-1]) == (0, n - 1 if most > 1 else 0)
        steps = np.diff(places)
        assert steps.max(initial=0) - steps.min(initial=n) <= 1
