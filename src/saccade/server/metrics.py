"""Counters and histograms as Prometheus text, counted in one place around the engine."""

import math
import threading
from bisect import bisect_left
from collections.abc import Callable

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.inference.request import Answer

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OK = ("outcome", "ok")
Labels = tuple[tuple[str, str], ...]


class Number:
    """One line of a counter."""

    def __init__(self) -> None:
        self.value = 0

    def add(self) -> None:
        self.value += 1


class Counter:
    kind = "counter"

    def __init__(self) -> None:
        self._numbers: dict[Labels, Number] = {}

    def of(self, labels: Labels) -> Number:
        if (found := self._numbers.get(labels)) is None:
            found = self._numbers[labels] = Number()
        return found

    def lines(self, name: str) -> list[str]:
        # A line may be there before anything was counted on it.
        return [f"{name}{_braces(key)} {number.value}" for key, number in self._numbers.items() if number.value]


class Times:
    """One distribution of a histogram."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds


class Histogram:
    """Of seconds, in cumulative buckets."""

    kind = "histogram"

    def __init__(self) -> None:
        self._times: dict[Labels, Times] = {}

    def of(self, labels: Labels) -> Times:
        if (found := self._times.get(labels)) is None:
            found = self._times[labels] = Times()
        return found

    def lines(self, name: str) -> list[str]:
        out = []
        for key, times in self._times.items():
            total = 0
            for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], times.counts, strict=True):
                total += count
                out.append(f"{name}_bucket{_braces((*key, ('le', bound)))} {total}")
            out.append(f"{name}_sum{_braces(key)} {times.seconds:.9g}")
            out.append(f"{name}_count{_braces(key)} {total}")
        return out


class Metrics:
    """observe goes to the engine, answered and called to the listeners; from any thread. asked: requests so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked = 0
        self.requests = Counter()
        self.images = Counter()
        self.stages = Histogram()
        self.whole = Histogram()
        self.http = Counter()
        self.grpc = Counter()
        self.refused = Counter()
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._http: dict[tuple[str, str, int], Number] = {}
        """Lines of `requests` and so on, and of `http`, found by what is counted: to put their labels together costs more."""
        self.others: Callable[[], list[str]] = list
        """What the servers say that share the port, as `text` does."""

    def observe(self, name: str, version: str, what: Answer | SaccadeError, seconds: float) -> None:
        with self._lock:
            self.asked += 1
            if isinstance(what, SaccadeError):
                self.requests.of((*_whose(name, version), ("outcome", what.code))).add()
                return
            answers = self._answers.get((name, version))
            if answers is None:
                answers = self._answers[name, version] = _Answers(self, _whose(name, version))
            answers.add(what, seconds)

    def answered(self, route: str, method: str, status: int, code: str = "") -> None:
        with self._lock:
            number = self._http.get((route, method, status))
            if number is None:
                labels = (("route", route), ("method", method), ("status", str(status)))
                number = self._http[route, method, status] = self.http.of(labels)
            number.add()
            if code:
                self.refused.of((("code", code),)).add()

    def called(self, method: str, status: str, code: str = "") -> None:
        """A gRPC call that ended: its path, the name of its status, and the error's code."""
        with self._lock:
            self.grpc.of((("method", method), ("status", status))).add()
            if code:
                self.refused.of((("code", code),)).add()

    def text(self, engine: Engine) -> str:
        with self._lock:
            families: list[tuple[str, str, Counter | Histogram]] = [
                ("saccade_requests_total", "Requests to the engine by outcome.", self.requests),
                ("saccade_images_total", "Images by outcome.", self.images),
                ("saccade_stage_seconds", "Time in each stage, slowest image of a request.", self.stages),
                ("saccade_request_seconds", "Time from submission to answer.", self.whole),
                ("saccade_http_requests_total", "HTTP requests by route and status.", self.http),
                ("saccade_grpc_requests_total", "gRPC calls by method and status.", self.grpc),
                ("saccade_errors_total", "Errors by code.", self.refused),
            ]
            out: list[str] = []
            for name, words, family in families:
                out += [f"# HELP {name} {words}", f"# TYPE {name} {family.kind}", *family.lines(name)]
        for name, words, lines in _gauges(engine):
            kind = "counter" if name.endswith("_total") else "gauge"
            out += [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *(name + line for line in lines)]
        return "\n".join(out) + "\n"


class _Answers:
    """The lines of one version that every answer adds to."""

    def __init__(self, metrics: Metrics, whose: Labels) -> None:
        self._metrics, self._whose = metrics, whose
        self._requests, self._whole = metrics.requests.of((*whose, OK)), metrics.whole.of(whose)
        self._images = metrics.images.of((*whose, OK))
        self._stages: dict[str, Times] = {}

    def add(self, answer: Answer, seconds: float) -> None:
        self._requests.add()
        self._whole.add(seconds)
        for result in answer.results:
            if isinstance(result, SaccadeError):
                self._metrics.images.of((*self._whose, ("outcome", result.code))).add()
            else:
                self._images.add()
        for stage, ms in answer.timings.items():
            times = self._stages.get(stage)
            if times is None:
                times = self._stages[stage] = self._metrics.stages.of((*self._whose, ("stage", stage)))
            times.add(ms / 1e3)


def _whose(name: str, version: str) -> Labels:
    return (("model", name), ("version", version))


def _gauges(engine: Engine) -> list[tuple[str, str, list[str]]]:
    """Name, help and lines of what is true now; everything of a version from one look at it."""
    held = [(n, v, entry) for n in engine.names() for v, entry in engine.versions(n).items()]
    seen = [(_braces((("model", n), ("version", str(v)))), entry) for n, v, entry in held]
    loaded = [(whose, entry.load_s, entry.model) for whose, entry in seen if entry.model]
    processes = [(whose, health) for whose, _, model in loaded if (health := model.health()) is not None]
    return [
        (
            "saccade_model_ready",
            "1 for each version that answers.",
            [f"{w} {int(e.state == 'ready')}" for w, e in seen],
        ),
        (
            "saccade_model_load_seconds",
            "Time to load, warm and check a version.",
            [f"{w} {s:.3f}" for w, s, _ in loaded],
        ),
        ("saccade_processes", "Servers that share the port.", [" 1"]),
        (
            "saccade_expected_wait_seconds",
            "What a picture that came now would wait.",
            [f"{w} {model.expected_wait_s():.6f}" for w, _, model in loaded],
        ),
        (
            "saccade_longest_wait_seconds",
            "A single urgent picture that would wait longer is refused.",
            [f"{w} {model.longest_wait_s:.6f}" for w, _, model in loaded if model.longest_wait_s < math.inf],
        ),
        ("saccade_workers_live", "Processes of a version that can run.", [f"{w} {h.live}" for w, h in processes]),
        ("saccade_workers_wanted", "Processes a version shall have.", [f"{w} {h.wanted}" for w, h in processes]),
        ("saccade_workers_lost_total", "Processes that were lost.", [f"{w} {h.lost}" for w, h in processes]),
        ("saccade_workers_bytes", "Resident memory of the processes.", [f"{w} {h.resident}" for w, h in processes]),
    ]


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escape(value)}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
