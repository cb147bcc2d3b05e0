"""timm backbones by name. Loaded only when one is asked for."""

import difflib
import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade.errors import UsageError, first_line
from saccade.tasks.task import NOT_HAD
from saccade.tasks.torch import declare_missing_operators, load_state, read_file
from saccade.training.plans import EDGE


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

    kind: "pooled" gives [N, F], features is F; "maps" a list of maps [N, C, h, w] over the whole picture, finest first,
    features their (channels, stride).

    weights: "auto" tries the pretrained ones timm names, "none" starts from scratch, else a safetensors file.
    Raises UsageError for an unknown name, or a size that the network does not take or gives no such maps of.
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
        features: Any = _laid_whole(network, name)
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, height, width))
        return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said
    with torch.no_grad():
        features = int(network.eval()(torch.zeros(1, 3, height, width)).shape[1])
    return network, features, config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3), said


def _laid_whole(network: Any, name: str) -> tuple[tuple[int, int], ...]:
    """Lets a network give its maps with channels first and over the whole picture, and tells their (channels, stride).

    From then on it raises UsageError for a picture of which it gives no such maps.
    """
    told = tuple(zip(network.feature_info.channels(), network.feature_info.reduction(), strict=True))
    last = getattr(network, "output_fmt", "NCHW") == "NHWC"

    def lay(_: nn.Module, given: tuple[Tensor, ...], maps: list[Tensor]) -> list[Tensor]:
        height, width = given[0].shape[2:]
        maps = [m.permute(0, 3, 1, 2) if last and m.ndim == 4 else m for m in maps]
        found = [_whole(m, c, -(-height // s), -(-width // s)) for m, (c, s) in zip(maps, told, strict=True)]
        laid = [m for m in found if m is not None]
        if len(laid) < len(found):
            raise UsageError(
                f"{name} gives no maps that lie over a picture of {width}x{height} px",
                hint="choose a larger size, one that 32 divides, or residual-224",
            )
        return laid

    # A hook, for a module around the network would give its weights other names than checkpoints have.
    network.register_forward_hook(lay)
    return told


def _whole(found: Any, channels: int, height: int, width: int) -> Tensor | None:
    """A map [N, C, h, w] with zeros around it where convolutions without padding lost its edge; None when it lost too
    much, or is none."""
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != channels:
        return None
    down, across = height - found.shape[2], width - found.shape[3]
    if not (0 <= down <= EDGE and 0 <= across <= EDGE):
        return None
    return F.pad(found, (across // 2, across - across // 2, down // 2, down - down // 2)) if down or across else found


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
