"""The suite of the trainer contract over every trainer of ours, and that each opens without the other's framework."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saccade.testing import trainers as suite
from saccade.training.trainers import find, names

pytestmark = pytest.mark.timeout(900)  # TensorFlow traces each graph: seconds, but minutes where others compute too

ENGINES = ("keras", "torch")


def test_every_trainer_of_ours_is_held_to_the_contract() -> None:
    assert set(ENGINES) <= set(names())


@pytest.mark.parametrize("world", suite.WORLDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_it_learns_and_its_graph_answers_alike(engine: str, world: str, tmp_path: Path) -> None:
    suite.check_learning(find(engine), tmp_path, suite.WORLDS[world])


@pytest.mark.parametrize("world", suite.WORLDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_it_goes_on_bit_by_bit(engine: str, world: str, tmp_path: Path) -> None:
    suite.check_resume(find(engine), tmp_path, suite.WORLDS[world])


@pytest.mark.parametrize("engine", ENGINES)
def test_it_ends_on_time(engine: str, tmp_path: Path) -> None:
    suite.check_budget(find(engine), tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_ends_early_and_knows_several_classes(engine: str, tmp_path: Path) -> None:
    suite.check_ends(find(engine), tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_starts_from_an_earlier_run(engine: str, tmp_path: Path) -> None:
    suite.check_earlier(find(engine), tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_refuses_with_a_cure(engine: str, tmp_path: Path) -> None:
    suite.check_refusals(find(engine), tmp_path)


ALONE = """
import json, sys
from pathlib import Path
from saccade.testing import trainers as suite
from saccade.training.trainers import find
trainer = find(sys.argv[1])
run, _ = suite.fit(trainer, Path(sys.argv[2]), epochs=1)
trainer.export(run, suite.squares(), Path(sys.argv[2]) / "graph")
print(json.dumps(sorted({"torch", "keras", "tensorflow"} & set(sys.modules))))
"""


@pytest.mark.parametrize(("engine", "own"), [("keras", ["keras", "tensorflow"]), ("torch", ["torch"])])
def test_a_process_loads_one_framework_only(engine: str, own: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, engine, str(tmp_path / "run")],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == own
