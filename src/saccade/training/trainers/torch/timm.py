"""timm backbones by name. Loaded only when one is asked for."""

import difflib
import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import UsageError, first_line
from saccade.tasks.task import NOT_HAD
from saccade.tasks.torch import declare_missing_operators, load_state, read_file


def open_timm() -> Any:
    """The timm module. Raises UsageError when it is not installed."""
    declare_missing_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UsageError(f"this network needs {error.name}", hint="pip install 'saccade[timm]'") from error


def backbone(
    name: str, weights: str, width: int, height: int, kind: str = "pooled"
) -> tuple[nn.Module, Any, Any, Any, str]:
    """A headless timm network: module, features, mean, std, and one line on its weights.

    kind: "pooled" gives [N, F], features is F; "maps" a list of maps, finest first, features their (channels, stride).

    weights: "auto" tries the pretrained ones timm names, "none" starts from scratch, else a safetensors file.
    Raises UsageError for an unknown name, or a size that the network does not take.
    """
    timm = open_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise UsageError(
            f"no network is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else "see timm.list_models()"
        )
    said = "from scratch"
    extra: dict[str, Any] = {"features_only": True} if kind == "maps" else {"num_classes": 0}
    sides = (height, width)
    if weights == "auto":
        try:
            network = _made(timm, name, sides, True, extra)
            licence = network.pretrained_cfg.get("license") or "not stated"
            said = f"pretrained {network.pretrained_cfg.get('tag') or 'weights'}, licence {licence}"
        except Exception as error:  # noqa: BLE001 - timm, its hub client and sockets fail in many ways; all are told
            network = _made(timm, name, sides, False, extra)
            said = f"from scratch: {NOT_HAD} ({type(error).__name__})"
    else:
        network = _made(timm, name, sides, False, extra)
    config = network.pretrained_cfg
    if weights not in ("auto", "none"):
        file = Path(weights)
        said = load_state(network, _resampled(network, read_file(file)), file.name)
    if kind == "maps":
        info = network.feature_info
        features: Any = tuple(zip(info.channels(), info.reduction(), strict=True))
        return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said
    with torch.no_grad():
        features = int(network.eval()(torch.zeros(1, 3, height, width)).shape[1])
    return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said


def _resampled(network: Any, state: dict[str, Tensor]) -> Any:
    """Weights as timm hands them to a network of this size: embeddings of places are resampled to it."""
    module = sys.modules[type(network).__module__]
    return module.checkpoint_filter_fn(state, network) if hasattr(module, "checkpoint_filter_fn") else state


def _made(timm: Any, name: str, sides: tuple[int, int], pretrained: bool, extra: dict[str, Any]) -> Any:
    """A network that takes inputs of this height and width: transformers are made for one size, and told which.

    Raises UsageError when it has no such size.
    """
    network = timm.create_model(name, pretrained=pretrained, **extra)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *sides))
    except (AssertionError, RuntimeError):
        try:
            network = timm.create_model(name, pretrained=pretrained, img_size=sides, **extra)
            with torch.no_grad():
                network.eval()(torch.zeros(1, 3, *sides))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            height, width = sides
            raise UsageError(
                f"{name} takes no pictures of {width}x{height} px: {first_line(error)}",
                hint="choose another size, in many networks a multiple of 32",
            ) from error
    return network
