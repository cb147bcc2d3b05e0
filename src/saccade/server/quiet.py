"""Gives memory back to the machine once nobody asks: a burst of large pictures costs its pages only while it lasts."""

import gc
import threading
from collections.abc import Callable

from saccade import process

QUIET_S = 2.0


class Quiet:
    """Looks every `every_s`; after a look at which nothing new had been asked, gives back once.
    asked: a count so far."""

    def __init__(
        self, asked: Callable[[], int], every_s: float = QUIET_S, give_back: Callable[[], object] = process.give_back
    ) -> None:
        self._asked = asked
        self._every_s = every_s
        self._give_back = give_back
        self._seen = self._given = 0
        self._stop = threading.Event()

    def step(self) -> bool:
        """One look; True when memory was given back."""
        now = self._asked()
        quiet = now == self._seen != self._given
        self._seen = now
        if quiet:
            gc.collect()
            self._give_back()
            self._given = now
        return quiet

    def start(self) -> None:
        def loop() -> None:
            while not self._stop.wait(self._every_s):
                self.step()

        threading.Thread(target=loop, name="quiet", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
