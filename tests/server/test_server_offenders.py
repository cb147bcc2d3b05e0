"""A key that sends one bad picture after the other is slowed, alone, and for a while only (LIMITS B9)."""

import pytest

from saccade.errors import ImageError, InferenceError, ServerError
from saccade.inference.request import Answer
from saccade.limits import CALLER_LIMITS
from saccade.server.offenders import Offenders
from saccade.types import Labels

MOST = CALLER_LIMITS.max_bad_images
LABELS = Labels(("red", "green"))


def answer(bad: int, good: int = 0) -> Answer:
    results = (*[ImageError("damaged")] * bad, *[InferenceError("broken")] * good)
    return Answer("m", 1, "sha256:0", "classification", LABELS, results)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def slow(offenders: Offenders, caller: str | None) -> bool:
    try:
        offenders.admit(caller)
    except ServerError as error:
        return error.code == "too_many_bad_images"
    return False


def test_the_twentieth_bad_picture_slows_a_key_to_one_request_a_second_for_a_minute() -> None:
    clock = Clock()
    offenders = Offenders(clock=clock)
    for _ in range(MOST - 1):
        offenders.count("a", answer(1))
    assert not slow(offenders, "a")
    offenders.count("a", answer(1))
    found = []
    for _ in range(5 * 60):
        found.append(slow(offenders, "a"))
        clock.now += 0.2
    assert found.count(False) == 60
    assert not any(found[::5])
    assert not any(slow(offenders, "a") for _ in range(5)), "the minute is over"


def test_only_bad_pictures_of_that_key_within_a_minute_count() -> None:
    clock = Clock()
    offenders = Offenders(clock=clock)
    for _ in range(3 * MOST):
        offenders.count("steady", answer(1))
        clock.now += CALLER_LIMITS.bad_images_s / (MOST - 2)
    offenders.count("model", answer(0, good=64))
    offenders.count("refused", InferenceError("no such model", code="not_found"))
    for _ in range(MOST):
        offenders.count(None, answer(64))
    offenders.count("b", answer(MOST))
    assert [slow(offenders, who) for who in ("steady", "model", "refused", None, "b")] == [False] * 5
    assert [slow(offenders, who) for who in ("steady", "model", "refused", None, "b")] == [False] * 4 + [True]


def test_as_many_keys_as_ask_leave_no_more_than_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.server.offenders.MOST", 10)
    offenders = Offenders(clock=Clock())
    for i in range(100):
        offenders.count(str(i), answer(MOST))
    assert [slow(offenders, str(i)) or slow(offenders, str(i)) for i in (0, 99)] == [False, True]
    assert len(offenders._bad) == len(offenders._slow) == 10
