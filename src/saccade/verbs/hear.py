"""Who listens to a verb as it works."""

from collections.abc import Callable
from typing import Any

Hear = Callable[[Any], None]


def silent(event: Any) -> None:
    """The listener of a caller who did not ask to hear."""
