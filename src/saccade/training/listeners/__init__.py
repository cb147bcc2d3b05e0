"""Keepers of the listener contract by name, one file each, named after the library it feeds."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from saccade.errors import UsageError
from saccade.training.events import Event
from saccade.training.listener import Listener
from saccade.training.run import Run


def names() -> list[str]:
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def find(name: str) -> type[Listener]:
    """Raises UsageError when there is none of that name, or its library is not installed."""
    if name not in names():
        raise UsageError(f"no listener is called {name!r}", hint=f"listeners are {', '.join(names())}")
    try:
        kind: type[Listener] = import_module(f"{__name__}.{name}").LISTENER
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("saccade"):
            raise
        raise UsageError(
            f"--log {name} needs {error.name}, which is not installed", hint=f"pip install 'saccade[{name}]'"
        ) from error
    return kind


class Audience:
    """All listeners of a run. One that fails is told of in one line and then left out; the training goes on.

    say: hears that line.
    """

    def __init__(self, run: Run, kinds: Sequence[type[Listener]], say: Callable[[str], None]) -> None:
        self._there: list[Listener] = []
        self._say = say
        for kind in kinds:
            try:
                self._there.append(kind(run))
            except Exception as error:  # noqa: BLE001 - a stranger's library may raise anything
                self._complain(kind.name, error)

    def hear(self, event: Event) -> None:
        for listener in list(self._there):
            try:
                listener.hear(event)
            except Exception as error:  # noqa: BLE001 - a stranger's library may raise anything
                self._there.remove(listener)
                self._complain(listener.name, error)

    def close(self, finished: bool) -> None:
        for listener in self._there:
            try:
                listener.close(finished)
            except Exception as error:  # noqa: BLE001 - a stranger's library may raise anything
                self._complain(listener.name, error)
        self._there = []

    def _complain(self, name: str, error: Exception) -> None:
        text = " ".join(str(error).split())
        self._say(f"warning  {name} hears no more of this run: {type(error).__name__}: {text}")
