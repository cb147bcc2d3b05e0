"""Every mouth keeps the contract, and all of them say the same of the same picture; no socket is opened."""

from collections.abc import Iterator

import pytest

from saccade.inference.engine import Engine
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


@pytest.mark.parametrize("color", [(255, 0, 51), (0, 0, 0), (7, 130, 201)])
def test_all_mouths_say_the_same(engine: Engine, color: tuple[int, int, int]) -> None:
    agree([*mouths(), *tongues()], engine, "colors", png(*color), CHANNELS)
