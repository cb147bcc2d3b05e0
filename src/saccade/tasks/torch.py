"""What the learning halves share in PyTorch: a torchvision that can be imported, and weights from a file."""

import importlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saccade.errors import UsageError

_KEPT: list[Any] = []
"""Declared schemas live as long as the library object that declared them."""

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> None:
    """Makes `import torchvision` go through where its compiled half does not match this torch.

    Hazard: timm imports torchvision, whose Python half registers shapes for `torchvision::nms`; where its compiled half
    is of another build that import dies with "operator torchvision::nms does not exist". No backbone calls these
    operators, so bare schemas are declared.
    """
    if _KEPT or find_spec("torchvision") is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchvision")
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in SCHEMAS.values():
            library.define(schema)
        _KEPT.append(library)


def load_file(network: nn.Module, file: Path) -> str:
    """Weights from a safetensors file, every tensor that fits by name and shape. Raises UsageError when none does."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file as read

    try:
        found = read(str(file))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"weights {file} cannot be read as safetensors: {error}", hint="give a .safetensors file"
        ) from error
    own = network.state_dict()
    fitting = {k: v for k, v in found.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise UsageError(f"no tensor of {file.name} fits this network", hint="use weights of the same network")
    network.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(own)} tensors from {file.name}"
