"""Encoded pictures to the pixels a graph takes: a model of Triton's Python backend.

`saccade export triton` puts this file into a model repository as it is. What it needs lies beside it:
`preprocess.json`, and the very files of saccade that decode and resize, so that the pixels are saccade's byte for byte.
Triton's Python needs numpy, Pillow and opencv-python-headless (4.11 or later).
"""

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Before whatever saccade may be installed: the files that were exported are those that answer.
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import triton_python_backend_utils as backend  # noqa: E402

from saccade.errors import SaccadeError  # noqa: E402
from saccade.images import fill, preprocess  # noqa: E402


class TritonPythonModel:
    """image BYTES [N, 1] -> pixels [N, ...], placement FP64 [N, 6]: width, height, scale_x, scale_y, shift_x, shift_y.

    x_pixels = x * scale_x + shift_x and the same for y, where x, y are px of the upright original.
    """

    def initialize(self, args: dict[str, str]) -> None:
        record = json.loads((HERE / "preprocess.json").read_text("utf-8"))
        self.spec = preprocess.PreprocessSpec.from_json(record["preprocess"])
        self.filling = fill.Filling.from_json(record["filling"]) if record["filling"] else None
        self.pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A picture that cannot be used fails its own request and no other."""
        given = [backend.get_input_tensor_by_name(request, "image").as_numpy().ravel() for request in requests]
        waiting = [[self.pool.submit(self.load, picture) for picture in pictures] for pictures in given]
        return [self.answer(futures) for futures in waiting]

    def load(self, picture: bytes) -> tuple[Any, Any]:
        pixels, place = preprocess.load(bytes(picture), self.spec)
        where = (place.width, place.height, place.scale_x, place.scale_y, place.shift_x, place.shift_y)
        return pixels, np.array(where, np.float64)

    def answer(self, futures: Sequence[Future[tuple[Any, Any]]]) -> Any:
        try:
            found = [future.result() for future in futures]
        except SaccadeError as error:
            fault = backend.TritonError(f"{error.code}: {error}", backend.TritonError.INVALID_ARG)
            return backend.InferenceResponse(output_tensors=[], error=fault)
        pixels = np.stack([row for row, _ in found])
        if self.filling is not None:
            pixels = fill.fill(pixels, self.filling)
        placement = np.stack([place for _, place in found])
        return backend.InferenceResponse([backend.Tensor("pixels", pixels), backend.Tensor("placement", placement)])

    def finalize(self) -> None:
        self.pool.shutdown()
