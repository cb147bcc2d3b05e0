"""Who goes next and who is let in: urgent work before other work, callers in turns, at the door as in the queue."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.errors import InferenceError
from saccade.inference.engine import Engine
from saccade.inference.intake import Intake, Work
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.turns import PATIENT, Ahead, Line
from saccade.testing.packages import colors, png
from saccade.types import Array


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_what_came_and_left_leaves_nothing(comers: list[tuple[int, bool]]) -> None:
    ahead = Ahead()
    for caller, urgent in comers:
        ahead.come(caller, urgent)
    assert len(ahead) == len(comers)
    assert ahead.count("new", urgent=False) == len(comers)
    urgent = [caller for caller, soon in comers if soon]
    most = len(set(urgent)) * (1 + 1 / PATIENT)
    assert ahead.count("new", urgent=True) <= most, "whoever is new waits a turn of each, however much they have"
    for caller, soon in comers:
        assert ahead.count(caller, urgent=True) <= len(urgent) * (1 + 1 / PATIENT)
        ahead.leave(caller, soon)
    assert (len(ahead), ahead.count(0, urgent=True), ahead.count(0, urgent=False)) == (0, 0, 0)


def test_callers_take_turns_and_keep_their_order() -> None:
    line = Line[str]()
    for work in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.add(work[0], work)
    assert line.take(lambda work: work == "a2") == ["a2"]
    assert [line.pop() for _ in range(5)] == ["a1", "b1", "c1", "a3", "b2"]
    assert not line.callers


def test_who_changes_his_mind_while_he_is_asked_is_in_one_place() -> None:
    line = Line[str]()
    for work in ("a1", "a2"):
        line.add("a", work)
    answers = iter([False, True, True, True])
    taken = line.take(lambda work: next(answers))
    left = [line.pop() for _ in range(2 - len(taken))]
    assert sorted(taken + left) == ["a1", "a2"]
    assert not line.callers


class Crew:
    """An intake of one thread that is held until let go, and in what order it did the work."""

    def __init__(self) -> None:
        self.intake, self.gate, self.done, self.late = Intake(1), threading.Event(), list[str](), list[str]()
        entered = threading.Event()

        def hold() -> None:
            entered.set()
            self.gate.wait(30)

        self.intake.submit(Work(hold, hold, bool, time.monotonic() + 60, None, True, 0.0))
        assert entered.wait(10)

    def add(
        self,
        name: str,
        urgent: bool = True,
        within_s: float = 60.0,
        seconds: float = 1.0,
        gone: Callable[[], bool] = bool,
    ) -> None:
        do: Callable[[], None] = lambda: self.done.append(name)  # noqa: E731
        self.intake.submit(
            Work(do, lambda: self.late.append(name), gone, time.monotonic() + within_s, name[0], urgent, seconds)
        )

    def end(self) -> None:
        self.gate.set()
        self.intake.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.end()


def test_an_interactive_picture_is_decoded_before_the_photos_of_a_batch(crew: Crew) -> None:
    for i in range(6):
        crew.add(f"a{i}", urgent=False)
    for name in ("b0", "b1", "c0"):
        crew.add(name)
    assert crew.intake.wait_s("d") == pytest.approx(2 * (1 + 1 / PATIENT))
    assert crew.intake.wait_s("d", urgent=False) == 9
    crew.end()
    assert crew.done == ["b0", "c0", "b1", "a0", "a1", "a2", "a3", "a4", "a5"]
    assert crew.intake.wait_s() == 0


def test_what_is_not_urgent_does_not_starve(crew: Crew) -> None:
    crew.add("z", urgent=False)
    for i in range(2 * PATIENT):
        crew.add(f"{i:02}")
    crew.end()
    assert crew.done.index("z") == PATIENT


def test_the_picture_of_who_left_is_let_go_of_while_every_thread_is_at_work(crew: Crew) -> None:
    crew.add("a", gone=lambda: True)
    crew.add("b")
    crew.intake.drop_late()
    assert crew.late == ["a"]
    crew.end()
    assert crew.done == ["b"]


def test_who_waits_too_long_to_be_decoded_is_told_while_every_thread_is_at_work(crew: Crew) -> None:
    crew.add("a", within_s=0.0)
    crew.add("b")
    crew.intake.drop_late()
    assert crew.late == ["a"]
    assert crew.intake.wait_s() == 1
    crew.end()
    assert crew.done == ["b"]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, threading.Event]]:
    """A model whose every run waits for the gate, and of which it is known that a row takes 25 ms."""
    engine, gate = Engine(Options(max_wait_s=0.25, max_batch=1, runners=1)), threading.Event()
    model = engine.load(colors(tmp_path / "p").path, "colors", 1).model
    assert model is not None
    run = model._batcher._run

    def held(*given: object) -> object:
        gate.wait(30)
        return run(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(model._batcher, "_run", held)
    monkeypatch.setattr(model._batcher, "_note", lambda *_: None)
    model._batcher.row_s = 0.025
    yield engine, gate
    gate.set()
    engine.close(10)


def code(engine: Engine, **asked: object) -> str:
    """The error's code, empty when it was let in."""
    try:
        engine.admit("colors", **asked)  # type: ignore[arg-type]
    except InferenceError as error:
        return error.code
    return ""


