"""Memory is given back after a burst, once, and never in the middle of one."""

import gc
import threading
import weakref

from saccade.server.quiet import Quiet


def test_once_after_every_burst() -> None:
    asked, given = [0], []
    quiet = Quiet(lambda: asked[0], give_back=lambda: given.append(asked[0]))
    for count, expected in ((0, 0), (5, 0), (9, 0), (9, 1), (9, 1), (9, 1), (10, 1), (10, 2), (10, 2)):
        asked[0] = count
        quiet.step()
        assert len(given) == expected
    assert given == [9, 10]


def test_what_only_holds_itself_is_let_go_of_first() -> None:
    class Answer:
        pass

    answer, gone = Answer(), []
    answer.itself = answer  # type: ignore[attr-defined]
    weakref.finalize(answer, gone.append, True)
    gc.disable()
    try:
        del answer
        quiet = Quiet(iter((5, 5)).__next__, give_back=lambda: gone.append(False))
        assert [quiet.step(), quiet.step()] == [False, True]
    finally:
        gc.enable()
    assert gone == [True, False]


def test_it_looks_by_itself() -> None:
    asked, given = [1], threading.Event()
    quiet = Quiet(lambda: asked[0], every_s=0.01, give_back=given.set)
    quiet.start()
    try:
        assert given.wait(10)
    finally:
        quiet.stop()
