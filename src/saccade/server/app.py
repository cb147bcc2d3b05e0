"""An ASGI application over plain routes. The head is checked before a byte of body is read."""

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.protocols import routes as heads
from saccade.protocols.native.messages import prediction_id
from saccade.protocols.protocol import STATUSES, Call, Leave, Protocol, Reply, Route, as_problem, single
from saccade.server.company import Company
from saccade.server.held import Held, Share
from saccade.server.http.exchange import EXCHANGE, Exchange
from saccade.server.keys import Keys
from saccade.server.metrics import Metrics
from saccade.server.offenders import Offenders
from saccade.server.settings import Settings
from saccade.server.siblings import merge
from saccade.server.state import State

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger("saccade.server")
_LENGTH = re.compile(r"[0-9]{1,18}")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
METRICS = "/metrics"
PROBES = ("/livez", "/readyz", "/startupz")
CLOSING = (400, 408, 413, 414, 431)
"""Statuses after which a connection of HTTP/1 ends."""
SINGLE = ("host", "content-length", "content-type", "authorization", "transfer-encoding")
"""Headers that say two things where they come twice."""
TEXT = ("content-type", "text/plain; charset=utf-8")
KNOWN_HOSTS = 64
PARTS = ("whole", "public", "admin")
"""What a listener answers: everything; everything but what an operator asks; that and the probes alone (A15)."""


