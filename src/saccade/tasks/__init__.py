"""What is asked of an image: one folder per task, found by name; nothing else lists them."""

from collections.abc import Set
from functools import cache
from importlib import import_module
from pathlib import Path

from saccade.errors import UsageError
from saccade.tasks.task import Task


def names() -> tuple[str, ...]:
    """Every task folder beside this file, sorted."""
    here = Path(__file__).parent
    return tuple(sorted(p.parent.name for p in here.glob("*/task.py")))


@cache
def find(name: str) -> Task:
    """The task of that name. Raises UsageError with the names there are."""
    if name not in names():
        raise UsageError(f"no task {name!r}", hint=f"tasks are {', '.join(names())}")
    task: Task = import_module(f"saccade.tasks.{name}.task").TASK
    return task


def fitting(fields: Set[str]) -> list[str]:
    """Names of the tasks whose needs these annotation fields meet."""
    return [name for name in names() if set(find(name).needs) <= set(fields)]
