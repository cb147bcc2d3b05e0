"""Callers that hold a connection and give next to nothing: heads and bodies of a byte a second, silence, answers never
read.

    python -m benchmarks.dawdlers PORT NUMBER

A third of NUMBER of each kind but the last, of which there are UNREAD. Prints, as JSON, for each kind after how many
seconds the server let go of them; null for one that was still held after PATIENCE_S. Whoever does not read cannot see
the end either, so after LOOK_S those read what is there.
"""

import json
import resource
import select
import socket
import sys
import time

PATIENCE_S, LOOK_S = 50.0, 36.0
UNREAD = 4
"""What is not read must first be answered, and many such callers would be a flood, which is another question."""
KINDS = ("head", "body", "silent", "unread")
HEAD = b"POST /api/v1/models/colors/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
BODY = HEAD + b"Content-Length: 100000\r\n\r\n"
ASKS = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 600
"""Together their answers are larger than what the system holds for a socket (4 MiB, tcp_wmem)."""


class Dawdler:
    def __init__(self, port: int, kind: str) -> None:
        self.kind = kind
        self.socket = socket.socket()
        if kind == "unread":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.began, self.ended = time.monotonic(), 0.0
        self._left = {"head": HEAD, "body": BODY + bytes(1000), "silent": b"", "unread": ASKS}[kind]
        if kind == "body":
            self._send(len(BODY))
        elif kind == "head":
            self._send(1)  # from its first byte on a head has its time
        elif kind == "unread":
            self._send(len(ASKS))

    def _send(self, count: int) -> None:
        try:
            sent = self.socket.send(self._left[:count])
            self._left = self._left[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.end()

    def second(self) -> None:
        """What is sent each second."""
        if not self.ended and self.kind != "silent" and self._left:
            self._send(1)

    def hear(self) -> None:
        """The server said something, or let go. Answers that are never read are not read here either."""
        try:
            if not self.socket.recv(65536):
                self.end()
        except BlockingIOError:
            pass
        except OSError:
            self.end()

    def end(self) -> None:
        if not self.ended:
            self.ended = time.monotonic()
            self.socket.close()


def main() -> None:
    port, number = int(sys.argv[1]), int(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, number + 256), hard))
    every = [Dawdler(port, KINDS[i % 3]) for i in range(number)] + [Dawdler(port, "unread") for _ in range(UNREAD)]
    heard, poll = {d.socket.fileno(): d for d in every}, select.poll()
    for d in every:
        poll.register(d.socket, 0 if d.kind == "unread" else select.POLLIN)
    start = time.monotonic()
    spoke, looked = start, False
    while time.monotonic() < start + PATIENCE_S and any(not d.ended for d in every):
        for file, what in poll.poll(200):
            if what & select.POLLIN:
                heard[file].hear()
            elif what:
                heard[file].end()
            if heard[file].ended:
                poll.unregister(file)
        if not looked and time.monotonic() > start + LOOK_S:
            looked = True
            for d in every:
                if d.kind == "unread" and not d.ended:
                    poll.modify(d.socket, select.POLLIN)
        if time.monotonic() >= spoke + 1:
            spoke += 1
            for d in every:
                d.second()
    told = {k: [round(d.ended - d.began, 2) if d.ended else None for d in every if d.kind == k] for k in KINDS}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
