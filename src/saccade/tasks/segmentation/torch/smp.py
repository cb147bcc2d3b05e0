"""Networks of segmentation-models-pytorch by name, smp-ARCHITECTURE-ENCODER. Loaded only when one is asked for."""

import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.images.norms import MEAN, STD
from saccade.tasks.task import NOT_HAD
from saccade.tasks.torch import grown, load_file, open_library

PREFIX = "smp-"
STRIDE = 32
"""Most of these networks want sides that are multiples of this."""


class Padded(nn.Module):
    """A network at any size: its input grows to multiples of 32 by repeating the edge, its scores are cut back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        scores: Tensor = self.network(grown(images, STRIDE))
        return scores[:, :, :height, :width]


def network(name: str, classes: int, weights: str) -> tuple[nn.Module, Sequence[float], Sequence[float], str]:
    """smp-unet-resnet18, smp-deeplabv3plus-mobilenet_v2, smp-fpn-tu-convnext_tiny: module, mean, std, its weights.

    weights: "auto" tries the encoder's pretrained ones, "none" starts from scratch, else a safetensors file. Raises
    UsageError for a name that the library does not know.
    """
    smp = open_library("segmentation_models_pytorch", "smp")
    architecture, _, encoder = name.removeprefix(PREFIX).partition("-")
    kinds = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if architecture not in kinds:
        raise UsageError(
            f"smp has no architecture {architecture!r} (in {name!r})",
            hint=_hint(architecture, kinds) or f"architectures are {', '.join(kinds)}",
        )
    encoders = sorted(smp.encoders.get_encoder_names())
    if encoder not in encoders and not encoder.startswith("tu-"):
        raise UsageError(
            f"smp has no encoder {encoder!r} (in {name!r})",
            hint=_hint(encoder, encoders) or "write tu-NAME for a timm backbone",
        )

    def make(pretrained: str | None) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Padded(smp.create_model(architecture, encoder, encoder_weights=pretrained, classes=classes))

    why = ""
    if weights == "auto":
        try:
            return make("imagenet"), MEAN, STD, "encoder pretrained on ImageNet, licence not stated"
        except Exception as error:  # noqa: BLE001 - the hub client and sockets fail in many ways; all are told
            why = f": {NOT_HAD} ({type(error).__name__})"
    try:
        made = make(None)
    except (RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise UsageError(
            f"{name} cannot be made: {error}", hint="smp-unet works with every encoder of the library"
        ) from error
    said = f"from scratch{why}" if weights in ("none", "auto") else load_file(made, Path(weights))
    return made, MEAN, STD, said


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
