"""What every runtime must keep: own rows, any batch size, several threads, typed errors for files that are no graph,
and for processes that end or hang over a run."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference.opening import Apart
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.testing.graphs import channel_means

BEGUN_S = 1.0
"""After this long a run has reached the process it was sent to."""
BACK_S = 60.0


def check(runtime: Runtime, folder: Path, make: Callable[[Path], Path] = channel_means) -> None:
    """Raises AssertionError where a runtime breaks the contract. folder: empty, for graphs.

    make writes the graph of `channel_means` at a path, in a format of the runtime, and says where it lies.
    """
    suffix = runtime.suffixes[0] if make is not channel_means else ".onnx"
    assert suffix in runtime.suffixes
    assert runtime.version()[0].isdigit()
    check_graph(runtime.open(make(folder / f"means{suffix}"), "cpu", 1))
    _check_wide(runtime.open_wide(make(folder / f"wide{suffix}"), "cpu", 2))
    for content in (b"\x08\x09no graph", b"", b"PK\x05\x06" + bytes(18)):
        (folder / f"damaged{suffix}").write_bytes(content)
        assert _code(lambda: runtime.open(folder / f"damaged{suffix}").close()) == "onnx_invalid"
    assert _code(lambda: runtime.open(folder / f"damaged{suffix}", "abacus").close()) == "not_found"


def _check_wide(graph: OpenGraph) -> None:
    """One row at a time, whatever else its batch axis allows."""
    assert [(i.name, i.dtype, i.shape[1:]) for i in graph.inputs] == [("image", "uint8", (32, 32, 3))]
    assert [(o.name, o.dtype, o.shape[1:]) for o in graph.outputs] == [("scores", "float32", (3,))]
    for mark in range(0, 256, 5):
        image = np.full((1, 32, 32, 3), mark, np.uint8)
        np.testing.assert_allclose(graph.run({"image": image})["scores"], [[mark / 255] * 3], atol=2e-5)
    graph.close()
    assert _code(lambda: graph.run({"image": image})) == "not_ready"


def check_graph(graph: OpenGraph) -> None:
    """What any open graph must keep, wherever it runs. graph: of `channel_means`; it is closed here."""
    assert [(i.name, i.dtype, i.shape) for i in graph.inputs] == [("image", "uint8", (None, 32, 32, 3))]
    assert [(o.name, o.dtype, o.shape) for o in graph.outputs] == [("scores", "float32", (None, 3))]
    dice = np.random.default_rng(3)

    def ask(rows: int) -> None:
        images_NHWC = dice.integers(0, 256, (rows, 32, 32, 3), np.uint8)
        got = graph.run({"image": images_NHWC})["scores"]
        np.testing.assert_allclose(got, images_NHWC.mean((1, 2)) / 255, atol=1e-5)

    for rows in (1, 2, 7, 64):
        ask(rows)
    with ThreadPoolExecutor(4) as pool:
        images = [np.full((1, 32, 32, 3), mark, np.uint8) for mark in range(64)]
        answers = list(pool.map(lambda i: graph.run({"image": i})["scores"], images))
    # Read after all have run: an answer that shares its memory with the next run would have changed by now.
    np.testing.assert_allclose([a[0, 0] * 255 for a in answers], range(64), atol=1e-3)
    turned = np.asfortranarray(dice.integers(0, 256, (3, 32, 32, 3), np.uint8))
    np.testing.assert_allclose(graph.run({"image": turned})["scores"], turned.mean((1, 2)) / 255, atol=1e-5)
    assert _code(lambda: graph.run({"image": np.zeros((2, 32, 32, 7), np.uint8)})) == "inference_failed"
    assert _code(lambda: graph.run({"image": np.zeros((2, 32, 32, 3), np.uint8)})) == ""
    _survives(graph)
    graph.close()
    assert _code(lambda: graph.run({"image": np.zeros((1, 32, 32, 3), np.uint8)})) == "not_ready"
    graph.close()
    assert _code(lambda: graph.wait(0)) in ("", "not_ready")


def stop(pid: int) -> None:
    """Stops a child with SIGSTOP, and waits until all its threads stand: until then one may still answer."""
    os.kill(pid, signal.SIGSTOP)
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, pid, os.WSTOPPED)


def _survives(graph: OpenGraph) -> None:
    """A run whose process ends, or hangs, is lost in a typed way; it is told, and the next run is answered."""
    if not isinstance(graph, Apart):
        assert graph.health() is None, "a graph with a process of its own has a bound, hang_s"
        return
    before = graph.health()
    assert before is not None
    assert (before.live, len(before.processes)) == (before.wanted, before.wanted)
    assert before.resident <= before.peak * before.wanted
    _lost(graph, signal.SIGKILL)
    assert "SIGKILL" in _back(graph, before.lost + before.wanted)
    graph.hang_s, bound = 2 * BEGUN_S, graph.hang_s
    _lost(graph)
    graph.hang_s = bound
    assert "hang_s" in _back(graph, before.lost + before.wanted + 1)


def _lost(graph: OpenGraph, blow: signal.Signals | None = None) -> None:
    """blow: what ends its processes while a run is at work; without it that run hangs."""
    health, images = graph.health(), np.full((1, 32, 32, 3), 255, np.uint8)
    assert health is not None
    for pid in health.processes:
        stop(pid)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_code, lambda: graph.run({"image": images}))
        if blow is not None:
            time.sleep(BEGUN_S)
            for pid in health.processes:
                os.kill(pid, blow)
        assert asked.result() == "worker_lost"
    for pid in health.processes:
        if blow is None and (now := graph.health()) is not None and pid in now.processes:
            os.kill(pid, signal.SIGCONT)


def _back(graph: OpenGraph, lost: int) -> str:
    """Waits until as many are there as shall be, after so many were lost; says what had ended the last."""
    end = time.monotonic() + BACK_S
    while (now := graph.health()) is None or now.lost < lost or now.live < now.wanted:
        assert time.monotonic() < end, "what was lost is not there again"
        time.sleep(0.01)
    assert graph.fault() is None
    images = np.full((2, 32, 32, 3), 51, np.uint8)
    np.testing.assert_allclose(graph.run({"image": images})["scores"], 0.2, atol=1e-5)
    assert now.lost == lost
    return now.trouble


def _code(act: Callable[[], object]) -> str:
    try:
        act()
    except (InferenceError, PackageError) as error:
        return error.code
    return ""
