"""How much memory a graph's processes take, whether that is there, and that nobody looks while another one takes it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from saccade import process
from saccade.errors import InferenceError
from saccade.inference import memory
from saccade.inference.engine import Engine
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.inference.workers import family
from saccade.package.manifest import GraphEntry
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.testing.packages import colors

MIB = 1024 * 1024

# What is taken

HOLDER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "held = b'x' * (100 * 2**20); print('there', flush=True); input()"])
"""


@pytest.fixture
def holder() -> Iterator["subprocess.Popen[str]"]:
    """A process whose child holds 100 MiB."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True) as made:
        assert made.stdout is not None
        assert made.stdin is not None
        assert made.stdout.readline() == "there\n"
        yield made
        made.stdin.close()
        made.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_what_a_process_starts_counts_with_it(holder: "subprocess.Popen[str]") -> None:
    pid, child = family.members(holder.pid)
    assert pid == holder.pid
    alone, _ = process.memory_of(pid)
    now, peak = family.memory(pid)
    assert alone < 90 * MIB
    assert peak >= now >= 100 * MIB + alone / 2
    assert family.memory(child)[0] >= 100 * MIB


@pytest.mark.skipif(not process._may_raise(), reason="this process may not raise priorities")
def test_what_a_process_starts_gets_its_priority_back_with_it(holder: "subprocess.Popen[str]") -> None:
    child = family.members(holder.pid)[1]
    usual = process.priority()
    for pid in (holder.pid, child):
        os.setpriority(os.PRIO_PROCESS, pid, min(19, usual + 5))
    family.hurry(usual)
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in (holder.pid, child)] == [usual, usual]


def test_members_of_nobody_are_nobody() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert family.members(ended.pid) == [ended.pid]
    assert family.memory(ended.pid) == (0, 0)


# What will be taken


def sealed(folder: Path, runtime: str, graph: str, files: dict[str, int]) -> Package:
    """A package with files of these sizes, whose graph `other` is that one."""
    package = colors(folder.with_name("plain"))
    writer = PackageWriter(folder)
    for name in package.manifest.files:
        writer.add(name, (package.path / name).read_bytes())
    for name, size in files.items():
        writer.add(name, bytes(size))
    own = package.manifest.graphs["default"]
    other = GraphEntry(graph, runtime, own.inputs, own.outputs)
    return writer.seal(replace(package.manifest, graphs={"default": own, "other": other}))


@pytest.mark.parametrize(
    ("runtime", "graph", "files", "weights"),
    [
        (
            "tensorflow",
            "saved_model/saved_model.pb",
            {
                "saved_model/saved_model.pb": 1000,
                "saved_model/variables/variables.index": 200,
                "saved_model/variables/variables.data-00000-of-00001": 5_000_000,
            },
            5_001_200,
        ),
        (
            "tensorflow",
            "variants/half/saved_model/saved_model.pb",
            {
                "variants/half/saved_model/saved_model.pb": 10,
                "variants/half/saved_model/variables/variables.index": 20,
                "variants/half/saved_model/variables/variables.data-00000-of-00001": 700,
            },
            730,
        ),
        ("openvino", "variants/int8/model.xml", {"variants/int8/model.xml": 70, "variants/int8/model.bin": 900}, 970),
        ("onnxruntime", "variants/big/model.onnx", {"variants/big/model.onnx": 5, "variants/big/weights": 800}, 805),
    ],
)
def test_all_files_of_a_graph_count_and_those_of_no_other(
    tmp_path: Path, runtime: str, graph: str, files: dict[str, int], weights: int
) -> None:
    package = sealed(tmp_path / "p", runtime, graph, files)
    assert memory.floor(package, "other") == memory.BARE[runtime] + int(memory.COPIES[runtime] * weights)
    own = package.manifest.files["model.onnx"].size
    assert memory.floor(package, "default") == memory.BARE["onnxruntime"] + 3 * own


def test_what_does_not_fit_beside_the_others_is_refused_in_this_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = colors(tmp_path / "p")
    needed = int(3 * package.manifest.files["model.onnx"].size * memory.HEADROOM)
    monkeypatch.setattr(process, "free_memory", lambda: needed - 1)
    with pytest.raises(InferenceError, match="as its files say") as caught:
        Model.open(package.path)
    assert (caught.value.code, caught.value.details["free_bytes"]) == ("not_enough_memory", needed - 1)
    monkeypatch.setattr(process, "free_memory", lambda: needed)
    Model.open(package.path).close()


def test_before_the_first_measurement_copies_of_the_weights_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"saved_model/saved_model.pb": 1000, "saved_model/variables/variables.index": 10_000_000}
    package = sealed(tmp_path / "p", "tensorflow", "saved_model/saved_model.pb", files)
    needed = int((memory.BARE["tensorflow"] + 11_001_100) * memory.HEADROOM)
    monkeypatch.setattr(process, "free_memory", lambda: needed - 1)
    with pytest.raises(InferenceError, match="as its files say") as caught:
        memory.check(package, "other", tmp_path / "tuning")
    assert caught.value.details == {"needed_bytes": needed, "free_bytes": needed - 1}
    monkeypatch.setattr(process, "free_memory", lambda: needed)
    memory.check(package, "other", tmp_path / "tuning")
    memory.write(tmp_path / "tuning", package.digest, "other", 7 * needed)
    with pytest.raises(InferenceError, match="was measured"):
        memory.check(package, "other", tmp_path / "tuning")


# Taking turns


def bearing(name: str) -> list[int]:
    """Descendants of this process that hold a graph of that model."""
    found = []
    for pid in family.members(os.getpid()):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == f"saccade:{name}":
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_two_that_load_at_once_do_not_both_take_what_is_enough_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = colors(tmp_path / "p", "twins")
    options = Options(isolation="process", tuning=tmp_path / "tuning")
    with Model.open(package.path, options=options):
        pass
    peak = memory.read(tmp_path / "tuning", package.digest, "default")
    assert peak is not None
    limit = int(1.5 * memory.HEADROOM * peak)
    monkeypatch.setattr(process, "free_memory", lambda: limit - sum(process.memory_of(p)[0] for p in bearing("twins")))
    engines, found = [Engine(options), Engine(options)], list[str]()

    def load(engine: Engine) -> None:
        try:
            engine.load(package.path, "twins", 1)
            found.append("there")
        except InferenceError as error:
            found.append(error.code)

    threads = [threading.Thread(target=load, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["not_enough_memory", "there"]
    for engine in engines:
        engine.close()


OTHER = """
import sys, time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from saccade.inference import memory
with memory._turn(Path(sys.argv[1])):
    print("mine", flush=True)
    input()
    time.sleep(0.5)
    print("over", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="graphs have no processes of their own there")
def test_another_server_of_the_same_home_is_waited_for(tmp_path: Path) -> None:
    package, folder = colors(tmp_path / "p"), tmp_path / "home" / "tuning"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OTHER, str(folder)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "mine\n"
        began = time.monotonic()
        other.stdin.write("\n")
        other.stdin.flush()
        with memory.room(package, "default", folder):
            assert time.monotonic() - began >= 0.4
            assert other.stdout.readline() == "over\n"
    assert list(folder.iterdir()) == [], "a lock leaves nothing behind"


def test_who_ends_while_opening_holds_nobody_up(tmp_path: Path) -> None:
    package = colors(tmp_path / "p")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        other.kill()
        with memory.room(package, "default", tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), memory.room(package, "default", tmp_path):
        raise ZeroDivisionError
    with memory.room(package, "default", tmp_path):
        pass


def test_a_folder_that_cannot_be_had_keeps_nobody_from_loading(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file" / "tuning", None):
        with memory.room(colors(tmp_path / "p"), "default", folder):
            pass
