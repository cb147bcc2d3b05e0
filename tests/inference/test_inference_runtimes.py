"""Every runtime keeps the contract."""

import pytest

from saccade.errors import InferenceError
from saccade.inference import runtimes
from saccade.testing.runtimes import check


@pytest.mark.parametrize("name", runtimes.names())
def test_contract(name, tmp_path):
    check(runtimes.find(name), tmp_path)


def test_unknown_runtime_and_device(tmp_path):
    with pytest.raises(InferenceError):
        runtimes.find("nothing")
    with pytest.raises(InferenceError, match="device"):
        runtimes.find("onnxruntime").open(tmp_path, "abacus")
