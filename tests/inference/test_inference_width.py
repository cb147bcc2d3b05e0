"""A row that comes alone has all cores; rows among others share them; what answers otherwise, or not faster, is unused."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.inference import intake as intake_module
from saccade.inference import runtimes, width
from saccade.inference.batcher import Batcher
from saccade.inference.intake import Intake
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.runtime import OpenGraph
from saccade.inference.runtimes.onnxruntime import RUNTIME
from saccade.testing.packages import colors, png
from saccade.types import Array, Prediction

Arrays = Mapping[str, Array]


def row(mark: int) -> dict[str, Array]:
    return {"image": np.full((4, 4, 3), mark, np.uint8)}


def double(arrays: Arrays) -> dict[str, Array]:
    return {"scores": arrays["image"].reshape(len(arrays["image"]), -1).astype(np.float32) * 2}


def far() -> float:
    return time.monotonic() + 60


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_row_alone_has_all_cores_and_what_meets_others_does_not() -> None:
    ways: list[tuple[str, int]] = []
    held, begun = threading.Event(), threading.Event()
    held.set()

    def narrow(arrays: Arrays, deadline: float) -> dict[str, Array]:
        ways.append(("narrow", len(arrays["image"])))
        return double(arrays)

    def wide(arrays: Arrays, deadline: float) -> dict[str, Array]:
        ways.append(("wide", len(arrays["image"])))
        begun.set()
        assert held.wait(10)
        return double(arrays)

    batcher = Batcher(narrow, max_batch=4, runners=2).start()
    batcher.submit(row(1), far()).result(10)
    batcher.widen(wide)
    batcher.submit(row(1), far()).result(10)
    ran = batcher.at_once(row(2), far())
    assert ran is not None
    assert float(ran.outputs["scores"][0]) == 4
    assert ways == [("narrow", 1), ("wide", 1), ("wide", 1)]
    held.clear()
    begun.clear()
    first = batcher.submit(row(3), far())
    assert begun.wait(10)
    assert float(batcher.submit(row(4), far()).result(10).outputs["scores"][0]) == 8
    held.set()
    first.result(10)
    assert ways[3:] == [("wide", 1), ("narrow", 1)]
    batcher.close()


def test_what_a_row_costs_alone_says_nothing_of_rows_among_others() -> None:
    now = [100.0]

    def taking(seconds: float) -> Any:
        def run(arrays: Arrays, deadline: float) -> dict[str, Array]:
            now[0] += seconds
            return double(arrays)

        return run

    batcher = Batcher(taking(0.2), max_batch=4, runners=2, objective_s=0.1, clock=lambda: now[0])
    batcher.widen(taking(0.1))
    assert batcher.at_once(row(1), 1e9) is not None
    assert (batcher.row_s, batcher.lone_s) == (0.0, pytest.approx(0.1))
    assert batcher.limit == 4
    batcher.widen(None)
    assert batcher.at_once(row(1), 1e9) is not None
    assert batcher.row_s == pytest.approx(0.1), "two of them in 0.2 s"
    assert batcher.limit == 1, "no batch leaves room for the objective"


class Counting:
    """Graphs as they come from the runtime, with how many threads each has and what it ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[int] = []
        self.closed: list[int] = []
        self.wrong: set[int] = set()
        self.until: Callable[[], bool] = lambda: True
        """No run begins before it."""
        real = RUNTIME.open

        def opening(graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
            return Counted(self, real(graph, device, threads), threads or 0)

        monkeypatch.setattr(runtimes.find("onnxruntime"), "open", opening)
        monkeypatch.setattr(runtimes.find("onnxruntime"), "open_wide", opening)
        monkeypatch.setattr(width, "cores", lambda: 7)
        monkeypatch.setattr(width, "WORTH_S", 0.0)
        monkeypatch.setattr(width, "GAIN", 0.0)


class Counted(OpenGraph):
    def __init__(self, count: Counting, graph: OpenGraph, threads: int) -> None:
        self._count, self._graph, self._threads = count, graph, threads
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, arrays: Arrays) -> dict[str, Array]:
        self._count.ran.append(self._threads)
        wait_for(self._count.until)
        found = self._graph.run(arrays)
        return {k: v[..., ::-1] for k, v in found.items()} if self._threads in self._count.wrong else found

    def close(self) -> None:
        self._count.closed.append(self._threads)
        self._graph.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return colors(tmp_path / "p").path


