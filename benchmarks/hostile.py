"""Every file of a folder sent to a real server, as an image: what it answered, in what time, and what memory it kept.

python -m benchmarks.hostile FOLDER [--grow-mb 32]

One line a file that was not simply answered or refused in time, a table of answers by code, and the server's memory
before and after. A few sound pictures go first, so that what any server needs for its work is in the figure before. The
files are sent twice: what the second pass adds would be a leak. Exit code 1 when a file got a 5xx, took over 2 s or no
answer at all, when the server died, or when memory did not come back to within --grow-mb of where it was.
"""

import argparse
import http.client
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sealed
from benchmarks.machine import describe, save
from benchmarks.serving.host import Host

PATIENCE_S = 2.0
PREDICT = f"/api/v1/models/{sealed.NETWORK}/predict"


@dataclass(frozen=True)
class Sent:
    """status 0: no answer. code: of the refusal, `ok` for an answer, else what went wrong."""

    name: str
    status: int
    code: str
    seconds: float

    @property
    def fine(self) -> bool:
        return 200 <= self.status < 500 and self.seconds <= PATIENCE_S


def send(port: int, name: str, data: bytes) -> Sent:
    """One file as an image, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.perf_counter()
    try:
        connection.request("POST", PREDICT, data, {"Content-Type": "application/octet-stream"})
        reply = connection.getresponse()
        body, status = reply.read(), reply.status
        took = time.perf_counter() - began
        return Sent(name, status, "ok" if status == 200 else json.loads(body)["code"], took)
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return Sent(name, 0, type(error).__name__, time.perf_counter() - began)
    finally:
        connection.close()


def settled_mb(server: Host, goal_mb: float, patience_s: float = 10.0) -> float:
    """Resident memory once it is no more than the goal, or after the patience ends."""
    end = time.monotonic() + patience_s
    while (now := server.memory_mb()) > goal_mb and time.monotonic() < end:
        time.sleep(0.1)
    return now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grow-mb", type=float, default=32.0, help="memory that may stay, MB")
    options = parser.parse_args()
    files = sorted(f for f in options.folder.rglob("*") if f.is_file())
    if not files:
        parser.error(f"{options.folder} holds no files")
    print(describe())
    serve = [sys.executable, "-m", "saccade", "serve", str(sealed.mobilenet()), "--port", "{port}"]
    with Host(serve, "/readyz", {"SACCADE_DRAIN_S": "0.1"}) as server:
        for _ in range(20):
            send(server.port, "sound", sealed.photo())
        before, passes, memory = server.memory_mb(), [], []
        for _ in range(2):
            passes.append([send(server.port, str(f.relative_to(options.folder)), f.read_bytes()) for f in files])
            memory.append(settled_mb(server, before + options.grow_mb))
        alive = send(server.port, "sound", sealed.photo()).status == 200
    sent = [one for each in passes for one in each]
    bad = [one for one in sent if not one.fine]
    for one in bad:
        print(f"{one.status:>4} {one.code:<26}{one.seconds:6.2f} s  {one.name}")
    print(f"{len(files)} files, twice; slowest {max(one.seconds for one in sent):.2f} s of {PATIENCE_S:.0f} s allowed")
    answers = Counter(f"{one.status:>4} {one.code}" for one in passes[0])
    for answer, count in sorted(answers.items()):
        print(f"{answer:<31}{count:6}")
    first, second = memory
    print(f"memory {before:.0f} MB before, {first:.0f} after the first pass, {second:.0f} after the second")
    slowest = max(one.seconds for one in sent)
    figures = {"files": len(files), "answers": answers, "slowest_s": slowest, "memory_mb": [before, first, second]}
    save("hostile", figures)
    kept = second - before > options.grow_mb
    if kept:
        print(f"memory did not come back to within {options.grow_mb:.0f} MB")
    if not alive:
        print("the server no longer answers")
    return int(bool(bad) or kept or not alive)


if __name__ == "__main__":
    sys.exit(main())
