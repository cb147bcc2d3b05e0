"""The one load generator of every contestant, in a process of its own: python -m benchmarks.serving.client ...

    PORT REQUEST_FILE CONNECTIONS SECONDS

A closed loop (saccade.bench.load): each connection sends its next request once the last was answered. Where nothing was
answered in that time it is given twice as long, and so on up to half a minute. Prints JSON, with what the client itself
took of the cores that the server has to share with it.
"""

import json
import sys
import time
from pathlib import Path

from saccade.bench.figures import figures
from saccade.bench.load import Target, closed


def main() -> None:
    port, file, connections, seconds = sys.argv[1:]
    target = Target("127.0.0.1", int(port), Path(file).read_bytes())
    patience = float(seconds)
    spent = time.process_time()
    load = closed(target, int(connections), patience)
    while not load.latencies_s and not load.errors and patience < 30:
        patience *= 2
        spent = time.process_time()
        load = closed(target, int(connections), patience)
    spent = time.process_time() - spent
    found = figures(load)
    times = {"p50_ms": found.p50_ms, "p95_ms": found.p95_ms, "p99_ms": found.p99_ms}
    counts = {"answered": found.answered, "errors": found.errors}
    print(json.dumps({"per_s": found.per_s, **times, **counts, "client_cores": spent / load.seconds}))


if __name__ == "__main__":
    main()
