"""A run that is killed at any durable step, meets a full disk or is stopped by hand goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")

NURSERY = '''
"""Imports torch once, then forks one child a line of standard input: FOLDER KIND KILL_AT HOW. Answers with its status."""
import os, resource, signal, sys
from pathlib import Path

import numpy as np

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import SaccadeError
from saccade.storage.files import Files
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainers import find
from saccade.types import Labels, Sample


class Doomed(Files):
    """Dies at the n-th durable step: before it, with half of it on disk, or right after."""

    def __init__(self, at, how):
        self.at, self.how, self.count = at, how, 0

    def write(self, file, data):
        if self.how == "half" and self.count == self.at:
            file.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(file, data)

    def replace(self, file, data):
        self.count += 1
        if self.how == "before" and self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        super().replace(file, data)
        if self.how == "after" and self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def classes(place):
    pixels = (np.random.default_rng(place).random((12, 12, 3)) * 80).astype(np.uint8)
    pixels[..., place % 2] += 120
    return pixels, {"classes": np.array([place % 2], np.int64)}


def square(place):
    random = np.random.default_rng(place)
    left, top, side = random.integers(2, 24), random.integers(2, 24), random.integers(14, 36)
    pixels = (random.random((64, 64, 3)) * 80).astype(np.uint8)
    pixels[top : top + side, left : left + side, place % 2] += 120
    return pixels, left, top, side


def boxes(place):
    """A square in each picture, but none in every fourth."""
    pixels, left, top, side = square(place)
    found = [] if place % 4 == 3 else [[left, top, left + side, top + side]]
    return pixels, {"boxes": np.array(found, np.float32).reshape(-1, 4),
                    "box_classes": np.full(len(found), place % 2, np.int64)}


def masks(place):
    pixels, left, top, side = square(place)
    mask = np.zeros((64, 64), np.uint8)
    mask[top : top + side, left : left + side] = 1
    mask[:3] = 255
    return pixels, {"mask": mask}


COMMON = dict(threads=1, cache="none", checkpoint_every=0, validation_share=1, rate=0.01, precision="float32")
RECIPES = {
    "classes": dict(network="cnn-small", filters=(4, 8), dense=32, size=12, epochs=3, batch=8, dropout=0.2),
    "boxes": dict(size=64, epochs=2, batch=8, rate=0.002, mosaic=0.7, repeat=2, multi_scale=0.2, mixup=8),
    "masks": dict(size=64, epochs=2, batch=8, rate=0.004, start_size=0.5),
}
MADE = {"classes": classes, "boxes": boxes, "masks": masks}


def dataset(kind):
    splits = {"train": range(16), "val": range(4)}
    return Dataset("arrays", Path("memory"), Labels(("red", "green"), exclusive=kind == "classes"), {
        split: tuple(Sample(f"{split}/{p}", *MADE[kind](p)) for p in places) for split, places in splits.items()})


def learn(folder, kind, at, how):
    files, data = Doomed(at, how), dataset(kind)
    if (folder / "recipe.toml").exists():
        run = Run.open(folder, files)
    else:
        (task,) = tasks.fitting(data.fields)
        run = Run.create(folder, Recipe(task=task, **{**COMMON, **RECIPES[kind]}), data, files)
    for event in find("torch").fit(run, data):
        if how == "log" and event.kind == "epoch" and event.epoch == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "full" and event.kind == "epoch" and event.epoch == at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        if how == "stop" and event.kind == "epoch" and event.epoch == at:
            signal.raise_signal(signal.SIGINT)
    return files.count


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background commands ignore it
import torch._dynamo  # an optimizer would import it, seconds long, in every child
find("torch")
for line in sys.stdin:
    folder, kind, at, how = line.split()
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = 100 + learn(Path(folder), kind, int(at), how)
        except KeyboardInterrupt:
            code = 2
        except SaccadeError as error:
            Path(folder, "error.txt").write_text(f"{error.code}: {error}")
            code = 1
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''


class Nursery:
    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child

    def learn(self, folder: Path, at: int = 0, how: str = "never", kind: str = "classes") -> int:
        """Trains or goes on in a child of its own; its status, 100 + durable steps when it came to the end."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{folder} {kind} {at} {how}\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    program = tmp_path_factory.mktemp("nursery") / "nursery.py"
    program.write_text(NURSERY)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as child:
        yield Nursery(child)
        assert child.stdin is not None
        child.stdin.close()


