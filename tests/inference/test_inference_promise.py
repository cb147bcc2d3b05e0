"""What is still to come: told once, in the order asked, whatever happens at the same time."""

import contextlib
import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from saccade.errors import InferenceError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.promise import Promise
from saccade.inference.request import Request
from saccade.testing.packages import colors, png


@pytest.fixture(params=[Promise, Future])
def promise(request: pytest.FixtureRequest) -> Any:
    """Ours, and the standard library's, which does the same."""
    return request.param()


def test_who_asked_is_told_by_whoever_keeps_it_and_who_comes_later_at_once(promise: Any) -> None:
    told: list[tuple[str, str, Any]] = []

    def note(name: str) -> Any:
        return lambda done: told.append((name, threading.current_thread().name, done.result()))

    promise.add_done_callback(note("first"))
    promise.add_done_callback(note("second"))
    assert not promise.done()
    assert promise.set_running_or_notify_cancel()
    keeper = threading.Thread(target=promise.set_result, args=(7,), name="keeper")
    keeper.start()
    keeper.join()
    promise.add_done_callback(note("late"))
    here = threading.current_thread().name
    assert told == [("first", "keeper", 7), ("second", "keeper", 7), ("late", here, 7)]
    assert promise.done()
    assert not promise.cancelled()
    assert promise.exception() is None
    with pytest.raises(InvalidStateError):
        promise.set_result(8)
    assert promise.result() == 7


def test_what_was_left_is_not_begun_and_what_was_begun_is_not_left(promise: Any) -> None:
    told: list[bool] = []
    promise.add_done_callback(lambda done: told.append(done.cancelled()))
    assert promise.cancel()
    assert promise.cancel()
    assert told == [True]
    assert not promise.set_running_or_notify_cancel()
    for ask in (promise.result, promise.exception):
        with pytest.raises(CancelledError):
            ask()
    begun = type(promise)()
    assert begun.set_running_or_notify_cancel()
    assert not begun.cancel()
    begun.set_exception(KeyError("k"))
    assert not begun.cancel()
    assert isinstance(begun.exception(), KeyError)
    with pytest.raises(KeyError):
        begun.result()


def test_what_follows_may_fail_and_the_rest_follows_all_the_same(
    promise: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Any) -> None:
        raise ZeroDivisionError

    told: list[int] = []
    promise.add_done_callback(fails)
    promise.add_done_callback(lambda done: told.append(done.result()))
    promise.set_result(1)
    promise.add_done_callback(fails)
    assert told == [1]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_who_waits_is_woken_or_told_that_it_did_not_come(promise: Any) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            promise.result(0.001)
    assert not getattr(promise, "_then", None), "nothing stays of those who went"
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(promise.result, 10) for _ in range(2)]
        promise.set_result("there")
        assert [one.result(10) for one in waiting] == ["there", "there"]


def test_one_who_leaves_meets_one_who_begins_and_only_one_of_them_is_first() -> None:
    for _ in range(200):
        promise, gate, found = Promise[int](), threading.Barrier(2), list[bool]()

        def leave(promise: Promise[int] = promise, gate: threading.Barrier = gate, found: list[bool] = found) -> None:
            gate.wait(10)
            found.append(promise.cancel())

        leaver = threading.Thread(target=leave)
        leaver.start()
        gate.wait(10)
        began = promise.set_running_or_notify_cancel()
        leaver.join()
        assert found == [not began]


def test_an_error_is_not_kept_by_who_raises_it() -> None:
    promise = Promise[int]()
    promise.set_exception(InferenceError("refused"))
    gone = weakref.ref(promise)
    gc.disable()
    try:
        with contextlib.suppress(InferenceError):
            promise.result()
        del promise
        assert gone() is None
    finally:
        gc.enable()


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    engine = Engine(Options(runners=1))
    engine.load(colors(tmp_path / "p").path, "colors")
    yield engine
    engine.close()


def test_a_future_of_the_engine_is_one_of_the_standard_library(engine: Engine) -> None:
    futures = [engine.submit(Request("colors", (png(i, 0, 0),))) for i in range(5)]
    futures.append(engine.submit(Request("nobody", (png(1, 0, 0),))))
    done, late = wait(futures, 30)
    assert not late
    assert len(done) == 6
    assert [len(one.result().results) for one in futures[:5]] == [1] * 5
    assert isinstance(futures[5].exception(), InferenceError)


def test_who_cancels_the_future_drops_the_work_and_whoever_waits_hears_of_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Promise[Any]()
    monkeypatch.setattr(engine, "ask", lambda request: asked)
    future = engine.submit(Request("colors", (png(1, 0, 0),)))
    assert future.cancel()
    assert asked.cancelled()
    assert wait([future], 10).done == {future}
    # What the engine lets go of by itself is an error for one who did not.
    left = Promise[Any]()
    monkeypatch.setattr(engine, "ask", lambda request: left)
    future = engine.submit(Request("colors", (png(1, 0, 0),)))
    left.cancel()
    assert isinstance(future.exception(10), InferenceError)
