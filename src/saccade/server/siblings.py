"""Several whole servers on one port, where one interpreter cannot keep up: each loads the
packages and answers by itself.

The kernel shares new connections among them (SO_REUSEPORT). The first process only starts the others, ends them, and
starts one again that was lost. A server listens once it has loaded, so no request meets one that has not. What /metrics
says is the sum: whoever is asked asks the others through sockets in a private folder.
"""

import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from saccade import process
from saccade.server.settings import Settings

log = logging.getLogger("saccade.server")
LOOK_S = 0.05
AGAIN_S = (0.5, 30.0)
"""Before a lost server is started again: at first, and at most, twice as long after each loss."""
STEADY_S = 60.0
ASK_S = 1.0
SMALLEST = ("saccade_model_ready", "saccade_longest_wait_seconds")
LARGEST = ("saccade_model_load_seconds", "saccade_expected_wait_seconds")
"""Gauges that are not added up: what all of them have, and the worst of any."""


def shared(settings: Settings) -> Settings:
    """What each of the processes is set to: the cores are shared out where nobody set a number. Each may decode with
    twice its share: the kernel gives out connections, not work, and one process has more of it than another."""
    cores = max(1, process.cores() // settings.processes)
    runners = settings.runners or max(min(2, cores), settings.replicas)
    return replace(
        settings,
        decode_threads=settings.decode_threads or min(process.cores(), 2 * cores),
        runners=runners,
        graph_threads=settings.graph_threads or max(1, cores // runners),
    )


def run(packages: Sequence[str | Path], settings: Settings) -> int:
    """Blocks until SIGTERM or SIGINT, which all get; the largest exit code, or that of one that could not start."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: asked.append(got))
    with tempfile.TemporaryDirectory(prefix="saccade-") as room:
        given = {name: _plain(getattr(settings, name)) for name in (f.name for f in fields(Settings))}
        told = {"packages": [_plain(p) for p in packages], "settings": given, "room": room}
        family = [_Child(told, i) for i in range(settings.processes)]
        try:
            for child in family:
                child.start()
            while not asked:
                time.sleep(LOOK_S)
                for child in family:
                    if child.failed():
                        return child.code or 1
                    child.look()
        finally:
            for child in family:
                child.end(asked[0] if asked else signal.SIGTERM)
            codes = [child.wait(settings.drain_s + settings.finish_s + 10) for child in family]
    return max(codes)


class _Child:
    """One of the servers, as the process that started it sees it."""

    def __init__(self, told: dict[str, Any], index: int) -> None:
        self._told = {**told, "index": index}
        self._socket = _place(Path(told["room"]), index)
        self._losses = 0
        self._listened = False
        self._again = self._began = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._began = time.monotonic()
        self._process = subprocess.Popen([sys.executable, "-m", "saccade.server.sibling"], stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        # The pipe stays open: its end tells the child that this process is gone.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(self._told).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def code(self) -> int | None:
        return self._process.poll() if self._process else None

    def failed(self) -> bool:
        """It ended before it ever listened: starting it again would change nothing."""
        self._listened = self._listened or self._socket.exists()  # one that ends in order takes its socket away
        return not self._losses and self.code is not None and not self._listened

    def look(self) -> None:
        """Starts it again when it was lost and has waited long enough."""
        if self.code is None:
            return
        now = time.monotonic()
        if not self._again:
            self._losses = 1 if now - self._began > STEADY_S else self._losses + 1
            pause = min(AGAIN_S[1], AGAIN_S[0] * 2 ** (self._losses - 1))
            self._again = now + pause
            log.error("a server process ended with code %s; it is started again in %g s", self.code, pause)
        elif now >= self._again:
            self._again = 0.0
            self.start()

    def end(self, number: int) -> None:
        if self._process is not None and self.code is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        if self._process is None:
            return 0
        try:
            return abs(self._process.wait(seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return abs(self._process.wait())


class Siblings:
    """One server's line to the others: gives its metrics to whoever connects, asks the others for theirs."""

    def __init__(self, room: Path, index: int) -> None:
        self._room = room
        self._own = _place(room, index)
        self._listener: socket.socket | None = None

    def open(self, text: Callable[[], str]) -> None:
        """From now on others are told what text says."""
        self._own.unlink(missing_ok=True)
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._own))
        listener.listen(16)

        def tell() -> None:
            while True:
                try:
                    other, _ = listener.accept()
                except OSError:
                    return
                with other, contextlib.suppress(OSError):
                    other.settimeout(ASK_S)
                    other.sendall(text().encode())

        threading.Thread(target=tell, name="siblings", daemon=True).start()

    def texts(self) -> list[str]:
        """What the others say; one that does not answer in time is left out."""
        found = []
        for place in sorted(self._room.glob("*.socket")):
            if place == self._own:
                continue
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
                asked.settimeout(ASK_S)
                asked.connect(str(place))
                found.append(b"".join(iter(lambda: asked.recv(65536), b"")).decode())
        return found

    def close(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._own.unlink(missing_ok=True)


def merge(texts: Sequence[str]) -> str:
    """Prometheus texts of like servers as one: numbers are added up but for the gauges named above."""
    numbers: dict[str, float] = {}
    families: dict[str, list[str]] = {}
    comments: dict[str, list[str]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                known = comments.setdefault(family, [])
                if line not in known:
                    known.append(line)
                continue
            series, _, value = line.rpartition(" ")
            number = float(value)
            if series not in numbers:
                families.setdefault(family, []).append(series)
                numbers[series] = number
            elif family in SMALLEST:
                numbers[series] = min(numbers[series], number)
            elif family in LARGEST:
                numbers[series] = max(numbers[series], number)
            else:
                numbers[series] += number
    out = []
    for family, lines in comments.items():
        out += [*lines, *(f"{series} {_number(numbers[series])}" for series in families.get(family, ()))]
    return "\n".join(out) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _place(room: Path, index: int) -> Path:
    return room / f"{index}.socket"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
