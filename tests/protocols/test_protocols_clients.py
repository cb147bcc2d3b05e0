"""Real clients of other houses, each in an environment of its own, against a running server: every call they have."""

import importlib
from pathlib import Path

import pytest

from saccade.testing.packages import boxes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.clients
def test_tritonclient_goes_through_its_whole_api(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        environment = importlib.import_module("benchmarks.environment")
        stage = importlib.import_module("benchmarks.interop.stage")
    folder = environment.folder_of(ROOT / "benchmarks" / "interop" / "triton.txt")
    if not (folder / "complete").is_file():
        pytest.skip("tritonclient has no environment here: python -m benchmarks.interop triton --prepare")
    for name, package in stage.packages(tmp_path).items():
        with stage.served(package, tmp_path / "home") as server:
            case = stage.case(package, tmp_path / f"{name}.npz")
            script = ROOT / "benchmarks" / "interop" / "triton.py"
            calls = stage.told(folder / "bin" / "python", script, server, name, case)
        assert len(calls) > 60
        assert [call for call in calls if not call["ok"]] == []


@pytest.mark.clients
def test_the_client_of_custom_vision_goes_through_its_whole_api(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        environment = importlib.import_module("benchmarks.environment")
        stage = importlib.import_module("benchmarks.interop.stage")
    folder = environment.folder_of(ROOT / "benchmarks" / "interop" / "custom_vision.txt")
    if not (folder / "complete").is_file():
        pytest.skip("Custom Vision has no environment here: python -m benchmarks.interop custom_vision --prepare")
    for name, package in (stage.packages(tmp_path) | {"boxes": boxes(tmp_path / "boxes").path}).items():
        with stage.served(package, tmp_path / "home") as server:
            case = stage.case(package, tmp_path / f"{name}.npz")
            script = ROOT / "benchmarks" / "interop" / "custom_vision.py"
            calls = stage.told(folder / "bin" / "python", script, server, name, case)
        assert len(calls) == 12
        assert [call for call in calls if not call["ok"]] == []
