"""API keys: shown once, kept as a digest, refused alike for every cause."""

import subprocess
import sys

import pytest

from saccade.errors import ServerError, StorageError, UsageError
from saccade.server import keys as module
from saccade.server.keys import Keys


def refused(keys, text):
    with pytest.raises(ServerError) as error:
        keys.check(text)
    assert error.value.code == "unauthenticated"
    return str(error.value)


def test_a_key_opens_until_it_is_revoked(tmp_path):
    keys = Keys(tmp_path)
    assert not keys.any()
    text = keys.make("phone")
    assert keys.check(text).name == "phone"
    assert text.split("_")[3] not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert (tmp_path / "pepper").stat().st_mode & 0o077 == 0
    keys.revoke(keys.list()[0].id)
    refused(keys, text)
    assert keys.any()


def test_every_refusal_sounds_the_same(tmp_path):
    now = [1000.0]
    keys = Keys(tmp_path, clock=lambda: now[0])
    text = keys.make("a", days=1)
    other = text[:9] + "0" * 12 + text[21:]
    typo = text[:-1] + ("0" if text[-1] != "0" else "1")
    wrong = f"{text[:22]}{'A' * 43}"
    wrong += "_" + module._crc(wrong)
    said = {refused(keys, t) for t in ("", "x", text[:-1], typo, other, wrong, text + "\n", "sac_live_" + "é" * 63)}
    now[0] += 86401
    said.add(refused(keys, text))
    assert len(said) == 1


def test_another_server_of_the_home_sees_a_revocation(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    here, there = Keys(tmp_path), Keys(tmp_path)
    text = here.make("a")
    assert there.check(text)
    here.revoke(here.list()[0].id)
    refused(there, text)


def test_wrong_usage(tmp_path):
    keys = Keys(tmp_path)
    for name in ("", "a\nb", "x" * 65):
        with pytest.raises(UsageError):
            keys.make(name)
    with pytest.raises(UsageError):
        keys.revoke("nobody")


def test_keys_that_cannot_be_read_never_open_the_door(tmp_path):
    keys = Keys(tmp_path)
    keys.make("phone")
    (tmp_path / "keys.json").write_text('[{"id": 1}]')
    with pytest.raises(StorageError) as error:
        Keys(tmp_path).any()
    assert error.value.code == "dependency_unavailable"
    assert str(tmp_path) not in str(error.value)
    (tmp_path / "file").write_text("")
    assert not Keys(tmp_path / "file").any()
    with pytest.raises(StorageError):
        Keys(tmp_path / "file").make("phone")


def test_while_keys_cannot_be_read_nobody_comes_in(tmp_path, monkeypatch):
    """Also not on what was read before, and not in the time until the next look."""
    here, there = Keys(tmp_path), Keys(tmp_path)
    assert not there.any()
    text = here.make("alice")
    (tmp_path / "keys.json").write_text("{ damaged")
    there._looked = -1e9
    for _ in range(3):
        with pytest.raises(StorageError):
            there.any()
        with pytest.raises(StorageError):
            there.check(text)


CHANGE = """
import sys
from pathlib import Path
from saccade.server.keys import Keys

home, name, old = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
keys = Keys(home)
print("there", flush=True)
sys.stdin.readline()
for id in old:
    keys.revoke(id)
for i in range(0 if old else 15):
    keys.make(f"{name}-{i}")
"""


def changing(home, name, *old):
    command = [sys.executable, "-c", CHANGE, str(home), name, *old]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    return process


def test_processes_that_change_keys_at_once_lose_none_and_bring_none_back(tmp_path):
    keys = Keys(tmp_path)
    for i in range(10):
        keys.make(f"old-{i}")
    old = [key.id for key in keys.list()]
    running = [*(changing(tmp_path, name) for name in "abc"), changing(tmp_path, "-", *old)]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0] * 4
    held = {key.name: key for key in Keys(tmp_path).list()}
    assert set(held) == {f"old-{i}" for i in range(10)} | {f"{name}-{i}" for name in "abc" for i in range(15)}
    assert {name for name, key in held.items() if key.revoked} == {f"old-{i}" for i in range(10)}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_a_change_waits_for_the_one_under_way(tmp_path):
    import fcntl

    keys = Keys(tmp_path)
    keys.make("phone")
    [key] = keys.list()
    with (tmp_path / "keys.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        process = changing(tmp_path, "-", key.id)
        process.stdin.write("go\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not Keys(tmp_path).list()[0].revoked
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert Keys(tmp_path).list()[0].revoked
    assert (tmp_path / "keys.lock").stat().st_mode & 0o077 == 0


def test_to_revoke_in_a_home_that_is_not_there_makes_none(tmp_path):
    with pytest.raises(UsageError, match="no key has the id"):
        Keys(tmp_path / "home").revoke("nobody")
    assert not (tmp_path / "home").exists()
