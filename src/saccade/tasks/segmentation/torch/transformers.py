"""SegFormer of Hugging Face transformers by name, hf-segformer-b0 to -b5. Loaded only when one is asked for.

Sizes follow arXiv:2105.15203, table 6. Nothing is fetched: a network starts from scratch or from a safetensors file, for
instance the model.safetensors of a snapshot; of its tensors those are taken that fit, so classes may differ.
"""

import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import UsageError
from saccade.tasks.torch import grown, load_file, open_library

PREFIX = "hf-"
STRIDE = 4
"""Of its scores."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL, LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "segformer-b0": (SMALL, (2, 2, 2, 2), 256),
    "segformer-b1": (LARGE, (2, 2, 2, 2), 256),
    "segformer-b2": (LARGE, (3, 4, 6, 3), 768),
    "segformer-b3": (LARGE, (3, 4, 18, 3), 768),
    "segformer-b4": (LARGE, (3, 8, 27, 3), 768),
    "segformer-b5": (LARGE, (3, 6, 40, 3), 768),
}
"""Channels and depths of the four stages, and the width of the decoder."""


class Enlarged(nn.Module):
    """A network at any size: its input grows to multiples of the stride; once it has learned, its scores are enlarged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        scores: Tensor = self.network(pixel_values=grown(images, STRIDE)).logits
        if self.training:
            return scores
        whole = F.interpolate(scores, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
        return whole[:, :, :height, :width]


def network(name: str, classes: int, weights: str) -> tuple[nn.Module, Sequence[float], Sequence[float], str]:
    """Module, mean, std, and a line on its weights: "auto" and "none" start from scratch, else a safetensors file.

    Raises UsageError for a name that is not among SIZES, or a file that does not fit.
    """
    known = name.removeprefix(PREFIX)
    if known not in SIZES:
        near = difflib.get_close_matches(known, SIZES, n=1)
        raise UsageError(
            f"no mask network of transformers is called {name!r}",
            hint=f"did you mean {PREFIX}{near[0]}?" if near else f"networks are {PREFIX}{', '.join(SIZES)}",
        )
    library = open_library("transformers", "transformers")
    hidden, depths, decoder = SIZES[known]
    config = library.SegformerConfig(
        hidden_sizes=list(hidden), depths=list(depths), decoder_hidden_size=decoder, num_labels=classes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Enlarged(library.SegformerForSemanticSegmentation(config))
    if weights in ("auto", "none"):
        return made, MEAN, STD, "from scratch" + ("" if weights == "none" else ": pretrained ones are not fetched")
    # A snapshot's names lack the wrapper's; files that a run of ours wrote have it.
    return made, MEAN, STD, load_file(made if _wrapped(Path(weights)) else made.network, Path(weights))


def _wrapped(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return all(k.startswith("network.") for k in opened.keys())  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError):
        return False
