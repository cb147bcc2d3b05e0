"""What every protocol must keep: plain routes, names that never become paths, typed refusals."""

import asyncio
from collections.abc import AsyncIterator

from saccade.errors import SaccadeError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import Call, Protocol, Reply, Route, status


async def _body(data: bytes) -> AsyncIterator[bytes]:
    yield data


def ask(route: Route, data: bytes = b"", content_type: str = "image/png", **parameters: str) -> Reply:
    """Calls a handler without a socket. Raises what the handler raises."""
    headers = {"content-type": content_type}
    call = Call(route.method, route.pattern, parameters, headers, [], _body(data), "r")

    async def run() -> Reply:
        return await route.handler(call)

    return asyncio.run(run())


def check(protocol: Protocol, engine: Engine, model: str, image: bytes) -> None:
    """Raises AssertionError where a protocol breaks the contract. model: ready in the engine; image: readable."""
    routes = protocol.routes(engine)
    assert len({(r.method, r.pattern) for r in routes}) == len(routes)
    predicting = [r for r in routes if r.method == "POST" and "{name}" in r.pattern and "{version}" not in r.pattern]
    assert predicting
    for route in predicting:
        assert route.max_bytes > 0
        assert not route.open
        assert ask(route, image, name=model).status == 200
        for name in ("nobody", "../" + model, model + "@nobody", "", "\x00", "a" * 10_000):
            assert _code(route, image, name) == 404, name
        for data in (b"", b"\x00", image[: len(image) // 2], b"\xff\xd8\xff" + b"\x00" * 64, b"GIF89a" + b"\x00" * 64):
            assert 400 <= _code(route, data, model) < 500


def _code(route: Route, data: bytes, name: str) -> int:
    try:
        return ask(route, data, name=name).status
    except SaccadeError as error:
        return status(error.code)
