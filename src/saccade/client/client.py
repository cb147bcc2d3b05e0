"""Client and AsyncClient: the same talks, one takes their steps and one awaits them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, overload

from saccade.client.answer import Answer, Picture, Readable
from saccade.client.messages import Reply, Request
from saccade.client.talks import RETRIES, TIMEOUT_S, Progress, Send, Talk, Talks, Wait, Wishes, Work, pictures
from saccade.client.transport import AsyncTransport, Transport, connect
from saccade.errors import SaccadeError, ServerError, UsageError

WORKERS = 4
THREADS = 64
"""Calls of an AsyncClient that are on their way at the same time; more wait, and their time runs."""
T = TypeVar("T")


class Client:
    """A saccade server, asked over HTTP, or gRPC. A context manager; safe from several threads.

    url: http(s)://host:port, or grpc(s)://host:port, which answers predict, ready, health and models.

    key: API key. timeout_s: for a whole call, tries included. retries: how often a request that the server could not
    take is sent again. transport: instead of a connection to `url`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        transport: Transport | None = None,
    ) -> None:
        self._talks = Talks(key, timeout_s, retries)
        self._transport = transport or connect(url)

    @overload
    def predict(self, model: str, image: Picture | Readable, **wishes: Unpack[Wishes]) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, model: str, image: Sequence[Picture | Readable], **wishes: Unpack[Wishes]) -> list[Answer]: ...
    def predict(
        self, model: str, image: Picture | Readable | Sequence[Picture | Readable], **wishes: Unpack[Wishes]
    ) -> Any:
        """Asks `name` or `name@alias` about a picture: a file, an open one, bytes, or uint8
        pixels; a list gives a list.

        In a list, a picture that cannot be used gives {"error": ...} in its place. Raises
        SaccadeError with the server's code.
        """
        return self._hold(self._talks.predict(model, image, wishes))

    def predict_folder(
        self, model: str, folder: Path | str, *, workers: int = WORKERS, **wishes: Unpack[Wishes]
    ) -> Iterator[Progress]:
        """Every picture of a folder and those below it, in order of their names, `workers` at a time.

        A picture that cannot be used has {"error": ...} as its answer. Raises SaccadeError for what concerns them all.
        """
        paths = pictures(folder)
        pool = ThreadPoolExecutor(_check_workers(workers), thread_name_prefix="ask")
        asked: deque[Any] = deque()
        try:
            for done, path in enumerate(paths):
                while len(asked) < min(2 * workers, len(paths) - done):
                    talk = self._talks.in_folder(model, paths[done + len(asked)], wishes)
                    asked.append(pool.submit(self._hold, talk))
                yield Progress(path, asked.popleft().result(), done + 1, len(paths))
        finally:
            pool.shutdown(cancel_futures=True)

    def models(self) -> list[dict[str, Any]]:
        return self._hold(self._talks.models())

    def model(self, name: str) -> dict[str, Any]:
        """Versions, aliases, labels, input and metrics. Raises InferenceError(not_found)."""
        return self._hold(self._talks.model(name))

    def ready(self) -> bool:
        """Whether the server takes requests now. Raises ServerError when it cannot be reached."""
        return self._hold(self._talks.ready())

    def health(self) -> dict[str, bool]:
        """{"live": ..., "ready": ...}. Raises ServerError when it cannot be reached."""
        return self._hold(self._talks.health())

    def send(self, request: Request) -> Reply:
        """Any request, with this client's key and retries; the reply whatever its status."""
        return self._hold(self._talks.send(request))

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _hold(self, talk: Talk[T]) -> T:
        try:
            step = next(talk)
            while True:
                try:
                    told = self._take(step)
                except SaccadeError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(told)
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Send | Wait | Work) -> Any:
        if isinstance(step, Send):
            return self._transport.send(step.request, step.timeout_s)
        return step.run() if isinstance(step, Work) else time.sleep(step.seconds)


class AsyncClient:
    """As Client, awaited. An asynchronous context manager.

    Connections run in threads; a cancelled call stops waiting at once, its thread ends by
    timeout_s at the latest.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._talks = Talks(key, timeout_s, retries)
        # Its own, for the loop's would be shared with all else the application hands to threads, and is small.
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="saccade-client")
        self._transport = transport or _Threads(connect(url), self._pool)

    @overload
    async def predict(self, model: str, image: Picture | Readable, **wishes: Unpack[Wishes]) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    async def predict(
        self, model: str, image: Sequence[Picture | Readable], **wishes: Unpack[Wishes]
    ) -> list[Answer]: ...
    async def predict(
        self, model: str, image: Picture | Readable | Sequence[Picture | Readable], **wishes: Unpack[Wishes]
    ) -> Any:
        """As Client.predict."""
        return await self._hold(self._talks.predict(model, image, wishes))

    async def predict_folder(
        self, model: str, folder: Path | str, *, workers: int = WORKERS, **wishes: Unpack[Wishes]
    ) -> AsyncIterator[Progress]:
        """As Client.predict_folder, for `async for`."""
        paths = await asyncio.get_running_loop().run_in_executor(self._pool, pictures, folder)
        ahead = _check_workers(workers)
        asked: deque[asyncio.Task[Answer]] = deque()
        try:
            for done, path in enumerate(paths):
                while len(asked) < min(ahead, len(paths) - done):
                    talk = self._talks.in_folder(model, paths[done + len(asked)], wishes)
                    asked.append(asyncio.create_task(self._hold(talk)))
                yield Progress(path, await asked[0], done + 1, len(paths))
                asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def models(self) -> list[dict[str, Any]]:
        return await self._hold(self._talks.models())

    async def model(self, name: str) -> dict[str, Any]:
        """As Client.model."""
        return await self._hold(self._talks.model(name))

    async def ready(self) -> bool:
        """As Client.ready."""
        return await self._hold(self._talks.ready())

    async def health(self) -> dict[str, bool]:
        """As Client.health."""
        return await self._hold(self._talks.health())

    async def send(self, request: Request) -> Reply:
        """As Client.send."""
        return await self._hold(self._talks.send(request))

    async def close(self) -> None:
        await self._transport.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _hold(self, talk: Talk[T]) -> T:
        try:
            step = next(talk)
            while True:
                try:
                    told = await self._take(step)
                except SaccadeError as error:
                    step = talk.throw(error)
                else:
                    step = talk.send(told)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _take(self, step: Send | Wait | Work) -> Any:
        if isinstance(step, Send):
            return await self._transport.send(step.request, step.timeout_s)
        if isinstance(step, Work):
            return await asyncio.get_running_loop().run_in_executor(self._pool, step.run)
        return await asyncio.sleep(step.seconds)


class _Threads:
    """A transport that waits, made one that is awaited."""

    def __init__(self, transport: Transport, pool: ThreadPoolExecutor) -> None:
        self._transport, self._pool = transport, pool

    async def send(self, request: Request, timeout_s: float) -> Reply:
        """The time counts from here, though a thread may be free later only."""
        until = time.monotonic() + timeout_s

        def sent() -> Reply:
            left = until - time.monotonic()
            if left <= 0:
                raise ServerError(
                    f"{THREADS} calls of this client were at work until its time was over",
                    hint="raise timeout_s, or ask fewer at once",
                    code="answer_timeout",
                )
            return self._transport.send(request, left)

        return await asyncio.get_running_loop().run_in_executor(self._pool, sent)

    async def close(self) -> None:
        self._transport.close()


def _check_workers(workers: int) -> int:
    if not 1 <= workers <= 64:
        raise UsageError(f"workers is 1 to 64, got {workers}")
    return workers
