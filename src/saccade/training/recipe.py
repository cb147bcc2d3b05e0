"""Every knob of a run: one frozen dataclass, from TOML, keywords or `--set`.

Unknown keys are refused with a suggestion. A knob that says "auto" is filled in once the data are known.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from saccade.errors import UsageError

OPTIMIZERS = ("gradient_descent", "sgd", "momentum", "nesterov", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "one_cycle")


def _knob(
    default: Any,
    kind: str,
    help: str,
    *,
    auto: bool = False,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    words: tuple[str, ...] = (),
) -> Any:
    rules = {"kind": kind, "help": help, "auto": auto, "choices": choices, "low": low, "high": high, "words": words}
    return field(default=default, metadata=rules)


@dataclass(frozen=True)
class Recipe:
    """All that decides how a run goes. Shares and probabilities are 0..1, times are seconds, sizes are pixels.

    Recipe(network="cnn-small", epochs=10)
    Recipe.load(Path("recipe.toml"), {"rate": "0.001"})
    Raises UsageError for an unknown key or a value that does not fit, with the cure.
    """

    task: str = _knob("auto", "str", "what is asked of the image", auto=True)
    engine: str = _knob("torch", "str", "the trainer")
    seed: int = _knob(0, "int", "of weights, order and augmentation", low=0)
    device: str = _knob("auto", "str", "cpu or cuda", auto=True, choices=("cpu", "cuda"))
    smoke: bool = _knob(False, "bool", "walk the whole line in seconds: a few small images, one epoch")

    network: str = _knob(
        "auto",
        "str",
        "cnn-small, residual-32, residual-64, residual-224, what the task has, any name of timm or keras.applications, or module:function",
        auto=True,
    )
    weights: str = _knob(
        "auto", "str", "auto (pretrained when they can be had), none, a safetensors file or an earlier run", auto=True
    )
    finest: int | str = _knob(
        "auto", "int", "boxes: stride in px of the finest map looked at", auto=True, low=2, high=32
    )
    filters: tuple[int, ...] = _knob((32, 64, 128), "ints", "cnn-small: filters of each block", low=1)
    kernel: int = _knob(3, "int", "cnn-small: kernel size", low=1, high=11)
    stride: int = _knob(1, "int", "cnn-small: stride of each convolution", low=1, high=4)
    padding: str = _knob("same", "str", "cnn-small: same or valid", choices=("same", "valid"))
    pooling: str = _knob("max", "str", "cnn-small: 2x2 pooling after each block", choices=("max", "average", "none"))
    dense: int = _knob(128, "int", "cnn-small: width of the dense layer", low=1)
    confidence: bool = _knob(False, "bool", "masks: the graph also tells how sure it is of every pixel")
    dropout: float = _knob(0.0, "float", "before the last layer", low=0, high=0.95)

    size: int | str = _knob("auto", "int", "network input, longer side", auto=True, low=8, high=2048)
    width: int | str = _knob("auto", "int", "network input; follows size and the images' shape", auto=True, low=8)
    height: int | str = _knob("auto", "int", "network input; follows size and the images' shape", auto=True, low=8)
    resize: str = _knob(
        "stretch", "str", "how a picture meets the input", choices=("stretch", "center_crop", "letterbox")
    )

    start_size: float | str = _knob(
        "auto", "float", "progressive resizing: share of the input size that a run starts with; 1: off", auto=True,
        low=0.3, high=1,
    )  # fmt: skip

    multi_scale: float = _knob(
        0.0, "float", "share by which the size of every batch changes either way; 0: off", low=0, high=0.5
    )

    epochs: int | str = _knob("auto", "int", "passes over the training images, times repeat", auto=True, low=1)
    repeat: int | str = _knob("auto", "int", "passes that make one epoch", auto=True, low=1)
    budget: float = _knob(
        0.0, "seconds", "train this long (90s, 10m, 2h; 0: by epochs); the schedule ends on time", low=0
    )
    batch: int | str = _knob("auto", "int", "images per step", auto=True, low=1)
    accumulate: int = _knob(1, "int", "steps whose gradients are added before the weights move", low=1)
    loss: str = _knob("auto", "str", "what is made small: a loss that the task has", auto=True)
    box_loss: str = _knob("giou", "str", "how a box's overlap is measured", choices=("giou", "ciou"))
    smoothing: float | str = _knob("auto", "float", "label smoothing", auto=True, low=0, high=0.9)
    class_weights: str = _knob(
        "auto", "str", "none, or balanced by how rare a class is", auto=True, choices=("none", "balanced")
    )
    focal_gamma: float = _knob(2.0, "float", "focal loss: how much easy examples are muted", low=0)
    optimizer: str = _knob("auto", "str", "how weights move", auto=True, choices=OPTIMIZERS)
    rate: float | str = _knob(
        "auto", "float", "peak learning rate; find runs a range test first", auto=True, low=0, words=("find",)
    )
    momentum: float = _knob(0.9, "float", "of momentum and nesterov", low=0, high=0.9999)
    weight_decay: float | str = _knob("auto", "float", "pull of weights towards zero", auto=True, low=0)
    schedule: str = _knob("cosine", "str", "how the rate changes", choices=SCHEDULES)
    warmup: float = _knob(
        0.05, "float", "share of the run in which the rate rises (cosine, one_cycle)", low=0, high=0.9
    )
    step_every: float = _knob(0.3, "float", "step schedule: share of the run between drops", low=0.001, high=1)
    step_factor: float = _knob(0.1, "float", "step schedule: what the rate is multiplied with", low=0, high=1)
    clip: float = _knob(2.0, "float", "largest gradient norm; 0: no clipping", low=0)
    ema: float | str = _knob("auto", "float", "decay of the averaged weights; 0: none", auto=True, low=0, high=0.99999)
    patience: int = _knob(0, "int", "stop after so many validations without a gain; 0: never", low=0)
    validation_share: float = _knob(0.06, "float", "most of the time that may go into validation", low=0.001, high=1)
    checkpoint_every: float = _knob(60.0, "seconds", "time between checkpoints inside an epoch", low=0)

    precision: str = _knob("auto", "str", "of the training arithmetic", auto=True, choices=("float32", "bfloat16"))
    channels_last: bool = _knob(True, "bool", "memory layout NHWC in convolutions")
    compile: bool = _knob(False, "bool", "torch.compile or XLA: slow start, sometimes faster steps")
    threads: int | str = _knob("auto", "int", "CPU threads", auto=True, low=1)
    cache: str = _knob("auto", "str", "folder of packed decoded images; none: in memory only", auto=True)

    rotation: float | str = _knob("auto", "float", "degrees either way", auto=True, low=0, high=180)
    shift: float | str = _knob("auto", "float", "share of width and height either way", auto=True, low=0, high=1)
    zoom: float | str = _knob("auto", "float", "0.2: between 1/1.2 and 1.2 times", auto=True, low=0, high=4)
    crop: float | str = _knob(
        "auto", "float", "random resized crop: least share of the area; 1: off", auto=True, low=0.02, high=1
    )
    flip_horizontal: bool | str = _knob("auto", "bool", "mirror left and right", auto=True)
    flip_vertical: bool | str = _knob("auto", "bool", "mirror top and bottom", auto=True)
    brightness: float | str = _knob("auto", "float", "strength", auto=True, low=0, high=1)
    contrast: float | str = _knob("auto", "float", "strength", auto=True, low=0, high=1)
    saturation: float | str = _knob("auto", "float", "strength", auto=True, low=0, high=1)
    hue: float | str = _knob("auto", "float", "share of the colour circle either way", auto=True, low=0, high=0.5)
    randaugment: int = _knob(0, "int", "random operations per image", low=0, high=8)
    randaugment_strength: float = _knob(0.5, "float", "of those operations", low=0, high=1)
    mixup: float | str = _knob("auto", "float", "Beta parameter; 0: off", auto=True, low=0)
    cutmix: float | str = _knob("auto", "float", "Beta parameter; 0: off", auto=True, low=0)
    mix_share: float = _knob(0.5, "float", "share of batches that are mixed", low=0, high=1)
    erase: float | str = _knob("auto", "float", "probability that a rectangle is erased", auto=True, low=0, high=1)
    mosaic: float | str = _knob(
        "auto", "float", "boxes: share of batches in which four pictures become one", auto=True, low=0, high=1
    )
    mosaic_close: float = _knob(0.15, "float", "last share of a run without mosaic and mixup", low=0, high=1)
    still: float | str = _knob(
        "auto", "float", "last share of a run in which pictures are seen whole and in place, as they will be served",
        auto=True, low=0, high=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for knob in fields(self):
            object.__setattr__(self, knob.name, _fit(knob.name, getattr(self, knob.name), knob.metadata))

    @classmethod
    def load(cls, file: Path | None = None, changes: Mapping[str, Any] | None = None) -> "Recipe":
        """A recipe file, then changes on top. Raises UsageError naming file or key."""
        record: dict[str, Any] = {}
        if file is not None:
            try:
                record = tomllib.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise UsageError(f"recipe {file} does not exist", hint="give --recipe a TOML file") from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"recipe {file} is not TOML: {error}", hint="write one `key = value` a line"
                ) from error
        return cls().replace_from(record).replace_from(changes or {})

    def replace_from(self, changes: Mapping[str, Any]) -> "Recipe":
        """A new recipe with some knobs changed; values may be text as typed after `--set`. Raises UsageError."""
        names = [k.name for k in fields(self)]
        for key in changes:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"keys are {', '.join(names)}"
                raise UsageError(f"a recipe has no key {key!r}", hint=hint)
        return replace(self, **changes)

    def is_auto(self, key: str) -> bool:
        return bool(getattr(self, key) == "auto")

    def in_epochs(self, passes: int, repeat: int = 1) -> int:
        """Epochs that hold so many passes. repeat: what "auto" means where this recipe leaves it open."""
        return -(-passes // (repeat if self.is_auto("repeat") else int(self.repeat)))

    @property
    def one_size(self) -> bool:
        """Whether every step of a run sees its pictures at the same size."""
        return (self.is_auto("start_size") or float(self.start_size) == 1) and not self.multi_scale

    def different(self, other: "Recipe") -> list[str]:
        """Knobs in which two recipes differ, in order."""
        return [k.name for k in fields(self) if getattr(self, k.name) != getattr(other, k.name)]

    def to_toml(self, reasons: Mapping[str, str] | None = None) -> str:
        """All knobs, one a line; `reasons` become comments behind the values they explain."""
        lines = []
        for knob in fields(self):
            line = f"{knob.name} = {_toml(getattr(self, knob.name))}"
            reason = (reasons or {}).get(knob.name)
            lines.append(f"{line}  # auto: {reason}" if reason else line)
        return "\n".join(lines) + "\n"


def knobs() -> list[tuple[str, Any, str]]:
    """Name, default and help of every knob, in order: the table that documentation prints."""
    return [(k.name, k.default, str(k.metadata["help"])) for k in fields(Recipe)]


def seconds(text: str | float) -> float:
    """90, "90", "90s", "10m", "1.5h" to seconds. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|min|sec)?\s*", str(text))
    if match is None:
        raise UsageError(f"a time like 90s, 10m or 2h was expected, got {text!r}")
    return float(match[1]) * {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, None: 1}[match[2]]


