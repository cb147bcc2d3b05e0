"""The models of a web application: a client for its own handlers, and the native API as something it can mount.

They are packages in this process, or a saccade server elsewhere; an application cannot tell the two apart.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from saccade.client import messages
from saccade.client.answer import Readable
from saccade.client.client import Client
from saccade.client.messages import Reply, Request
from saccade.client.transport import Http, Transport
from saccade.errors import InferenceError, SaccadeError, ServerError, StorageError, UsageError
from saccade.integrations.inside import Inside, Settings
from saccade.protocols import routes
from saccade.protocols.native.messages import prediction_id
from saccade.protocols.protocol import Call, Route, as_problem
from saccade.protocols.protocol import Reply as Spoken

log = logging.getLogger("saccade.integrations")

ADDRESSES = {
    "models": ("GET", "/api/v1/models"),
    "model": ("GET", "/api/v1/models/{name}"),
    "predict": ("POST", "/api/v1/models/{name}/predict"),
    "predict_version": ("POST", "/api/v1/models/{name}/versions/{version}/predict"),
    "livez": ("GET", "/livez"),
    "readyz": ("GET", "/readyz"),
}
"""What is mounted, by name. Nothing else of a remote server can be reached through an application."""
OPEN = ("/livez", "/readyz")
"""Asked by whatever keeps the process alive: no guard stands before them."""
_ASKED = ("accept", "content-encoding", "x-request-id", "x-request-timeout-ms")
"""Headers of a caller that go on to the models. His cookies and keys do not."""
_TOLD = (
    "content-type", "vary", "allow", "retry-after", "x-request-id", "x-model-version", "x-model-digest", "server-timing",
)  # fmt: skip
"""Headers of the models that go back to the caller."""
_STATUSES = {400: "malformed_http", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
_STATUSES |= {405: "method_not_allowed", 408: "request_timeout", 413: "payload_too_large", 503: "overloaded"}
"""What a framework's own refusal is called here."""


class Models:
    """Either packages, opened in this process when first asked, or `server`, the address of one.
    Safe from several threads.

    key: of that server; callers never see it. timeout_s: for an answer. settings: of packages in this process.
    max_bytes: of a body. retries: for the application's own questions; a caller's request is passed on once.
    transport: instead of either, for tests.
    """

    def __init__(
        self,
        *packages: str | Path,
        server: str | None = None,
        key: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        settings: Settings | None = None,
        transport: Transport | None = None,
    ) -> None:
        if (not packages) == (server is None) and transport is None:
            raise UsageError("either packages or a server was expected", hint='Models("run/package")')
        if server is not None and not server.startswith(("http://", "https://")):
            raise UsageError(f"the server of an application speaks http(s)://, got {server!r}")
        self.settings = settings or Settings()
        self.remote = server is not None
        self._inside = None if server or transport else Inside(packages, self.settings)
        carrier = transport or self._inside or Http(server or "")
        self.client = Client(key=key, timeout_s=timeout_s, retries=retries, transport=carrier)
        self._once = Client(key=key, timeout_s=timeout_s, retries=0, transport=carrier)
        limits = {"POST": self.settings.max_bytes}
        self._table = routes.Table(
            [Route(m, p, _nobody, limits.get(m, 0), open=p in OPEN) for m, p in ADDRESSES.values()]
        )

    def open(self) -> None:
        """Opens the packages now, in this process: for a hook that runs in a worker after the fork."""
        if self._inside is not None:
            self._inside.open()

    def close(self) -> None:
        self.client.close()

    def reply(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: Callable[[int], tuple[str, bytes]],
    ) -> Reply:
        """What the native API says, whatever happens.

        path: below where the application mounted it, not quoted. headers: lower-case names. body: called with the
        limit in bytes, once it is known that somebody wants it; gives its content type and bytes.
        """
        fresh = routes.request_id(headers, prediction_id())
        try:
            route, _ = self._table.find(path, method)
            routes.check_encoding(headers)
            routes.query(query.encode("utf-8", "surrogatepass"))  # http.client fails on what no address has
            kind, data = self._body(route.max_bytes, headers, body)
            asked = {name: headers[name] for name in _ASKED if name in headers}
            asked |= {"x-request-id": fresh} | ({"content-type": kind} if kind else {})
            target = quote(path, safe="/@") + (f"?{query}" if query else "")
            reply = self._once.send(Request(method if method != "HEAD" else "GET", target, asked, data))
            if self.remote:
                self._check(reply)
        except SaccadeError as error:
            return self.refuse(error, headers, fresh)
        told = {name: value for name, value in reply.headers.items() if name in _TOLD}
        return Reply(reply.status, told, b"" if method == "HEAD" else reply.body)

    def refuse(self, error: SaccadeError, headers: Mapping[str, str], id: str | None = None) -> Reply:
        """An error as the native API says it."""
        fresh = id or routes.request_id(headers, prediction_id())
        told = _elsewhere(error) if error.code in ("unreachable", "answer_timeout", "unexpected_answer") else error
        reply = as_problem(told, fresh)
        if reply.status >= 500:
            log.error("request %s: %s", fresh, error)
        more = {"x-request-id": fresh, **({"allow": error.details["allow"]} if "allow" in error.details else {})}
        return Reply(reply.status, {**dict(reply.headers), **more}, reply.body)

    def _body(
        self, limit: int, headers: Mapping[str, str], body: Callable[[int], tuple[str, bytes]]
    ) -> tuple[str, bytes]:
        length = headers.get("content-length") or "0"
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise routes.too_large(limit)
        if not limit:
            return "", b""
        kind, data = body(limit)
        if len(data) > limit:
            raise routes.too_large(limit)
        return kind, data

    def _check(self, reply: Reply) -> None:
        """A remote server that refuses this application's key, or something else at its address, is
        not the caller's fault."""
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        known = ("application/json", "application/problem+json", "image/png", "text/plain")
        if reply.status in (401, 403) or kind not in known:
            raise ServerError(
                f"the server of the models answered {reply.status} {kind}",
                hint="check its address and the application's key",
                code="unexpected_answer",
            )


