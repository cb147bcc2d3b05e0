"""Optimizers by the name of their library. One that lacks a library gives no candidates but the reason."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from saccade.errors import UsageError
from saccade.optimization.optimizer import Optimizer, Unfit

NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "nncf")}
EXTRAS = {"onnxruntime": "optimize", "openvino": "openvino"}


def find(names: Sequence[str] = ()) -> tuple[list[Optimizer], list[Unfit]]:
    """The optimizers of these libraries (none: all), and those that cannot work here. Raises UsageError."""
    strange = sorted(set(names) - set(NEEDS))
    if strange:
        raise UsageError(f"there is no optimizer {strange[0]!r}", hint=f"there are {', '.join(NEEDS)}")
    found, unfit = [], []
    for name in names or NEEDS:
        lost = [library for library in NEEDS[name] if not find_spec(library)]
        if lost:
            unfit.append(Unfit(name, f"{lost[0]} is not installed; pip install 'saccade[{EXTRAS[name]}]'"))
        else:
            found.append(import_module(f"saccade.optimization.optimizers.{name}").OPTIMIZER)
    return found, unfit
