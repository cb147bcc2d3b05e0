"""RT-DETRv2 of Hugging Face transformers by name, hf-rtdetrv2-r18 to -r101. Loaded only when one is asked for.

Sizes follow arXiv:2304.08069 and arXiv:2407.17140. Each of 300 queries answers for one object or none, so the graph
suppresses nothing; learning matches queries to boxes one to one (the library's loss: varifocal, L1, GIoU, at every
layer of the decoder). Denoising queries are not used. Needs scipy, for the matching.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from saccade.tasks.detection.torch.boxes import area, iou, overlap
from saccade.tasks.torch import grown, open_library
from saccade.tasks.torch.transformers import opened, size_of

QUERIES = 300
STRIDES = (8, 16, 32)
CHECKS = "TRANSFORMERS_DISABLE_TORCH_CHECK"
SILENT = -20.0
"""A logit so low that nothing is learned from it."""
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
"""These networks look at 0..1 as it is."""


@dataclass(frozen=True)
class Size:
    """Backbone (depths, kind of its layers, channels of its four stages) and what differs from
    RT-DETRv2's own defaults."""

    depths: tuple[int, ...]
    layers: str = "bottleneck"
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    more: Mapping[str, Any] = field(default_factory=dict)


SLIM = (64, 128, 256, 512)
SIZES = {
    "rtdetrv2-r18": Size((2, 2, 2, 2), "basic", SLIM, {"hidden_expansion": 0.5, "decoder_layers": 3}),
    "rtdetrv2-r34": Size((3, 4, 6, 3), "basic", SLIM, {"hidden_expansion": 0.5, "decoder_layers": 4}),
    "rtdetrv2-r50": Size((3, 4, 6, 3)),
    "rtdetrv2-r101": Size(
        (3, 4, 23, 3),
        more={"encoder_hidden_dim": 384, "encoder_ffn_dim": 2048, "decoder_in_channels": [384, 384, 384]},
    ),
}


