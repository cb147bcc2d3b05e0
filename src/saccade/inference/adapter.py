"""A graph that was made elsewhere, behind the face of a sealed one: uint8 pixels in, the task's outputs out."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from saccade.errors import InferenceError, SaccadeError
from saccade.images.fill import fill
from saccade.images.geometry import iou_matrix
from saccade.inference.runtime import Health, OpenGraph
from saccade.package.adapter import Adapter, BoxRule
from saccade.types import Array, TensorSpec

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
CANDIDATES = 1000
"""Boxes of an image that are compared with each other, best first."""
INVERTED = 0.1
"""From this share of boxes that end before they begin on, what the graph gives are no boxes."""


class Adapted(OpenGraph):
    """What an adapter says, done in numpy around a graph. image: the name of the sealed input, uint8 [N, H, W, 3].

    A graph that takes a fixed number of rows is run that many at a time, the last ones beside rows of zeros; one that
    takes a bounded number, as many at a time. Without outputs in the adapter the graph's own names stay and only the
    rows are counted.
    """

    def __init__(self, graph: OpenGraph, adapter: Adapter, image: str, size: tuple[int, int], classes: int) -> None:
        self._graph = graph
        self.near, self.steady = graph.near, graph.steady
        self._adapter = adapter
        self._image = image
        self._width, self._height = size
        self._classes = classes
        self.inputs = (TensorSpec(image, "uint8", (None, self._height, self._width, 3)),)
        self.outputs = self._specs()
        if not adapter.outputs:
            self.inputs = tuple(TensorSpec(s.name, s.dtype, (None, *s.shape[1:])) for s in graph.inputs)

    def _specs(self) -> tuple[TensorSpec, ...]:
        most = self._adapter.boxes.most if self._adapter.boxes else 0
        known = {
            "scores": TensorSpec("scores", "float32", (None, most or self._classes)),
            "mask": TensorSpec("mask", "uint8", (None, self._height, self._width)),
            "boxes": TensorSpec("boxes", "float32", (None, most, 4)),
            "class_ids": TensorSpec("class_ids", "int64", (None, most)),
        }
        if self._adapter.outputs:
            return tuple(known[name] for name in self._adapter.answers)
        return tuple(TensorSpec(s.name, s.dtype, (None, *s.shape[1:])) for s in self._graph.outputs)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return self._read(arrays, self._graph.run)

    def run_until(self, arrays: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        return self._read(arrays, lambda part: self._graph.run_until(part, deadline))

    def fault(self) -> SaccadeError | None:
        return self._graph.fault()

    def wait(self, timeout_s: float) -> bool:
        return self._graph.wait(timeout_s)

    def settle(self) -> None:
        self._graph.settle()

    def health(self) -> Health | None:
        return self._graph.health()

    def _read(self, arrays: Mapping[str, Array], run: Run) -> dict[str, Array]:
        adapter = self._adapter
        if not adapter.outputs:
            return self._run(arrays, run)
        return self.answers(self._run({adapter.input: fill(arrays[self._image], adapter.filling)}, run))

    def answers(self, raw: dict[str, Array]) -> dict[str, Array]:
        """The sealed outputs of what the graph itself gave."""
        adapter = self._adapter
        if adapter.boxes is not None:
            return self._boxes(raw, adapter.boxes)
        if adapter.mask:
            return {"mask": self._mask(raw[adapter.outputs["mask"]])}
        return {"scores": self._scores(raw[adapter.outputs["scores"]])}

    def close(self) -> None:
        self._graph.close()

    def _run(self, arrays: Mapping[str, Array], run: Run) -> dict[str, Array]:
        fixed, rows = self._adapter.batch, len(next(iter(arrays.values())))
        size = fixed or self._adapter.most
        if not size or size == rows or (rows < size and not fixed):
            return run(arrays)
        parts = []
        for start in range(0, rows, size):
            part = {name: value[start : start + size] for name, value in arrays.items()}
            lacking = size - len(next(iter(part.values()))) if fixed else 0
            if lacking:
                part = {k: np.concatenate([v, np.zeros((lacking, *v.shape[1:]), v.dtype)]) for k, v in part.items()}
            parts.append({name: value[: size - lacking] for name, value in run(part).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _scores(self, raw: Array) -> Array:
        flat = raw.reshape(len(raw), -1)
        if flat.shape[1] != self._classes:
            raise _unfit(f"{flat.shape[1]} scores came for {self._classes} classes")
        return np.asarray(_tail(flat, self._adapter.tail))

    def _mask(self, raw: Array) -> Array:
        """Classes by the best score, at the input's size; scores of another size are stretched first."""
        size = (self._width, self._height)
        if self._adapter.mask == "NHW":
            ids = raw.reshape(len(raw), *[side for side in raw.shape[1:] if side != 1 or raw.ndim == 3])
            if ids.ndim != 3 or ids.min(initial=0) < 0 or ids.max(initial=0) > 255:
                raise _unfit(f"a mask of ids has shape {list(raw.shape)}, expected [N, H, W] of 0 to 255")
            small = ids.astype(np.uint8)
            return np.stack([cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in small])
        scores = raw.astype(np.float32)
        if self._adapter.mask == "NCHW":
            scores = scores.transpose(0, 2, 3, 1)
        return np.stack([self._best(row, size) for row in scores])

    def _best(self, scores_HWC: Array, size: tuple[int, int]) -> Array:
        if scores_HWC.shape[:2] != size[::-1]:
            planes = [cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in np.moveaxis(scores_HWC, -1, 0)]
            scores_HWC = np.stack(planes, -1)
        if scores_HWC.shape[-1] == 1:
            return np.asarray(_tail(scores_HWC, self._adapter.tail)[..., 0] >= 0.5, np.uint8)
        if scores_HWC.shape[-1] != self._classes:
            raise _unfit(f"{scores_HWC.shape[-1]} planes came for {self._classes} classes")
        return np.asarray(scores_HWC.argmax(-1), np.uint8)

    def _boxes(self, raw: dict[str, Array], rule: BoxRule) -> dict[str, Array]:
        boxes, scores, ids = self._found(raw, rule)
        if rule.form == "center":
            half = boxes[..., 2:] / 2
            boxes = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
        inverted = (boxes[..., 2:] < boxes[..., :2]).any(-1)
        if inverted.mean() > INVERTED:
            raise _unfit(
                f"{inverted.sum():,} of {inverted.size:,} boxes end before they begin, so they are not {rule.form} in "
                f"{rule.unit}; offsets from a grid need the code of their model"
            )
        if rule.unit == "share":
            boxes = boxes * np.array([self._width, self._height] * 2, np.float32)
        rows = len(boxes)
        out: dict[str, Array] = {
            "boxes": np.zeros((rows, rule.most, 4), np.float32),
            "scores": np.zeros((rows, rule.most), np.float32),
            "class_ids": np.zeros((rows, rule.most), np.int64),
        }
        for i in range(rows):
            kept = survivors(boxes[i], scores[i], ids[i], rule)
            for name, value in (("boxes", boxes), ("scores", scores), ("class_ids", ids)):
                out[name][i, : len(kept)] = value[i][kept]
        return out

    def _found(self, raw: dict[str, Array], rule: BoxRule) -> tuple[Array, Array, Array]:
        """boxes [N, K, 4], scores [N, K] and ledger ids [N, K], as the graph numbers them."""
        names = self._adapter.outputs
        boxes = raw[names["boxes"]].astype(np.float32)
        boxes = boxes.transpose(0, 2, 1) if rule.columns == "first" else boxes
        if "scores" in names:
            scores = raw[names["scores"]].astype(np.float32)
            scores = scores.transpose(0, 2, 1) if rule.columns == "first" and scores.ndim == 3 else scores
        else:
            start = 5 if rule.objectness else 4
            scores = np.asarray(_tail(boxes[..., start:], self._adapter.tail))
            scores = scores * boxes[..., 4:5] if rule.objectness else scores
            boxes = boxes[..., :4]
        if "class_ids" in names:
            ids = raw[names["class_ids"]].reshape(scores.shape).astype(np.int64) - rule.first_class
            return boxes, np.where((ids >= 0) & (ids < self._classes), scores, 0), ids
        if "scores" in names:
            scores = np.asarray(_tail(scores if scores.ndim == 3 else scores[..., None], self._adapter.tail))
        if rule.background >= 0:
            scores = np.delete(scores, rule.background, -1)
        if scores.shape != (*boxes.shape[:2], self._classes):
            raise _unfit(f"scores {list(scores.shape)} do not fit boxes {list(boxes.shape)}, {self._classes} classes")
        return boxes, scores.max(-1), scores.argmax(-1).astype(np.int64)


