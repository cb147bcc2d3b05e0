"""One worker process as its server sees it: start, orders, lanes, end. It is never restarted; another one is taken."""

import contextlib
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from saccade import process
from saccade.errors import InferenceError
from saccade.inference.workers import family, frames
from saccade.inference.workers.again import ending
from saccade.inference.workers.region import Region, Told
from saccade.types import Array, TensorSpec

START_S = 60.0
OPEN_S = 600.0
"""How long an interpreter may take to start, and a graph to open, before the process is given up."""
KNOWN = [
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONHOME",
    "PYTHONHASHSEED",
    "MALLOC_ARENA_MAX",
]
FAMILIES = ("LC_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "CUDA_", "NVIDIA_", "ORT_", "OV_", "OPENVINO_", "TORCH_", "TF_")
"""Names of environment variables that a worker is given; every other stays here, keys and passwords among them."""


@dataclass(frozen=True)
class Order:
    """Which graph a worker shall open. digest: of the package, which must still be that one.
    patient: give way to others.

    name: of the model, for lists of processes.
    """

    package: str
    digest: str
    variant: str
    device: str
    threads: int | None
    lanes: int
    patient: bool = False
    name: str = ""


class Unsent(Exception):  # noqa: N818 - not an error of anyone's
    """The worker was gone before it was given anything."""


class Lane:
    """Carries one batch at a time to a worker and back."""

    def __init__(self, worker: "Worker", connection: socket.socket, given: Region, answered: Region) -> None:
        self.worker = worker
        self._connection = connection
        self._bound_s = 0.0
        self._given = given
        self._answered = answered

    def lay(self, arrays: Mapping[str, Array]) -> Told:
        """Copies arrays [N, ...] to where the worker reads them."""
        return self._given.put(arrays)

    def lay_rows(self, rows: Sequence[Mapping[str, Array]]) -> Told:
        """The same for rows of one shape, which become arrays [N, ...] there."""
        return self._given.put_rows(rows)

    def laid(self, told: Told) -> dict[str, Array]:
        """What was laid, as arrays of its own."""
        return {name: value.copy() for name, value in self._given.get(told).items()}

    def run(self, told: Told, bound_s: float) -> dict[str, Array]:
        """Outputs [N, ...] of what was laid, as views that the next run overwrites.

        Raises what the graph raised; Unsent when the process was gone before; InferenceError(worker_lost) when it ended
        meanwhile, or was ended because the run lasted longer than bound_s.
        """
        if bound_s != self._bound_s:
            frames.bound(self._connection, bound_s)
            self._bound_s = bound_s
        try:
            frames.send(self._connection, {"arrays": told})
        except OSError as error:
            self.worker.lost = True
            raise Unsent from error
        hung = False
        try:
            reply, _ = frames.receive(self._connection)
            if "error" not in reply:
                found = self._answered.get(reply["arrays"])
                self.worker.answered = True
                return found
            failure = frames.raised(reply["error"])
        except TimeoutError:
            hung = True
            self.worker.kill(f"a run lasted longer than {bound_s:g} s (hang_s)")
        except (ValueError, KeyError, TypeError):
            self.worker.kill("it answered what no worker says")
        except (EOFError, OSError):
            pass
        else:
            raise failure
        self.worker.lost = True
        raise InferenceError(
            f"the process that ran this {self.worker.fate}",
            hint="ask again",
            code="worker_lost",
            details={"hung": hung},
        )

    def close(self) -> None:
        self._connection.close()
        self._given.close()
        self._answered.close()


class Worker:
    """Starts the process and waits until it is ready for orders. Raises InferenceError(worker_lost).

    Hazard: Linux ends the process when the *thread* that started it ends, so that thread must live as long.
    """

    def __init__(self, runtime: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "saccade.inference.workers.child",
                 str(os.getpid()), str(theirs.fileno()), runtime, str(process.priority())],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                # A group of its own, for Ctrl-C is the server's business; not a session, which has its own share of the cores.
                process_group=0,
            )  # fmt: skip
        self.pid = self._process.pid
        self.lanes: list[Lane] = []
        self.answered = False
        """Whether any run came back."""
        self.lost = False
        """Whether a lane found it gone."""
        self.peak = 0
        """Most bytes that were resident, as far as was looked."""
        self._opened = math.inf
        self._control = ours
        self._killed = ""
        self._said: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._read, name=f"worker-{self.pid}", daemon=True)
        self._reader.start()
        try:
            frames.bound(ours, START_S)
            frames.receive(ours)
        except (EOFError, OSError, ValueError) as error:
            self.kill("it did not start")
            raise InferenceError(f"a worker process did not start: {self.wait()}", code="worker_lost") from error

    def open(self, order: Order) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Its graph's inputs and outputs; from now on it has lanes. Raises what opening raised, or worker_lost."""
        descriptors: list[int] = []
        theirs: list[socket.socket] = []
        try:
            for _ in range(order.lanes):
                lane, far = self._lane()
                self.lanes.append(lane)
                theirs.append(far)
                descriptors += [far.fileno(), lane._given.descriptor, lane._answered.descriptor]
            reply = self._ask({"do": "open", **asdict(order)}, descriptors)
        finally:
            for far in theirs:
                far.close()
        self._opened = time.monotonic()
        inputs, outputs = (tuple(TensorSpec.from_json(s) for s in reply[key]) for key in ("inputs", "outputs"))
        return inputs, outputs

    def _lane(self) -> tuple[Lane, socket.socket]:
        """One, and the other end of its line. Where descriptors run out, none of its own stays open."""
        with contextlib.ExitStack() as undo:
            given = undo.enter_context(contextlib.closing(Region.make()))
            answered = undo.enter_context(contextlib.closing(Region.make()))
            near, far = socket.socketpair()
            undo.pop_all()
        return Lane(self, near, given, answered), far

    def hurry(self) -> None:
        """Back to the usual priority, after a patient opening."""
        self._ask({"do": "hurry"})

    def _ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        try:
            frames.bound(self._control, OPEN_S)
            frames.send(self._control, message, descriptors)
            reply, _ = frames.receive(self._control)
        except (EOFError, OSError, ValueError) as error:
            # One that hung up without ending is no use either; how one ended that did, the system says.
            self.kill("" if isinstance(error, EOFError | ConnectionError) else "it did not answer")
            raise InferenceError(f"a worker was lost: {self.wait()}", hint="ask again", code="worker_lost") from error
        if "error" in reply:
            raise frames.raised(reply["error"])
        return reply

    def _read(self) -> None:
        """Keeps what the process says last; a library may print a lot."""
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stderr:
                self._said.append(line[:500].decode("utf-8", "replace").rstrip())

    @property
    def said(self) -> list[str]:
        """The last lines of its standard error."""
        return list(self._said)

    def memory(self) -> int:
        """Resident bytes now, of the process and of those that its graph's library started."""
        if self.ended():
            return 0  # its number may be another's by now
        now, peak = family.memory(self.pid)
        self.peak = max(self.peak, peak)
        return now

    @property
    def fate(self) -> str:
        """In words for whoever lost something by it."""
        return f"was ended: {self._killed}" if self._killed else "was lost"

    def kill(self, why: str) -> None:
        """Ends the process at once."""
        self._killed = self._killed or why
        with contextlib.suppress(OSError):
            self._process.kill()

    def age_s(self) -> float:
        """Since its graph was open."""
        return time.monotonic() - self._opened

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> str:
        """Blocks until the process has ended; says how."""
        code = self._process.wait()
        return ending(code, self._killed)

    def close(self, patience_s: float = 2.0) -> None:
        """Ends the process. Its lanes stay with whoever runs on them."""
        self.memory()
        self._control.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill("it did not end")
            self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


def environment() -> dict[str, str]:
    """What a worker may know of the environment, and where this interpreter finds its packages."""
    given = {k: v for k, v in os.environ.items() if k in KNOWN or k.startswith(FAMILIES)}
    return {**given, "PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)}
