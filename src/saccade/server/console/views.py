"""The console: one page at `/` and its static files. It asks the native API; nothing comes from elsewhere."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from saccade.errors import ServerError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import Call, Reply, Route, single

HOME = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # A preview is a blob of the picked file; a mask comes back as a data URI.
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
GUARDS = [
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-cache"),
]


METRICS = b'      <a href="/metrics">Metrics</a>\n'


def routes(engine: Engine, metrics: bool = True) -> list[Route]:
    """The page needs no key: it holds no data. What it asks of the API needs one where the server does. metrics:
    whether they are answered beside it, so that it points to them."""

    async def page(call: Call) -> Reply:
        reply = _file(HOME / "templates" / "index.html")
        return reply if metrics else replace(reply, body=reply.body.replace(METRICS, b""))

    return [
        Route("GET", "/", page, open=True),
        Route("GET", "/console/{file}", _static, open=True),
    ]


async def _static(call: Call) -> Reply:
    single(call.query, ())
    name = call.parameters["file"]
    if name not in _names():
        raise ServerError("the console has no such file", hint="see /", code="not_found")
    return _file(HOME / "static" / name)


@cache
def _names() -> frozenset[str]:
    """Only what was there at the start is served, so a name cannot climb out of the folder."""
    return frozenset(f.name for f in (HOME / "static").iterdir() if f.suffix in KINDS)


def _file(path: Path) -> Reply:
    return Reply(200, _read(path), [("content-type", KINDS[path.suffix]), *GUARDS])


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()
