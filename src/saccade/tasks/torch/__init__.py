"""What the learning halves share in PyTorch: a torchvision that can be imported, and weights from a file."""

import importlib
import sys
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def open_library(name: str, extra: str) -> Any:
    """A library of networks, imported without its warnings. Raises UsageError when it is not installed."""
    declare_missing_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"this network needs {error.name}", hint=f"pip install 'saccade[{extra}]'") from error


def grown(images: Tensor, stride: int) -> Tensor:
    """Pictures [N, C, H, W] whose sides are multiples of `stride`: the edge is repeated below and to the right."""
    down, across = -images.shape[2] % stride, -images.shape[3] % stride
    return F.pad(images, (0, across, 0, down), mode="replicate") if down or across else images


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises UsageError when it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file as read

    try:
        return dict(read(str(file)))
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"weights {file} cannot be read as safetensors: {error}", hint="give a .safetensors file"
        ) from error


def load_file(network: nn.Module, file: Path) -> str:
    """Weights from a safetensors file, every tensor that fits by name and shape. Raises UsageError when none does."""
    return load_state(network, read_file(file), file.name)


def load_state(network: nn.Module, found: Mapping[str, Tensor], name: str) -> str:
    """Tensors of the file called `name`, every one that fits by name and shape. Raises UsageError when none does."""
    own = network.state_dict()
    fitting = {k: v for k, v in found.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise UsageError(f"no tensor of {name} fits this network", hint="use weights of the same network")
    network.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(own)} tensors from {name}"
