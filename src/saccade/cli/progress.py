"""What a run says, for people: one live bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, TextIO

from saccade.cli.text import seconds


class Progress:
    """Hears the events of a run. Plain lines come once an epoch; the bar moves at most ten times a second."""

    def __init__(self, to: TextIO = sys.stdout) -> None:
        self.to = to
        self.live = to.isatty()
        self._last = 0.0
        self._open = False
        self._metric = ""

    def say(self, text: str) -> None:
        if self._open:
            self.to.write("\r\x1b[2K")
            self._open = False
        self.to.write(text + "\n")
        self.to.flush()

    def hear(self, event: Any) -> None:
        if isinstance(event, str):
            self.say(event)
            return
        kind = event.kind
        if kind == "epoch":
            self._metric = f"  {event.metric_name} {event.metric:.4f}"
        if kind == "step" and self.live:
            now = time.monotonic()
            if now - self._last >= 0.1:
                self._last = now
                self._bar(event)
        elif kind != "step":
            text = event.text()
            if text:
                self.say(text)

    def _bar(self, event: Any) -> None:
        width = 24
        done = max(0.0, min(1.0, event.progress))
        filled = round(width * done)
        self.to.write(
            f"\r\x1b[2K{'━' * filled}{'─' * (width - filled)} {100 * done:3.0f} %  epoch {event.epoch}  "
            f"loss {event.loss:.4f}{self._metric}  {event.images_per_s:.0f} img/s  ETA {seconds(event.eta_s)}"
        )
        self.to.flush()
        self._open = True
