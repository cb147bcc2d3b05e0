"""The decode pool and its pixel budget."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from saccade.errors import InferenceError
from saccade.inference import intake as module
from saccade.inference.intake import Intake, PixelBudget, Work


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def test_what_fits_goes_on_at_once_and_the_rest_waits_its_turn() -> None:
    budget, order = PixelBudget(100), list[str]()

    def hold(name: str, pixels: int, waits: threading.Event) -> None:
        with budget.hold(pixels, soon()):
            order.append(name)
            waits.wait(30)

    first, large, small = threading.Event(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(hold, "first", 60, first)
        while order != ["first"]:
            time.sleep(0.001)
        pool.submit(hold, "large", 100, large)
        while not budget._turns:
            time.sleep(0.001)
        # It would fit beside the first, but then the large one might wait for ever.
        pool.submit(hold, "small", 10, small)
        while len(budget._turns) < 2:
            time.sleep(0.001)
        assert order == ["first"]
        first.set()
        large.set()
        small.set()
    assert order == ["first", "large", "small"]


def test_who_waits_too_long_is_refused_and_holds_nothing_up() -> None:
    budget = PixelBudget(100)
    with budget.hold(90, soon()):
        with pytest.raises(InferenceError, match="too many pixels") as refusal, budget.hold(20, soon(0.02)):
            pass
        assert refusal.value.code == "overloaded"
        with budget.hold(10, soon(0.02)):  # the one that gave up no longer stands before it
            pass
    with budget.hold(100, soon(0.02)):
        pass


def test_a_failure_gives_its_pixels_back_and_the_largest_picture_fits_alone() -> None:
    budget = PixelBudget(100)
    for pixels in (100, 101, 10_000):
        with pytest.raises(KeyError), budget.hold(pixels, soon(0.02)):
            raise KeyError
    with budget.hold(100, soon(0.02)):
        pass


def test_the_sum_in_flight_never_exceeds_the_budget() -> None:
    budget, lock = PixelBudget(100), threading.Lock()
    flying, most = 0, 0

    def work(pixels: int) -> None:
        nonlocal flying, most
        with budget.hold(pixels, soon()):
            with lock:
                flying += pixels
                most = max(most, flying)
            time.sleep(0.0005)
            with lock:
                flying -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1 + 37 * i % 100 for i in range(200)]))
    assert 50 < most <= 100


def test_work_is_shared_among_the_threads_and_finished_before_they_end() -> None:
    intake, done, lock = Intake(2), list[str](), threading.Lock()
    together = threading.Barrier(2)

    def work() -> None:
        together.wait(30)  # passes only when two work at the same time
        with lock:
            done.append(threading.current_thread().name)

    piece = Work(work, work, bool, time.monotonic() + 60, None, True, 0.0)
    for _ in range(6):
        intake.submit(piece)
    intake.close()
    assert len(done) == 6
    assert set(done) == {"decode-0", "decode-1"}
    with pytest.raises(InferenceError) as refusal:
        intake.submit(piece)
    assert refusal.value.code == "draining"


def test_a_pool_that_was_never_used_has_no_threads() -> None:
    before = threading.active_count()
    intake = Intake(4)
    assert threading.active_count() == before
    intake.close()


def test_who_comes_alone_is_undisturbed_once_no_two_met_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    class Others:
        pending = 1

    intake, others, now = Intake(1), Others(), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    intake.join(others)
    assert intake.alone()
    assert intake.undisturbed(), "nobody met anybody yet"
    others.pending = 2
    assert not intake.alone()
    others.pending = 1
    for later_s, undisturbed in ((0.0, False), (module.UNDISTURBED_S - 0.01, False), (0.02, True), (60.0, True)):
        now[0] += later_s
        assert intake.alone()
        assert intake.undisturbed() is undisturbed
    others.pending = 2
    assert not intake.undisturbed()
    intake.close()
