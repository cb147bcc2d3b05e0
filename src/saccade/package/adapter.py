"""How a graph that was made elsewhere is spoken to: what its input wants, what its outputs mean. Data, never code."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from saccade.errors import PackageError
from saccade.images.fill import Filling

WORDS: dict[str, tuple[str, ...]] = {
    "layout": ("NCHW", "NHWC"),
    "dtype": ("float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64"),
    "color": ("rgb", "bgr", "gray"),
    "tail": ("none", "softmax", "sigmoid"),
    "mask": ("", "NCHW", "NHWC", "NHW"),
    "form": ("corners", "center"),
    "unit": ("pixels", "share"),
    "columns": ("last", "first"),
}
"""What each field that holds a word may hold."""
ANSWERS = ("scores", "mask", "boxes", "class_ids")
"""Names of sealed outputs that an adapter can make."""


@dataclass(frozen=True)
class BoxRule:
    """How a graph expresses boxes.

    form: x_min y_min x_max y_max ("corners") or x_center y_center width height ("center"); unit: pixels of the graph's
    input, or shares of its sides. columns: whether the numbers of one box are the tensor's last axis or the one after
    the batch. objectness: in a tensor that holds boxes and scores together, a column between them multiplies the
    scores. background: the column of the scores that is no class, or -1. first_class: what the graph calls class 0 of
    the ledger. min_score: weaker answers are left out; overlap: of two answers of one class with a higher IoU the
    weaker goes, 1 keeps all; most: answers of an image.
    """

    form: str = "corners"
    unit: str = "pixels"
    columns: str = "last"
    objectness: bool = False
    background: int = -1
    first_class: int = 0
    min_score: float = 0.0
    overlap: float = 1.0
    most: int = 100

    def __post_init__(self) -> None:
        _words(self)
        if not 1 <= self.most <= 1000 or not 0 <= self.min_score <= 1 or not 0 <= self.overlap <= 1:
            raise PackageError("of boxes, most is 1 to 1,000, min_score and overlap are 0 to 1")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "BoxRule":
        return cls(**_fields(cls, record))


@dataclass(frozen=True)
class Adapter:
    """input: the graph's one picture input. value = (pixel * scale - mean) / std, pixel 0 to 255, in this colour order
    (gray: 0.299 R + 0.587 G + 0.114 B); mean and std have one number a channel.

    batch: rows the graph takes at once, 0 when any number; most: of any number, how many at once, 0 for no bound.
    outputs: sealed name to the graph's own; empty means that the graph answers tensors only. tail: what turns its
    numbers into scores. mask: where a mask's classes lie: axis 1, the last, or nowhere as it holds ids.
    """

    input: str = ""
    layout: str = "NCHW"
    dtype: str = "float32"
    color: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    batch: int = 0
    outputs: Mapping[str, str] = field(default_factory=dict)
    tail: str = "none"
    mask: str = ""
    boxes: BoxRule | None = None
    most: int = 0

    def __post_init__(self) -> None:
        _words(self)
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        channels = 1 if self.color == "gray" else 3
        if len(self.mean) != channels or len(self.std) != channels:
            raise PackageError(
                f"an input in {self.color} has {channels} channel(s), {len(self.mean)} means and {len(self.std)} "
                "deviations came"
            )
        if not all(math.isfinite(v) for v in (self.scale, *self.mean, *self.std)) or not all(self.std):
            raise PackageError("scale, mean and std are finite numbers, and no std is 0")
        if not 0 <= self.batch <= 4096:
            raise PackageError(f"batch is 0 to 4,096, got {self.batch}")
        if not 0 <= self.most <= 65_536 or (self.batch and self.most):
            raise PackageError(f"most is 0 to 65,536, and 0 beside a batch, got {self.most}")
        if not set(self.outputs) <= set(ANSWERS) or not all(isinstance(v, str) for v in self.outputs.values()):
            raise PackageError(f"an adapter makes {', '.join(ANSWERS)}, got {sorted(self.outputs)}")
        if ("boxes" in self.outputs) != (self.boxes is not None) or ("mask" in self.outputs) != bool(self.mask):
            raise PackageError("an adapter that gives boxes or a mask says how they are expressed")

    @property
    def answers(self) -> tuple[str, ...]:
        """The sealed outputs it gives; none for a graph that answers tensors only."""
        if "boxes" in self.outputs:
            return "boxes", "scores", "class_ids"
        return tuple(self.outputs)

    @property
    def filling(self) -> Filling:
        """How the graph's input is filled with pixels."""
        return Filling(self.layout, self.dtype, self.color, self.scale, self.mean, self.std)

    def to_json(self) -> dict[str, Any]:
        record = {**asdict(self), "mean": list(self.mean), "std": list(self.std), "outputs": dict(self.outputs)}
        if not self.most:
            del record["most"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Adapter":
        """Raises PackageError for a field that is lacking, unknown, or holds something else."""
        given = _fields(cls, {"most": 0, **record} if isinstance(record, Mapping) else record)
        if given["boxes"] is not None:
            given["boxes"] = BoxRule.from_json(given["boxes"])
        return cls(**given)


def _fields(kind: type[Adapter] | type[BoxRule], record: Any) -> dict[str, Any]:
    known = {f.name: f.type for f in fields(kind)}
    if not isinstance(record, Mapping) or set(record) != set(known):
        raise PackageError(f"an adapter has exactly the fields {', '.join(known)}")
    for name, value in record.items():
        wanted: tuple[type, ...] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}.get(
            known[name],  # type: ignore[arg-type]
            (list, dict, type(None)),
        )
        if type(value) not in wanted:
            raise PackageError(f"adapter field {name!r} holds {value!r}")
        numbers = value if isinstance(value, list) else []
        if not all(type(v) in (int, float) for v in numbers):
            raise PackageError(f"adapter field {name!r} holds numbers")
    return dict(record)


def _words(made: "Adapter | BoxRule") -> None:
    for name in (f.name for f in fields(made) if f.name in WORDS):
        if getattr(made, name) not in WORDS[name]:
            known = ", ".join(repr(w) for w in WORDS[name])
            raise PackageError(f"{name} is one of {known}, got {getattr(made, name)!r}")
