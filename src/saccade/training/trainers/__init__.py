"""Keepers of the trainer contract, one folder each, named after their framework."""

from importlib import import_module, metadata
from pathlib import Path

from saccade.errors import UsageError
from saccade.training.trainer import Trainer

GROUP = "saccade.trainers"


def names() -> list[str]:
    """Trainers that can be asked for: folders here, and entry points of other distributions."""
    own = {f.parent.name for f in Path(__file__).parent.glob("*/trainer.py")}
    return sorted(own | {e.name for e in metadata.entry_points(group=GROUP)})


def find(name: str) -> Trainer:
    """The trainer of that name. Raises UsageError when there is none or its framework is not installed."""
    if name not in names():
        raise UsageError(f"no trainer is called {name!r}", hint=f"trainers are {', '.join(names())}")
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == name:
            return _made(entry.load())
    try:
        return _made(import_module(f"saccade.training.trainers.{name}.trainer").trainer)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("saccade"):
            raise
        library = error.name.partition(".")[0]
        raise UsageError(
            f"the {name} trainer needs {library}, which is not installed", hint=f"pip install 'saccade[{name}]'"
        ) from error


def _made(kind: type[Trainer]) -> Trainer:
    return kind()
