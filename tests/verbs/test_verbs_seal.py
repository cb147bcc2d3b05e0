"""A run that is sealed, or is left as it was."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saccade.training.trainer import Graph
from saccade.verbs import seal as module


@pytest.mark.parametrize("failure", [ValueError("of the task"), KeyboardInterrupt()])
def test_a_seal_that_fails_leaves_no_draft_in_the_run(
    tmp_path: Path, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    graph = Graph(tmp_path / "graph.onnx", (), (), {}, {}, {"calibration": {}})
    run: Any = SimpleNamespace(folder=tmp_path / "run")
    trainer: Any = SimpleNamespace(export=lambda *_: graph)
    drafts = []

    def goldens(*_: Any) -> None:
        drafts.extend(p.name for p in run.folder.iterdir())
        raise failure

    monkeypatch.setattr(module, "_goldens", goldens)
    with pytest.raises(type(failure)):
        module.seal(run, run, trainer, "waste", print)
    assert len(drafts) == 1
    assert drafts[0].startswith(".package.")
    assert list(run.folder.iterdir()) == []
