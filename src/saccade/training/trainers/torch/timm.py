"""timm backbones by name. Loaded only when one is asked for."""

import difflib
import importlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saccade.errors import UsageError


def open_timm() -> Any:
    """The timm module. Raises UsageError when it is not installed.

    Hazard: timm imports torchvision, whose Python half registers shapes for `torchvision::nms`; where its compiled half
    does not match this torch (CPU builds of another version) that import dies with "operator torchvision::nms does not
    exist". No timm backbone calls these operators, so bare schemas are declared and the import goes through.
    """
    _declare_missing_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(f"this network needs {error.name}", hint="pip install 'saccade[timm]'") from error


_KEPT: list[Any] = []
"""Declared schemas live as long as the library object that declared them."""

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _declare_missing_operators() -> None:
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


def backbone(
    name: str, weights: str, width: int, height: int, kind: str = "pooled"
) -> tuple[nn.Module, Any, Any, Any, str]:
    """A headless timm network: module, features, mean, std, and one line on its weights.

    kind: "pooled" gives [N, F], features is F; "maps" a list of maps, finest first, features their (channels, stride).

    weights: "auto" tries the pretrained ones timm names, "none" starts from scratch, else a safetensors file.
    Raises UsageError for an unknown name.
    """
    timm = open_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise UsageError(
            f"no network is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else "see timm.list_models()"
        )
    said = "from scratch"
    extra: dict[str, Any] = {"features_only": True} if kind == "maps" else {"num_classes": 0}
    if weights == "auto":
        try:
            network = timm.create_model(name, pretrained=True, **extra)
            licence = network.pretrained_cfg.get("license") or "not stated"
            said = f"pretrained {network.pretrained_cfg.get('tag') or 'weights'}, licence {licence}"
        except Exception as error:  # noqa: BLE001 - timm, its hub client and sockets fail in many ways; all are told
            network = timm.create_model(name, pretrained=False, **extra)
            said = f"from scratch: pretrained weights could not be had ({type(error).__name__})"
    else:
        network = timm.create_model(name, pretrained=False, **extra)
    config = network.pretrained_cfg
    if weights not in ("auto", "none"):
        said = load_file(network, Path(weights))
    if kind == "maps":
        info = network.feature_info
        features: Any = tuple(zip(info.channels(), info.reduction(), strict=True))
        return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said
    with torch.no_grad():
        features = int(network.eval()(torch.zeros(1, 3, height, width)).shape[1])
    return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said


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
