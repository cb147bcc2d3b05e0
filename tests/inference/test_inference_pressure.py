"""Short memory lets less in: first one urgent image at a time, then none; nothing is refused where it is plenty."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saccade import process
from saccade.errors import InferenceError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.pressure import LOOK_S, OLD_S, Pressure
from saccade.inference.request import Request
from saccade.limits import MemoryLimits
from saccade.testing.packages import colors, png

GIB = 1024**3
LIMITS = MemoryLimits()


class Machine:
    """A machine, and a control group in it, whose memory the test sets."""

    def __init__(self, *bounds: tuple[float, float]) -> None:
        self.bounds, self.now, self.looks = [(int(f * GIB), int(w * GIB)) for f, w in bounds], 0.0, 0

    def look(self) -> list[tuple[int, int]]:
        self.looks += 1
        return self.bounds

    def pressure(self) -> Pressure:
        return Pressure(LIMITS, self.look, lambda: self.now)


@pytest.mark.parametrize(
    ("free", "whole", "several", "soon"),
    [
        (4.0, 8, True, True),
        (0.81, 8, True, True),
        (0.79, 8, False, True),
        (0.41, 8, False, True),
        (0.39, 8, False, False),
        (1.01, 256, True, True),  # a hundredth of a large machine is still enough
        (0.99, 256, False, True),
        (0.49, 256, False, False),
        (0.0, 8, False, False),
    ],
)
def test_what_is_let_in_follows_what_is_free(free: float, whole: float, several: bool, soon: bool) -> None:
    pressure = Machine((free, whole)).pressure()
    for urgent, passes in ((False, several), (True, soon)):
        if passes:
            pressure.admit(urgent)
        else:
            with pytest.raises(InferenceError, match="short of memory") as caught:
                pressure.admit(urgent)
            assert caught.value.code == "overloaded"


def test_the_tightest_bound_counts_and_none_where_nothing_tells() -> None:
    with pytest.raises(InferenceError):
        Machine((60, 64), (0.01, 1)).pressure().admit(True)
    Machine().pressure().admit(False)


def test_what_was_refused_comes_in_again_once_there_is_clearly_more() -> None:
    machine = Machine((0.79, 8))
    pressure = machine.pressure()
    for free, passes in ((0.79, False), (0.85, False), (0.97, True), (0.85, True), (0.79, False)):
        machine.bounds, machine.now = [(int(free * GIB), 8 * GIB)], machine.now + OLD_S
        if passes:
            pressure.admit(False)
        else:
            with pytest.raises(InferenceError):
                pressure.admit(False)


def test_it_looks_twice_a_second_at_most_and_sees_that_it_is_over() -> None:
    machine = Machine((0.1, 8))
    pressure = machine.pressure()
    for _ in range(1000):
        with pytest.raises(InferenceError):
            pressure.admit(True)
    assert machine.looks == 1
    machine.bounds, machine.now = [(4 * GIB, 8 * GIB)], OLD_S
    pressure.admit(False)
    assert machine.looks == 2


def test_who_has_time_looks_for_the_requests_and_only_while_there_are_any() -> None:
    machine = Machine((4, 8))
    pressure = machine.pressure()
    pressure.keep()
    assert machine.looks == 0, "nobody asked"
    pressure.admit(True)
    for now, looks in ((LOOK_S / 2, 1), (LOOK_S, 2), (3 * LOOK_S, 2)):
        machine.bounds, machine.now = [(0, 8 * GIB)], now
        pressure.keep()
        assert machine.looks == looks
    machine.now = LOOK_S + OLD_S / 2
    with pytest.raises(InferenceError):
        pressure.admit(True)
    assert machine.looks == 2, "by what keep saw"


def test_this_machine_tells_what_bounds_it() -> None:
    bounds = process.memory_bounds()
    assert all(0 <= free <= whole for free, whole in bounds)
    if Path("/proc/meminfo").exists():
        assert bounds


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Engine, Machine]]:
    machine = Machine((4, 8))
    engine = Engine(Options(max_wait_s=10), pressure=machine.pressure())
    try:
        engine.load(colors(tmp_path / "p").path, "m")
        yield engine, machine
    finally:
        engine.close()


def test_an_engine_refuses_before_it_decodes(guarded: tuple[Engine, Machine]) -> None:
    engine, machine = guarded
    one, none = Request("m", (png(1, 2, 3),)), Request("m", (b"no picture", b"no picture"))

    def refused(request: Request) -> bool:
        try:
            engine.submit(request).result(10)
        except InferenceError as error:
            return error.code == "overloaded"
        return False

    assert not refused(one)
    assert not refused(none), "each picture has its own error"
    machine.bounds, machine.now = [(int(0.79 * GIB), 8 * GIB)], 1.0
    assert not refused(one)
    assert refused(none)
    assert refused(replace(one, urgent=False))
    engine.admit("m", several=True)  # how many there are is not known yet
    with pytest.raises(InferenceError, match="one urgent image at a time"):
        engine.admit("m", urgent=False)
    machine.bounds, machine.now = [(0, 8 * GIB)], 2.0
    assert refused(one)
    with pytest.raises(InferenceError, match="short of memory"):
        engine.admit("m")
    machine.bounds, machine.now = [(4 * GIB, 8 * GIB)], 3.0
    assert not refused(one)
    assert not refused(none)
