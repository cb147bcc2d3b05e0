"""How long the next process is waited for, by how many were lost and what they had been good for."""

from saccade.inference.workers.losses import LONGEST_S, OFTEN_S, WITHIN_S, Losses


def lose(losses: Losses, number: int, *, useful: bool) -> list[float]:
    waits = []
    for _ in range(number):
        losses.add("ended by SIGKILL", useful=useful)
        waits.append(losses.wait_s())
    return waits


def test_one_that_was_good_for_something_is_replaced_at_once_until_it_is_lost_often() -> None:
    now = [0.0]
    losses = Losses(clock=lambda: now[0])
    assert lose(losses, 8, useful=True) == [0, 0, 0.5, 1, 2, 4, OFTEN_S, OFTEN_S]
    assert (losses.total, losses.often(), losses.trouble) == (8, 8, "ended by SIGKILL")
    assert losses.outage() is None, "whoever waits is answered by the next one"
    now[0] = WITHIN_S + 1
    assert (losses.often(), losses.wait_s(), losses.total) == (0, 0, 8)


def test_several_that_were_good_for_nothing_are_an_outage_until_one_answers() -> None:
    now = [0.0]
    losses = Losses(clock=lambda: now[0])
    assert lose(losses, 1, useful=False) == [0]
    assert losses.outage() is None
    losses.failed("the folder is gone")
    assert losses.wait_s() == 0.5
    outage = losses.outage()
    assert outage is not None
    assert (outage.code, outage.details) == ("not_ready", {"retry_after_s": 1})
    for _ in range(20):
        losses.failed("the folder is gone")
    assert (losses.wait_s(), losses.trouble) == (LONGEST_S, "the folder is gone")
    losses.answered()
    assert losses.outage() is None
    assert losses.wait_s() == 0


def test_a_cause_that_ends_all_of_several_at_once_counts_once() -> None:
    losses = Losses(4, clock=lambda: 0.0)
    assert lose(losses, 11, useful=True) == [0] * 11
    assert lose(losses, 1, useful=True) == [0.5]
