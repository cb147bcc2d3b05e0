"""The contract of who hears a run besides the person at the screen. Keepers: training/listeners/*."""

from abc import ABC, abstractmethod

from saccade.training.events import Event
from saccade.training.run import Run


class Listener(ABC):
    """Made once a run is open; hears each event after it is in `events.jsonl`.

    An error it raises never ends a training: the caller says so in one line and stops asking it.
    """

    name: str

    @abstractmethod
    def __init__(self, run: Run) -> None: ...

    @abstractmethod
    def hear(self, event: Event) -> None: ...

    @abstractmethod
    def close(self, finished: bool) -> None:
        """finished: False when the run ended in an error or was interrupted."""