def form(
    files: Iterable[tuple[str, Readable]], fields: Sequence[str] = (), ignored: Sequence[str] = ()
) -> tuple[str, bytes]:
    """A form that the framework has taken apart, as a body of the native API: files by field
    name, names of other fields.

    ignored: fields that the framework itself reads. Raises ServerError: unknown_field, batch_too_large.
    """
    pictures = []
    strange = [name for name in fields if name not in ignored]
    for name, file in files:
        if name != "image":
            strange.append(name)
            continue
        pictures.append(file.read())
    if strange:
        raise ServerError("the form has a field that is unknown here", hint="known: image", code="unknown_field")
    if not pictures:
        raise ServerError("the form has no field `image`", code="batch_too_large")
    return messages.form(pictures)


def check_origin(method: str, headers: Mapping[str, str], host: str, allowed: Sequence[str] = ()) -> None:
    """Refuses what a browser sends on behalf of another site; programs, which name no site, pass.

    host: this application's, with its port. allowed: other origins, "https://shop.example". Follows the advice of
    Fetch Metadata: `Sec-Fetch-Site` where there is one, else `Origin`. Raises ServerError(forbidden).
    """
    if headers.get("origin", "") not in allowed and routes.foreign(method, headers, host):
        raise ServerError("a page of another site sent this", hint="name its origin to allow it", code="forbidden")


def shared(headers: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
    """Headers of an answer to a page of an allowed origin, whose script may then read it; none for anyone else.

    Cookies are not let through (no Access-Control-Allow-Credentials): a page of another site asks as a stranger, or
    with a header of its own.
    """
    origin = headers.get("origin", "")
    if origin not in allowed:
        return {"vary": "origin"} if allowed else {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type, x-request-id, x-request-timeout-ms",
        "access-control-expose-headers": "retry-after, server-timing, x-model-version, x-model-digest, x-request-id",
        "access-control-max-age": "600",
        "vary": "origin",
    }


def own_words(status: int, said: str) -> SaccadeError:
    """A refusal of the framework (a login, a limit, a missing page) as an error of the house."""
    code = _STATUSES.get(status, "internal" if status >= 500 else "malformed_http")
    return ServerError(said, code=code)


def _elsewhere(error: SaccadeError) -> SaccadeError:
    if error.code == "answer_timeout":
        return InferenceError("the server of the models did not answer in time", code="deadline_exceeded")
    return StorageError("the server of the models is away", hint="ask again in a moment", code="dependency_unavailable")


async def _nobody(call: Call) -> Spoken:
    raise AssertionError("the routes of this table are looked up, not asked: this is a bug")
