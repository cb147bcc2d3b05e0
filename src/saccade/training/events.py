"""What a run says as it goes: frozen records, one JSON line each in `events.jsonl`, one text each for people."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """kind: the record's name in JSON. time: seconds since the epoch."""

    kind: ClassVar[str] = "event"
    time: float = field(default_factory=time.time, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def text(self) -> str:
        """One line for people; empty when there is nothing to say."""
        return ""


@dataclass(frozen=True)
class Chosen(Event):
    """A knob that was "auto": what was chosen, and why."""

    kind: ClassVar[str] = "chosen"
    key: str
    value: Any
    reason: str

    def text(self) -> str:
        return f"auto     {self.key} = {self.value} ({self.reason})"


@dataclass(frozen=True)
class Note(Event):
    kind: ClassVar[str] = "note"
    message: str

    def text(self) -> str:
        return f"note     {self.message}"


@dataclass(frozen=True)
class Started(Event):
    kind: ClassVar[str] = "started"
    network: str
    parameters: int
    device: str
    train: int
    val: int

    def text(self) -> str:
        size = f"{self.parameters / 1e6:.2f} M parameters"
        return (
            f"network  {self.network}, {size}, on {self.device}; {self.train} images to learn from, {self.val} to watch"
        )


@dataclass(frozen=True)
class Resumed(Event):
    kind: ClassVar[str] = "resumed"
    step: int
    epoch: int

    def text(self) -> str:
        return f"resumed  at step {self.step}, epoch {self.epoch}"


@dataclass(frozen=True)
class RateFound(Event):
    """The learning-rate range test: rates tried, smoothed losses, the rate taken."""

    kind: ClassVar[str] = "rate_found"
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    rate: float

    def text(self) -> str:
        return f"rate     {self.rate:.2g} from a range test of {len(self.rates)} steps"


@dataclass(frozen=True)
class Step(Event):
    """progress: share of the schedule that is done, 0..1. At most ten a second are said."""

    kind: ClassVar[str] = "step"
    step: int
    epoch: int
    progress: float
    loss: float
    rate: float
    images_per_s: float
    eta_s: float


@dataclass(frozen=True)
class Epoch(Event):
    """After a validation. metric: on the validation split, higher is better; kept: these weights are now the best."""

    kind: ClassVar[str] = "epoch"
    epoch: int
    step: int
    loss: float
    val_loss: float
    metric_name: str
    metric: float
    kept: bool
    rate: float
    images_per_s: float
    elapsed_s: float

    def text(self) -> str:
        star = " *" if self.kept else ""
        return (
            f"epoch {self.epoch:>4}  loss {self.loss:.4f}  val loss {self.val_loss:.4f}  "
            f"{self.metric_name} {self.metric:.4f}{star}  {self.images_per_s:.0f} img/s"
        )


@dataclass(frozen=True)
class Finished(Event):
    """metric: of the weights that were kept; reason: why the run ended."""

    kind: ClassVar[str] = "finished"
    step: int
    epochs: int
    elapsed_s: float
    metric_name: str
    metric: float
    reason: str
    calibration: dict[str, float]

    def text(self) -> str:
        fitted = ", ".join(f"{k} {v:.3g}" for k, v in self.calibration.items())
        return (
            f"finished {self.epochs} epochs, {self.step} steps in {self.elapsed_s:.0f} s ({self.reason}); "
            f"kept {self.metric_name} {self.metric:.4f}{'; ' + fitted if fitted else ''}"
        )


KINDS: dict[str, type[Event]] = {k.kind: k for k in (Chosen, Note, Started, Resumed, RateFound, Step, Epoch, Finished)}


def from_json(record: dict[str, Any]) -> Event:
    """The event a line of `events.jsonl` holds. Raises KeyError for an unknown kind."""
    return KINDS[record["kind"]](**{k: v for k, v in record.items() if k != "kind"})
