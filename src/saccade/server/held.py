"""How many bytes of bodies were read and are not answered yet (A4): each is bounded, and all of them together are.

A message of gRPC counts from when it is whole: until then its library holds it, bounded by calls at once alone.
"""

from saccade.errors import ServerError
from saccade.limits import BODY_LIMITS

LARGEST = 4
"""So many bodies of the largest size fit in any case."""


class Held:
    """largest: bytes of one body at most. For one event loop: no two callers are counted at the same time."""

    def __init__(self, largest: int = BODY_LIMITS.max_bytes) -> None:
        self._most = max(BODY_LIMITS.max_held_bytes, LARGEST * largest)
        self._now = 0

    def share(self, size: int = 0) -> "Share":
        """What one caller's body takes until the block ends, whose beginning raises ServerError(overloaded) where there is no
        room."""
        return Share(self, size)

    def fits(self, size: int) -> bool:
        return self._now + size <= self._most

    def add(self, size: int) -> None:
        if not self.fits(size):
            raise ServerError(
                "the bodies that are held now take all the memory there is for them",
                hint="ask again later",
                code="overloaded",
            )
        self._now += size

    def give(self, size: int) -> None:
        self._now -= size


class Share:
    """A caller's part of what is held. size: bytes so far."""

    def __init__(self, held: Held, first: int) -> None:
        self._held, self._first = held, first
        self.size = 0

    def __enter__(self) -> "Share":
        self.add(self._first)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.give(self.size)

    def fits(self, size: int) -> bool:
        """Whether so much could be added."""
        return self._held.fits(size)

    def add(self, size: int) -> None:
        """Raises ServerError(overloaded), and then nothing is added."""
        self._held.add(size)
        self.size += size
