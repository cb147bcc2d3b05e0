"""Real clients of other houses, each in an environment of its own, against a running server: every call they have."""

import importlib
from pathlib import Path

import pytest

from saccade.testing.packages import boxes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.clients
@pytest.mark.parametrize(
    ("client", "least"), [("triton", 120), ("tf_serving", 35), ("custom_vision", 12), ("kserve_rest", 15)]
)
def test_a_client_goes_through_its_whole_api(tmp_path: Path, client: str, least: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        stage = importlib.import_module("benchmarks.interop.stage")
    python = stage.prepared(client, make=False)
    if python is None:
        pytest.skip(f"{client} has no environment here: python -m benchmarks.interop {client} --prepare")
    packages = stage.packages(tmp_path)
    if client == "custom_vision":  # the one of them that speaks of boxes in a way of its own
        packages["boxes"] = boxes(tmp_path / "boxes").path
    for name, package in packages.items():
        with stage.served(package, tmp_path / "home") as server:
            case = stage.case(package, tmp_path / f"{name}.npz")
            calls = stage.told(python, client, server, name, case)
        assert [call for call in calls if not call["ok"]] == []
        assert len(calls) >= least
