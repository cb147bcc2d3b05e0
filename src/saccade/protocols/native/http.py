"""The native API over HTTP: convert, ask the engine, convert back."""

import asyncio

from saccade.errors import SaccadeError, ServerError
from saccade.inference.engine import Engine
from saccade.inference.request import Request
from saccade.limits import BODY_LIMITS
from saccade.protocols.method import HEAVY, aside
from saccade.protocols.native import messages, openapi
from saccade.protocols.protocol import Call, Protocol, Reply, Route, asked, marks, single, version_number

MAX_BODY = BODY_LIMITS.max_bytes
JSON = ("content-type", "application/json")
PNG = ("content-type", "image/png")
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


class Native(Protocol):
    """max_bytes: of an inference body."""

    name = "native"

    def __init__(self, max_bytes: int = MAX_BODY) -> None:
        self.max_bytes = max_bytes

    def routes(self, engine: Engine) -> list[Route]:
        api = _Api(engine)
        return [
            Route("GET", "/api/v1/models", api.models),
            Route("GET", "/api/v1/models/{name}", api.model),
            Route("POST", "/api/v1/models/{name}/predict", api.predict, self.max_bytes),
            Route("POST", "/api/v1/models/{name}/versions/{version}/predict", api.predict, self.max_bytes),
            Route("GET", "/openapi.json", api.openapi, open=True),
            Route("GET", "/docs", api.docs, open=True),
            Route("GET", "/docs/errors", api.errors, open=True),
        ]


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def models(self, call: Call) -> Reply:
        single(call.query, ())
        return Reply(200, messages.dumps(messages.models(self._engine)), [JSON])

    async def model(self, call: Call) -> Reply:
        single(call.query, ())
        return Reply(200, messages.dumps(messages.details(self._engine, call.parameters["name"])), [JSON])

    async def predict(self, call: Call) -> Reply:
        wish = messages.Wish(call.query)
        model, version = call.parameters["name"], version_number(call.parameters.get("version"))
        kind = call.headers.get("content-type", "application/octet-stream")
        several = kind.lower().startswith(("multipart/", "application/json"))
        urgent = False if wish.tile and call.urgent is None else call.urgent

        def admit() -> None:
            self._engine.admit(model, version, call.deadline_s, several=several, caller=call.caller, urgent=urgent)

        # Before a body is waited for, or taken apart. How many pictures it holds is known behind it, and asked again then.
        first = several or call.data is None
        if first:
            admit()
        try:
            pictures, listed, png = await _read(call, kind, wish)
        except SaccadeError:
            if not first:
                admit()  # a refusal goes before what is wrong with the body, whenever that came
            raise
        request = Request(model, tuple(pictures), version, call.deadline_s, call.caller, call.urgent, tile=wish.tile)
        answer = await asked(self._engine, request, call.left, call.alone)

        def written() -> bytes:
            return (
                messages.picture(answer, wish)
                if png
                else messages.dumps(messages.answer(answer, wish, listed, call.request_id))
            )

        body = await asyncio.to_thread(written) if messages.heavy(answer, wish) else written()
        return Reply(200, body, [PNG if png else JSON, ("vary", "accept"), *marks(answer)])

    async def openapi(self, call: Call) -> Reply:
        return Reply(200, messages.dumps(openapi.document()), [JSON])

    async def docs(self, call: Call) -> Reply:
        return _page(openapi.page())

    async def errors(self, call: Call) -> Reply:
        return _page(openapi.errors_page())


async def _read(call: Call, kind: str, wish: messages.Wish) -> tuple[list[bytes], bool, bool]:
    """The pictures of a body, whether several may come back, and whether a mask alone is asked for. Raises ServerError,
    ImageError."""
    data = await call.read()
    if not data:
        raise ServerError("the body is empty, an image was expected", code="image_undecodable")
    heavy = len(data) > HEAVY and "json" in kind.lower()
    pictures, several = await aside(heavy, lambda: messages.images(kind, data))
    png = messages.wants_picture(call.headers.get("accept", ""))
    if png and wish.confidence:
        raise ServerError("image/png is the mask alone", hint="accept application/json", code="not_acceptable")
    if png and several:
        raise ServerError("several images are answered in JSON only", hint="send one", code="not_acceptable")
    return pictures, several, png


def _page(text: str) -> Reply:
    headers = [("content-type", "text/html; charset=utf-8"), ("content-security-policy", PAGE_POLICY)]
    return Reply(200, text.encode(), headers)
