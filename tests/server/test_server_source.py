"""Following a source: new versions, aliases, broken packages, and settings from every place."""

import sys

import pytest

from saccade import process
from saccade.errors import InferenceError, RegistryError, UsageError
from saccade.inference.engine import Engine
from saccade.inference.options import Options
from saccade.inference.request import Request
from saccade.server import source
from saccade.server.serve import source_of
from saccade.server.settings import Settings
from saccade.server.source import Folders, Follower, Wanted
from saccade.testing.packages import colors, png


class Shelf:
    def __init__(self):
        self.number, self.now = 0, Wanted()

    def put(self, versions, aliases):
        self.number, self.now = self.number + 1, Wanted({"colors": versions}, {"colors": aliases})

    def revision(self):
        return self.number

    def names(self):
        return list(self.now.versions)

    def wanted(self):
        return self.now


def test_versions_and_aliases_are_followed(tmp_path):
    one, two = colors(tmp_path / "1").path, colors(tmp_path / "2").path
    bad = colors(tmp_path / "3", lie=True).path
    engine, shelf = Engine(), Shelf()
    follower = Follower(engine, shelf)

    def answers(model):
        return engine.submit(Request(model, (png(1, 1, 1),))).result(10).version

    shelf.put({1: one}, {"stable": 1})
    assert follower.step() == []
    assert (answers("colors"), answers("colors@stable")) == (1, 1)
    shelf.put({1: one, 2: two}, {"stable": 1})
    follower.step()
    assert (answers("colors"), answers("colors@stable")) == (2, 1)
    shelf.put({2: two}, {"stable": 2})
    follower.step()
    assert answers("colors@stable") == 2
    assert list(engine.versions("colors")) == [2]
    shelf.put({3: bad}, {"stable": 3})
    assert [e.code for e in follower.step()] == ["golden_mismatch"]
    assert (answers("colors"), answers("colors@stable")) == (2, 2)
    assert follower.step() == []
    engine.close()


def test_a_newest_version_that_fails_leaves_the_one_before_it_in_service_beside_older_ones(tmp_path):
    one, two = colors(tmp_path / "1").path, colors(tmp_path / "2").path
    engine, shelf = Engine(), Shelf()
    follower = Follower(engine, shelf)
    shelf.put({1: one, 2: two}, {"old": 1})
    assert follower.step() == []
    shelf.put({1: one, 3: colors(tmp_path / "3", lie=True).path}, {"old": 1})
    assert [e.code for e in follower.step()] == ["golden_mismatch"]
    assert engine.submit(Request("colors", (png(1, 1, 1),))).result(10).version == 2
    shelf.put({1: one, 4: colors(tmp_path / "4").path}, {"old": 1})
    assert follower.step() == []
    assert sorted(v for v, e in engine.versions("colors").items() if e.loaded) == [1, 4]
    engine.close()


def test_names_are_looked_up_in_a_home_that_is_there(tmp_path):
    with pytest.raises(RegistryError, match="no home"):
        source_of(["colors"], tmp_path / "home")
    assert not (tmp_path / "home").exists()
    assert source_of([], tmp_path / "home").names() == [], "one that waits for its first push"


def test_settings_come_from_keyword_environment_file_and_default(tmp_path):
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nmax_batch = 2\nhosts = ["a", "b"]\n')
    environ = {"SACCADE_PORT": "3", "SACCADE_INSECURE": "true", "SACCADE_HOME": "/h"}
    settings = Settings.gather({"port": None, "deadline_s": 2}, file=file, environ=environ)
    assert (settings.port, settings.max_batch, settings.hosts, settings.insecure) == (3, 2, ("a", "b"), True)
    assert (settings.deadline_s, str(settings.home)) == (2.0, "/h")
    assert Settings.gather({"port": 4}, file=file, environ=environ).port == 4
    for wrong in (
        {"prot": 1},
        {"port": "x"},
        {"port": 65536},
        {"port": -1},
        {"replicas": 2},
        {"tls_cert": "a"},
        {"tls_cert": "a", "tls_key": "b"},
    ):
        with pytest.raises(UsageError):
            Settings.gather(wrong, environ={})


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)]
)
def test_loopback(host, loopback):
    assert Settings(host=host).loopback is loopback


DEADLY = """
import os
import sys
from pathlib import Path

if "saccade.inference.workers.child" in sys.orig_argv:
    from saccade.inference import opening

    def open_graph(*given, honest=opening.open_graph):
        if Path(__file__).with_name("now").exists():
            os._exit(7)
        return honest(*given)

    opening.open_graph = open_graph
"""
"""Runs first in every worker, which then ends when it opens a graph while there is a file `now`."""


