"""The verbs as they are typed: what they print, what they leave, and the code they end with."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main
from saccade.package.reader import open_package
from saccade.registry.registry import Registry
from saccade.server.keys import Keys
from saccade.testing.packages import colors


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main([str(w) for w in words]) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


def test_a_model_goes_into_the_home_is_pointed_to_and_comes_out_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ("--home", tmp_path / "home")
    first, second = colors(tmp_path / "1"), colors(tmp_path / "2", reverse=True)
    assert "there is no home at" in said(capsys, "models", *home, code=1)
    pushed = said(capsys, "push", first.path, "--name", "waste", "--alias", "stable", *home)
    assert pushed == "waste version 1, waste@stable\n"
    assert said(capsys, "push", second.path, "--name", "waste", *home) == "waste version 2\n"
    assert said(capsys, "alias", "waste", "stable", "2", *home) == "waste@stable is version 2\n"
    [entry] = json.loads(said(capsys, "models", "waste", "--json", *home))
    assert entry["aliases"] == {"stable": 2}
    assert [v["digest"] for v in entry["versions"]] == [first.digest, second.digest]
    table = said(capsys, "models", *home)
    assert first.digest[:12] in table
    assert "@stable" in table
    out = tmp_path / "out"
    assert said(capsys, "pull", "waste@stable", out, *home) == f"{out}\n"
    assert open_package(out).digest == second.digest
    assert "is there already" in said(capsys, "pull", "waste@stable", out, *home, code=2)
    assert "there is no waste:9" in said(capsys, "alias", "waste", "stable", "9", *home, code=1)
    assert "has no model 'nobody'" in said(capsys, "pull", "nobody", tmp_path / "none", *home, code=1)
    assert said(capsys, "fsck", *home) == "every digest holds\n"
    digest = said(capsys, "check", out)
    assert second.digest in digest


@pytest.mark.parametrize(
    "words", ["fsck", "models", "models waste", "pull waste out", "alias waste stable 1", "predict waste one.png"]
)
def test_whoever_only_reads_makes_no_home(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "bakcup"
    assert f"there is no home at {home}" in said(capsys, *words.split(), "--home", home, code=1)
    assert not home.exists()
    home.mkdir()
    assert f"nothing was pushed to the home {home} yet" in said(capsys, *words.split(), "--home", home, code=1)
    assert list(home.iterdir()) == []


def test_a_home_that_was_only_served_holds_nothing_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Registry(tmp_path / "home").models() == []  # as a server asks
    assert "no models yet" in said(capsys, "models", "--home", tmp_path / "home")
    assert said(capsys, "fsck", "--home", tmp_path / "home") == "every digest holds\n"


def test_keys_are_made_shown_once_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", tmp_path / "home")
    key, words = said(capsys, "keys", "make", "phone", "--days", "3", "--scope", "control", *home).splitlines()
    assert words == "shown once: keep it now"
    assert Keys(tmp_path / "home").check(key).scope == "control"
    listed = said(capsys, "keys", "list", *home)
    assert "phone" in listed
    assert key.split("_")[3] not in listed
    id = Keys(tmp_path / "home").list()[0].id
    assert said(capsys, "keys", "revoke", id, *home) == f"{id} is revoked\n"
    assert "revoked" in said(capsys, "keys", "list", *home)
    assert "no key has the id" in said(capsys, "keys", "revoke", "nobody", *home, code=2)
    assert "needs a name" in said(capsys, "keys", "make", *home, code=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(48):
        pixels = random.integers(0, 90, (24, 24, 3))
        pixels[..., i % 2] += 150
        folder = tmp_path / "photos" / ("red", "green")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_check_speaks_to_machines_and_ends_with_a_code(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "check", photos, "--json"))
    assert (told["format"], told["images"], told["classes"]) == ("image_folder", 48, ["green", "red"])
    assert {f["severity"] for f in told["findings"]} <= {"WARN", "INFO"}
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    assert main(["check", str(photos), "--full", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    [fault] = [f for f in told["findings"] if f["severity"] == "ERROR"]
    assert (fault["id"], fault["count"]) == ("unreadable", 1)
    (photos / "red" / "broken.png").unlink()
    broken = [photos / "red" / f"broken{i}.png" for i in range(7)]
    for file in broken:
        file.write_bytes(b"no picture")
    assert main(["check", str(photos), "--full"]) == 1
    told = capsys.readouterr().out
    assert "broken4.png" in told
    assert "broken5.png" not in told
    assert "and 2 more, which --all shows" in told
    assert main(["check", str(photos), "--full", "--all"]) == 1
    assert "broken6.png" in capsys.readouterr().out
    assert main(["check", str(photos), "--full", "--json"]) == 1
    [fault] = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["severity"] == "ERROR"]
    assert len(fault["files"]) == 7
    for file in broken:
        file.unlink()
    for i in range(46, 8, -2):
        (photos / "red" / f"{i}.png").unlink(missing_ok=True)
    assert main(["check", str(photos)]) == 0
    assert main(["check", str(photos), "--strict"]) == 1


def test_a_package_is_checked_as_one_and_data_may_have_a_manifest_of_their_own(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = colors(tmp_path / "p").path
    for words in ("--full", "--strict", "--all", "--size 64", "--sheet s.png", "--fix", "--out o", "--images i"):
        told = said(capsys, "check", package, *words.split(), code=2)
        assert f"nothing is done with {words.split()[0]};" in told
    (photos / "manifest.json").write_text('{"files": ["of another tool"]}')
    assert json.loads(said(capsys, "check", photos, "--json"))["images"] == 48
    (photos / "manifest.json").write_text('{"format_version": 1}')
    assert "manifest.json lacks" in said(capsys, "check", photos, code=1)
    assert json.loads(said(capsys, "check", photos, "--format", "image_folder", "--json"))["images"] == 48


def test_a_run_is_trained_continued_and_measured_from_the_command_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    knobs = [
        "--network",
        "cnn-small",
        "--set",
        "filters=4,8",
        "--set",
        "dense=8",
        "--set",
        "cache=none",
        "--size",
        "24",
    ]
    told = said(
        capsys, "train", photos, "--out", run, "--epochs", "3", "--model", "tints", "--log", "tensorboard", *knobs
    )
    assert "test     accuracy" in told
    assert f"next     saccade serve {run}/package" in told
    assert list(run.rglob("events.out.tfevents*"))
    assert open_package(run / "package").manifest.name == "tints"
    assert "resumed" in said(capsys, "train", photos, "--resume", run)
    assert "this run began with epochs = 3" in said(capsys, "train", photos, "--resume", run, "--epochs", "9", code=2)
    card = json.loads(said(capsys, "evaluate", run / "package", photos, "--json"))
    assert card["n"] > 5
    report = tmp_path / "report.html"
    assert main(["evaluate", str(run), str(photos), "--report", str(report)]) == 0
    assert report.stat().st_size > 10_000
    assert "did you mean" in said(capsys, "train", photos, "--set", "epoch=3", code=2)
