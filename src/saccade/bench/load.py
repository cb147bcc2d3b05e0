"""Closed- and open-loop clients over plain HTTP/1.1: one thread, non-blocking sockets, ready-made bytes.

On a machine whose cores the server needs as well, a client must cost as little as it can.
"""

import contextlib
import os
import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from saccade.errors import ServerError, UsageError

CONNECTIONS = 512
"""At most, of an open loop; beyond, an arrival waits for a free one, which counts as its latency."""
DRAIN_S = 10.0


@dataclass(frozen=True)
class Target:
    """Where a request goes, and its bytes, the same every time."""

    host: str
    port: int
    request: bytes

    @classmethod
    def at(
        cls, url: str, body: bytes, kind: str, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> "Target":
        """url: http://HOST[:PORT]/PATH, POSTed to as it is. Raises UsageError for anything else."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(
                f"bench loads http://HOST:PORT/PATH, got {url!r}", hint="TLS ends at a proxy: load behind it"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        )
        more = {**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})}
        head += "".join(f"{name}: {value}\r\n" for name, value in more.items())
        if not head.isascii() or head.count("\r\n") != 4 + len(more):
            raise UsageError("address and key are plain ASCII without line ends")
        return cls(parts.hostname, parts.port or 80, head.encode() + b"\r\n" + body)


@dataclass
class Load:
    """latencies_s: of what was answered with 200. statuses: of every answer; 0 counts broken connections."""

    name: str
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    @property
    def errors(self) -> int:
        return self.lost + sum(n for status, n in self.statuses.items() if status != 200)


class _Connection:
    """One keep-alive connection with at most one request on its way. began: the moment its latency counts from."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.began = 0.0
        self.flying = False
        """A request was sent and is not answered yet."""
        self.ends = False
        """The server said that it takes nothing more on this connection."""
        self._got = b""
        try:
            self.socket = socket.create_connection((target.host, target.port), 10)
        except OSError as error:
            if _exhausted():
                raise UsageError(
                    "no more connections can be opened: this process has as many open files as it may have",
                    hint="lower --concurrency, or raise the limit (ulimit -n)",
                ) from error
            raise ServerError(
                f"nothing answers at {target.host}:{target.port}", hint="is it running?", code="unreachable"
            ) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, began: float) -> None:
        """Raises OSError when the server hung up meanwhile."""
        self._got, self.began, self.flying = b"", began, True
        self.socket.sendall(self.target.request)

    def read(self) -> int | None:
        """The status once the answer is whole. Raises ConnectionError when the server hangs up."""
        part = self.socket.recv(262_144)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._got += part
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return None
        lower = head.lower()
        self.ends = b"\r\nconnection: close" in lower
        if b"transfer-encoding: chunked" in lower:
            return int(head[9:12]) if body.endswith(b"0\r\n\r\n") else None
        length = lower.partition(b"content-length:")[2].split(b"\r\n")[0].strip()
        return int(head[9:12]) if len(body) >= int(length or 0) else None


def closed(target: Target, connections: int, seconds: float) -> Load:
    """Every connection sends its next request when the last one was answered. Raises ServerError(unreachable),
    UsageError for more connections than can be opened."""
    load = Load(f"closed, {connections} at once")
    with _selector() as waiting:
        start = time.perf_counter()
        end = start + seconds
        free = [_open(target, waiting) for _ in range(connections)]
        while time.perf_counter() < end:
            broken = [one for one in free if not _sent(one, time.perf_counter(), load)]
            free = [_renewed(one, waiting) for one in broken]
            _receive(waiting, 0.0 if free else max(0.0, end - time.perf_counter()), load, free)
        load.seconds = time.perf_counter() - start
    return load


def poisson(target: Target, per_s: float, seconds: float, seed: int = 0) -> Load:
    """Requests arrive at random whether or not the earlier ones were answered; latency counts from the arrival. Raises
    as closed."""
    load = Load(f"Poisson, {per_s:.0f}/s")
    dice = random.Random(seed)
    with _selector() as waiting:
        free = [_open(target, waiting) for _ in range(4)]
        opened = len(free)
        start = time.perf_counter()
        arrival, end = start + dice.expovariate(per_s), start + seconds
        while True:
            now = time.perf_counter()
            while arrival <= now and arrival < end and (free or opened < CONNECTIONS):
                if not free:
                    free.append(_open(target, waiting))
                    opened += 1
                one = free.pop()
                if not _sent(one, arrival, load):
                    free.append(_renewed(one, waiting))
                arrival += dice.expovariate(per_s)
            flying = opened - len(free)
            if arrival >= end and not flying:
                break
            if now > end + DRAIN_S:
                load.lost += flying
                while arrival < end:  # who came and found no connection
                    load.lost += 1
                    arrival += dice.expovariate(per_s)
                break
            patience = arrival - now if arrival < end and (free or opened < CONNECTIONS) else 0.05
            _receive(waiting, max(0.0, patience), load, free)
        load.seconds = max(seconds, time.perf_counter() - start)
    return load


@contextlib.contextmanager
def _selector() -> Iterator[selectors.BaseSelector]:
    """Of the connections of a load, which are closed at its end, whatever that is."""
    waiting = selectors.DefaultSelector()
    try:
        yield waiting
    finally:
        for key in list(waiting.get_map().values()):
            key.data.socket.close()
        waiting.close()


def _open(target: Target, waiting: selectors.BaseSelector) -> _Connection:
    one = _Connection(target)
    waiting.register(one.socket, selectors.EVENT_READ, one)
    return one


def _renewed(one: _Connection, waiting: selectors.BaseSelector) -> _Connection:
    """A new connection in place of one that is of no more use."""
    waiting.unregister(one.socket)
    one.socket.close()
    return _open(one.target, waiting)


def _sent(one: _Connection, began: float, load: Load) -> bool:
    """Whether the request is on its way. A connection that broke before it was is counted."""
    try:
        one.send(began)
    except OSError:
        load.statuses[0] += 1
        return False
    return True


def _receive(waiting: selectors.BaseSelector, patience: float, load: Load, free: list[_Connection]) -> None:
    """Adds to `free` the connections whose answer is whole now. One that broke is counted; that and one that ended have
    a new one instead."""
    for key, _ in waiting.select(patience):
        one: _Connection = key.data
        if not one.flying:
            # Servers hang up on who asks nothing for a while: no request is lost, and none is counted.
            free[free.index(one)] = _renewed(one, waiting)
            continue
        try:
            status = one.read()
        except OSError:
            status = 0
        if status is None:
            continue
        one.flying = False
        load.statuses[status] += 1
        if status == 200:
            load.latencies_s.append(time.perf_counter() - one.began)
        free.append(_renewed(one, waiting) if one.ends or not status else one)


def _exhausted() -> bool:
    """Whether this process may open no more files. Asked of the system, for a name that cannot be looked up then fails
    in words of its own."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def kind_of(image: bytes) -> str:
    """The Content-Type of an encoded picture by its first bytes."""
    starts = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png", b"RI": "image/webp"}
    return starts.get(image[:2], "application/octet-stream")


def read_image(file: Path) -> bytes:
    """Raises UsageError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
