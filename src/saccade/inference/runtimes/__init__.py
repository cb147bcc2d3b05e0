"""Runtimes by name. Each keeper is one file named after its library, or after the server that runs its graphs; it is
opened only when asked for."""

from importlib import import_module
from importlib.util import find_spec

from saccade.errors import InferenceError
from saccade.inference.runtime import Runtime

EXTRAS = {
    "onnxruntime": "",
    "openvino": "openvino",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "triton": "grpc",
    "tf_serving": "grpc",
}
"""Every runtime, and the extra that brings its library; the first is always there."""
LIBRARIES = {"triton": "grpc", "tf_serving": "grpc"}
"""Of runtimes that have another name than their library: those whose graphs run elsewhere."""


def names() -> list[str]:
    """Runtimes whose library is installed."""
    return [name for name in EXTRAS if find_spec(LIBRARIES.get(name, name))]


def find(name: str) -> Runtime:
    """Raises InferenceError(not_found) for a runtime that is unknown or not installed."""
    if name not in EXTRAS:
        raise InferenceError(
            f"there is no runtime {name!r}", hint=f"runtimes are {', '.join(EXTRAS)}", code="not_found"
        )
    if not find_spec(LIBRARIES.get(name, name)):
        raise InferenceError(
            f"runtime {name!r} is not installed", hint=f"pip install 'saccade[{EXTRAS[name]}]'", code="not_found"
        )
    runtime: Runtime = import_module(f"saccade.inference.runtimes.{name}").RUNTIME
    return runtime
