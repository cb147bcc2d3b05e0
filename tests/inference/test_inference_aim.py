"""An objective is kept under any load, though waits are guessed too low; where waiting is not to blame nobody is refused for it."""

import math
import random
from pathlib import Path

import pytest

from saccade.errors import InferenceError
from saccade.inference.aim import DOWN, INSIDE, LEAST, LOOKED_AT, START, Aim
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.testing.packages import colors, png


class Queue:
    """One server, `rate` answers a second, where a wait is believed to be `guess` times what it is."""

    def __init__(self, aim: Aim, rate: float, guess: float) -> None:
        self.aim, self.rate, self.guess = aim, rate, guess
        self.free_at = self.now = 0.0
        self.dice = random.Random(0)
        self.told: list[tuple[float, float, float]] = []
        """When they were answered, when they came, how long they waited; not yet told to the aim."""

    def offer(self, per_s: float, seconds: float) -> tuple[list[float], float]:
        """Latencies of all that were let in, and the share of the rate that they made."""
        found, end = [], self.now + seconds
        while self.now < end:
            self.now += self.dice.expovariate(per_s)
            while self.told and self.told[0][0] <= self.now:
                done, came, waited = self.told.pop(0)
                self.aim.answered(came, done - came, waited)
            wait = max(0.0, self.free_at - self.now)
            if wait * self.guess > self.aim.objective_s * self.aim.share:
                continue
            self.free_at = self.now + wait + self.dice.uniform(0.5, 1.5) / self.rate
            self.told.append((self.free_at, self.now, wait))
            found.append(self.free_at - self.now)
        return found, len(found) / seconds / self.rate


@pytest.mark.parametrize("guess", [0.4, 0.7, 1.0])
def test_the_99th_of_100_keeps_it_whatever_waits_are_believed_to_be(guess: float) -> None:
    queue = Queue(Aim(0.08), 400.0, guess)
    queue.offer(600.0, 20.0)
    found, goodput = queue.offer(600.0, 100.0)
    late = sum(one > 0.08 for one in found) / len(found)
    assert late < 0.02
    assert goodput > 0.95
    calm, _ = queue.offer(100.0, 120.0)
    assert queue.aim.share == 1.0, "in quiet times it is forgotten"
    assert max(calm) < 0.08


def test_a_model_that_is_slower_than_its_objective_is_asked_as_before() -> None:
    aim = Aim(0.08)
    for i in range(2000):
        aim.answered(i, 0.1, 0.01)
    assert aim.share == 1.0


def test_answers_of_one_moment_move_the_bound_once_and_never_below_the_least() -> None:
    aim = Aim(0.08)
    for _ in range(50):
        aim.answered(1.0, 0.2, 0.19)
    assert aim.share == START * DOWN, "all were let in before it could give way"
    for i in range(1000):
        aim.answered(2.0 + i, 0.2, 0.19)
    assert aim.share == LEAST
    for i in range(LOOKED_AT):
        aim.answered(2000.0 + i, 0.01, 0.0)
    assert LEAST < aim.share < 1


def test_without_an_objective_nothing_moves() -> None:
    aim = Aim(None)
    for i in range(100):
        aim.answered(i, 100.0, 99.0)
    assert (aim.objective_s, aim.share) == (math.inf, 1.0)


def test_an_engine_refuses_what_would_be_late(tmp_path: Path) -> None:
    engine = Engine(Options(max_wait_s=1.0, objective_s=0.5))
    model = engine.load(colors(tmp_path / "p").path, "colors").model
    assert model is not None
    assert model.longest_wait_s == 0.5 * INSIDE * START
    model.aim.share = LEAST
    model.expected_wait_s = lambda caller=None, urgent=True: 0.05  # type: ignore[method-assign]
    with pytest.raises(InferenceError, match="expected wait"):
        engine.submit(Request("colors", (png(1, 2, 3),))).result(10)
    assert engine.submit(Request("colors", (png(1, 2, 3),) * 2)).result(10).results, "several may wait longer"
    model.aim.share = 1.0
    for _ in range(2):
        assert engine.submit(Request("colors", (png(1, 2, 3),))).result(10).results
    assert model.aim.share == 1.0
    engine.close()


def test_only_what_was_held_to_the_bound_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Options(max_wait_s=1.0, objective_s=0.5))
    model = engine.load(colors(tmp_path / "p").path, "colors").model
    assert model is not None
    told: list[tuple[float, float]] = []
    monkeypatch.setattr(model.aim, "answered", lambda came, seconds, waited: told.append((seconds, waited)))
    good, bad = png(1, 2, 3), png(1, 2, 3)[:40]
    for request in (
        Request("colors", (good,), urgent=False),
        Request("colors", (good, good)),
        Request("colors", (bad,)),
    ):
        engine.submit(request).result(10)
    assert told == []
    engine.submit(Request("colors", (good,))).result(10)
    assert len(told) == 1
    engine.submit(Request("colors", (good,), deadline_s=0.0)).result(10)
    assert len(told) == 1, "who gave up before it was late says nothing"
    engine.close()


def test_who_waited_in_vain_until_it_was_late_counts() -> None:
    aim = Aim(0.08)
    for i in range(1000):
        aim.left(i, 0.01)
    assert aim.share == START
    for i in range(1000, 1010):
        aim.left(i, 0.2)
    assert aim.share < START * 0.6


def test_few_answers_keep_it_too() -> None:
    queue = Queue(Aim(2.0), 5.0, 0.5)
    queue.offer(8.0, 600.0)
    found, _ = queue.offer(8.0, 4000.0)
    assert sum(one > 2.0 for one in found) / len(found) < 0.02


@pytest.mark.parametrize(
    ("most", "objective", "found"), [(None, None, math.inf), (0.0, None, 0.0), (None, 1.0, INSIDE * START)]
)
def test_a_bound_of_nothing_is_one(tmp_path: Path, most: float | None, objective: float | None, found: float) -> None:
    engine = Engine(Options(max_wait_s=most, objective_s=objective))
    model = engine.load(colors(tmp_path / "p").path, "colors").model
    assert model is not None
    assert model.longest_wait_s == found
    model.expected_wait_s = lambda caller=None, urgent=True: 0.9  # type: ignore[method-assign]
    future = engine.submit(Request("colors", (png(1, 2, 3),)))
    if found < 0.9:
        with pytest.raises(InferenceError, match="expected wait"):
            future.result(10)
    else:
        assert future.result(10).results
    engine.close()
