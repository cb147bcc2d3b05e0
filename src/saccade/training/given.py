"""A network that the user wrote: `--network my_module:build` names a function that makes it."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.errors import UsageError


def is_given(name: str) -> bool:
    return ":" in name


def make(name: str, width: int, height: int, classes: int) -> Any:
    """What the function returns. It is called with those of width, height and classes that it names, or with none.

    Modules are looked for in the current folder too. Raises UsageError when there is no such function or it fails.
    """
    module_name, _, function_name = name.partition(":")
    function = _function(name, module_name, function_name)
    known: Mapping[str, Any] = {"width": width, "height": height, "classes": classes}
    asked = inspect.signature(function).parameters
    foreign = [p.name for p in asked.values() if p.default is p.empty and p.name not in known and p.kind in (0, 1, 3)]
    if foreign:
        raise UsageError(
            f"{name} wants {', '.join(foreign)}, and may be given width, height and classes",
            hint="give those a default",
        )
    try:
        return function(**{k: v for k, v in known.items() if k in asked})
    except Exception as error:
        raise UsageError(
            f"{name} failed: {type(error).__name__}: {error}", hint="call it in a Python shell to see where"
        ) from error


def _function(name: str, module_name: str, function_name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"--network {name}: {error}", hint="name a module of the current folder or of PYTHONPATH, then a function"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        have = [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        raise UsageError(
            f"{module_name} has no function {function_name!r}", hint=f"it has {', '.join(have) or 'no functions'}"
        )
    return function


def refuse_type(name: str, came: Any, wanted: str) -> None:
    """Raises UsageError: the function returned something that this engine cannot train."""
    kind = type(came)
    raise UsageError(
        f"{name} returned {kind.__module__}.{kind.__qualname__}, expected a {wanted}",
        hint=f"return a {wanted}, or choose the engine it was written for",
    )


def refuse_shape(name: str, came: Any, wanted: tuple[Any, ...], meaning: str) -> None:
    """Raises UsageError: its answers have another shape than the task learns."""
    raise UsageError(
        f"{name} answers {_told(came)} to a batch of N pictures, expected {_told(('N', *wanted))}",
        hint=f"let it end in {meaning}",
    )


def _told(shape: Any) -> str:
    if isinstance(shape, tuple):
        return "[" + ", ".join(str(s) for s in shape) + "]"
    return str(shape)


def refuse_task(name: str) -> None:
    raise UsageError(f"{name}: this task takes no network of another hand", hint="choose a network by its name")
