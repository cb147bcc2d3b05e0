"""A server in a process of its own, with all that it starts: ready when the block begins, gone when it ends."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_S = 180.0
STOP_S = 20.0


class Host:
    """command and environ: `{port}` stands for the port it is to take. log: what the server said."""

    def __init__(self, command: Sequence[str], ready: str, environ: Mapping[str, str], cwd: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        words = {name: value.replace("{port}", str(self.port)) for name, value in environ.items()}
        self._ready, self._environ, self._cwd = ready, {**os.environ, **words}, cwd
        self._known: set[tuple[int, str]] = set()

    def __enter__(self) -> "Host":
        self.log = tempfile.TemporaryFile("w+")
        # A group of its own: a Ctrl-C here must reach this process first, which then stops the server in order.
        self.process = subprocess.Popen(
            self._command, stdout=self.log, stderr=self.log, env=self._environ, cwd=self._cwd, start_new_session=True
        )
        end = time.monotonic() + START_S
        try:
            while not self._answers():
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"it did not start: {self.said()}")
                time.sleep(0.1)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def said(self) -> str:
        """The end of what it wrote, on one line."""
        self.log.seek(0)
        return " ".join(self.log.read().split())[-600:]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def pids(self) -> list[int]:
        """The process and all below it."""
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            found.append(pid)
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    new += [int(word) for word in file.read_text().split()]
        self._known.update((pid, _born(pid)) for pid in found)
        return found

    def cpu_s(self) -> float:
        """CPU seconds used so far by the process and all below it."""
        ticks = 0
        for fields in self._stats("stat"):
            ticks += sum(map(int, fields.rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Proportional resident memory now: pages that several processes share count once."""
        total = 0
        for text in self._stats("smaps_rollup"):
            total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
        return total * 1024 / 1e6

    def _stats(self, file: str) -> Iterator[str]:
        for pid in self.pids():
            with contextlib.suppress(OSError):
                yield Path(f"/proc/{pid}/{file}").read_text(errors="replace")

    def _stop(self) -> None:
        self.pids()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Some leave helpers behind; all of them were started by the server of this block.
        for pid, born in self._known:
            if pid != self.process.pid and born and born == _born(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.log.close()


def _born(pid: int) -> str:
    """When a process began, in ticks: with it a number names one process for ever. Empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
