"""SegFormer of Hugging Face transformers by name, hf-segformer-b0 to -b5. Loaded only when one is asked for.

Sizes follow arXiv:2105.15203, table 6.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from saccade.images.norms import MEAN, STD
from saccade.tasks.torch import grown, open_library
from saccade.tasks.torch.transformers import opened, size_of

STRIDE = 4
"""Of its scores."""
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
    """A network at any size: its input grows to multiples of the stride; once it has learned,
    its scores are enlarged."""

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
    hidden, depths, decoder = size_of(name, SIZES, "mask")
    library = open_library("transformers", "transformers")
    config = library.SegformerConfig(
        hidden_sizes=list(hidden), depths=list(depths), decoder_hidden_size=decoder, num_labels=classes
    )
    made, said = opened(library.SegformerForSemanticSegmentation, config, weights, Enlarged)
    return made, MEAN, STD, said
