"""Kinds of model files from elsewhere, one file each; opened without the library they are of."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

from saccade.errors import PackageError, UsageError
from saccade.inference.origin import Origin, Told

PICKLES = (".h5", ".hdf5", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")
"""Endings of files that hold weights or pickled objects, but no graph that could be opened safely."""


@cache
def keepers() -> tuple[Origin, ...]:
    """Every origin below this file."""
    found = [m.name for m in walk_packages(__path__, f"{__name__}.") if not m.ispkg]
    return tuple(import_module(name).ORIGIN for name in found)


def find(file: Path, told: Told) -> Origin:
    """The one origin of a file or folder. Raises UsageError, PackageError(onnx_invalid) for what none recognises."""
    if not file.exists():
        raise UsageError(f"there is no {file}", hint="check the path")
    found = next((o for o in keepers() if o.recognises(file)), None)
    if found is None:
        why = (
            " holds weights or pickled objects, no graph"
            if file.suffix in PICKLES
            else " is no model that could be read"
        )
        raise PackageError(
            f"{file}{why}; there are {', '.join(o.title for o in keepers())}",
            hint="export it as one of these",
            code="package_format_forbidden" if file.suffix in PICKLES else "onnx_invalid",
        )
    for field, option in (("signature", "--signature"), ("inputs", "--input")):
        if getattr(told, field) and field not in found.takes:
            raise UsageError(f"{file} is {found.title}, which {option} does not go with", hint="leave it out")
    for library, extra in found.needs.items():
        if not find_spec(library):
            raise UsageError(
                f"{found.title} needs {library}, which is not installed", hint=f"pip install 'saccade[{extra}]'"
            )
    return found
