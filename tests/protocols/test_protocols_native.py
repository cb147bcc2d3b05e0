"""The native protocol keeps the contract, without a socket."""

from saccade.inference.engine import Engine
from saccade.protocols.native.http import Native
from saccade.testing.packages import colors, png
from saccade.testing.protocols import check


def test_contract(tmp_path):
    engine = Engine()
    engine.load(colors(tmp_path / "p").path, "colors", 1)
    check(Native(), engine, "colors", png(1, 2, 3))
    engine.close()
