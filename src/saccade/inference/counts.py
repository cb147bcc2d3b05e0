"""What a loaded version has done so far: requests, rows, runs of the graph, and the time of each stage."""

import threading
import time
from dataclasses import dataclass, field

from saccade.errors import SaccadeError
from saccade.inference.request import Answer


@dataclass
class Duration:
    """How often, and for how many nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, times: int = 1) -> None:
        self.count += times
        self.ns += round(seconds * 1e9)


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

    @property
    def rows(self) -> int:
        return sum(size * runs.count for size, runs in list(self.batches.items()))

    @property
    def runs(self) -> int:
        return sum(runs.count for runs in list(self.batches.values()))

    def run(self, rows: int, seconds: float) -> None:
        """One run of the graph."""
        with self._lock:
            self.batches.setdefault(rows, Duration()).add(seconds)

    def request(self, answer: Answer | None, seconds: float) -> None:
        """One request, from submission to answer; None for one whose caller left."""
        with self._lock:
            if answer is None or any(isinstance(result, SaccadeError) for result in answer.results):
                self.fail.add(seconds)
                return
            self.success.add(seconds)
            self.last_ms = time.time_ns() // 1_000_000
            for stage in ("queue", "decode", "infer", "post"):
                getattr(self, stage).add(answer.timings.get(stage, 0.0) / 1e3)
