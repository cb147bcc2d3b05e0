"""Takes from a process what it no longer needs: files, the network, other processes, memory without end. Linux only.

Landlock (kernel documentation, userspace-api/landlock) takes every path and port, seccomp's filter (seccomp(2)) every
system call that is not on the list, rlimits what is left to take. None can be undone. For a process that works on bytes
of strangers with libraries written in C: whoever takes it over holds a process that can compute, and answer.
"""

import contextlib
import ctypes
import functools
import os
import platform
import struct
import subprocess
import sys

from saccade.errors import UsageError

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # <linux/prctl.h>, <linux/seccomp.h>
_CREATE_RULESET, _RESTRICT_SELF, _RULESET_VERSION = 444, 446, 1  # the numbers are the same on every architecture
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_...
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|BPF_W|BPF_ABS and so on, <linux/bpf_common.h>
_NUMBER, _ARCHITECTURE, _ARGUMENTS = (
    0,
    4,
    16,
)  # offsets in struct seccomp_data; of each argument the low half comes first
_FCNTL, _TGKILL = {"x86_64": 72, "aarch64": 25}, {"x86_64": 234, "aarch64": 131}
_F_DUPFD_CLOEXEC = 1030
_EPERM = 1

_NUMBERS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
            "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "select": 23, "sched_yield": 24,
            "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
            "recvmsg": 47, "exit": 60, "gettimeofday": 96, "getrusage": 98, "sigaltstack": 131, "gettid": 186, "time": 201,
            "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
            "clock_nanosleep": 230, "exit_group": 231, "pselect6": 270, "ppoll": 271,
            "set_robust_list": 273, "getrandom": 318, "membarrier": 324, "rseq": 334,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57, "lseek": 62, "read": 63, "write": 64, "pselect6": 72, "ppoll": 73, "fstat": 80, "exit": 93,
            "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
            "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
            "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
            "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178, "sendto": 206,
            "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
            "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293,
        },
    ),
}  # fmt: skip
"""Of each architecture its mark in a filter (<linux/audit.h>) and what is left to a process (<asm/unistd.h>): it may
read and answer on a socket it has, use memory, wait and end. Nothing here opens, names or starts anything."""


TRIAL = "from saccade import confine; confine.confine(1 << 28)"


@functools.cache
def check() -> None:
    """Raises UsageError where this system cannot confine a process: another one is tried, for a
    container may forbid it."""
    _check()
    tried = subprocess.run(
        [sys.executable, "-P", "-c", TRIAL],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        raise UsageError(
            "a process cannot be confined here: it was tried and refused", hint="allow Landlock and seccomp to this one"
        )


def _check() -> None:
    why = None
    if sys.platform != "linux":
        why = "this is no Linux"
    elif platform.machine() not in _NUMBERS:
        why = f"the processor is a {platform.machine()}"
    elif _landlock_version() < 1:
        why = "this kernel has no Landlock"
    elif not os.path.exists("/proc/sys/kernel/seccomp"):  # noqa: PTH110
        why = "this kernel has no seccomp filters"
    if why is not None:
        raise UsageError(f"a process cannot be confined here: {why}", hint="Linux 5.13 or newer on x86-64 or arm64")


def confine(memory: int) -> None:
    """From now on this process has the descriptors it holds, and memory bytes more than it has now; nothing else.

    Everything that is to be imported or opened must have been. Raises UsageError where the kernel refuses a part of it.
    """
    _check()
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _limit(memory)
    _take_paths(libc)
    _take_calls(libc)


def _limit(memory: int) -> None:
    import resource

    pages = int(open("/proc/self/statm", "rb").read().split()[0])  # noqa: PTH123, SIM115
    most = pages * resource.getpagesize() + memory
    for kind, value in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_FSIZE, memory),  # what it may add to shared memory; not 0, standard error may be a file
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _landlock_version() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION))


def _take_paths(libc: ctypes.CDLL) -> None:
    """A ruleset that handles all there is and allows none of it."""
    version = _landlock_version()
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    net = 3 if version >= 4 else 0  # bind and connect of TCP
    scoped = 3 if version >= 6 else 0  # abstract sockets and signals to others
    attributes = struct.pack("QQQ", files, net, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    _done(ruleset, "Landlock")
    try:
        _done(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        with contextlib.suppress(OSError):
            os.close(ruleset)


def _take_calls(libc: ctypes.CDLL) -> None:
    mark, known = _NUMBERS[platform.machine()]
    numbers = sorted(known.values())
    bounded = (
        # Python maps memory through another number for the same descriptor, and wants nothing else of fcntl.
        (_FCNTL[platform.machine()], 1, _F_DUPFD_CLOEXEC),
        # abort(3) ends this process by a signal to itself.
        (_TGKILL[platform.machine()], 0, os.getpid()),
    )
    left = len(numbers) + 3 * len(bounded)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, mark),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        # Numbers from 2^30 on are calls of another convention (x32) behind the same mark.
        (_JUMP_FROM, left, 0, 1 << 30),
    ]
    for number in numbers:
        program.append((_JUMP_EQUAL, left, 0, number))
        left -= 1
    for number, argument, value in bounded:
        program += [
            (_JUMP_EQUAL, 0, 2, number),
            (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
            (_JUMP_EQUAL, left - 2, left - 3, value),
        ]
        left -= 3
    program += [(_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]
    steps = b"".join(struct.pack("HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(steps, len(steps))
    filters = struct.pack("HxxxxxxP", len(program), ctypes.addressof(held))
    _done(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filters, 0, 0), "seccomp")


def _done(code: int, what: str) -> None:
    if code < 0:
        raise UsageError(f"{what} was refused: {os.strerror(ctypes.get_errno())}", hint="decode_isolation none")
