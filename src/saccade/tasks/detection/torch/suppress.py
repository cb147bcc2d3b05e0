"""Non-maximum suppression that trains, exports and serves alike: greedy, by class, the standard ONNX operator.

PyTorch runs `saccade::suppress` here; the exporter writes it as NonMaxSuppression with its result scattered back, so
that shapes stay fixed and the batch axis free.
"""

from typing import Any

import torch
from onnxscript import opset18
from torch import Tensor

from saccade.tasks.detection.torch.boxes import iou


@torch.library.custom_op("saccade::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, overlap: float, floor: float, most: int) -> Tensor:
    """Scores [N, C, M] of the boxes [N, M, 4] that survive, 0 elsewhere.

    Class by class, best first: a box goes when its IoU with a kept one is above `overlap`, its score is not above
    `floor`, or `most` of its class are kept already. Equal scores: the lower place wins.
    """
    kept = torch.zeros_like(scores)
    for row in range(len(scores)):
        overlaps = iou(boxes[row][:, None], boxes[row][None])
        for class_id in (scores[row] > floor).any(1).nonzero()[:, 0].tolist():
            line = scores[row, class_id]
            order = line.argsort(descending=True, stable=True)
            order = order[line[order] > floor]
            stays = _greedy(overlaps[order][:, order] > overlap)
            places = order[stays][:most]
            kept[row, class_id, places] = line[places]
    return kept


@suppress.register_fake
def _shape(boxes: Tensor, scores: Tensor, overlap: float, floor: float, most: int) -> Tensor:
    return torch.empty_like(scores)


def _greedy(near: Tensor) -> Tensor:
    """bool [M] of survivors, best first. near: bool [M, M].

    Each round settles at least one more box, since whoever has no settled better neighbour is settled itself.
    """
    above = near.triu(1)
    stays = torch.ones(len(near), dtype=torch.bool, device=near.device)
    while True:
        again = ~(above & stays[:, None]).any(0)
        if torch.equal(again, stays):
            return stays
        stays = again


def _as_onnx(boxes: Any, scores: Any, overlap: float, floor: float, most: int) -> Any:
    """The same in standard operators: NonMaxSuppression gives (row, class, place) of each survivor."""
    op: Any = opset18
    most, overlap, floor = (op.Constant(**{k: [v]}) for k, v in (("value_ints", most), ("value_floats", overlap),
                                                                  ("value_floats", floor)))  # fmt: skip
    found = op.NonMaxSuppression(boxes, scores, most, overlap, floor)
    blank = op.Mul(scores, op.Constant(value_float=0.0))
    return op.ScatterND(blank, found, op.GatherND(scores, found))


def translations() -> dict[Any, Any]:
    """What the exporter must know to write `suppress`."""
    return {torch.ops.saccade.suppress.default: _as_onnx}
