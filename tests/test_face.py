"""The face exports what it promises, and opening it costs nothing."""

import subprocess
import sys

import saccade


def test_every_promised_name_is_there_and_sorted() -> None:
    assert saccade.__all__ == sorted(saccade.__all__)
    for name in saccade.__all__:
        assert getattr(saccade, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(saccade, "no_such_name")


def test_import_loads_no_heavy_library() -> None:
    code = "import sys, saccade; print([m for m in ('numpy', 'torch', 'cv2', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
