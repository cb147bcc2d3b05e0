"""Graphs in processes of their own: the same contract as in this one, and what a lost process costs."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade import process
from saccade.errors import InferenceError, SaccadeError, UsageError
from saccade.inference import memory
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.inference.runtime import OpenGraph
from saccade.inference.workers import frames
from saccade.inference.workers import region as regions
from saccade.inference.workers.keeper import KeptGraph
from saccade.inference.workers.region import Region
from saccade.inference.workers.starter import Starter
from saccade.inference.workers.worker import Order
from saccade.package.reader import Package
from saccade.testing import engines, runtimes
from saccade.testing.graphs import endless, greedy
from saccade.testing.packages import colors, png

APART = Options(max_wait_s=None, isolation="process")
KILL = signal.SIGKILL


@pytest.fixture(scope="module")
def starter() -> Any:
    made = Starter()
    yield made
    made.close()


def order(package: Package, lanes: int = 2) -> Order:
    return Order(str(package.path), package.digest, "default", "cpu", 1, lanes)


def processes(engine: Engine, name: str = "colors", version: int = 1) -> list[int]:
    model = engine.find(name, version).model
    assert model is not None
    health = model.health()
    assert health is not None
    return health.processes


def asked(engine: Engine, image: bytes, name: str = "colors") -> int | str:
    try:
        return engines.red(engine.submit(Request(name, (image,), deadline_s=60)).result(60).results[0])
    except SaccadeError as error:
        return error.code


def until(true: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Ended, or a zombie that waits for whoever started it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_graph_keeps_the_contract(tmp_path: Path, starter: Starter, replicas: int) -> None:
    graph: OpenGraph = KeptGraph(order(colors(tmp_path / "p")), starter, replicas=replicas)
    runtimes.check_graph(graph)


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_the_engine_keeps_the_contract(tmp_path: Path, isolation: str) -> None:
    engines.check(lambda: Engine(Options(max_wait_s=None, isolation=isolation)), tmp_path)


def test_rows_laid_in_shared_memory_survive_a_process_that_died_before_they_ran(
    tmp_path: Path, starter: Starter
) -> None:
    graph = KeptGraph(order(colors(tmp_path / "p")), starter)
    laid = graph.stack([{"image": np.full((32, 32, 3), mark, np.uint8)} for mark in (51, 102)])
    np.testing.assert_allclose(graph.run({"image": np.zeros((1, 32, 32, 3), np.uint8)})["scores"], 0)
    [pid] = graph.health().processes
    os.kill(pid, KILL)
    until(lambda: graph.health().lost == 1)
    np.testing.assert_allclose(graph.run(laid)["scores"][:, 0], [0.2, 0.4], atol=1e-6)
    graph.close()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_costs_what_was_at_work_and_nothing_else(tmp_path: Path, blow: signal.Signals) -> None:
    engine = Engine(APART)
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    engine.load(colors(tmp_path / "q").path, "others", 1)
    stop, found, others = threading.Event(), list[tuple[int, int | str]](), list[int | str]()

    def ask(start: int) -> None:
        mark = start
        while not stop.is_set():
            mark = (mark + 4) % 256
            found.append((mark, asked(engine, png(mark, 0, 0))))

    def ask_others() -> None:
        while not stop.is_set():
            others.append(asked(engine, png(77, 0, 0), "others"))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)] + [threading.Thread(target=ask_others)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.3)
        before = processes(engine)
        os.kill(before[0], blow)
        until(lambda before=before: processes(engine) not in ([], before))  # type: ignore[misc]
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    wrong = [(mark, got) for mark, got in found if got not in (mark, "worker_lost")]
    lost = sum(got == "worker_lost" for _, got in found)
    assert wrong == []
    # What a blow hits is run once more, and the next blow comes later than that.
    assert lost == 0
    assert set(others) == {77}
    assert len(found) > 100
    model = engine.find("colors").model
    assert model is not None
    health = model.health()
    assert health is not None
    assert (health.lost, health.live, health.trouble) == (3, 1, f"ended by {blow.name}")
    engine.close()


def test_a_model_that_hangs_is_ended_at_its_bound_and_serves_on(tmp_path: Path) -> None:
    engine = Engine(Options(max_wait_s=None, isolation="process", hang_s=0.5, runners=1))
    engine.load(colors(tmp_path / "p", fault=endless).path, "colors", 1)
    assert asked(engine, png(9, 0, 0)) == 9
    assert asked(engine, png(255, 0, 0)) == "worker_lost"  # at once: a second run would hold up everybody as long again
    assert asked(engine, png(10, 0, 0)) == 10
    model = engine.find("colors").model
    assert model is not None
    health = model.health()
    assert health is not None
    assert health.lost == 1
    assert "longer than 0.5 s (hang_s)" in health.trouble
    engine.close()


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_model_that_asks_for_all_memory_fails_on_that_picture_alone(tmp_path: Path, isolation: str) -> None:
    engine = Engine(Options(max_wait_s=None, isolation=isolation))
    engine.load(colors(tmp_path / "p", fault=greedy).path, "colors", 1)
    answer = engine.submit(Request("colors", (png(1, 0, 0), png(255, 0, 0), png(2, 0, 0)))).result(60)
    assert [engines.red(r) for r in answer.results] == [1, "inference_failed", 2]
    engine.close()


def test_a_process_that_cannot_come_back_is_told_and_comes_back_once_it_can(tmp_path: Path) -> None:
    engine = Engine(APART)
    package = colors(tmp_path / "p")
    engine.load(package.path, "colors", 1)
    assert asked(engine, png(9, 0, 0)) == 9
    graph = package.path / "model.onnx"
    sealed = graph.read_bytes()
    graph.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    os.kill(processes(engine)[0], KILL)
    model = engine.find("colors").model
    assert model is not None
    until(lambda: model.fault() is not None)
    assert "changed after sealing" in model.health().trouble  # type: ignore[union-attr]
    with pytest.raises(InferenceError) as error:
        engine.submit(Request("colors", (png(9, 0, 0),))).result(10)
    assert error.value.code == "not_ready"
    assert error.value.details["retry_after_s"] >= 1
    graph.write_bytes(sealed)
    until(lambda: asked(engine, png(9, 0, 0)) == 9)
    engine.close()


def test_rows_behind_a_hang_are_answered_when_their_time_is_over(tmp_path: Path) -> None:
    engine = Engine(Options(max_wait_s=None, isolation="process", hang_s=120.0))
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    [pid] = processes(engine)
    batcher = engine.versions("colors")[1].model._batcher  # type: ignore[union-attr]
    runtimes.stop(pid)
    stuck = engine.submit(Request("colors", (png(1, 0, 0),)))
    until(lambda: batcher._running == 1)  # alone: none of the others shares its run
    late = [engine.submit(Request("colors", (png(1, 0, 0),), deadline_s=0.3)) for _ in range(40)]
    codes = [engines.red(future.result(60).results[0]) for future in late[20:]]
    assert set(codes) == {"deadline_exceeded"}
    assert not stuck.done(), "they did not wait for the one that hangs"
    os.kill(pid, signal.SIGCONT)
    assert engines.red(stuck.result(60).results[0]) == 1
    engine.close()


@pytest.mark.skipif(not process._may_raise(), reason="this user may not raise a priority again, so none is lowered")
def test_a_version_loaded_beside_others_gives_way_until_it_serves(tmp_path: Path, monkeypatch: Any) -> None:
    def nice(pid: int) -> set[int]:
        return {os.getpriority(os.PRIO_PROCESS, int(one.name)) for one in Path(f"/proc/{pid}/task").iterdir()}

    seen: list[set[int]] = []
    settle = KeptGraph.settle

    def settled(graph: KeptGraph) -> None:
        seen.append(nice(graph.health().processes[0]))
        settle(graph)

    monkeypatch.setattr(KeptGraph, "settle", settled)
    engine = Engine(APART)
    try:
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        for version, humble in ((1, {usual}), (2, {max(usual, 10)})):
            engine.load(colors(tmp_path / f"v{version}").path, "colors", version)
            assert seen.pop() == humble, f"version {version}, before it serves"
            assert nice(processes(engine, version=version)[0]) == {usual}, "once it serves"
    finally:
        engine.close()


def test_unloading_ends_the_process(tmp_path: Path) -> None:
    engine = Engine(APART)
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    [pid] = processes(engine)
    engine.unload("colors", 1)
    assert gone(pid)
    engine.close()


def test_what_does_not_fit_is_refused_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = colors(tmp_path / "p")
    opened = Options(isolation="process", tuning=tmp_path / "tuning")
    with Model.open(package.path, options=opened):
        pass
    peak = memory.read(tmp_path / "tuning", package.digest, "default")
    assert peak is not None
    assert 20e6 < peak < 500e6
    engine = Engine(opened)
    engine.load(package.path, "colors", 1)
    monkeypatch.setattr(process, "free_memory", lambda: int(peak * 1.2))
    engine.load(package.path, "colors", 2)
    engine.unload("colors", 2)
    peak = memory.read(tmp_path / "tuning", package.digest, "default") or 0
    free = int(peak * 1.05)
    monkeypatch.setattr(process, "free_memory", lambda: free)
    with pytest.raises(InferenceError) as error:
        engine.load(package.path, "colors", 2)
    assert error.value.code == "not_enough_memory"
    assert error.value.details == {"needed_bytes": int(peak * memory.HEADROOM), "free_bytes": free}
    assert f"{free / 2**20:,.0f} MiB are free" in error.value.message
    assert asked(engine, png(5, 0, 0)) == 5
    engine.close()


def test_free_memory_minds_every_control_group(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder, limit, used in ((tmp_path, "max", 9), (tmp_path / "a", "1000", 400), (inner, "5000", 100)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 7\ninactive_file 30\nactive_file 20\n")
    names = ("memory.max", "memory.current", ("inactive_file", "active_file"))
    assert process._group_free(tmp_path, "/a/b", *names) == [(4950, 5000), (650, 1000)]
    assert process._group_free(tmp_path, "/else/where", *names) == []
    free = process.free_memory()
    assert free is None or free > 0


SERVER = """
import sys, time
from saccade.inference.engine import Engine
from saccade.inference.options import Options
engine = Engine(Options(isolation="process"))
model = engine.load(sys.argv[1], "colors", 1).model
print(model.health().processes[0], flush=True)
time.sleep(60)
"""


def test_workers_end_with_their_server_and_get_none_of_its_secrets(tmp_path: Path) -> None:
    package = colors(tmp_path / "p").path
    secret = os.open(tmp_path / "secret", os.O_CREAT)
    environment = {**os.environ, "SACCADE_KEY": "hush", "AWS_SECRET_ACCESS_KEY": "hush", "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(package)], stdout=-1, env=environment, pass_fds=[secret], text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    given = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hush" not in given
    assert b"OMP_NUM_THREADS=1" in given
    held = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert not any(str(tmp_path) in name for name in held)
    strange = [n for n in held if not n.startswith(("socket:", "pipe:", "/dev/null", "/memfd:saccade"))]
    assert strange == []
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    children = [int(c) for c in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    family = {pid, *children}
    parent.kill()
    parent.wait()
    until(lambda: all(gone(one) for one in family))
    parent.stdout.close()
    os.close(secret)


def test_wrong_isolation_is_said() -> None:
    for wrong in ({"isolation": "thread"}, {"replicas": 0}, {"replicas": 2}, {"hang_s": 0}):
        with pytest.raises(UsageError):
            Options(**wrong)  # type: ignore[arg-type]


# Shared memory and messages


def test_arrays_come_out_as_they_went_in() -> None:
    region = Region.make()
    other = Region(os.dup(region.descriptor))
    dice = np.random.default_rng(0)
    for size in (1, 5000, 3, 200_000):
        arrays = {
            "a": dice.integers(0, 255, (size, 3), np.uint8),
            "b": np.asfortranarray(dice.normal(size=(size, 2)).astype(np.float32)),
            "none": np.zeros((0, 4), np.int64),
            "one": np.array(7, np.float16),
        }
        got = other.get(region.put(arrays))
        for name, value in arrays.items():
            assert got[name].dtype == value.dtype
            np.testing.assert_array_equal(got[name], value)
        rows = [{"r": dice.integers(0, 255, (size,), np.uint8)} for _ in range(3)]
        np.testing.assert_array_equal(other.get(region.put_rows(rows))["r"], np.stack([r["r"] for r in rows]))
    region.close()
    other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
def test_the_other_side_cannot_cut_memory_off() -> None:
    region = Region.make()
    region.put({"a": np.zeros(100_000, np.uint8)})
    with pytest.raises(PermissionError):
        os.ftruncate(region.descriptor, 10)
    region.close()


@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux alone")
def test_pages_that_nobody_needs_are_given_back_and_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "KEPT", 1 << 20)
    region = Region.make()
    other = Region(os.dup(region.descriptor))

    def held() -> int:
        return os.fstat(region.descriptor).st_blocks * 512

    large, small = (np.random.default_rng(0).integers(0, 256, n, np.uint8) for n in (8 << 20, 4 << 20))
    for array in (large, small, large, np.tile(large, 2)):
        np.testing.assert_array_equal(other.get(region.put({"a": array}))["a"], array)
        assert held() >= array.nbytes, "before the other side writes"
        region.let_go()
        assert held() <= 1 << 20
    region.reserve(large.nbytes)
    assert held() >= large.nbytes
    told = other.put({"b": large})
    np.testing.assert_array_equal(region.get(told)["b"], large)
    region.close()
    other.close()


WORDS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=5), st.just("float32"))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(WORDS, st.one_of(WORDS, st.just("uint8")), st.lists(WORDS, max_size=4), WORDS).map(list), max_size=3
    )
)
def test_a_worker_that_lies_about_its_arrays_reaches_nothing(told: list[Any]) -> None:
    region = Region.make()
    region.put({"a": np.zeros(1000, np.uint8)})
    try:
        found = region.get(told)
    except (ValueError, TypeError):
        found = {}
    assert sum(value.nbytes for value in found.values()) <= 3 * 4096
    found.clear()
    region.close()


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_message(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()

    def until_the_end() -> None:
        while True:
            frames.receive(ours)

    with ours, pytest.raises((EOFError, ValueError, OSError)):
        until_the_end()


def test_errors_travel_with_their_words() -> None:
    error = frames.raised(frames.told(InferenceError("what", hint="cure", code="not_found")))
    assert (type(error), error.code, error.message, error.hint) == (InferenceError, "not_found", "what", "cure")
