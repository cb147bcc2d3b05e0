"""The program of a worker process: opens one graph, runs what its lanes are given, ends with its server.

python -m saccade.inference.workers.child PARENT DESCRIPTOR RUNTIME PRIORITY

A lane is a socket and two regions of shared memory, one for what comes in and one for what goes out; each lane has a
thread, so as many batches run at once as there are lanes.
"""

import contextlib
import ctypes
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Any

import numpy as np

from saccade import process
from saccade.errors import InferenceError, PackageError, SaccadeError
from saccade.inference import opening, runtimes
from saccade.inference.options import Options
from saccade.inference.runtime import OpenGraph
from saccade.inference.workers import family, frames
from saccade.inference.workers.region import Region
from saccade.inference.workers.worker import OPEN_S
from saccade.package import reader

_PR_SET_NAME = 15  # <linux/prctl.h>
MAX_LANES = 64
LOST = ("worker_lost", "not_ready")
"""A graph says so whose own process is gone. Its worker ends too: the server counts one loss,
and takes another worker."""
IDLE_S = 2.0
"""After this long without work a lane gives free heap back to the machine."""


def main() -> None:
    parent, descriptor = int(sys.argv[1]), int(sys.argv[2])
    _settle_in(parent)
    control = socket.socket(fileno=descriptor)
    process.tune_memory(process.SERVING)
    with contextlib.suppress(SaccadeError):
        runtimes.find(sys.argv[3])  # the slow part of starting, done before anybody waits for it
    frames.send(control, {"ready": os.getpid()})
    usual = int(sys.argv[4])
    try:
        while True:
            message, descriptors = frames.receive(control, 3 * MAX_LANES)
            if message.get("patient"):
                process.lower_priority()
            else:
                process.raise_priority(usual)
                family.hurry(usual)
            frames.send(control, _order(message, descriptors))
    except (EOFError, OSError):
        # The server closed the line or is gone. Nothing here is worth finishing, and a graph at work would not stop.
        os._exit(0)


def _settle_in(parent: int) -> None:
    """Ends with the parent, is the first to go when memory runs out, writes no core, gains no rights."""
    faulthandler.enable()
    # Ctrl-C and a service manager's SIGTERM reach the whole group; when this process ends is the server's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.settle_child(ends_with_parent=True)
    if os.getppid() != parent:
        os._exit(0)  # it was gone before the kernel was asked to tell


def _order(message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    try:
        if message.get("do") == "open":
            return _open(message, descriptors)
        if message.get("do") == "hurry":
            return {}
        raise InferenceError("a worker knows no such order", code="internal")
    except SaccadeError as error:
        return {"error": frames.told(error)}
    except MemoryError:
        return {"error": frames.told(InferenceError("memory ran out while opening", code="not_enough_memory"))}
    except Exception:  # noqa: BLE001 - told to the parent, with the trace on standard error, which it logs
        traceback.print_exc()
        return {"error": frames.told(InferenceError("the worker failed to open the graph", code="internal"))}


def _open(message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    _call_itself(f"saccade:{message['name']}")
    package = reader.open_package(message["package"])
    if package.digest != message["digest"]:
        raise PackageError("the folder holds another package than when it was loaded", code="digest_mismatch")
    # The server ends this process when a run hangs, and what runs the graph ends with it.
    options = Options(device=message["device"], threads=message["threads"], hang_s=OPEN_S)
    graph = opening.open_graph(package, message["variant"], options)
    warm(graph)
    for i in range(0, len(descriptors), 3):
        lane = (socket.socket(fileno=descriptors[i]), Region(descriptors[i + 1]), Region(descriptors[i + 2]))
        threading.Thread(target=_serve, args=(graph, *lane), name=f"lane-{i // 3}", daemon=True).start()
    return {"inputs": [s.to_json() for s in graph.inputs], "outputs": [s.to_json() for s in graph.outputs]}


def _call_itself(name: str) -> None:
    """What `ps` and `top` show, 15 characters of it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def warm(graph: OpenGraph) -> None:
    """One row of zeros, where it is known how large rows are."""
    if all(side is not None for spec in graph.inputs for side in spec.shape[1:]):
        graph.run({s.name: np.zeros((1, *s.shape[1:]), s.dtype) for s in graph.inputs})  # type: ignore[arg-type]


def _serve(graph: OpenGraph, connection: socket.socket, given: Region, answered: Region) -> None:
    while True:
        try:
            message = _next(connection)
            reply: dict[str, Any] = {"arrays": answered.put(graph.run(given.get(message["arrays"])))}
        except SaccadeError as error:
            if error.code in LOST:
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
                os._exit(1)
            reply = {"error": frames.told(error)}
        except (EOFError, OSError):
            return
        except MemoryError:
            reply = {"error": frames.told(InferenceError("memory ran out in this run", code="inference_failed"))}
        except Exception:  # noqa: BLE001 - told to the parent, with the trace on standard error, which it logs
            traceback.print_exc()
            reply = {"error": frames.told(InferenceError("the graph failed on this input", code="inference_failed"))}
        try:
            frames.send(connection, reply)
        except OSError:
            return


def _next(connection: socket.socket) -> dict[str, Any]:
    if not select.select([connection], [], [], IDLE_S)[0]:
        process.give_back()
    return frames.receive(connection)[0]


if __name__ == "__main__":
    main()