def survivors(boxes_K4: Array, scores_K: Array, ids_K: Array, rule: BoxRule) -> Array:
    """Positions of the answers that stay, best first: strong enough, and no better one of
    their class lies over them."""
    order = np.flatnonzero((scores_K > 0) & (scores_K >= rule.min_score))
    order = order[np.argsort(-scores_K[order], kind="stable")][:CANDIDATES]
    if rule.overlap >= 1:
        return np.asarray(order[: rule.most])
    kept: list[int] = []
    while len(order) and len(kept) < rule.most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        same = ids_K[rest] == ids_K[best]
        order = rest[~same | (iou_matrix(boxes_K4[[best]], boxes_K4[rest])[0] <= rule.overlap)]
    return np.array(kept, np.int64)


def _tail(raw: Array, tail: str) -> Array:
    """Over the last axis, float32."""
    values = raw.astype(np.float32)
    if tail == "softmax":
        powers = np.exp(values - values.max(-1, keepdims=True))
        return np.asarray(powers / powers.sum(-1, keepdims=True))
    # exp of a clipped number: float32 overflows at 88, where the sigmoid has long been 0 or 1.
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80)))) if tail == "sigmoid" else values


def _unfit(what: str) -> InferenceError:
    return InferenceError(f"the graph's outputs are not those of its adapter: {what}", code="model_does_not_fit")
