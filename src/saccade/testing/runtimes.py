"""What every runtime must keep: own rows, any batch size, several threads, typed errors for files that are no graph."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.testing.graphs import channel_means


def check(runtime: Runtime, folder: Path, make: Callable[[Path], Path] = channel_means) -> None:
    """Raises AssertionError where a runtime breaks the contract. folder: empty, for graphs.

    make writes the graph of `channel_means` at a path, in a format of the runtime, and says where it lies.
    """
    suffix = runtime.suffixes[0] if make is not channel_means else ".onnx"
    assert suffix in runtime.suffixes
    assert runtime.version()[0].isdigit()
    check_graph(runtime.open(make(folder / f"means{suffix}"), "cpu", 1))
    for content in (b"\x08\x09no graph", b"", b"PK\x05\x06" + bytes(18)):
        (folder / f"damaged{suffix}").write_bytes(content)
        assert _code(lambda: runtime.open(folder / f"damaged{suffix}").close()) == "onnx_invalid"
    assert _code(lambda: runtime.open(folder / f"damaged{suffix}", "abacus").close()) == "not_found"


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
    graph.close()
    assert _code(lambda: graph.run({"image": np.zeros((1, 32, 32, 3), np.uint8)})) == "not_ready"
    graph.close()
    assert _code(lambda: graph.wait(0)) in ("", "not_ready")


def _code(act: Callable[[], object]) -> str:
    try:
        act()
    except (InferenceError, PackageError) as error:
        return error.code
    return ""
