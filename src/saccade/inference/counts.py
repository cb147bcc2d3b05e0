"""What a loaded version has done so far: requests, rows, runs of the graph, and the time of each stage."""

import threading
import time
from dataclasses import dataclass, field

from saccade.errors import SaccadeError
from saccade.inference.request import Answer


@dataclass
class Duration:
    """How often, and for how long in all."""

    count: int = 0
    seconds: float = 0.0

    @property
    def ns(self) -> int:
        return round(self.seconds * 1e9)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


@dataclass
class Counts:
    """Thread-safe to feed. rows and runs count what succeeded; batches: run time by number of rows in a run.

    success, fail, queue, decode, infer, post count requests. last_ms: of the last answer, since the epoch; 0 is never.
    """

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    decode: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    post: Duration = field(default_factory=Duration)
    batches: dict[int, Duration] = field(default_factory=dict)
    last_ms: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._stages = {"queue": self.queue, "decode": self.decode, "infer": self.infer, "post": self.post}

    @property
    def rows(self) -> int:
        return sum(size * runs.count for size, runs in list(self.batches.items()))

    @property
    def runs(self) -> int:
        return sum(runs.count for runs in list(self.batches.values()))

    def run(self, rows: int, seconds: float) -> None:
        """One run of the graph."""
        with self._lock:
            if (runs := self.batches.get(rows)) is None:
                runs = self.batches[rows] = Duration()
            runs.add(seconds)

    def request(self, answer: Answer | None, seconds: float) -> None:
        """One request, from submission to answer; None for one whose caller left."""
        with self._lock:
            if answer is None or any(isinstance(result, SaccadeError) for result in answer.results):
                self.fail.add(seconds)
                return
            self.success.add(seconds)
            self.last_ms = time.time_ns() // 1_000_000
            for stage, all_of_it in self._stages.items():
                all_of_it.add(answer.timings.get(stage, 0.0) / 1e3)
