"""Serving a home: pushes and alias changes are followed without a restart."""

import pytest

from saccade.errors import RegistryError
from saccade.inference.engine import Engine
from saccade.inference.request import Request
from saccade.registry.registry import Registry
from saccade.server.home import Home
from saccade.server.source import Follower
from saccade.testing.packages import colors, png


def test_pushes_and_aliases_are_followed(tmp_path):
    registry = Registry(tmp_path / "home")
    registry.push(colors(tmp_path / "1").path, alias="stable")
    engine = Engine()
    follower = Follower(engine, Home(tmp_path / "home"))

    def answers(model):
        assert follower.step() == []
        return engine.submit(Request(model, (png(1, 1, 1),))).result(10).version

    assert (answers("colors"), answers("colors@stable")) == (1, 1)
    registry.push(colors(tmp_path / "2", reverse=True).path)
    assert (answers("colors"), answers("colors@stable")) == (2, 1)
    registry.set_alias("colors", "stable", 2)
    assert answers("colors@stable") == 2
    assert list(engine.versions("colors")) == [2]
    registry.push(colors(tmp_path / "3").path, name="other")
    assert answers("other") == 1
    engine.close()


def test_only_what_was_named_is_wanted(tmp_path):
    registry = Registry(tmp_path / "home")
    registry.push(colors(tmp_path / "1").path, alias="stable")
    registry.push(colors(tmp_path / "2", reverse=True).path)
    registry.push(colors(tmp_path / "3").path, name="other")

    def wanted(*models):
        return {n: sorted(v) for n, v in Home(tmp_path / "home", models).wanted().versions.items()}

    assert wanted() == {"colors": [1, 2], "other": [1]}
    assert wanted("colors") == {"colors": [1, 2]}
    assert wanted("colors@stable") == {"colors": [1]}
    with pytest.raises(RegistryError):
        Home(tmp_path / "home", ["nobody"])