def test_what_may_pass_by_itself_is_tried_again_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "AGAIN_S", 0.0)
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    engine, shelf = Engine(Options(isolation="process", tuning=tmp_path / "tuning")), Shelf()
    follower = Follower(engine, shelf)

    def answers():
        return engine.submit(Request("colors", (png(1, 1, 1),))).result(10).version

    shelf.put({1: colors(tmp_path / "1").path}, {})
    with monkeypatch.context() as full:
        full.setattr(process, "free_memory", lambda: 1024)
        for _ in range(2):
            assert [e.code for e in follower.step()] == ["not_enough_memory"]
    assert follower.step() == []
    assert answers() == 1
    shelf.put({1: colors(tmp_path / "1").path, 2: colors(tmp_path / "2").path}, {})
    (tmp_path / "now").touch()
    for _ in range(2):
        assert [e.code for e in follower.step()] == ["worker_lost"]
    failed = engine.versions("colors")[2]
    assert (failed.state, failed.error.code) == ("failed", "worker_lost")
    assert answers() == 1
    (tmp_path / "now").unlink()
    assert follower.step() == []
    assert answers() == 2
    engine.close()


def test_what_will_not_pass_is_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "AGAIN_S", 0.0)
    engine, shelf = Engine(), Shelf()
    follower = Follower(engine, shelf)
    shelf.put({1: colors(tmp_path / "1", lie=True).path}, {})
    assert [e.code for e in follower.step()] == ["golden_mismatch"]
    assert follower.step() == []
    engine.close()


def test_a_package_that_was_exchanged_in_its_folder_takes_over(tmp_path):
    folder = colors(tmp_path / "served").path
    engine = Engine()
    follower = Follower(engine, Folders({"colors": folder}))

    def exchange(other):
        folder.rename(tmp_path / f"before-{other.name}")
        other.rename(folder)

    def best():
        answer = engine.submit(Request("colors", (png(250, 1, 1),), version=1)).result(10)
        return answer.labels.names[int(answer.results[0].class_ids[0])], answer.digest

    assert follower.step() == []
    name, digest = best()
    assert follower.step() == []
    assert engine.versions("colors")[1].model.digest == digest
    before = engine.versions("colors")[1].model
    exchange(colors(tmp_path / "other", name="other").path)
    assert follower.step() == []
    assert best()[0] == name
    assert best()[1] != digest
    assert engine.versions("colors")[1].model is not before
    with pytest.raises(InferenceError, match="unloaded"):
        before.submit(png(1, 1, 1), 1e9)
    digest = best()[1]
    exchange(colors(tmp_path / "bad", lie=True).path)
    assert [e.code for e in follower.step()] == ["golden_mismatch"]
    assert best()[1] == digest, "what answered goes on"
    (folder / "manifest.json").unlink()
    assert follower.step() == []
    assert best()[1] == digest
    engine.close()


def test_a_version_that_is_replaced_has_as_long_as_an_accepted_request_may_last(tmp_path, monkeypatch):
    engine, shelf = Engine(), Shelf()
    follower = Follower(engine, shelf, finish_s=1.0, drain_s=60.0)
    given = []
    monkeypatch.setattr(engine, "unload", lambda name, version, drain_s: given.append((version, drain_s)))
    shelf.put({1: colors(tmp_path / "1").path}, {})
    follower.step()
    shelf.put({2: colors(tmp_path / "2").path}, {})
    follower.step()
    assert given == [(1, 60.0)]
    engine.close()


def test_an_alias_of_a_model_that_is_being_loaded_is_waited_for(tmp_path, monkeypatch):
    one, two = colors(tmp_path / "1").path, colors(tmp_path / "2").path
    engine, shelf = Engine(), Shelf()
    follower = Follower(engine, shelf)
    load, said = engine.load, []

    def loading(path, name, version, **how):
        for model in ("colors@stable", "colors@new"):
            with pytest.raises(InferenceError) as error:
                engine.find(model)
            said.append(error.value.code)
        return load(path, name, version, **how)

    shelf.put({1: one, 2: two}, {"stable": 1})
    follower.step()
    engine.unload("colors", 1)
    monkeypatch.setattr(engine, "load", loading)
    follower.step()
    assert said == []
    shelf.put({1: one, 2: two}, {"stable": 1})
    follower.step()
    assert said == ["not_ready", "not_found"], "one is to come back, the other nobody has"
    assert engine.find("colors@stable").version == 1
    engine.close()
