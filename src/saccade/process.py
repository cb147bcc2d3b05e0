"""How a process starts: what the allocator keeps, and how many threads each library may use.

Called once by an entry point, never by importing. On 2 busy AMD EPYC cores raised thresholds decoded a 12 MP photo 1.3
times as fast (1.0 to 1.7 over 4 pairs of processes, `python -m benchmarks.decode`). The price: up to `trim_threshold`
of free heap stays with the process, until `give_back`.
"""

import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
FEATURES = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""What a CPU may have beyond its name that decides which graph is fast on it."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # <linux/prctl.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD and so on of <malloc.h>


@dataclass(frozen=True)
class Memory:
    """What glibc keeps instead of giving it back and faulting it in again. Bytes.

    Blocks up to `mmap_threshold` come from the heap; up to `trim_threshold` of free heap stays with the process.
    mallopt(3) takes C ints: at most 2047 MiB each. arenas: heaps that threads may have, 0 leaves it to glibc.
    """

    mmap_threshold: int = 64 * MIB
    trim_threshold: int = 256 * MIB
    arenas: int = 0


TRAINING = Memory(1024 * MIB, 2047 * MIB)
"""For a process that trains: one activation of the tutorial network at 224 px, batch 32, is 100 to 200 MiB."""

SERVING = Memory(arenas=1)
"""For a process that serves. glibc cannot trim the top of a thread's own heap, so there is only the main one: after
1,146 hostile pictures 48 MB stayed otherwise, and decoding on 2 cores took the same time."""


def tune_memory(memory: Memory | None = None) -> bool:
    """Raises glibc's thresholds with mallopt(3); True when it did, False on another C library.

    glibc's own default gives every block over 128 KiB (up to 32 MiB, adapting) back to the kernel; a training step or
    a decoded photo then pays for fresh, zeroed pages each time.
    """
    memory = memory or Memory()
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wishes = [(_MMAP_THRESHOLD, memory.mmap_threshold), (_TRIM_THRESHOLD, memory.trim_threshold)]
    wishes += [(_ARENA_MAX, memory.arenas)] if memory.arenas else []
    taken = [bool(mallopt(*wish)) for wish in wishes]
    return all(taken)


def give_back() -> bool:
    """Returns free heap to the kernel, malloc_trim(3), in about a millisecond; True when there was some.

    Whoever allocates next pays for fresh pages, so this is for quiet times.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    return bool(trim and trim(0))


def settle_child(*, ends_with_parent: bool = False) -> None:
    """For a process that a server started: no core with somebody's pictures in it, no rights that this process has not,
    the first to go when memory runs out. ends_with_parent: the kernel ends it with the thread that started it.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if ends_with_parent:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")


def cores() -> int:
    """CPU cores this process may use: its affinity, and its control group's quota where one is set."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota() or count))


def host() -> str:
    """This machine as far as the speed and rounding of a graph depend on it: "AMD EPYC, 2 cores, avx2"."""
    said = _cpu()
    name, flags = said.get("model name", ""), set(said.get("flags", said.get("Features", "")).split())
    if not name:
        # ARM's kernel gives numbers: who made it, which design, which revision.
        parts = [said[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in said]
        name = " ".join([platform.machine(), *parts]) if parts else _brand() or platform.processor()
    number = cores()
    name = name or platform.machine()
    return ", ".join([name, f"{number} core{'s' if number > 1 else ''}", *(f for f in FEATURES if f in flags)])


def _cpu() -> dict[str, str]:
    """What Linux says of the first core."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    return found


def _brand() -> str:
    """What macOS calls its processor: platform.processor() is "arm" for every one."""
    if sys.platform != "darwin":
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    return ""


def free_memory() -> int | None:
    """Bytes that can still be had: what the machine has available, or less where a control group (v1, v2) bounds it.

    None where nothing tells.
    """
    return min((free for free, _ in memory_bounds()), default=None)


def memory_bounds() -> list[tuple[int, int]]:
    """Bytes free and bytes in all of whatever bounds this process: the machine, and each control group with a limit."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        told = {words[0]: int(words[1]) * 1024 for words in lines if words[0] in ("MemTotal:", "MemAvailable:")}
        found.append((told["MemAvailable:"], told["MemTotal:"]))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text("ascii", errors="replace").splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:
                found += _group_free(
                    Path("/sys/fs/cgroup"), path, "memory.max", "memory.current", ("inactive_file", "active_file")
                )
            elif "memory" in kinds.split(","):
                caches = ("total_inactive_file", "total_active_file")
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", caches)
                found += _group_free(Path("/sys/fs/cgroup/memory"), path, *names)
    return found


def _group_free(root: Path, path: str, limit: str, usage: str, caches: tuple[str, ...]) -> list[tuple[int, int]]:
    """Of a control group and all it lies in. Inside a container the path may not exist; its root is then the group."""
    found = []
    place = root / path.lstrip("/")
    for folder in [place, *(p for p in place.parents if p.is_relative_to(root))]:
        with contextlib.suppress(OSError, ValueError):
            most, used = (int((folder / name).read_text("ascii")) for name in (limit, usage))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            # The kernel gives cached files up before it ends a process, as MemAvailable of the machine counts them.
            found.append((max(0, most - used + sum(int(stat.get(name, 0)) for name in caches)), most))
    return found


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process now and at their peak; (0, 0) where /proc does not tell."""
    now = peak = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                now = int(line.split()[1]) * 1024
            elif line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    return now, peak


_HUMBLE = 10
"""Nice value of work that others should not feel; at 10 a thread gets a tenth of what one at 0 gets."""


def lower_priority() -> bool:
    """Lets this process give way; False where it could not be raised again, for then it stays as it is."""
    if not _may_raise():
        return False
    _nice(max(priority(), _HUMBLE))
    return True


def raise_priority(usual: int) -> None:
    """Back to a former priority, every thread of this process."""
    if priority() > usual:
        _nice(usual)


def priority() -> int:
    """The nice value of this thread: 0 is usual, 19 gives way to everybody."""
    return os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


def _may_raise() -> bool:
    """Whether this process may lower a nice value: CAP_SYS_NICE, or RLIMIT_NICE of 20 and more."""
    if sys.platform != "linux":
        return False
    import resource

    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20:
        return True
    with contextlib.suppress(OSError, ValueError, StopIteration):
        status = Path("/proc/self/status").read_text("ascii", errors="replace").splitlines()
        capabilities = next(line for line in status if line.startswith("CapEff:")).split()[1]
        return bool(int(capabilities, 16) >> 23 & 1)
    return False


def _nice(value: int) -> None:
    # On Linux the value belongs to a thread, and a thread hands it down to those it starts.
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), value)


def _quota() -> int | None:
    """Whole cores of cgroup v2's cpu.max ("200000 100000"), None when unlimited or unreadable."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not needed to start
            limit, period = file.read().split()
        return None if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return None


def report_nothing() -> None:
    """Keeps libraries from telling their makers over the network that they are used. Call this
    before they are imported.

    Hazard: none of them asks. Importing onnxruntime (1.32) starts a thread that sends events under an id it keeps in
    the home, and importing openvino or nncf writes such an id and sends one through a package they can do without.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
