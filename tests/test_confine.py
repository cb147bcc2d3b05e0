"""What a confined process can no longer do, each seen to work just before."""

import json
import subprocess
import sys

import pytest

from saccade import confine
from saccade.errors import UsageError

TRIED = r"""
import ctypes, json, mmap, os, signal, socket, subprocess, sys, threading, time
from saccade import confine

libc = ctypes.CDLL(None, use_errno=True)
TGKILL, PTRACE = (234, 101) if os.uname().machine == "x86_64" else (131, 117)
here, other = socket.socketpair()
here.sendall(b"abc")
held = os.memfd_create("held")
os.truncate(held, 4096)
idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

def raw(number, *words):
    if libc.syscall(number, *words) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def fork():
    if os.fork() == 0:
        os._exit(0)

forbidden = {
    "open": lambda: os.close(os.open("/etc/hostname", os.O_RDONLY)),
    "write": lambda: os.close(os.open("/tmp/confined", os.O_WRONLY | os.O_CREAT)),
    "list": lambda: os.listdir("/"),
    "stat": lambda: os.stat("/etc/hostname"),
    "rename": lambda: os.rename("/tmp/confined", "/tmp/confined2"),
    "network": lambda: socket.socket(socket.AF_INET),
    "local": lambda: socket.socket(socket.AF_UNIX),
    "pipe": lambda: os.pipe(),
    "fork": fork,
    "thread": lambda: threading.Thread(target=int).start(),
    "kill": lambda: os.kill(idle.pid, 0),
    "kill a thread": lambda: raw(TGKILL, idle.pid, idle.pid, 0),
    "trace": lambda: raw(PTRACE, 16, idle.pid, 0, 0),
    "priority": lambda: os.nice(0),
    "flags": lambda: __import__("fcntl").fcntl(held, 1),
    "memory": lambda: mmap.mmap(-1, 3 << 30),
}
import fcntl
allowed = {
    "map": lambda: mmap.mmap(held, 4096).close(),
    "heap": lambda: len(bytearray(200 << 20)),
    "read": lambda: other.recv(3),
    "send": lambda: other.sendall(b"x"),
    "time": lambda: time.sleep(0.001),
    "chance": lambda: os.urandom(8),
    "itself": lambda: raw(TGKILL, os.getpid(), os.getpid(), 0),
}

def each(tried):
    found = {}
    for name, work in tried.items():
        try:
            work()
            found[name] = True
        except (OSError, RuntimeError, MemoryError):
            found[name] = False
    return found

before = each({k: v for k, v in forbidden.items() if k not in ("trace", "rename")})
confine.confine(1 << 30)
after, still = each(forbidden), each(allowed)
os.write(1, json.dumps([before, after, still]).encode())
os._exit(0)
"""


@pytest.fixture(scope="module")
def found() -> list[dict[str, bool]]:
    try:
        confine.check()
    except UsageError as error:
        pytest.skip(str(error))
    done = subprocess.run([sys.executable, "-c", TRIED], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: list[dict[str, bool]] = json.loads(done.stdout)
    return answer


def test_what_worked_before_is_refused(found: list[dict[str, bool]]) -> None:
    before, after, _ = found
    assert all(before.values()), before
    assert not any(after.values()), after


def test_what_a_decoder_needs_still_works(found: list[dict[str, bool]]) -> None:
    assert all(found[2].values()), found[2]


def test_a_system_that_cannot_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    confine.check.cache_clear()
    monkeypatch.setattr(confine.platform, "machine", lambda: "sparc")
    with pytest.raises(UsageError, match="sparc"):
        confine.check()
    monkeypatch.undo()
    monkeypatch.setattr(confine, "_landlock_version", lambda: -1)
    with pytest.raises(UsageError, match="Landlock"):
        confine.check()
    monkeypatch.undo()
    monkeypatch.setattr(confine, "TRIAL", "raise SystemExit(1)")
    with pytest.raises(UsageError, match="tried"):
        confine.check()
