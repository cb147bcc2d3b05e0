"""Who goes next, and who stands before whoever comes now: urgent work before other work, callers in turns."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENT = 8
"""Urgent work that may pass waiting work that is not; then one of that goes first, so that it never starves."""


class Line(Generic[T]):
    """Work of equal urgency. Callers take turns, each caller's work keeps its order."""

    def __init__(self) -> None:
        self.callers: OrderedDict[Hashable, deque[T]] = OrderedDict()

    def add(self, caller: Hashable, work: T) -> None:
        held = self.callers.get(caller)
        if held is None:
            self.callers[caller] = deque((work,))
        else:
            held.append(work)

    def first(self) -> T:
        return next(iter(self.callers.values()))[0]

    def pop(self) -> T:
        caller, held = next(iter(self.callers.items()))
        work = held.popleft()
        if held:
            self.callers.move_to_end(caller)
        else:
            del self.callers[caller]
        return work

    def take(self, which: Callable[[T], bool]) -> list[T]:
        """Out of the line, in its order. Each is asked about once, for the answer may change meanwhile."""
        taken: list[T] = []
        for caller, held in list(self.callers.items()):
            left: deque[T] = deque()
            for work in held:
                (taken if which(work) else left).append(work)
            if left:
                self.callers[caller] = left
            else:
                del self.callers[caller]
        return taken


class Turns(Generic[T]):
    """All that waits, urgent or not. Not thread-safe: its keeper holds a lock."""

    def __init__(self) -> None:
        self._urgent, self._others = Line[T](), Line[T]()
        self._passed = 0
        """Urgent work that went before other work since that last had its turn."""
        self.waiting = 0
        """How many there are."""

    def add(self, caller: Hashable, work: T, urgent: bool) -> None:
        (self._urgent if urgent else self._others).add(caller, work)
        self.waiting += 1

    def first(self) -> T:
        """What `pop` would give."""
        return self._next().first()

    def pop(self) -> T:
        line = self._next()
        self._passed = self._passed + 1 if line is self._urgent and self._others.callers else 0
        work = line.pop()
        self.waiting -= 1
        return work

    def take(self, which: Callable[[T], bool]) -> list[T]:
        """Out of the lines, urgent work first. Each is asked about once."""
        taken = [*self._urgent.take(which), *self._others.take(which)]
        self.waiting -= len(taken)
        return taken

    def _next(self) -> Line[T]:
        if self._urgent.callers and not (self._others.callers and self._passed >= PATIENT):
            return self._urgent
        return self._others


class Ahead:
    """How much stands before whoever comes now. Not thread-safe: its keeper holds a lock."""

    def __init__(self) -> None:
        self._urgent: dict[Hashable, int] = {}
        self._urgents = self._others = 0

    def __len__(self) -> int:
        return self._urgents + self._others

    def come(self, caller: Hashable, urgent: bool) -> None:
        if urgent:
            self._urgent[caller] = self._urgent.get(caller, 0) + 1
            self._urgents += 1
        else:
            self._others += 1

    def leave(self, caller: Hashable, urgent: bool) -> None:
        if not urgent:
            self._others -= 1
            return
        self._urgents -= 1
        left = self._urgent[caller] - 1
        if left:
            self._urgent[caller] = left
        else:
            del self._urgent[caller]

    def count(self, caller: Hashable, urgent: bool) -> float:
        """Of what is not urgent everything; of what is, a turn of every caller for each that this one has waiting
        already, and the few that are let in between."""
        if not urgent:
            return len(self)
        turns = min(self._urgents, (self._urgent.get(caller, 0) + 1) * len(self._urgent))
        return turns * (1 + 1 / PATIENT) if self._others else turns
