"""Every mouth keeps the contract, and all of them say the same of the same picture; no socket is opened."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from saccade.errors import InferenceError
from saccade.inference.engine import Engine
from saccade.protocols.protocol import Call
from saccade.testing.graphs import CHANNELS
from saccade.testing.packages import colors, png
from saccade.testing.protocols import Mouth, Tongue, agree, check, check_method, mouths, tongues


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine()
    engine.load(colors(tmp_path_factory.mktemp("mouths") / "p").path, "colors", 1)
    yield engine
    engine.close()


@pytest.mark.parametrize("mouth", mouths(), ids=lambda m: m.name)
def test_a_mouth_keeps_the_contract(mouth: Mouth, engine: Engine) -> None:
    check(mouth, engine, "colors", png(1, 2, 3))


@pytest.mark.parametrize("tongue", tongues(), ids=lambda t: t.name)
def test_a_tongue_keeps_the_contract(tongue: Tongue, engine: Engine) -> None:
    check_method(tongue, engine, "colors", png(1, 2, 3))


@pytest.mark.parametrize("mouth", mouths(), ids=lambda m: m.name)
def test_a_wait_that_would_be_too_long_is_refused_before_the_body(
    mouth: Mouth, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    monkeypatch.setattr(engine.find("colors").model, "expected_wait_s", lambda *_: 5.1)
    route, asked = mouth.route(engine), mouth.say(png(1, 2, 3))
    call = Call(route.method, route.pattern, {"name": "colors"}, asked.headers, [], body(), "r")
    with pytest.raises(InferenceError) as error:
        asyncio.run(route.handler(call))  # type: ignore[arg-type]
    assert mouth.protocol.refuse(error.value, "r").status == 503


@pytest.mark.parametrize("color", [(255, 0, 51), (0, 0, 0), (7, 130, 201)])
def test_all_mouths_say_the_same(engine: Engine, color: tuple[int, int, int]) -> None:
    agree([*mouths(), *tongues()], engine, "colors", png(*color), CHANNELS)