def test_a_batch_of_one_caller_locks_no_other_out(
    engine: tuple[Engine, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, gate = engine
    model, ran = served.find("colors").model, list[int]()
    assert model is not None
    run = model._batcher._run

    def noted(arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        ran.append(int(arrays["image"].max()))
        return run(arrays, deadline)

    monkeypatch.setattr(model._batcher, "_run", noted)
    picture = np.zeros((32, 32, 3), np.uint8)
    batch = served.submit(Request("colors", (picture,) * 60, caller="batch"))
    assert code(served) == "", "1.5 s of other work stand behind it, not before it"
    assert code(served, several=True) == "", "which may wait 5 s"
    assert code(served, several=True, deadline_s=1.0) == "overloaded"
    alone = served.submit(Request("colors", (png(7, 0, 0),), caller="phone"))
    answered: list[str] = []
    batch.add_done_callback(lambda _: answered.append("batch"))
    alone.add_done_callback(lambda _: answered.append("phone"))
    end = time.monotonic() + 20
    while len(model._batcher) < 60 or not ran:
        assert time.monotonic() < end, "one runs, and all others are decoded"
        time.sleep(0.001)
    gate.set()
    alone.result(20)
    assert len(batch.result(20).results) == 60
    assert 7 in ran[:2], "no later than behind the one that ran already"
    assert answered == ["phone", "batch"]


def test_whoever_asks_for_more_than_his_turn_is_refused_and_the_others_are_not(
    engine: tuple[Engine, threading.Event],
) -> None:
    served, _ = engine
    asked = [served.submit(Request("colors", (png(i, 0, 0),), caller="flood")) for i in range(40)]
    let_in = [f for f in asked if not f.done()]
    assert 8 <= len(let_in) <= 12, "a quarter of a second of work"
    refused = next(f for f in asked if f.done())
    with pytest.raises(InferenceError, match="expected wait") as caught:
        refused.result()
    assert caught.value.code == "overloaded"
    assert code(served, caller="flood") == "overloaded"
    assert code(served, caller="phone") == ""
    assert code(served, caller="flood", urgent=False, several=True) == "", "what may wait longer may come"


def test_a_picture_in_tiles_is_not_urgent(engine: tuple[Engine, threading.Event]) -> None:
    from saccade.inference.engine import _urgent

    picture = (png(1, 1, 1),)
    assert [_urgent(Request("m", p, tile=t)) for p, t in ((picture, False), (picture, True), (picture * 2, False))] == [
        True, False, False,
    ]  # fmt: skip
    assert _urgent(Request("m", picture, tile=True, urgent=True))


def test_a_graph_that_hangs_makes_its_model_away_until_it_goes_on(
    engine: tuple[Engine, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, gate = engine
    model = served.find("colors").model
    assert model is not None
    monkeypatch.setattr(model, "options", replace(model.options, hang_s=0.1))
    stuck = served.submit(Request("colors", (np.zeros((90, 90, 3), np.uint8),)))
    end = time.monotonic() + 20
    while not code(served) and time.monotonic() < end:
        time.sleep(0.02)
    assert code(served) == "not_ready"
    assert served.versions("colors")[1].state == "away"
    gate.set()
    stuck.result(20)
    assert code(served) == ""
    assert served.versions("colors")[1].state == "ready"


def test_an_unloading_takes_only_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two unload the same version; the second is done while the first one drains, and the version is loaded again."""
    served = Engine()
    package = colors(tmp_path / "p").path
    old = served.load(package, "colors", 1).model
    assert old is not None
    gate, draining = threading.Event(), threading.Event()
    close = old.close

    def slowly(timeout_s: float = 30.0) -> None:
        if not draining.is_set():
            draining.set()
            gate.wait(30)
        close(timeout_s)

    monkeypatch.setattr(old, "close", slowly)
    first = threading.Thread(target=served.unload, args=("colors", 1))
    first.start()
    assert draining.wait(10)
    served.unload("colors", 1)
    again = served.load(package, "colors", 1).model
    gate.set()
    first.join(30)
    assert served.find("colors").model is again
    assert served.submit(Request("colors", (png(1, 1, 1),))).result(20).results
    served.close()


def test_what_is_unloaded_while_it_loads_is_closed_and_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, opened, gate = Engine(), list[object](), threading.Event()
    from saccade.inference import engine as module

    real = module.Model.open

    def slowly(*given: object, **more: object) -> object:
        model = real(*given, **more)  # type: ignore[arg-type]
        opened.append(model)
        gate.wait(30)
        return model

    monkeypatch.setattr(module.Model, "open", slowly)
    failed: list[InferenceError] = []

    def load() -> None:
        try:
            served.load(colors(tmp_path / "p").path, "colors", 1)
        except InferenceError as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    while not opened:
        time.sleep(0.01)
    served.unload("colors", 1)
    gate.set()
    thread.join(30)
    assert [error.code for error in failed] == ["not_ready"]
    assert served.names() == []
    with pytest.raises(InferenceError, match="being unloaded"):
        opened[0].predict(png(1, 1, 1))  # type: ignore[attr-defined]
    served.close()
    with pytest.raises(InferenceError, match="closing"):
        served.load(tmp_path / "p", "colors", 2)
