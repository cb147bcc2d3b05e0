"""TensorBoard and MLflow hear a run: what they wrote is read back with their own readers."""

import importlib.abc
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import saccade
from saccade.errors import UsageError
from saccade.training import listeners
from saccade.training.events import Chosen, Epoch, Event, Finished, Step
from saccade.training.listener import Listener
from saccade.training.run import Run
from saccade.verbs.seal import Trained


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty squares in two colours, as one array file."""
    file = tmp_path_factory.mktemp("data") / "colours.npz"
    random = np.random.default_rng(0)
    labels = np.arange(30) % 2
    images = random.integers(0, 90, (30, 16, 16, 3), np.uint8)
    images[np.arange(30), :, :, labels] += 120
    np.savez(file, train_images=images, train_labels=labels)
    return file


def train(data: Path, out: Path, log: Sequence[str], said: list[object]) -> Trained:
    knobs: dict[str, Any] = {
        "network": "cnn-small",
        "filters": "4",
        "dense": 4,
        "size": 16,
        "epochs": 2,
        "batch": 8,
        "cache": "none",
    }
    return saccade.train(data, out=out, log=log, listen=said.append, **knobs)


def test_both_hear_the_whole_run(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    said: list[object] = []
    trained = train(colours, tmp_path / "run", ("tensorboard", "mlflow"), said)
    assert not [s for s in said if isinstance(s, str) and "hears no more" in s]
    epochs = [e for e in said if isinstance(e, Epoch)]
    last = next(e for e in said if isinstance(e, Finished))
    assert epochs

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained.folder / "tensorboard"))
    board.Reload()
    read = [(s.step, s.value) for s in board.Scalars("val/loss")]
    assert read == [(e.step, pytest.approx(e.val_loss)) for e in epochs]
    assert [s.value for s in board.Scalars("kept/accuracy")] == [pytest.approx(last.metric)]
    assert len(board.Scalars("train/rate")) == len([e for e in said if isinstance(e, Step)])
    (sheet,) = board.Images("first_batch")
    assert sheet.encoded_image_string == (trained.folder / "samples" / "first_batch.png").read_bytes()

    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    place = client.get_experiment_by_name("saccade")
    assert place is not None
    (kept,) = client.search_runs([place.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "run"
    assert kept.data.params["network"] == "cnn-small"
    chosen = next(e for e in said if isinstance(e, Chosen) and e.key == "rate")
    assert float(kept.data.params["rate"]) == chosen.value
    history = client.get_metric_history(kept.info.run_id, "val_loss")
    assert [(m.step, m.value) for m in history] == [(e.step, pytest.approx(e.val_loss)) for e in epochs]


class Grumpy(Listener):
    name = "grumpy"
    heard = 0

    def __init__(self, run: Run) -> None: ...

    def hear(self, event: Event) -> None:
        Grumpy.heard += 1
        raise RuntimeError("no\nroom")

    def close(self, finished: bool) -> None:
        raise AssertionError("a listener that failed is not asked again")


class Absent(Grumpy):
    name = "absent"

    def __init__(self, run: Run) -> None:
        raise ConnectionError("nobody there")


def test_one_that_fails_is_told_of_once_and_ends_nothing(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"grumpy": Grumpy, "absent": Absent}
    monkeypatch.setattr(listeners, "find", lambda name: kinds[name])
    said: list[object] = []
    train(colours, tmp_path / "run", ("grumpy", "absent"), said)
    assert [s for s in said if isinstance(s, str) and "hears no more" in s] == [
        "warning  absent hears no more of this run: ConnectionError: nobody there",
        "warning  grumpy hears no more of this run: RuntimeError: no room",
    ]
    assert Grumpy.heard == 1


class Uninstalled(importlib.abc.MetaPathFinder):
    """Makes a library look as it does where it was never installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_library_is_one_sentence_with_the_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == name or m.endswith(f"listeners.{name}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Uninstalled(name), *sys.meta_path])
    with pytest.raises(UsageError, match=rf"--log {name} needs {name}.*pip install 'saccade\[{name}\]'"):
        saccade.train(tmp_path, log=(name,))


def test_an_unknown_listener_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="listeners are mlflow, tensorboard"):
        saccade.train(tmp_path / "nothing", log=("wandb",))