@pytest.fixture
def counting(package: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_a_model_asked_about_one_picture_takes_all_cores(package: Path, counting: Counting) -> None:
    with Model.open(package, options=Options(runners=2)) as model:
        counting.ran.clear()
        alone = model.predict(png(9, 0, 0))
        assert counting.ran == [7]
        assert alone.scores is not None
        came = threading.Event()
        counting.until = came.is_set
        asked = [model.submit(png(9, 0, 0), far()) for _ in range(40)]
        came.set()
        found = [one.result(20).result for one in asked]
        assert set(counting.ran) > {7}, "since there are others"
        assert counting.ran.count(7) <= 3, "the one before, the first and the last, which met nobody"
        for one in found:
            assert isinstance(one, Prediction)
            np.testing.assert_allclose(one.scores, alone.scores, atol=1e-6)
    assert len(counting.closed) == 2
    assert 7 in counting.closed


@pytest.mark.parametrize("options", [Options(threads=1), Options(isolation="process")])
def test_threads_that_were_named_are_kept_and_processes_have_their_own(
    package: Path, counting: Counting, options: Options
) -> None:
    with Model.open(package, options=options) as model:
        counting.ran.clear()
        model.predict(png(9, 0, 0))
        assert 7 not in counting.ran


def test_a_graph_that_is_not_faster_so_is_closed_again(
    package: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width, "GAIN", 1e9)
    with Model.open(package) as model:
        assert counting.closed == [7]
        model.predict(png(9, 0, 0))
        assert counting.ran[-1] != 7


def test_a_graph_that_answers_otherwise_so_is_not_used(package: Path, counting: Counting) -> None:
    counting.wrong.add(7)
    with Model.open(package) as model:
        assert counting.closed == [7]
        assert model.predict(png(250, 0, 0)).class_ids is not None
        assert counting.ran[-1] != 7


def test_a_second_opening_that_memory_has_no_room_for_is_left(
    package: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width, "free_memory", lambda: 1000)
    with Model.open(package) as model:
        model.predict(png(9, 0, 0))
        assert 7 not in counting.ran


def test_a_row_beside_those_of_another_model_is_not_alone(
    tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "UNDISTURBED_S", 0.0)
    intake = Intake(2)
    others = Others()
    with Model.open(colors(tmp_path / "q").path, intake=intake) as model:
        counting.ran.clear()
        model.predict(png(9, 0, 0))
        assert counting.ran == [7]
        intake.join(others)
        assert intake.pending() == 5
        model.predict(png(9, 0, 0))
        assert counting.ran[1:] != [7]
        intake.leave(others)
        model.predict(png(9, 0, 0))
        assert counting.ran[-1] == 7
    assert intake.pending() == 0
    assert intake._asked == ()
    intake.close()


def test_what_is_opened_beside_others_is_checked_all_the_same(tmp_path: Path, counting: Counting) -> None:
    intake = Intake(2)
    intake.join(Others())
    counting.wrong.add(7)
    with Model.open(colors(tmp_path / "q").path, intake=intake) as model:
        assert 7 in counting.closed
        model.predict(png(250, 0, 0))
        assert counting.ran[-1] != 7
    intake.close()


class Others:
    pending = 5


def test_threads_wait_for_each_other_at_work_only_where_nothing_runs_beside(package: Path) -> None:
    graph = package / "model.onnx"
    found = {}
    for opened in (RUNTIME.open(graph, threads=2), RUNTIME.open_wide(graph, threads=2)):
        said = opened._session.get_session_options()  # type: ignore[attr-defined]
        found[said.get_session_config_entry("session.intra_op.allow_spinning")] = said
    assert set(found) == {"0", "1"}
    assert found["1"].get_session_config_entry("session.force_spinning_stop") == "1", "or they burn a core for ever"
