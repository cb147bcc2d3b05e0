"""Runtimes by name. Each keeper is one file named after its library; it is opened only when asked for."""

from importlib import import_module
from importlib.util import find_spec

from saccade.errors import InferenceError
from saccade.inference.runtime import Runtime


def names() -> list[str]:
    """Runtimes whose library is installed."""
    return [name for name in ("onnxruntime",) if find_spec(name)]


def find(name: str) -> Runtime:
    """Raises InferenceError(not_found) for a runtime that is unknown or not installed."""
    if name not in names():
        raise InferenceError(
            f"runtime {name!r} is not here, there are {names()}", hint=f"pip install {name}", code="not_found"
        )
    runtime: Runtime = import_module(f"saccade.inference.runtimes.{name}").RUNTIME
    return runtime
