"""How a package is opened: which graph, on what, how many at once."""

from dataclasses import dataclass, replace
from pathlib import Path

from saccade.errors import UsageError
from saccade.inference import tuning
from saccade.process import cores

MAX_BATCH = 16
MOST_RUNNERS = 1024
MOST_LANES = 64
"""Runners of a process of its own: the descriptors of all their lines go over at once."""
ISOLATIONS = ("none", "process")
"""Where a graph runs: in this process, or in one of its own."""


@dataclass(frozen=True)
class Options:
    """How a package is opened.

    variant: the graph that answers; None takes the fastest that was certified on this host, else `default`. runners:
    batches that run at the same time, at most 64 for each process of its own; None is two on a CPU with several cores, so that one is computed
    while the other is stacked and answered, else one, and never fewer than replicas. threads: of each run (None: the
    cores, shared among the runners). max_batch (None: 16), max_queue: rows. max_wait_s: refuse when the expected wait
    of a single picture is longer; of several, twenty times that. None never refuses (a script that waits for itself).
    objective_s: how long a row may take from queue to answer: batches are kept small enough for it, and who would wait too
    long is refused (aim.py). tuning: the folder
    of `saccade bench --tune`; what it found for this graph on this host stands in for runners, threads and max_batch
    that are None.

    isolation: none runs the graph in this process; process runs it in `replicas` processes of its own, which share the
    runners. hang_s: a run there that lasts longer is ended with its process. patient: load at low priority, because
    others are being served. tuning is also where the memory that such a process took is written down.
    """

    variant: str | None = None
    device: str = "cpu"
    threads: int | None = None
    runners: int | None = None
    max_batch: int | None = None
    max_queue: int = 1024
    max_wait_s: float | None = None
    objective_s: float | None = None
    tuning: Path | None = None
    isolation: str = "none"
    replicas: int = 1
    hang_s: float = 30.0
    patient: bool = False

    def __post_init__(self) -> None:
        if self.isolation not in ISOLATIONS:
            raise UsageError(f"isolation is {' or '.join(ISOLATIONS)}, got {self.isolation!r}")
        if self.replicas < 1 or self.hang_s <= 0:
            raise UsageError(f"replicas start at 1 and hang_s above 0, got {self.replicas} and {self.hang_s}")
        if self.runners is not None and not 1 <= self.runners <= self._most:
            raise UsageError(f"runners are 1 to {self._most}, got {self.runners}")
        if self.replicas > 1 and self.isolation != "process":
            raise UsageError(f"{self.replicas} replicas are processes", hint="set isolation to process")

    @property
    def _most(self) -> int:
        """Runners that there may be."""
        return MOST_LANES * self.replicas if self.isolation == "process" else MOST_RUNNERS

    def resolved(self) -> "Options":
        """With numbers for what was left to this machine."""
        runners = self.runners or max(min(2, cores() if self.device == "cpu" else 1), self.replicas)
        threads = self.threads or max(1, cores() // runners)
        return replace(self, runners=runners, threads=threads, max_batch=self.max_batch or MAX_BATCH)

    def tuned(self, digest: str, variant: str) -> "Options":
        """With what was measured here for this graph, where nothing was asked for."""
        found = tuning.read(self.tuning, digest, variant) if self.tuning else None
        if found is None or self.device != "cpu":
            return self
        return replace(
            self,
            runners=self.runners or max(self.replicas, min(found.runners, self._most)),
            threads=self.threads or found.threads,
            max_batch=self.max_batch or found.max_batch,
        )
