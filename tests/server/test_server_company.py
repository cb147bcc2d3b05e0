"""Whoever asks by himself is answered by the thread that hears everybody; as soon as another one asks, nobody is."""

import asyncio
import gc
import http.client
from pathlib import Path
from typing import Any

import pytest

from saccade.inference.brief import BRIEF_S, LONE_S
from saccade.inference.engine import Engine
from saccade.server import company as module
from saccade.server.build import build
from saccade.server.company import ALONE_S, LATER_S, SOON_S, Company
from saccade.server.http.listener import Listener
from saccade.server.settings import Settings
from saccade.testing.packages import colors, png


class Connection: ...


class Hall:
    """A company with a clock of its own, and whether whoever asks next is alone in it."""

    def __init__(self) -> None:
        self.now = 10.0
        self.company = Company(lambda: self.now)

    def alone(self, connection: Connection | None) -> bool:
        with self.company.asking(connection):
            return self.company.alone()


def test_one_that_asked_by_itself_for_a_while_is_alone_until_another_one_asks() -> None:
    hall, one, other = Hall(), Connection(), Connection()
    assert not hall.alone(one)
    hall.now += ALONE_S / 2
    assert not hall.alone(one)
    hall.now += ALONE_S / 2
    assert hall.alone(one)
    assert hall.alone(one)
    assert not hall.alone(other)
    assert not hall.alone(one)
    hall.now += ALONE_S
    assert hall.alone(one)
    hall.now += 60
    assert hall.alone(one), "nobody came meanwhile"


def test_what_carries_several_requests_at_once_is_company_to_itself() -> None:
    hall, one = Hall(), Connection()
    for _ in range(3):
        assert not hall.alone(None)
        hall.now += 9
    assert not hall.alone(one), "it may be asking still"
    hall.now += ALONE_S
    assert hall.alone(one)
    assert not hall.alone(None)
    assert not hall.alone(one)


def test_nobody_is_alone_while_another_request_is_open_and_for_a_while_after() -> None:
    hall, one, slow = Hall(), Connection(), Connection()
    with hall.company.asking(slow):
        for _ in range(5):
            hall.now += 9
            assert not hall.alone(one)
        hall.now += 9
        assert hall.company.alone(), "the others left long ago"
    assert not hall.alone(one)
    hall.now += ALONE_S
    assert hall.alone(one)


def test_many_that_wait_with_open_bodies_are_not_alone_when_they_all_end() -> None:
    hall, held = Hall(), []
    for _ in range(5):
        hall.now += 9
        held.append(hall.company.asking(Connection()))
        held[-1].__enter__()
    for one in held:
        assert not hall.company.alone()
        one.__exit__(None, None, None)


def test_who_asks_again_as_soon_as_he_was_refused_is_refused_later() -> None:
    hall, one, other = Hall(), Connection(), Connection()
    assert hall.company.refused(one) == 0
    hall.now += 0.5
    assert hall.company.refused(one) == LATER_S
    assert hall.company.refused(other) == 0
    hall.now += 0.9
    assert hall.company.refused(one) == LATER_S, "still"
    hall.now += SOON_S
    assert hall.company.refused(one) == 0
    assert hall.company.refused(None) == 0
    assert hall.company.refused(None) == 0, "of what carries several nothing is known"
    del one
    gc.collect()
    assert len(hall.company._refused) == 1


def test_a_connection_that_ended_is_not_taken_for_the_next_one() -> None:
    hall, one = Hall(), Connection()
    hall.alone(one)
    del one
    hall.now += 9
    assert not hall.alone(Connection())


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long the thread that hears all might have been held up, request by request."""
    heard: list[float] = []
    ask = Engine.ask

    def noted(self: Engine, request: Any, *, here_s: float = 0.0) -> Any:
        heard.append(here_s)
        return ask(self, request, here_s=here_s)

    monkeypatch.setattr(Engine, "ask", noted)
    monkeypatch.setattr(module, "ALONE_S", 0.5)
    return heard


def test_the_listener_knows_its_callers_apart(tmp_path: Path, heard: list[float]) -> None:
    engine = Engine()
    engine.load(colors(tmp_path / "p").path, "colors")
    settings = Settings(home=tmp_path / "home", port=0)
    predict = "/api/v1/models/colors/predict"

    def ask(connection: http.client.HTTPConnection, path: str = predict) -> int:
        asks = path == predict
        connection.request("POST" if asks else "GET", path, png(1, 2, 3) if asks else None)
        reply = connection.getresponse()
        reply.read()
        return reply.status

    async def all_of_it() -> list[int]:
        listener = Listener(build(settings, engine), settings)
        await listener.start()
        one, other = (http.client.HTTPConnection("127.0.0.1", listener.port, timeout=20) for _ in range(2))
        found = []
        for connection in (one, one, other, other, one):
            found.append(await asyncio.to_thread(ask, connection))
            await asyncio.sleep(0.6 if len(found) % 2 else 0)
        found.append(await asyncio.to_thread(ask, other, "/livez"))
        found.append(await asyncio.to_thread(ask, one))
        one.close()
        other.close()
        await listener.stop()
        return found

    assert asyncio.run(all_of_it()) == [200] * 7
    engine.close()
    assert heard == [BRIEF_S, LONE_S, BRIEF_S, LONE_S, BRIEF_S, LONE_S], "a probe is no company"
