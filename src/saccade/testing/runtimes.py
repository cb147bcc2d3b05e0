"""What every runtime must keep: own rows, any batch size, several threads, typed errors for files that are no graph."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from saccade.errors import PackageError
from saccade.inference.runtime import Runtime
from saccade.testing.graphs import channel_means


def check(runtime: Runtime, folder: Path) -> None:
    """Raises AssertionError where a runtime breaks the contract. folder: empty, for graphs."""
    graph = runtime.open(channel_means(folder / "means.onnx"), "cpu", 1)
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
        marks = [r["scores"][0, 0] * 255 for r in pool.map(lambda i: graph.run({"image": i}), images)]
    np.testing.assert_allclose(marks, range(64), atol=1e-3)
    graph.close()
    (folder / "damaged.onnx").write_bytes(b"\x08\x09no graph")
    try:
        runtime.open(folder / "damaged.onnx").close()
    except PackageError as error:
        code = error.code
    else:
        code = "opened"
    assert code == "onnx_invalid"
