"""What a dialect says over gRPC: plain calls on messages, so that they are asked without a
socket too. Knows no grpc."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from saccade.errors import ServerError


@dataclass(eq=False)
class Invocation:
    """One call. deadline_s: of one answer; ends: the monotonic second at which the caller stops listening.

    caller, urgent: as of a Call. told: what goes with the answer, names in lower case. closing:
    True once streams should end.
    """

    request_id: str
    deadline_s: float = 10.0
    ends: float = math.inf
    caller: str | None = None
    urgent: bool | None = None
    told: list[tuple[str, str]] = field(default_factory=list)
    closing: Callable[[], bool] = bool
    hold: Callable[[int], contextlib.AbstractContextManager[object]] = lambda size: contextlib.nullcontext()
    """What a message of a stream takes, of the bytes that all callers may hold. Raises ServerError(overloaded)."""
    admit: Callable[[], None] = lambda: None
    """Asked before each message of a stream. Raises ServerError when this caller shall send no more for now."""

    def left_s(self) -> float:
        return min(self.deadline_s, self.ends - time.monotonic())


HEAVY = 65_536
"""Values, or bytes of a message, from which converting one by one takes so long that it must not
hold up other callers."""
T = TypeVar("T")


async def aside(heavy: bool, work: Callable[[], T]) -> T:
    """What work gives; heavy work is done in a thread."""
    return await asyncio.to_thread(work) if heavy else work()


MOST_APART = 8
"""Loads and unloads that may be asked for at once: they come one after the other anyway."""
_apart = threading.BoundedSemaphore(MOST_APART)


async def apart(work: Callable[[], T]) -> T:
    """What work gives, which may take minutes: done by a thread of its own. The few that all share must not be held so
    long, and the process waits for those when it ends. Raises ServerError(overloaded) when many such are under way."""
    if not _apart.acquire(blocking=False):
        raise ServerError(f"{MOST_APART} such requests are under way", hint="ask again later", code="overloaded")
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # who waits may leave; the work goes on

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)
        finally:
            _apart.release()

    try:
        threading.Thread(target=do, name="apart", daemon=True).start()
    except RuntimeError as error:
        _apart.release()
        raise ServerError("no thread can be had", hint="ask again later", code="overloaded") from error
    return await asyncio.wrap_future(future)


Once = Callable[[Invocation, Any], Awaitable[Any]]
Stream = Callable[[Invocation, AsyncIterator[Any]], AsyncGenerator[Any, None]]


@dataclass(frozen=True)
class Method:
    """path: `/package.Service/Method`. request, reply: classes of messages. handler: takes a message and gives one, or,
    where it streams, takes many and gives many; raises SaccadeError. needs: see protocol.SCOPES. pictures: whether a
    message may bring some.
    """

    path: str
    request: Any
    reply: Any
    handler: Once | Stream
    streams: bool = False
    needs: str = "use"
    pictures: bool = False
