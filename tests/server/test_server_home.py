"""Serving a home: pushes and alias changes are followed without a restart."""

import time

import pytest

from saccade.errors import InferenceError, RegistryError, StorageError, UsageError
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
    with pytest.raises(UsageError, match="follows names and aliases"):
        Home(tmp_path / "home", ["colors:2"])


@pytest.mark.parametrize("fault", [MemoryError("no room"), RuntimeError("can't start new thread"), OSError(5, "gone")])
def test_one_version_that_cannot_be_loaded_keeps_no_other_from_service(tmp_path, monkeypatch, fault):
    registry = Registry(tmp_path / "home")
    registry.push(colors(tmp_path / "1").path, name="a")
    registry.push(colors(tmp_path / "2").path, name="b", alias="stable")
    engine = Engine()
    load = engine.load

    def broken(path, name, version):
        if name == "a":
            raise fault
        return load(path, name, version)

    monkeypatch.setattr(engine, "load", broken)
    follower = Follower(engine, Home(tmp_path / "home"))
    [error] = follower.step()
    assert error.code == "internal"
    assert str(fault) not in str(error)
    monkeypatch.setattr(engine, "load", load)
    assert follower.step() == [], "too soon to try again"
    assert "a" not in engine.names() or not any(e.loaded for e in engine.versions("a").values())
    follower._again = 0.0
    follower.step()
    assert engine.submit(Request("a", (png(1, 1, 1),))).result(10).version == 1, "what passes is tried again unasked"
    assert engine.submit(Request("b@stable", (png(1, 1, 1),))).result(10).version == 1
    engine.close()


def test_a_version_that_cannot_be_read_now_is_told_kept_in_service_and_tried_again(tmp_path, monkeypatch):
    registry = Registry(tmp_path / "home")
    registry.push(colors(tmp_path / "1").path, alias="stable")
    registry.push(colors(tmp_path / "2", reverse=True).path)
    engine, home = Engine(), Home(tmp_path / "home")
    follower = Follower(engine, home)
    assert follower.step() == []
    path, broken = Registry.path, {1}

    def reached(self, name, version):
        if version in broken:
            raise StorageError("the package cannot be laid out: the disk is full", hint="make room")
        return path(self, name, version)

    monkeypatch.setattr(Registry, "path", reached)
    registry.delete_alias("colors", "stable")
    registry.set_alias("colors", "old", 1)
    [error] = follower.step()
    assert error.code == "storage_full"
    assert sorted(engine.versions("colors")) == [1, 2], "what is in service stays, though its folder cannot be told"
    assert sorted(follower.names()) == ["colors"]
    broken.add(3)
    registry.push(colors(tmp_path / "3").path)
    assert [e.code for e in follower.step()] == ["storage_full"] * 2
    assert engine.submit(Request("colors", (png(1, 1, 1),))).result(10).version == 2
    broken.clear()
    follower._again = 0.0
    assert follower.step() == []
    assert engine.submit(Request("colors", (png(1, 1, 1),))).result(10).version == 3
    engine.close()


def test_a_load_that_was_asked_for_says_what_kept_that_model_from_service(tmp_path, monkeypatch):
    registry = Registry(tmp_path / "home")
    for name in ("a", "b"):
        registry.push(colors(tmp_path / name).path, name=name)
    engine = Engine()
    follower = Follower(engine, Home(tmp_path / "home"))

    def broken(path, name, version):
        raise InferenceError(f"{name} is broken", code="not_enough_memory")

    monkeypatch.setattr(engine, "load", broken)
    with pytest.raises(InferenceError, match="b is broken"):
        follower.load("b")
    with pytest.raises(RegistryError, match="no such model"):
        follower.load("c")
    engine.close()


def test_whatever_a_look_raises_the_next_one_comes(tmp_path):
    class Odd:
        looks = 0

        def revision(self):
            self.looks += 1
            raise RuntimeError("of a plug-in")

        def wanted(self):
            raise AssertionError

    engine, source = Engine(), Odd()
    follower = Follower(engine, source, poll_s=0.01)
    follower.start()
    end = time.monotonic() + 10
    while source.looks < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    follower.stop()
    engine.close()
