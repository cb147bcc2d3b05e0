"""Non-maximum suppression by class: in numpy where TensorFlow answers, as the standard
operator where a graph is sealed.

TensorFlow's own suppression knows no classes and no free batch axis, so a graph is converted up to the candidates, and
the rest is written in ONNX behind them.
"""

from typing import Any

import numpy as np

from saccade.images.geometry import iou_matrix
from saccade.tasks.detection.plan import FLOOR
from saccade.tasks.detection.task import MOST, SUPPRESSED
from saccade.types import Array


def best(candidates_NM4: Array, scores_NCM: Array) -> dict[str, Array]:
    """Boxes [N, MOST, 4], scores [N, MOST], class_ids int64 [N, MOST], best first, padded with score 0."""
    kept = np.stack([_kept(b, s) for b, s in zip(candidates_NM4, scores_NCM, strict=True)])
    flat = kept.reshape(len(kept), -1)
    count = scores_NCM.shape[2]
    flat = np.pad(flat, ((0, 0), (0, max(0, MOST - flat.shape[1]))))
    order = np.argsort(-flat, 1, kind="stable")[:, :MOST]
    top = np.take_along_axis(flat, order, 1)
    which = np.where(top > 0, order, 0)
    boxes = np.take_along_axis(candidates_NM4, (which % count)[..., None], 1) * (top > 0)[..., None]
    return {
        "boxes": boxes.astype(np.float32),
        "scores": top.astype(np.float32),
        "class_ids": (which // count).astype(np.int64),
    }


def _kept(boxes_M4: Array, scores_CM: Array) -> Array:
    """Scores of the survivors, 0 elsewhere: class by class, best first; equal scores: the lower place wins."""
    near = iou_matrix(boxes_M4, boxes_M4) > SUPPRESSED
    kept = np.zeros_like(scores_CM)
    for class_id in np.flatnonzero((scores_CM > FLOOR).any(1)):
        line = scores_CM[class_id]
        order = np.argsort(-line, kind="stable")
        gone = np.zeros(len(line), bool)
        count = 0
        for place in order[line[order] > FLOOR]:
            if gone[place]:
                continue
            kept[class_id, place] = line[place]
            gone |= near[place]
            count += 1
            if count == MOST:
                break
    return kept


def finish(model: Any) -> None:
    """Behind the outputs `candidates` [N, M, 4] and `chances` [N, C, M] of an ONNX model:
    suppression, and the MOST best."""
    from onnx import TensorProto, helper

    graph = model.graph
    count = next(o for o in graph.output if o.name == "candidates").type.tensor_type.shape.dim[1].dim_value
    classes = next(o for o in graph.output if o.name == "chances").type.tensor_type.shape.dim[1].dim_value
    room = max(0, MOST - count * classes)

    def constant(name: str, kind: int, shape: list[int], values: list[Any]) -> str:
        graph.initializer.append(helper.make_tensor(name, kind, shape, values))
        return name

    def node(kind: str, given: list[str], out: list[str], **settings: Any) -> None:
        graph.node.append(helper.make_node(kind, given, out, **settings))

    whole, number = TensorProto.INT64, TensorProto.FLOAT
    constant("suppress_most", whole, [1], [MOST])
    constant("suppress_overlap", number, [1], [SUPPRESSED])
    constant("suppress_floor", number, [1], [FLOOR])
    constant("suppress_zero", number, [], [0.0])
    constant("suppress_row", whole, [2], [0, -1])
    constant("suppress_pads", whole, [4], [0, 0, 0, room])
    constant("suppress_count", whole, [], [count])
    constant("suppress_none", whole, [], [0])
    constant("suppress_last", whole, [1], [2])
    constant("suppress_four", whole, [3], [1, 1, 4])
    limits = ["suppress_most", "suppress_overlap", "suppress_floor"]
    node("NonMaxSuppression", ["candidates", "chances", *limits], ["suppress_found"])
    node("Mul", ["chances", "suppress_zero"], ["suppress_blank"])
    node("GatherND", ["chances", "suppress_found"], ["suppress_scores"])
    node("ScatterND", ["suppress_blank", "suppress_found", "suppress_scores"], ["suppress_kept"])
    node("Reshape", ["suppress_kept", "suppress_row"], ["suppress_flat"])
    node("Pad", ["suppress_flat", "suppress_pads"], ["suppress_padded"])
    node("TopK", ["suppress_padded", "suppress_most"], ["scores", "suppress_order"], axis=1)
    node("Greater", ["scores", "suppress_zero"], ["suppress_real"])
    node("Where", ["suppress_real", "suppress_order", "suppress_none"], ["suppress_which"])
    node("Div", ["suppress_which", "suppress_count"], ["class_ids"])
    node("Mod", ["suppress_which", "suppress_count"], ["suppress_place"])
    node("Unsqueeze", ["suppress_place", "suppress_last"], ["suppress_places"])
    node("Tile", ["suppress_places", "suppress_four"], ["suppress_index"])
    node("GatherElements", ["candidates", "suppress_index"], ["suppress_boxes"], axis=1)
    node("Cast", ["suppress_real"], ["suppress_mark"], to=number)
    node("Unsqueeze", ["suppress_mark", "suppress_last"], ["suppress_marks"])
    node("Mul", ["suppress_boxes", "suppress_marks"], ["boxes"])
    del graph.output[:]
    rows = "rows"
    graph.output.extend([
        helper.make_tensor_value_info("boxes", number, [rows, MOST, 4]),
        helper.make_tensor_value_info("scores", number, [rows, MOST]),
        helper.make_tensor_value_info("class_ids", whole, [rows, MOST]),
    ])  # fmt: skip
