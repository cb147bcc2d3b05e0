"""A closed-loop HTTP client in its own process: every connection sends one request after another.

python -m benchmarks.load PORT PATH BODY_FILE CONTENT_TYPE CONNECTIONS SECONDS

One thread over non-blocking sockets and ready-made bytes: on a machine whose cores the server needs, the client must
cost as little as it can. Prints requests per second, p50 and p99 in ms and failures as JSON.
"""

import json
import selectors
import socket
import sys
import time
from pathlib import Path


class Connection:
    """One keep-alive connection: sends its request, reads one answer by its Content-Length."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.began = 0.0
        self.got = b""

    def send(self) -> None:
        self.got, self.began = b"", time.perf_counter()
        self.socket.sendall(self.request)

    def read(self) -> int | None:
        """The status once the answer is whole. Raises ConnectionError when the server hangs up."""
        part = self.socket.recv(262_144)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.got += part
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head[9:12]) if len(body) >= length else None


def drive(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], int]:
    """Latencies in s of what was answered with 200 within the time, and how many were not."""
    waiting, latencies, failures = selectors.DefaultSelector(), [], 0
    for _ in range(connections):
        one = Connection(port, request)
        waiting.register(one.socket, selectors.EVENT_READ, one)
        one.send()
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        for key, _ in waiting.select(end - now):
            status = key.data.read()
            if status is None:
                continue
            if status == 200:
                latencies.append(time.perf_counter() - key.data.began)
            else:
                failures += 1
            key.data.send()
    for key in list(waiting.get_map().values()):
        key.data.socket.close()
    return latencies, failures


def main() -> None:
    port, path, file, kind, connections, seconds = sys.argv[1:]
    body = Path(file).read_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    latencies, failures = drive(int(port), head.encode() + body, int(connections), float(seconds))
    ordered = sorted(latencies)
    record = {
        "per_s": len(ordered) / float(seconds),
        "p50_ms": 1e3 * ordered[len(ordered) // 2] if ordered else None,
        "p99_ms": 1e3 * ordered[int(len(ordered) * 0.99)] if ordered else None,
        "failures": failures,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
