"""What both clients do, told once: every call is a generator that asks for steps and is told how they went.

It sends nothing and waits for nothing, so Client takes the steps one after the other, AsyncClient awaits them, and a
test can be its clock.
"""

import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from saccade.client import messages
from saccade.client.answer import Answer, Picture, Readable, is_open
from saccade.client.messages import MaskForm, Reply, Request
from saccade.errors import SaccadeError, ServerError, UsageError

RETRIES = 2
TIMEOUT_S = 30.0
FIRST_S, MOST_S = 0.1, 5.0
"""The first pause before the same request again, where the server names none, and the longest;
each is twice the last."""
PART_PICTURES, PART_BYTES = 64, 15 * 1024 * 1024
"""Of a list, so many go in one request; a server that takes fewer is given halves."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

T = TypeVar("T")


class Wishes(TypedDict, total=False):
    """How predict is to answer. What is not given is left to the server.

    threshold: instead of the model's own, by class. mask: how a mask is written, "png" by default. confidence: with it
    how sure each pixel is. tile: a picture larger than the network is asked in overlapping tiles, of its size (True) or
    so many times as large (1 to 16). timeout_s: for this call, instead of the client's.
    """

    version: int | None
    top_k: int | None
    threshold: float | None
    mask: MaskForm | None
    confidence: bool
    tile: bool | float
    timeout_s: float | None


@dataclass(frozen=True)
class Send:
    """Take this to the server; the reply is given back, or the transport's ServerError is thrown in."""

    request: Request
    timeout_s: float


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Reading and encoding, which must not hold up an event loop."""

    run: Callable[[], Any]


@dataclass(frozen=True)
class Progress:
    """One picture of a folder: what was said of it, and how far it is."""

    path: Path
    answer: Answer
    done: int
    total: int


Talk = Generator[Send | Wait | Work, Any, T]


class Talks:
    """retries: how often the same request is sent again, within timeout_s. clock, now, chance: as in time and random.

    A prediction changes nothing, so it may be repeated: when the server could not be reached, or refused before it did
    any work (429, 502, 503). It is not when it may be working still, or said what is wrong.
    """

    def __init__(
        self,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._head = {"accept": "application/json", "user-agent": "saccade-client"}
        if key is not None:
            if not key.isascii() or not key.isprintable():
                raise UsageError("an API key has printable ASCII characters only")
            self._head["authorization"] = f"Bearer {key}"
        self._timeout_s = messages.check_seconds("timeout_s", timeout_s)
        self._retries = retries
        self._clock, self._now, self._chance = clock, now, chance

    def predict(
        self, model: str, image: Picture | Readable | Sequence[Picture | Readable], wishes: Wishes
    ) -> Talk[Any]:
        """An Answer, or of a list a list of them, in which a picture that cannot be read has its error in its place."""
        if not isinstance(image, list | tuple):
            return (yield from self._one(model, image, wishes))  # type: ignore[arg-type]
        if not image:
            raise UsageError("predict expects at least one picture, an empty list came")
        found: list[Answer] = []
        part: list[bytes] = []
        unread: dict[int, Answer] = {}
        for place, one in enumerate(image):
            try:
                data = yield Work(partial(messages.encoded, one))
            except SaccadeError as error:
                if not messages.own(error):
                    raise
                unread[place] = messages.failed(error)
                continue
            if part and (len(part) == PART_PICTURES or sum(map(len, part)) + len(data) > PART_BYTES):
                found += yield from self._several(model, part, wishes)
                part = []
            part.append(data)
        if part:
            found += yield from self._several(model, part, wishes)
        for place, answer in unread.items():
            found.insert(place, answer)
        for answer, one in zip(found, image, strict=True):
            answer.picture = None if is_open(one) else one
        return found

    def in_folder(self, model: str, path: Path, wishes: Wishes) -> Talk[Answer]:
        """As predict; a refusal that is about the picture alone is its answer."""
        try:
            return (yield from self._one(model, path, wishes))
        except SaccadeError as error:
            if not messages.own(error):
                raise
            answer = messages.failed(error)
            answer.picture = path
            return answer

    def _one(self, model: str, image: Picture | Readable, wishes: Wishes) -> Talk[Answer]:
        until = self._until(wishes.get("timeout_s"))
        data = yield Work(partial(messages.encoded, image))
        request = messages.predict(model, data, wishes.get("version"), _options(wishes))
        answer = Answer(messages.record((yield from self._send(request, until))))
        answer.picture = data if is_open(image) else image  # type: ignore[assignment]
        return answer

    def _several(self, model: str, part: Sequence[bytes], wishes: Wishes) -> Talk[list[Answer]]:
        """One part of a list, which has the whole timeout to itself."""
        request = messages.predict(model, part, wishes.get("version"), _options(wishes))
        until = self._until(wishes.get("timeout_s"))
        try:
            return messages.answers((yield from self._send(request, until)), len(part))
        except SaccadeError as error:
            if len(part) == 1 or error.code not in ("batch_too_large", "payload_too_large"):
                raise
        half = len(part) // 2
        first = yield from self._several(model, part[:half], wishes)
        return first + (yield from self._several(model, part[half:], wishes))

    def models(self) -> Talk[list[dict[str, Any]]]:
        found = messages.record((yield from self._send(messages.models(), self._until()))).get("models")
        if not isinstance(found, list):
            raise ServerError("the answer holds no list of models", hint="check the address", code="unexpected_answer")
        return found

    def model(self, name: str) -> Talk[dict[str, Any]]:
        return messages.record((yield from self._send(messages.model(name), self._until())))

    def ready(self) -> Talk[bool]:
        return (yield from self._once(messages.ready())).status == 200

    def health(self) -> Talk[dict[str, bool]]:
        live = (yield from self._once(messages.live())).status == 200
        return {"live": live, "ready": (yield from self.ready())}

    def send(self, request: Request) -> Talk[Reply]:
        """Any request, with the key and the retries of this client; the reply whatever its status."""
        return (yield from self._send(request, self._until()))

    # Sending

    def _until(self, timeout_s: float | None = None) -> float:
        return self._clock() + (
            self._timeout_s if timeout_s is None else messages.check_seconds("timeout_s", timeout_s)
        )

    def _once(self, request: Request) -> Talk[Reply]:
        reply: Reply = yield Send(self._dressed(request, {}), self._timeout_s)
        return reply

    def _send(self, request: Request, until: float) -> Talk[Reply]:
        """The same id goes with every try, and the time that is left: nobody works for a caller who has given up."""
        tries, named = 0, {"x-request-id": secrets.token_hex(13)}
        while True:
            left = until - self._clock()
            patience = {"x-request-timeout-ms": str(max(1, min(int(left * 1e3), 999_999_999)))}
            reply: Reply | None = None
            failure: ServerError | None = None
            try:
                reply = yield Send(self._dressed(request, named | patience), left)
            except ServerError as error:
                if error.code != "unreachable":
                    raise
                failure = error
            pause = self._pause(reply, tries)
            if pause is None or tries >= self._retries or self._clock() + pause >= until:
                if reply is None:
                    assert failure is not None
                    raise failure
                return reply
            yield Wait(pause)
            tries += 1

    def _dressed(self, request: Request, more: Mapping[str, str]) -> Request:
        return replace(request, headers={**self._head, **more, **request.headers})

    def _pause(self, reply: Reply | None, tries: int) -> float | None:
        """Seconds before the same request again; None when this reply is the answer. Chance parts many callers."""
        if reply is not None and reply.status not in (429, 502, 503):
            return None
        named = messages.retry_after(reply, self._now()) if reply is not None else None
        if named is not None:
            return named + self._chance() * min(1.0, named)
        return min(MOST_S, FIRST_S * 2.0**tries) * (0.5 + self._chance() / 2)


def _options(wishes: Wishes) -> dict[str, Any]:
    switches = {"confidence": "true" if wishes.get("confidence") else None, "tile": _tile(wishes.get("tile", False))}
    return {**{name: wishes.get(name) for name in ("top_k", "threshold", "mask")}, **switches}


def _tile(times: bool | float) -> str | None:
    return "true" if times is True else f"{times:g}" if times else None


def pictures(folder: Path | str) -> list[Path]:
    """Picture files of a folder and those below it, in order of their names. Raises UsageError."""
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"there is no folder {folder}", hint="give the folder that holds the pictures")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(p.startswith(".") for p in path.relative_to(root).parts)
        and path.is_file()
    )
    if not found:
        raise UsageError(f"{folder} holds no {', '.join(SUFFIXES)}", hint="give the folder that holds the pictures")
    return found
