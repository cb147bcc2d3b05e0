"""What is asked of an image: one folder per task, found by name."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from saccade.errors import UsageError
from saccade.tasks.task import Task

GROUP = "saccade.tasks"
"""Entry points of other distributions; each names a Task class."""

TENSORS = "tensors"
"""The task of a graph of which nobody said what it is asked."""


def names() -> list[str]:
    """Tasks that can be asked for: folders here that hold a task.py, and entry points of other distributions."""
    own = {f.parent.name for f in Path(__file__).parent.glob("*/task.py")}
    return sorted(own | {e.name for e in metadata.entry_points(group=GROUP)})


@cache
def find(name: str) -> Task:
    """The task of that name. Raises UsageError when there is none."""
    known = names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"tasks are {', '.join(known)}"
        raise UsageError(f"no task is called {name!r}", hint=hint)
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == name:
            return _made(entry.load())
    return _made(import_module(f"{__name__}.{name}.task").task)


def fitting(fields: Iterable[str]) -> list[str]:
    """Tasks whose every need is among these annotation fields."""
    have = set(fields)
    return [name for name in names() if set(find(name).needs) <= have]


def _made(kind: type[Task]) -> Task:
    return kind()