def _fit(name: str, value: Any, rules: Mapping[str, Any]) -> Any:
    """The value in the type of its knob. Raises UsageError with what was expected."""
    if isinstance(value, Path):
        value = str(value)
    if (rules["auto"] and value == "auto") or (isinstance(value, str) and value in rules["words"]):
        return value
    kind = rules["kind"]
    try:
        fitted = _READERS[kind](value)
    except (ValueError, TypeError, OverflowError):
        extra = ' or "auto"' if rules["auto"] else ""
        raise UsageError(
            f"{name} expects {_NAMES[kind]}{extra}, got {value!r}", hint=f"{name}: {rules['help']}"
        ) from None
    if rules["choices"] and fitted not in rules["choices"]:
        near = difflib.get_close_matches(str(fitted), rules["choices"], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"{name}: {rules['help']}"
        raise UsageError(f"{name} expects one of {', '.join(rules['choices'])}, got {fitted!r}", hint=hint)
    for number in fitted if isinstance(fitted, tuple) else (fitted,):
        low, high = rules["low"], rules["high"]
        if (low is not None and number < low) or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise UsageError(f"{name} expects {bounds}, got {number}", hint=f"{name}: {rules['help']}")
    return fitted


def _int(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _float(value: Any) -> float:
    if isinstance(value, bool) or float(value) != float(value):
        raise ValueError
    return float(value)


def _bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError(value) from None


def _ints(value: Any) -> tuple[int, ...]:
    parts = re.split(r"[,\s]+", value.strip("[]() ")) if isinstance(value, str) else list(value)
    if not parts:
        raise ValueError
    return tuple(_int(p) for p in parts)


_READERS: Mapping[str, Any] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "ints": _ints,
    "seconds": seconds,
    "str": str,
}
_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "ints": "whole numbers like 32,64,128",
    "seconds": "a time like 90s or 10m",
    "str": "text",
}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(v) for v in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