class App:
    """The ASGI application. part: of everything that could be asked, see `PARTS`."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        routes: Sequence[Route],
        keys: Keys,
        metrics: Metrics,
        state: State,
        protocols: Sequence[Protocol] = (),
        part: str = "whole",
        offenders: Offenders | None = None,
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.keys = keys
        self.metrics = metrics
        self.state = state
        self.offenders = offenders or Offenders()
        self.held = Held(settings.body_bytes)
        self.company = Company()
        self.routes = _share([*routes, *self._own()], part)
        self.protocols = tuple(protocols)
        self._dialects = [(f"{prefix}/", p) for p in protocols for prefix in p.prefixes]
        self._given = tuple(routes)
        self._table = heads.Table(self.routes)
        self._hosts: set[str] = set()
        """Host headers that passed once; not many, as anybody may make some up."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return None
        request_id, pattern, reply, code = prediction_id(), "", Reply(500), ""
        method, exchange = scope["method"], scope.get(EXCHANGE)
        heard = _Heard(receive, exchange)
        try:
            with self.held.share() as share:
                headers = self._head(scope)
                request_id = heads.request_id(headers, request_id)
                route, parameters = self._table.find(scope["path"], method)
                pattern = route.pattern
                caller = self._admit(route, headers)
                call = Call(
                    method=method,
                    path=scope["path"],
                    parameters=parameters,
                    headers=headers,
                    query=heads.query(scope["query_string"]),
                    body=self._body(heard, route.max_bytes, share),
                    request_id=request_id,
                    deadline_s=heads.deadline_s(headers, self.settings.deadline_s, self.settings.deadline_cap_s),
                    left=_leaving(receive) if exchange is None else exchange.watch,
                    caller=caller,
                    urgent=heads.urgent(headers),
                    data=heard.at_once(route.max_bytes, share) if route.max_bytes else None,
                )
                if not route.max_bytes:
                    reply = await route.handler(call)
                else:
                    call.alone = self.company.alone
                    with self.company.asking(None if exchange is None else exchange.connection):
                        reply = await route.handler(call)
        except SaccadeError as error:
            reply, code = self._failure(error, request_id, scope["path"])
            if reply.status == 500:
                log.error("request %s failed", request_id, exc_info=error)
            if code == "overloaded" and exchange is not None and (later_s := self.company.refused(exchange.connection)):
                await asyncio.sleep(later_s)
        except asyncio.CancelledError:
            raise
        except Exception:  # the rim: nothing may end the process, and a stranger gets a bland sentence
            log.exception("request %s failed", request_id)
            reply, code = self._failure(ServerError("", code="internal"), request_id, scope["path"])
        self.metrics.answered(pattern, method if method in ("GET", "POST", "HEAD") else "other", reply.status, code)
        await _send(reply, request_id, method, send, scope)
        if reply.status >= 400 and reply.status not in CLOSING and not heard.whole:
            # Refused before the body came. The caller is still sending it: hanging up now would cost him the answer.
            with contextlib.suppress(SaccadeError):
                async for _ in self._body(heard, self.settings.body_bytes):
                    pass

    # The head

    def _head(self, scope: Message) -> dict[str, str]:
        """Headers by lower-case name. Raises ServerError for a head that is too large or says two things."""
        s = self.settings
        line = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
        if line > s.line_bytes:
            raise ServerError(f"the address has {line} bytes, at most {s.line_bytes} are read", code="uri_too_long")
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers: dict[str, str] = {}
        size = line + 4 * len(pairs)
        for raw, value in pairs:
            size += len(raw) + len(value)
            name = raw.decode("latin-1").lower()
            if name in headers and name in SINGLE:
                raise ServerError(f"the header {name} came twice", code="malformed_http")
            headers[name] = value.decode("latin-1")
        if size > s.head_bytes or len(pairs) > s.head_fields:
            raise ServerError(
                f"the head has {size} bytes in {len(pairs)} fields, at most {s.head_bytes} in {s.head_fields} are read",
                code="headers_too_large",
            )
        if "transfer-encoding" in headers and headers["transfer-encoding"].strip().lower() != "chunked":
            raise ServerError("the only transfer encoding here is chunked", code="malformed_http")
        self._check_host(headers.get("host"), scope.get("http_version", "1.1"))
        return headers

    def _check_host(self, host: str | None, version: str) -> None:
        if host is None:
            if version in ("2", "1.0"):
                return
            raise ServerError("the Host header is missing", code="bad_host")
        if host in self._hosts:
            return
        name = re.sub(r":[0-9]{1,5}$", "", host).lower()
        if not re.fullmatch(r"[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]", name):
            raise ServerError("the Host header is no host name", code="bad_host")
        s = self.settings
        # On loopback a page from elsewhere could rebind its own name to 127.0.0.1 and ask with the user's browser.
        if (s.loopback or s.hosts) and name not in (*_LOOPBACK, s.host, *s.hosts):
            raise ServerError("the Host header is not one of this server's names", hint="set hosts", code="bad_host")
        if len(self._hosts) < KNOWN_HOSTS:
            self._hosts.add(host)

    def _admit(self, route: Route, headers: dict[str, str]) -> str | None:
        """What can be refused on the head alone: no key, an encoding, a body that says it is
        too large. The key's id."""
        key = None
        if route.needs != "open" and guarded(self.settings, self.keys):
            bare = headers.get(route.key, "")
            given = headers.get("authorization") or (f"Bearer {bare}" if bare else "")
            key = self.keys.admit(given, route.needs).id
            if route.max_bytes:
                self.offenders.admit(key)
        elif route.needs != "open" and self.settings.loopback and heads.foreign(route.method, headers):
            # Whoever runs the server can reach it, and so can every page in his browser. Beyond loopback, where this was
            # asked for with `insecure`, whoever stands in front of the server decides.
            raise ServerError(
                "a page of another site asks, and this server asks for no key",
                hint="make a key (saccade keys make) and have that site's own server send it",
                code="forbidden",
            )
        heads.check_encoding(headers)
        length = headers.get("content-length", "0")
        if not _LENGTH.fullmatch(length):
            raise ServerError("Content-Length is no number", code="malformed_http")
        if int(length) > route.max_bytes:
            raise heads.too_large(route.max_bytes)
        return key

    # The body

    async def _body(self, heard: "_Heard", limit: int, share: Share | None = None) -> AsyncIterator[bytes]:
        """Counted while reading; in time, and after a grace above a floor rate. share: of what all callers' bodies may
        hold, None for what is not kept. Raises ServerError."""
        s, loop = self.settings, asyncio.get_running_loop()
        began, total = loop.time(), 0
        while not heard.whole:
            allowed = min(s.body_s, s.body_grace_s + total / s.body_floor)
            try:
                message = await heard.next(began + allowed)
            except TimeoutError:
                raise ServerError(
                    f"the body came too slowly: {total} bytes in {loop.time() - began:.0f} s",
                    hint=f"at least {s.body_floor} bytes a second, all within {s.body_s:.0f} s",
                    code="request_timeout",
                ) from None
            if message["type"] == "http.disconnect":
                # The listener says the same of a caller that left, whom nothing reaches, and of a broken chunk.
                raise ServerError("the body ended before its end", hint="mind the chunk sizes", code="malformed_http")
            part = message.get("body", b"")
            total += len(part)
            if total > limit:
                raise heads.too_large(limit)
            if part:
                if share is not None:
                    share.add(len(part))
                yield part

    def _failure(self, error: SaccadeError, request_id: str, path: str) -> tuple[Reply, str]:
        """A refusal in the words of the dialect whose address it is, with the headers that every refusal carries."""
        below = path.lower() + "/"
        spoken = next((p for prefix, p in self._dialects if below.startswith(prefix)), None)
        code = error.code if error.code in STATUSES else "internal"
        reply = as_problem(error, request_id) if spoken is None else spoken.refuse(error, request_id)
        if reply.status in (429, 503) and not any(name == "retry-after" for name, _ in reply.headers):
            reply.headers.append(("retry-after", str(error.details.get("retry_after_s") or random.randint(1, 5))))
        if reply.status == 405 and "allow" in error.details:
            reply.headers.append(("allow", str(error.details["allow"])))
        if reply.status == 401:
            reply.headers.append(("www-authenticate", "Bearer"))
        return reply, code

    def admin(self) -> "App":
        """The same house for its operator, at an address of its own."""
        settings = self.settings.for_admin()
        return App(settings, self.engine, self._given, self.keys, self.metrics, self.state, self.protocols, "admin")

    def refusal(self, error: SaccadeError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of an answer to what was no request, or one that may not be made."""
        request_id = prediction_id()
        reply, code = self._failure(error, request_id, "")
        self.metrics.answered("", "other", reply.status, code)
        return reply.status, _headers(reply, request_id, "1.1"), reply.body

    # Probes

    def _own(self) -> list[Route]:
        return [
            Route("GET", "/livez", self._livez, open=True),
            Route("GET", "/readyz", self._readyz, open=True),
            Route("GET", "/startupz", self._startupz, open=True),
            Route("GET", METRICS, self._metrics),
        ]

    async def _livez(self, call: Call) -> Reply:
        return Reply(200, b"live\n", [TEXT])

    async def _readyz(self, call: Call) -> Reply:
        self.state.check()
        lost = "".join(f"{entry.name} version {entry.version} is away\n" for entry in self.state.away())
        return Reply(200, f"ready\n{lost}".encode(), [TEXT])

    async def _startupz(self, call: Call) -> Reply:
        if not self.state.started:
            raise ServerError("models are being loaded", hint="ask again in a moment", code="not_ready")
        return Reply(200, b"ready\n", [TEXT])

    async def _metrics(self, call: Call) -> Reply:
        single(call.query, ())
        text = await asyncio.to_thread(self._told)
        return Reply(200, text.encode(), [("content-type", "text/plain; version=0.0.4; charset=utf-8")])

    def _told(self) -> str:
        """The metrics of this process, and of those that share its port."""
        text, others = self.metrics.text(self.engine), self.metrics.others()
        return merge([text, *others]) if others else text


class _Heard:
    """What comes of a body. whole: its end was heard. exchange: of our own listener."""

    def __init__(self, receive: Receive, exchange: Exchange | None) -> None:
        self._receive, self._exchange = receive, exchange
        self.whole = False

    def at_once(self, limit: int, share: Share) -> bytes | None:
        """All of it, where it came together with the head and may be held; None where it is to be waited for, or refused once the
        request's own turn for that comes."""
        exchange = self._exchange
        if exchange is None or not exchange.whole or exchange.held > limit or not share.fits(exchange.held):
            return None
        message = exchange.at_hand()
        if message is None or message["type"] != "http.request":
            return None
        self.whole = True
        body: bytes = message["body"]
        share.add(len(body))
        return body

    async def next(self, until: float) -> Message:
        """Raises TimeoutError once the loop's clock says so."""
        message = None if self._exchange is None else self._exchange.at_hand()
        if message is None:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        self.whole = not message.get("more_body", False)
        return message


def _share(routes: Sequence[Route], part: str) -> list[Route]:
    """The routes of a part. What loads and unloads is an operator's, and so is what the metrics tell of everybody."""

    def operators(route: Route) -> bool:
        return route.needs == "control" or route.pattern == METRICS

    if part == "admin":
        return [r for r in routes if operators(r) or r.pattern in PROBES]
    return [r for r in routes if part == "whole" or not operators(r)]


def guarded(settings: Settings, keys: Keys) -> bool:
    """True when a key is asked for: beyond loopback, or once one was made."""
    return not settings.insecure and (not settings.loopback or keys.any())


def _leaving(receive: Receive) -> Leave:
    """Under another server's listener: a task waits for the caller's leaving."""

    def left(gone: Callable[[], None]) -> Callable[[], object]:
        async def wait() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone()

        return asyncio.ensure_future(wait()).cancel

    return left


async def _send(reply: Reply, request_id: str, method: str, send: Send, scope: Message) -> None:
    headers = _headers(reply, request_id, scope.get("http_version", "1.1"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})


def _headers(reply: Reply, request_id: str, version: str) -> list[tuple[bytes, bytes]]:
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in reply.headers]
    headers += [
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(reply.body)).encode()),
    ]
    # The rest of a refused body is never read, so this connection cannot carry another request.
    if reply.status in CLOSING and version.startswith("1"):
        headers.append((b"connection", b"close"))
    return headers


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return
