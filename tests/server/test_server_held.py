"""Bodies of all callers share a bound: what a caller held is free again once it is answered."""

import asyncio
from typing import Any

import pytest

from saccade.errors import ServerError
from saccade.inference.engine import Engine
from saccade.limits import BODY_LIMITS, find
from saccade.server import held as module
from saccade.server.build import build
from saccade.server.held import Held
from saccade.server.settings import Settings
from saccade.testing.packages import colors, png


def test_what_was_taken_is_given_back_however_the_block_ends() -> None:
    held = Held(largest=BODY_LIMITS.max_held_bytes // module.LARGEST)
    most = BODY_LIMITS.max_held_bytes
    assert find("max_held_bytes").default == most
    for _ in range(3):
        with held.share(most - 1) as share:
            share.add(1)
            with pytest.raises(ServerError) as error:
                share.add(1)
            assert error.value.code == find("max_held_bytes").code
            with pytest.raises(ServerError), held.share(1):
                raise AssertionError
    with pytest.raises(KeyError), held.share(most):
        raise KeyError
    with held.share(most):
        pass


def test_some_bodies_of_any_allowed_size_fit() -> None:
    large = BODY_LIMITS.max_held_bytes
    with Held(largest=large).share((module.LARGEST - 1) * large) as share:
        share.add(large)


def test_a_body_beyond_what_all_may_hold_is_refused_and_the_next_one_is_not(tmp_path: Any) -> None:
    engine = Engine()
    engine.load(colors(tmp_path / "p").path, "colors")
    app = build(Settings(home=tmp_path / "home"), engine)
    picture = png(1, 2, 3)

    async def ask() -> int:
        sent: list[dict[str, Any]] = []
        head = [(b"host", b"localhost"), (b"content-type", b"image/png")]
        path = "/api/v1/models/colors/predict"
        parts = [picture[:10], picture[10:]]

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": head}
        await app(scope, receive, send)
        return int(sent[0]["status"])

    try:
        assert asyncio.run(ask()) == 200
        with app.held.share(BODY_LIMITS.max_held_bytes - len(picture) + 1):
            assert asyncio.run(ask()) == 503
        with app.held.share(BODY_LIMITS.max_held_bytes - len(picture)):
            assert asyncio.run(ask()) == 200
    finally:
        engine.close()