@pytest.fixture(scope="module")
def whole(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run that nothing happened to, and how many durable steps it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status = nursery.learn(folder)
    assert status > 100
    return folder, status - 100


def assert_same(one: Path, other: Path) -> None:
    """Weights, optimizer, averages and metrics bit for bit, and the same last word."""
    for name in ("metrics.csv", "recipe.toml", "dataset.lock.json", "samples/first_batch.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("best", "last"):
        left, right = (_tensors(f / "checkpoints" / f"{name}.safetensors") for f in (one, other))
        assert left == right, name
    last = [json.loads((f / "events.jsonl").read_text().splitlines()[-1]) for f in (one, other)]
    assert last[0]["kind"] == last[1]["kind"] == "finished"
    for key in ("step", "epochs", "metric", "reason", "calibration"):
        assert last[0][key] == last[1][key], key


def _tensors(file: Path) -> bytes:
    """All that follows the header, which holds times."""
    data = file.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_killed_at_every_durable_step(nursery: Nursery, whole: tuple[Path, int], tmp_path: Path) -> None:
    folder, steps = whole
    ways = ("before", "half", "after")
    for at in range(1, steps + 1):
        how = ways[at % 3]
        broken = tmp_path / f"{at}-{how}"
        assert nursery.learn(broken, at, how) == -signal.SIGKILL, (at, how)
        assert nursery.learn(broken) > 100, (at, how)
        assert_same(folder, broken)


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_places_go_on_to_the_same_bits(nursery: Nursery, tmp_path: Path, kind: str) -> None:
    """Killed inside an epoch, inside the first validation's files, after it, and at the very end."""
    whole = tmp_path / "whole"
    steps = nursery.learn(whole, kind=kind) - 100
    assert steps > 6
    for at, how in ((4, "after"), (5, "half"), (1, "log"), (steps - 1, "before")):
        broken = tmp_path / f"{at}-{how}"
        assert nursery.learn(broken, at, how, kind) == -signal.SIGKILL, (at, how)
        assert nursery.learn(broken, kind=kind) > 100, (at, how)
        assert_same(whole, broken)


def test_killed_between_a_validation_and_its_checkpoint(
    nursery: Nursery, whole: tuple[Path, int], tmp_path: Path
) -> None:
    for epoch in (1, 2):
        broken = tmp_path / str(epoch)
        assert nursery.learn(broken, epoch, "log") == -signal.SIGKILL
        assert nursery.learn(broken) > 100
        assert_same(whole[0], broken)


def test_killed_again_and_again(nursery: Nursery, whole: tuple[Path, int], tmp_path: Path) -> None:
    broken = tmp_path / "run"
    for at in (4, 3, 2, 5):
        assert nursery.learn(broken, at, "half") == -signal.SIGKILL
    assert nursery.learn(broken) > 100
    assert_same(whole[0], broken)


def test_a_finished_run_stays_as_it_is(nursery: Nursery, whole: tuple[Path, int]) -> None:
    weights = _tensors(whole[0] / "checkpoints" / "best.safetensors")
    table = (whole[0] / "metrics.csv").read_bytes()
    assert nursery.learn(whole[0]) > 100
    assert _tensors(whole[0] / "checkpoints" / "best.safetensors") == weights
    assert (whole[0] / "metrics.csv").read_bytes() == table


def test_a_disk_that_takes_no_more_keeps_the_old_checkpoint(
    nursery: Nursery, whole: tuple[Path, int], tmp_path: Path
) -> None:
    broken = tmp_path / "run"
    assert nursery.learn(broken, 1, "full") == 1
    said = (broken / "error.txt").read_text()
    assert said.startswith("storage_full: last.safetensors could not be written: File too large; free some space")
    assert "--resume" in said
    assert not list((broken / "checkpoints").glob(".*"))
    assert nursery.learn(broken) > 100
    assert_same(whole[0], broken)


def test_stopped_by_hand(nursery: Nursery, whole: tuple[Path, int], tmp_path: Path) -> None:
    broken = tmp_path / "run"
    assert nursery.learn(broken, 2, "stop") == 2
    assert nursery.learn(broken) > 100
    assert_same(whole[0], broken)


def test_a_log_cut_short_is_read_to_its_last_whole_line(
    nursery: Nursery, whole: tuple[Path, int], tmp_path: Path
) -> None:
    broken = tmp_path / "run"
    assert nursery.learn(broken, 2, "log") == -signal.SIGKILL
    for name in ("events.jsonl", "metrics.csv"):
        torn = (broken / name).read_bytes()
        (broken / name).write_bytes(torn[: -len(torn.splitlines()[-1]) // 2])
    assert nursery.learn(broken) > 100
    assert_same(whole[0], broken)
    lines = (broken / "events.jsonl").read_text().splitlines()
    broken_lines = [line for line in lines if not line.endswith("}")]
    assert len(broken_lines) == 1
