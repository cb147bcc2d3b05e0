"""The bare loop, which no server can beat with the same decode and graph: python -m benchmarks.serving.loop ...

    PACKAGE VARIANT PICTURE AT_ONCE SECONDS

One thread for each picture that is at work at once, at most one a core, and each does nothing but decode, preprocess
and run. A single one has all cores for its run of the graph, or one if that is faster here. Prints JSON.
"""

import json
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from saccade import process
from saccade.images import preprocess
from saccade.inference import runtimes
from saccade.package import reader


def measure(package: reader.Package, variant: str, picture: bytes, loops: int, threads: int, seconds: float) -> dict:
    """Rates and latencies of `loops` threads whose runs have `threads` each."""
    runtime = runtimes.find(package.manifest.graphs[variant].runtime)
    graph, spec = runtime.open(package.graph_path(variant), "cpu", threads), package.manifest.preprocess
    times: list[list[float]] = [[] for _ in range(loops)]

    def work(until: float, kept: list[float]) -> None:
        began = time.perf_counter()
        while began < until:
            graph.run({"image": preprocess.load(picture, spec)[0][None]})
            ended = time.perf_counter()
            kept.append(ended - began)
            began = ended

    work(time.perf_counter() + 0.3, [])
    cpu, start = time.process_time(), time.perf_counter()
    workers = [threading.Thread(target=work, args=(start + seconds, kept)) for kept in times]
    [one.start() for one in workers]
    [one.join() for one in workers]
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    latencies = [one for kept in times for one in kept]
    p50, p95, p99 = (1e3 * float(v) for v in np.quantile(latencies, (0.5, 0.95, 0.99)))
    n = len(latencies)
    graph.close()
    found = {"per_s": n / took, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "answered": n, "errors": 0}
    return {**found, "cpu_ms": 1e3 * cpu / n, "threads": threads}


def main() -> None:
    folder, variant, file, at_once, seconds = sys.argv[1:]
    process.tune_memory(process.SERVING)
    cv2.setNumThreads(1)
    package, picture, cores = reader.open_package(Path(folder)), Path(file).read_bytes(), process.cores()
    loops = min(int(at_once), cores)
    threads = max(1, cores // loops)
    if loops == 1 and cores > 1:
        tried = {n: measure(package, variant, picture, 1, n, 0.5)["p50_ms"] for n in (1, cores)}
        threads = min(tried, key=lambda n: tried[n])
    print(json.dumps(measure(package, variant, picture, loops, threads, float(seconds))))


if __name__ == "__main__":
    main()
