"""Every backbone of `keras.applications` by its name there, such as MobileNetV2 or EfficientNetB0."""

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

from saccade.errors import UsageError
from saccade.tasks.keras import keras, load_file
from saccade.tasks.task import NOT_HAD
from saccade.training.plans import EDGE
from saccade.training.trainers.keras.networks import Prepare

STRIDES = (4, 8, 16, 32)
HALF = 0.6
"""A map whose side is at most this share of the one before it is a level coarser; without
padding it is less than half."""


def names() -> list[str]:
    return sorted(n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n)))


def backbone(
    name: str, weights: str, sides: tuple[int | None, int | None], kind: str = "pooled"
) -> tuple[Any, Any, Prepare, str]:
    """A headless network: model, features, what its pixels go through, and one line on its weights.

    kind: "pooled" gives [N, F], features is F; "maps" the last map of each size, finest first, as (channels, stride).
    weights: "auto" tries those Keras has for the name, "none" starts from scratch, else a `.weights.h5` or safetensors
    file. Raises UsageError for an unknown name or an input it cannot take.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        raise UsageError(
            f"no network is called {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"keras.applications has {', '.join(names())}",
        )
    make = getattr(keras.applications, name)
    options: dict[str, Any] = {"include_top": False, "input_shape": (*sides, 3)}
    if kind == "pooled":
        options["pooling"] = "avg"
    said = "from scratch"
    try:
        if weights == "auto":
            try:
                model = make(weights="imagenet", **options)
                said = "pretrained on ImageNet, from Keras"
            except Exception as error:  # noqa: BLE001 - downloads fail in many ways; all are told
                model = make(weights=None, **options)
                said = f"from scratch: {NOT_HAD} ({type(error).__name__})"
        else:
            model = make(weights=None, **options)
    except ValueError as error:
        raise UsageError(
            f"{name} cannot take {sides[1]}x{sides[0]} px: {error}", hint="choose another size or network"
        ) from error
    if weights not in ("auto", "none"):
        said = load_file(model, Path(weights))
    return *_shaped(model, kind), _prepare(make), said


def _shaped(model: Any, kind: str) -> tuple[Any, Any]:
    if kind == "pooled":
        return model, int(model.output.shape[-1])
    _, height, width, _ = model.input.shape
    if height is None:
        raise UsageError("maps of this network need an input of one size", hint="set start_size=1 and multi_scale=0")
    last: dict[int, Any] = {}
    for layer in model.layers:
        framed = isinstance(layer, keras.layers.ZeroPadding2D)  # a map no network looks at, of a size of its own
        out = layer.output if len(layer._inbound_nodes) == 1 and not framed else None
        if out is not None and not isinstance(out, list) and len(out.shape) == 4 and out.shape[1]:
            last[int(out.shape[1])] = out
    found: dict[int, Any] = {}
    stride, before = 1, height
    for size in sorted(last, reverse=True):
        if size <= HALF * before:
            stride *= 2
            while -(-height // stride) > size + EDGE:  # it went down by four or more at once
                stride *= 2
        before, found[stride] = size, last[size]
    maps = {s: _whole(out, -(-height // s), -(-width // s)) for s, out in found.items() if s in STRIDES}
    if len(maps) < 2 or None in maps.values():
        raise UsageError(
            f"{model.name} gives no maps at strides 4 to 32 px of {width}x{height} px",
            hint="choose a larger size, residual-224 or ResNet50",
        )
    return keras.Model(model.input, list(maps.values())), tuple((int(o.shape[-1]), s) for s, o in maps.items())


def _whole(out: Any, height: int, width: int) -> Any:
    """A map [N, h, w, C] with zeros around it where convolutions without padding lost its edge; None
    when it lost too much."""
    lost = height - out.shape[1], width - out.shape[2]
    if not all(0 <= n <= EDGE for n in lost):
        return None
    if not any(lost):
        return out
    return keras.layers.ZeroPadding2D(tuple((n // 2, n - n // 2) for n in lost))(out)


def _prepare(make: Any) -> Prepare:
    """The network's own preprocessing, of images in 0..1."""
    module = importlib.import_module(make.__module__) if make.__module__ in sys.modules else None
    own = getattr(module, "preprocess_input", None)
    if own is None:
        return lambda images: images * 255
    return lambda images: own(images * 255.0, data_format="channels_last")
