"""Shared nouns of the house: the few values every room speaks."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.errors import DataError

Array = NDArray[Any]
Image = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB, upright."""


@dataclass(frozen=True)
class Labels:
    """The class ledger: an immutable id-to-name table; ids are positions, contiguous from 0.

    names: unique, not empty. originals: the id or name each class had in the dataset, same order (default: names).
    exclusive: True when an image has exactly one class, False when several may hold at once (multi-label).
    Raises DataError when a name is empty or appears twice.
    """

    names: tuple[str, ...]
    originals: tuple[str | int, ...] = ()
    exclusive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "originals", tuple(self.originals) or self.names)
        twice = sorted(n for n, times in Counter(self.names).items() if times > 1)
        if twice or not all(self.names):
            raise DataError(
                f"class names must be unique and not empty, got {twice or 'an empty name'}",
                hint="rename the class folders or labels",
            )
        if len(self.originals) != len(self.names):
            raise DataError(f"{len(self.names)} class names came with {len(self.originals)} original ids")

    def __len__(self) -> int:
        return len(self.names)

    def id(self, name: str) -> int:
        """The id of a class name. Raises DataError when the ledger has no such class."""
        try:
            return self.names.index(name)
        except ValueError:
            raise DataError(f"class {name!r} is not in the ledger {list(self.names)}") from None

    def to_json(self) -> dict[str, Any]:
        return {
            "classes": [
                {"id": i, "name": n, "original": o}
                for i, (n, o) in enumerate(zip(self.names, self.originals, strict=True))
            ],
            "exclusive": self.exclusive,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Labels":
        try:
            classes = record["classes"]
            if [c["id"] for c in classes] != list(range(len(classes))):
                raise DataError(f"class ids must run 0..{len(classes) - 1} in order")
            return cls(
                tuple(str(c["name"]) for c in classes),
                tuple(c.get("original", c["name"]) for c in classes),
                bool(record.get("exclusive", True)),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"class ledger expects classes with id and name, got {error}") from error

    def digest(self) -> str:
        """SHA-256 (hex) of names in order and exclusiveness."""
        text = json.dumps([list(self.names), self.exclusive], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


Annotation = Mapping[str, Array]
"""What is known of an image, an open record of named arrays: `classes` int64 [K] of the whole picture.

`boxes` float32 [K, 4] (x_min y_min x_max y_max, px of the upright original, 0-based, half-open) with
`box_classes` int64 [K], and where known `box_crowd` bool [K] (a region of many), `box_difficult` bool [K],
`box_area` float32 [K]. `mask` uint8 [H, W] of class ids, 255 where nobody judges. A mapping may read a field from
disk only when it is asked for.
"""


@dataclass(frozen=True)
class Sample:
    """One picture and what is known of it.

    key: unique within a dataset, stable, posix style ("train/glass/a.jpg", "train_images[17]"). image: a file, encoded
    bytes, or uint8 pixels [H, W] or [H, W, 3]. group: samples of one group never part in a split.
    """

    key: str
    image: Path | bytes | Array
    annotation: Annotation = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor of a graph. dtype: numpy name; shape: None marks a free axis (batch first)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "TensorSpec":
        return cls(str(record["name"]), str(record["dtype"]), tuple(record["shape"]))


@dataclass(frozen=True)
class Prediction:
    """One answer in pixels of the upright original picture. A task fills the fields it has.

    class_ids int64 [K] and scores float32 [K], best first; boxes float32 [K, 4] as x_min y_min x_max y_max;
    mask uint8 [H, W] of class ids; confidence uint8 [H, W], 255ths, where a graph of masks tells how sure it is.
    Classification gives all classes; readers cut to top k.
    """

    width: int
    height: int
    class_ids: Array | None = None
    scores: Array | None = None
    boxes: Array | None = None
    mask: Array | None = None
    confidence: Array | None = None


@dataclass(frozen=True)
class Number:
    """A headline number: value, its 95 % interval, how many samples it rests on, in one word what is better."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    higher_is_better: bool = True
    help: str = ""


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    help: str = ""


@dataclass(frozen=True)
class Series:
    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """A plot. kind: "line", "step" or "bars"."""

    name: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    kind: str = "line"
    diagonal: bool = False
    help: str = ""


@dataclass(frozen=True)
class Matrix:
    """A heat map with named rows and columns (confusion matrix: rows are truth)."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    help: str = ""


@dataclass(frozen=True)
class Case:
    """A sample worth looking at. badness orders the gallery, worst first."""

    key: str
    badness: float
    truth: str
    answer: str
    class_id: int | None = None


Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max in px of a picture."""


@dataclass(frozen=True)
class Spot:
    """One mistake at one place of a picture.

    kind: what sort of mistake. class_id, box: of the wrong answer, or of what was missed. score: None where nothing was
    answered. other_id, other: what stands there instead, its class and box. words: the same in words, or nothing.
    """

    key: str
    kind: str
    class_id: int
    box: Box
    score: float | None = None
    other_id: int | None = None
    other: Box | None = None
    words: str = ""


@dataclass(frozen=True)
class Scorecard:
    """How good a model is on a split, in task-neutral form; the first number is the headline.

    worst: whole pictures; spots: single mistakes by kind, of each the ones that tell most. per_sample: {metric: float32
    [n]} aligned with keys, so that two cards over the same samples can be compared.
    """

    task: str
    split: str
    n: int
    numbers: tuple[Number, ...]
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    worst: tuple[Case, ...] = ()
    keys: tuple[str, ...] = ()
    per_sample: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    spots: tuple[Spot, ...] = ()

    @property
    def headline(self) -> Number:
        return self.numbers[0]

    def __getitem__(self, name: str) -> Number:
        for number in self.numbers:
            if number.name == name:
                return number
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def names_text(names: Sequence[str], most: int = 5) -> str:
    """A short list for a sentence: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
