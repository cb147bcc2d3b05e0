"""What one engine does inside the common loop (`training/loop.py`), and what moves while it learns. Keepers:
trainers/*/learner.py."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from saccade.tasks.task import Task
from saccade.training.checkpoints import Checkpoint
from saccade.training.events import RateFound
from saccade.training.recipe import Recipe
from saccade.types import Array, Labels


@dataclass(kw_only=True)
class Moving:
    """What moves while a run learns. position: images of this epoch already used; rate: the peak; elapsed: seconds.

    micro: images that go through at once. share: of the input size. several: whether pictures may be joined. still:
    whether they stay whole and in place. kept, ever: the watched number of the weights that are kept, and the highest.
    stale: validations without a gain. reserve: seconds of a budget that the end will take. per_step: images; total:
    steps of the whole run.
    """

    recipe: Recipe
    task: Task
    half: Any
    labels: Labels
    micro: int
    rate: float
    now: float = 0.0
    share: float = 1.0
    several: bool = True
    still: bool = False
    step: int = 0
    epoch: int = 0
    position: int = 0
    elapsed: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    kept: float = -1.0
    ever: float = -1.0
    stale: int = 0
    watched: str = ""
    reserve: float = 0.0
    per_step: int = 1
    steps_an_epoch: int = 1
    total: int = 1
    saved_at: float = field(default_factory=time.monotonic)

    def progress(self, step: int | None = None) -> float:
        """Share of the schedule done at a step (now, unless told): by the clock under a budget, else by steps."""
        if self.recipe.budget:
            return self.elapsed / max(0.1, self.recipe.budget - self.reserve)
        return (self.step if step is None else step) / self.total

    MOVING: ClassVar[tuple[str, ...]] = (
        "step",
        "epoch",
        "position",
        "elapsed",
        "loss_sum",
        "loss_steps",
        "kept",
        "ever",
        "stale",
        "watched",
        "rate",
        "micro",
    )


class Learner(ABC):
    """One network that learns in one framework. s: its state; said: lines about weights and network, told once.

    val_targets: encoded annotations, first axis the image. Arrays in and out are numpy.
    """

    s: Moving
    said: list[str]
    train: int
    val: int
    val_targets: Mapping[str, Array]

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Numbers that are learned or kept."""

    @property
    @abstractmethod
    def device(self) -> str: ...

    @abstractmethod
    def order(self, epoch: int) -> Array:
        """Places of the training images in the order of one pass, the same whenever it is asked for."""

    def turn(self, epoch: int) -> Array:
        """Places in the order of an epoch, which is `repeat` passes."""
        repeat = int(self.s.recipe.repeat)
        return np.concatenate([self.order(epoch * repeat + number) for number in range(repeat)])

    @abstractmethod
    def step(self, places: Array) -> tuple[float, list[str]]:
        """Gradients of all these images, one move of the weights at rate `s.now`: the loss, and
        words such as on memory."""

    @abstractmethod
    def find_rate(self) -> RateFound:
        """The range test; leaves no trace in weights or optimizer."""

    @abstractmethod
    def sheet(self, most: int) -> tuple[list[Array], list[str]]:
        """The first batch as the network will see it, uint8 [H, W, 3] each, and a caption each."""

    @abstractmethod
    def look(self, weights: Mapping[str, Array], exact: bool) -> tuple[dict[str, Array], float]:
        """What the task keeps of the validation split under these weights, and the mean loss; exact: in float32."""

    @abstractmethod
    def weights(self) -> dict[str, Array]:
        """The weights that are judged and kept: averaged ones when there are any."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Mapping[str, Array]], dict[str, Any]]:
        """All that a checkpoint needs to go on bit by bit: parts of arrays, and a record."""

    @abstractmethod
    def fill(self, found: Checkpoint) -> None:
        """The inverse."""

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what runs beside the loop."""

    @abstractmethod
    def rehearse(self) -> float:
        """Seconds that the last validation and the calibration will take, from one batch of each; changes nothing."""
