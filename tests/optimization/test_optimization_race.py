"""Turns of two graphs: as many runs at once as are served, what one of them raises, and what that changes."""

import threading
import time

import numpy as np
import pytest

from saccade.optimization.race import race

IMAGES = np.zeros((3, 4, 4, 3), np.uint8)


def test_a_graph_runs_beside_itself_in_every_stream():
    meets = {"one": threading.Barrier(3, timeout=20), "other": threading.Barrier(3, timeout=20)}

    def meeting(name):
        def run(arrays):
            meets[name].wait()  # a stream alone would wait here until it breaks
            return {"rows": arrays["image"][:, 0, 0]}

        return run

    times = race(meeting("one"), meeting("other"), IMAGES, streams=3, seconds=0)
    assert set(times.ratios) == set(times.first_ms) == {"1", "8"}


def test_what_wins_alone_may_lose_beside_itself():
    """One graph takes 4 ms and lets no other run meanwhile; the other takes 6 ms and minds nobody."""
    door = threading.Lock()

    def narrow(arrays):
        with door:
            time.sleep(0.004)
        return {}

    def wide(arrays):
        time.sleep(0.006)
        return {}

    alone = race(wide, narrow, IMAGES, streams=1, seconds=0)
    served = race(wide, narrow, IMAGES, streams=2, seconds=0)
    assert alone.gain > 1.15
    assert served.gain < 0.95


def test_the_batches_are_the_pictures_again_and_again():
    seen = set()

    def run(arrays):
        seen.add(arrays["x"].shape)
        return {}

    race(run, run, IMAGES, name="x", streams=2, seconds=0)
    assert seen == {(1, 4, 4, 3), (8, 4, 4, 3)}


@pytest.mark.parametrize("streams", [1, 2])
def test_what_a_graph_raises_is_raised(streams):
    def breaks(arrays):
        raise ZeroDivisionError("a kernel")

    with pytest.raises(ZeroDivisionError, match="a kernel"):
        race(lambda arrays: {}, breaks, IMAGES, streams=streams, seconds=0)
