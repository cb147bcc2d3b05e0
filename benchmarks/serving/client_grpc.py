"""The load generator over gRPC, in a process of its own: python -m benchmarks.serving.client_grpc ...

    PORT METHOD MESSAGE_FILE CALLERS SECONDS

A closed loop on one channel: each caller sends its next call once the last was answered. Bytes are ready-made both
ways. Prints the JSON of `benchmarks.serving.client`, and the client's own CPU time a call, which is grpc's and not
small.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import grpc


async def drive(port: int, method: str, message: bytes, callers: int, seconds: float) -> tuple[list[float], int]:
    """Latencies in s of what was answered within the time, and how many calls were refused."""
    latencies: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", -1)]) as channel:
        ask = channel.unary_unary(method)

        async def caller() -> None:
            nonlocal errors
            while (began := time.perf_counter()) < end:
                try:
                    await ask(message)
                except grpc.RpcError:
                    errors += 1
                    continue
                if time.perf_counter() < end:
                    latencies.append(time.perf_counter() - began)

        await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies, errors


def main() -> None:
    port, method, file, callers, seconds = sys.argv[1:]
    cpu = time.process_time()
    latencies, errors = asyncio.run(drive(int(port), method, Path(file).read_bytes(), int(callers), float(seconds)))
    cpu = time.process_time() - cpu
    ordered = sorted(latencies) or [0.0]
    times = {f"p{p}_ms": 1e3 * ordered[int(len(ordered) * p / 100)] for p in (50, 95, 99)}
    rate = {"per_s": len(latencies) / float(seconds), "answered": len(latencies), "errors": errors}
    print(json.dumps({**rate, **times, "client_cpu_ms": 1e3 * cpu / max(1, len(latencies))}))


if __name__ == "__main__":
    main()
