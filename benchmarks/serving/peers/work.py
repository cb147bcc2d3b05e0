"""What every peer does with a picture: the same decode, the same graph, the same answer. Knows nothing of saccade.

The peers' servers stand beside this file and run in environments of their own; the folder is on their path.
"""

import base64
from typing import Any

import cv2
import numpy as np
import onnxruntime

cv2.setNumThreads(1)  # the servers below fill the cores with pictures


class Work:
    """An ONNX graph that takes uint8 [N, H, W, 3]. threads: of one run."""

    def __init__(self, graph: str, threads: int = 1) -> None:
        options = self.options(threads)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        _, self.height, self.width, _ = self._session.get_inputs()[0].shape
        self._names = [output.name for output in self._session.get_outputs()]

    def options(self, threads: int) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return options

    def pixels(self, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        """Network input of one picture, and the picture's own height and width."""
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        small = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB), image.shape[:2]

    def run(self, images_NHWC: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Each picture's own outputs by name."""
        outputs = self._session.run(None, {"image": images_NHWC})
        return [dict(zip(self._names, row, strict=True)) for row in zip(*outputs, strict=True)]

    def answer(self, row: dict[str, np.ndarray], size: tuple[int, int]) -> dict[str, Any]:
        """The five best classes, or the boxes that score at least 0.3, or the mask, in pixels of the original."""
        height, width = size
        if "boxes" in row:
            scale = np.array([width / self.width, height / self.height] * 2, np.float32)
            shown = row["scores"] >= 0.3
            found = zip(row["class_ids"][shown], row["scores"][shown], row["boxes"][shown] * scale, strict=True)
            return {"predictions": [{"class_id": int(c), "score": float(s), "box": b.tolist()} for c, s, b in found]}
        if "mask" in row:
            mask = cv2.resize(row["mask"], (width, height), interpolation=cv2.INTER_NEAREST)
            found = zip(*np.unique(mask, return_counts=True), strict=True)
            _, png = cv2.imencode(".png", mask)
            return {
                "mask": base64.b64encode(png).decode(),
                "classes": [{"class_id": int(c), "pixels": int(n)} for c, n in found],
            }
        scores = row["scores"]
        best = np.argsort(scores)[::-1][:5]
        return {"predictions": [{"class_id": int(i), "score": float(scores[i])} for i in best]}

    def __call__(self, data: bytes) -> dict[str, Any]:
        """One picture, alone."""
        pixels, size = self.pixels(data)
        return self.answer(self.run(pixels[None])[0], size)

    def several(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        """Pictures in one run of the graph."""
        seen = [self.pixels(data) for data in pictures]
        rows = self.run(np.stack([pixels for pixels, _ in seen]))
        return [self.answer(row, size) for row, (_, size) in zip(rows, seen, strict=True)]
