"""Graphs that end their own process, over a picture or while they open: what that costs, and whom."""

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from saccade.errors import InferenceError, SaccadeError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.runtime import Health
from saccade.testing import engines
from saccade.testing.packages import colors, png

DEADLY = """
import ctypes
import os
import sys
from pathlib import Path

if "saccade.inference.workers.child" in sys.orig_argv:
    from saccade.inference.runtimes import onnxruntime

    runtime = type(onnxruntime.RUNTIME)

    def run(self, arrays, honest=onnxruntime._Graph.run):
        if (arrays["image"][..., 0] == 255).all((1, 2)).any():
            ctypes.string_at(0)
        return honest(self, arrays)

    def opened(self, *given, honest=runtime.open):
        if Path(__file__).with_name("now").exists():
            print("it was all too much", file=sys.stderr, flush=True)
            os._exit(7)
        return honest(self, *given)

    onnxruntime._Graph.run, runtime.open = run, opened
"""
"""Runs first in every worker: one that meets a picture all red crashes, one that opens a graph ends while there is a
file `now`."""
RED = 255


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that ends workers which open a graph."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder / "now"


def serving(tmp_path: Path, **more: int) -> Engine:
    engine = Engine(Options(max_wait_s=None, isolation="process", **more))  # type: ignore[arg-type]
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    return engine


def asked(engine: Engine, *marks: int, name: str = "colors", deadline_s: float = 60.0) -> list[int | str]:
    request = Request(name, tuple(png(mark, 0, 0) for mark in marks), deadline_s=deadline_s)
    return [engines.red(result) for result in engine.submit(request).result(90).results]


def health(engine: Engine) -> Health:
    model = engine.versions("colors")[1].model
    assert model is not None
    found = model.health()
    assert found is not None
    return found


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@pytest.mark.parametrize("more", [{}, {"runners": 1}, {"replicas": 2, "runners": 4}])
def test_the_picture_that_ends_its_process_is_lost_alone(tmp_path: Path, deadly: Path, more: dict[str, int]) -> None:
    engine = serving(tmp_path, **more)
    marks = [*range(20), RED, *range(20, 40)]
    assert asked(engine, *marks) == [*range(20), "worker_lost", *range(20, 40)]
    # The run it was in, and the one that it had to itself; no other run of its own was worth a process.
    until(lambda: health(engine).lost == 2 and health(engine).live == health(engine).wanted)
    assert "SIGSEGV" in health(engine).trouble
    engine.close()


def test_callers_that_send_such_pictures_all_the_time_cost_the_others_only_time(
    tmp_path: Path, deadly: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = serving(tmp_path)
    marks = [RED if i in (10, 100) else i % 250 for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda mark: asked(engine, mark)[0], marks))
    assert found == ["worker_lost" if mark == RED else mark for mark in marks]
    assert health(engine).lost == 4
    said = [r.getMessage() for r in caplog.records if "were lost within 60 s" in r.getMessage()]
    assert len(said) == 2, "the third one and the fourth"
    assert "4 processes were lost" in said[1]
    assert "started after 1 s" in said[1]
    engine.close()


def test_no_row_waits_for_its_second_run_beyond_its_deadline(tmp_path: Path, deadly: Path) -> None:
    engine = serving(tmp_path)
    deadly.touch()
    began = time.monotonic()
    assert asked(engine, RED, deadline_s=2.0) == ["worker_lost"]
    assert time.monotonic() - began < 10
    until(lambda: engine.versions("colors")[1].state == "away")
    with pytest.raises(InferenceError) as caught:
        asked(engine, 1)
    assert caught.value.code == "not_ready"
    assert caught.value.details["retry_after_s"] >= 1
    assert "ended with code 7" in health(engine).trouble
    deadly.unlink()
    until(lambda: engine.versions("colors")[1].state == "ready")
    assert asked(engine, 1, 2) == [1, 2]
    engine.close()


def test_a_graph_that_ends_its_process_while_it_opens_fails_its_version_and_nothing_else(
    tmp_path: Path, deadly: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = serving(tmp_path)
    deadly.touch()
    with pytest.raises(SaccadeError) as caught:
        engine.load(colors(tmp_path / "q").path, "others", 1)
    assert caught.value.code == "worker_lost"
    assert "ended with code 7" in caught.value.message
    assert any("it was all too much" in r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)
    entry = engine.versions("others")[1]
    assert (entry.state, entry.error and entry.error.code) == ("failed", "worker_lost")
    assert asked(engine, 5) == [5]
    with pytest.raises(InferenceError) as refused:
        asked(engine, 5, name="others")
    assert refused.value.code == "not_ready"
    deadly.unlink()
    engine.load(colors(tmp_path / "q").path, "others", 1)
    assert asked(engine, 6, name="others") == [6]
    engine.close()
