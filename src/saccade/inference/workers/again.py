"""Another process in the place of one that was lost: when it is tried, and how the ending of a process is told."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from saccade.inference.workers.losses import WITHIN_S, Losses

log = logging.getLogger("saccade.inference")
P = TypeVar("P")


def again(
    start: Callable[[], P | None], losses: Losses, changed: threading.Condition, stop: threading.Event, name: str
) -> P | None:
    """What start gives, after the wait that is due, tried until it gives something; None once stop is set.

    changed: guards the losses, and is told of each wait. name: of the graph, for the log.
    """
    while True:
        with changed:
            delay, often = losses.wait_s(), losses.often()
            changed.notify_all()
        if often:
            log.error(
                "%s: %d processes were lost within %g s; the next one is started after %g s",
                name,
                often,
                WITHIN_S,
                delay,
            )
        if stop.wait(delay):
            return None
        try:
            return start()
        except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again: nobody else would
            if stop.is_set():
                return None
            with changed:
                losses.failed(str(error))
            log.error("%s: no process could be started: %s", name, error)


def ending(code: int, killed: str) -> str:
    """How a process ended, by its exit code; killed: why it was ended here, if it was."""
    if killed:
        return f"ended here, {killed}"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