class Queries(nn.Module):
    """A network at any size. Gives logits [N, Q, C], boxes [N, Q, 4] in px of the picture and frame [N, 2], the width
    and height that it saw; while it learns also `steps_logits` [N, L, Q, C] and `steps_boxes` [N, L, Q, 4] of what came
    before the last layer."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @property
    def coarsest(self) -> nn.Module:
        """The convolutions that give the last map the decoder looks at."""
        last: nn.Module = self.network.model.encoder.pan_blocks[-1]
        return last

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        images = grown(images, STRIDES[-1])
        height, width = images.shape[2:]
        # A small picture has fewer places than the network has queries.
        self.network.config.num_queries = min(QUERIES, sum(height // s * (width // s) for s in STRIDES))
        # Boxes are shares of the picture, and bfloat16 knows 256 places between a half and one.
        with torch.autocast(images.device.type, enabled=False), _as_exported():
            found = self.network(pixel_values=images.float())
        frame = images.new_tensor([width, height]).expand(images.shape[0], 2)
        answer = {"logits": found.logits, "boxes": _corners(found.pred_boxes, frame[:, None]), "frame": frame}
        if self.training:
            logits = [found.intermediate_logits[:, :-1], found.enc_topk_logits[:, None]]
            boxes = [found.intermediate_reference_points[:, :-1], found.enc_topk_bboxes[:, None]]
            answer["steps_logits"] = torch.cat(logits, 1)
            answer["steps_boxes"] = _corners(torch.cat(boxes, 1), frame[:, None, None])
        return answer


@contextmanager
def _as_exported() -> Iterator[None]:
    """While a graph is written, without what binds it to this torch and this batch.

    Hazard: ONNX has no words for the library's check of its own shapes; and its `len(tensor)` is a plain number, which
    would write the rows of the example into the graph.
    """
    if not torch.compiler.is_exporting():
        yield
        return
    module = open_library("transformers.models.rt_detr_v2.modeling_rt_detr_v2", "transformers")
    before = os.environ.get(CHECKS)
    os.environ[CHECKS] = "1"
    module.len = _length
    try:
        yield
    finally:
        del module.len
        if before is None:
            del os.environ[CHECKS]
        else:
            os.environ[CHECKS] = before


def _length(things: Any) -> Any:
    return things.shape[0] if isinstance(things, Tensor) else len(things)


def network(name: str, classes: int, weights: str) -> tuple[nn.Module, Sequence[float], Sequence[float], str]:
    """Module, mean, std, and a line on its weights: "auto" and "none" start from scratch, else a safetensors file.

    Raises UsageError for a name that is not among SIZES, or a file that does not fit.
    """
    size = size_of(name, SIZES, "box")
    open_library("scipy.optimize", "transformers")
    library = open_library("transformers", "transformers")
    backbone = library.RTDetrResNetConfig(
        depths=list(size.depths), layer_type=size.layers, hidden_sizes=list(size.channels), out_indices=[2, 3, 4]
    )
    config = library.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=list(size.channels[1:]),
        num_labels=classes,
        num_denoising=0,
        freeze_backbone_batch_norms=False,
        **size.more,
    )
    made, said = opened(library.RTDetrV2ForObjectDetection, config, weights, Queries)
    if weights in ("auto", "none"):
        _start_even(made)
    return made, MEAN, STD, said


def _start_even(network: nn.Module) -> None:
    """Normalisation that begins by changing nothing. The library draws its factors around 0, which suits weights that
    are to be loaded: from scratch so little comes through that hardly anything is learned."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def matching(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """The library's loss of queries matched one to one; those in a region of class -2 learn no class from it.

    outputs: as `Queries` gives them. targets: boxes [N, M, 4] in px, box_classes [N, M], -1 where there is none, -2
    where nothing is asked. Not a number when an output is none, which the library would refuse.
    """
    frame = outputs["frame"].float()
    layers = [(outputs["logits"].float(), outputs["boxes"].float())]
    if "steps_logits" in outputs:
        steps = (outputs[k].float().unbind(1) for k in ("steps_logits", "steps_boxes"))
        layers += zip(*steps, strict=True)
    if not all(bool(torch.isfinite(v).all()) for pair in layers for v in pair):
        return outputs["logits"].sum() * torch.nan
    told = [
        {"logits": _hushed(logits, boxes, targets), "pred_boxes": _centred(boxes, frame[:, None])}
        for logits, boxes in layers
    ]
    given: dict[str, Any] = told[0]
    if len(told) > 1:
        given = {**told[0], "auxiliary_outputs": told[1:]}
    wanted = []
    for boxes, classes, size in zip(targets["boxes"].float(), targets["box_classes"], frame, strict=True):
        real = classes >= 0
        wanted.append({"class_labels": classes[real], "boxes": _centred(boxes[real], size)})
    parts = _criterion(given["logits"].shape[2])(given, wanted)
    total: Tensor = sum(parts.values())
    return total


def _hushed(logits: Tensor, boxes: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    """Logits [N, Q, C], those of a query that lies in an ignored region and on no object a
    constant: it learns nothing."""
    classes, places = targets["box_classes"], targets["boxes"].float()
    if not bool((classes == -2).any()):
        return logits
    shared, _ = overlap(boxes[:, :, None], places[:, None])
    inside = (shared > 0.5 * area(boxes)[:, :, None]) & (classes == -2)[:, None]
    taken = (iou(boxes[:, :, None], places[:, None]) > 0.5) & (classes >= 0)[:, None]
    hushed = inside.any(2) & ~taken.any(2)
    return torch.where(hushed[..., None], logits.new_tensor(SILENT), logits)


@lru_cache(maxsize=4)
def _criterion(classes: int) -> Any:
    losses = open_library("transformers.loss.loss_rt_detr", "transformers")
    return losses.RTDetrLoss(open_library("transformers", "transformers").RTDetrV2Config(num_labels=classes))


def _corners(boxes: Tensor, frame: Tensor) -> Tensor:
    """Centre and size as shares of the frame to left, top, right, bottom in px."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([(middle - half) * frame, (middle + half) * frame], -1)


def _centred(boxes: Tensor, frame: Tensor) -> Tensor:
    """The inverse of `_corners`."""
    low, high = boxes[..., :2] / frame, boxes[..., 2:] / frame
    return torch.cat([(low + high) / 2, high - low], -1)
