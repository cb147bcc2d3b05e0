"""What is asked of an engine and what it answers; free of any protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saccade.errors import SaccadeError
from saccade.types import Array, Labels, Prediction

Row = Mapping[str, Array]
"""One row of a graph's own inputs by name, each without the batch axis."""

Source = Path | bytes | Array | Row
"""A picture: a file, its encoded bytes, or uint8 pixels [H, W, 3]. Or a Row: that runs as it is, undecoded."""


@dataclass(frozen=True)
class Request:
    """model: `name` or `name@alias`; version wins over an alias. deadline_s: from submission to answer.

    caller: who asks, callers take turns; None makes every request its own. urgent: goes before requests that are not;
    None says that a single image is urgent and several are not.
    tile: pictures larger than the network are asked in overlapping tiles, of its size or so many times as large.
    """

    model: str
    images: tuple[Source, ...]
    version: int | None = None
    deadline_s: float = 10.0
    caller: str | None = None
    urgent: bool | None = None
    tile: bool | float = False


@dataclass(frozen=True)
class Answer:
    """results: one per image in the order sent, a Prediction or the error of that image alone.

    timings: ms per stage (decode, queue, infer, post), the slowest image of the request. thresholds: by class name
    the score from which an answer is shown to those who name none. rows: beside each result the graph's own
    outputs, each without the batch axis; None where the result is an error. batch: rows of the largest run that
    took part, and why it was no larger.
    """

    model: str
    version: int
    digest: str
    task: str
    labels: Labels
    results: tuple[Prediction | SaccadeError, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[Row | None, ...] = ()
    batch: int = 0
    why: str = ""
