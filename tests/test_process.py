"""How a process starts."""

import platform
import subprocess
import sys

import pytest

from saccade import process
from saccade.optimization.quantising import overflows

PAGES = """
import sys, ctypes
from saccade import process
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
tuned = process.tune_memory()
def heap():
    rows = [line.split() for line in open("/proc/self/maps")]
    return [tuple(int(x, 16) for x in r[0].split("-")) for r in rows if r[-1] == "[heap]"]
block = libc.malloc(40 * 1024 * 1024)
print(tuned, any(low <= block < high for low, high in heap()))
"""


def test_large_blocks_stay_with_the_process() -> None:
    if sys.platform != "linux":
        assert not process.tune_memory()
        return
    out = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "True"]


RETURNED = """
import threading
from saccade import process
process.tune_memory(process.SERVING)
def resident():
    rows = dict(line.split(":") for line in open("/proc/self/status"))
    return int(rows["RssAnon"].split()[0]) / 1024
def work():
    parts = [bytearray(b"x") * (200 * 1024) for _ in range(400)]
    keep.append(parts[200])
keep = []
before = resident()
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
held = resident()
process.give_back()
print(before, held, resident())
"""


def test_a_thread_that_worked_leaves_no_memory_behind() -> None:
    if sys.platform != "linux":
        assert not process.give_back()
        return
    out = subprocess.run([sys.executable, "-c", RETURNED], capture_output=True, text=True, check=True)
    before, held, after = map(float, out.stdout.split())
    assert held > before + 50
    assert after < before + 10


def test_there_is_at_least_one_core() -> None:
    assert process.cores() >= 1


def test_a_host_is_told_apart_where_the_kernel_gives_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = {
        "CPU implementer": "0x41",
        "CPU part": "0xd40",
        "CPU variant": "0x1",
        "Features": "fp asimd asimddp i8mm bf16",
    }
    monkeypatch.setattr(process, "cores", lambda: 4)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(process, "_cpu", lambda: arm)
    assert process.host() == "aarch64 0x41 0xd40 0x1, 4 cores, asimddp, i8mm, bf16"
    assert not overflows()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(process, "_cpu", lambda: {"model name": "AMD EPYC", "flags": "fpu avx2 bmi2"})
    assert process.host() == "AMD EPYC, 4 cores, avx2"
    assert overflows()
    monkeypatch.setattr(process, "_cpu", lambda: {"model name": "AMD EPYC", "flags": "avx512f avx512_vnni"})
    assert not overflows()
    monkeypatch.setattr(process, "_cpu", dict)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert process.host() == "x86_64, 4 cores"
