"""The verb: what is asked is checked before anything is written, and a folder appears whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from saccade.cli.main import main
from saccade.errors import PackageError, StorageError, UsageError
from saccade.export import exporters
from saccade.export.exporter import Exporter, Wish, Written
from saccade.package.reader import Package
from saccade.registry.registry import Registry
from saccade.testing.packages import colors
from saccade.verbs.export import export


class Labels(Exporter):
    """Writes the ledger as text, one name a line, or fails as it is told to."""

    name = "labels"
    settings: Mapping[str, tuple[str, str]] = {"end": ("\n", "between names")}
    error: Exception | None = None

    def write(self, package: Package, folder: Path, wish: Wish) -> Written:
        (folder / wish.name).mkdir()
        text = wish.settings["end"].join(package.manifest.labels.names)
        (folder / wish.name / f"{wish.version}.txt").write_text(text)
        if self.error is not None:
            raise self.error
        return Written(("three names",), 1e-7, 1e-3)


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Labels:
    made = Labels()
    monkeypatch.setattr(exporters, "keepers", lambda: {made.name: made})
    return made


def test_a_package_is_written_in_another_form(tmp_path: Path, keeper: Labels, capsys: Any) -> None:
    package = colors(tmp_path / "p")
    said = ["export", "labels", package.path, tmp_path / "a" / "out", "--name", "tints", "--version", "3", "--set"]
    assert main([*map(str, said), "end=/"]) == 0
    assert (tmp_path / "a" / "out" / "tints" / "3.txt").read_text() == "red/green/blue"
    told = capsys.readouterr().out
    for words in ("note     three names", "file     tints/3.txt", "within 1.0e-07, allowed 0.001", package.digest):
        assert words in told
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"kind": "nowhere"}, "nothing exports to 'nowhere'"),
        ({"settings": {"fin": "x"}}, "no setting 'fin'; its settings: end"),
        ({"version": 0}, "a version counts from 1"),
        ({"name": "../up"}, "a name is"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, keeper: Labels, how: dict[str, Any], words: str
) -> None:
    package = colors(tmp_path / "p")
    with pytest.raises(UsageError, match=words):
        export(**{"kind": "labels", "package": package.path, "out": tmp_path / "out", **how})
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path, keeper: Labels) -> None:
    package = colors(tmp_path / "p")
    (tmp_path / "out").mkdir()
    with pytest.raises(PackageError) as caught:
        export("labels", package.path, tmp_path / "out")
    assert caught.value.code == "already_exists"
    failures = [(UsageError("no form"), UsageError), (OSError(28, "full"), StorageError), (KeyError("bug"), KeyError)]
    for keeper.error, kind in failures:
        with pytest.raises(kind):
            export("labels", package.path, tmp_path / "new")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "p"]


def test_a_lacking_library_is_told_with_its_extra(keeper: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "needs", {"no_such_library": "somewhere"}, raising=False)
    with pytest.raises(UsageError, match=r"labels needs no_such_library, .*saccade\[somewhere\]"):
        exporters.find("labels")


def test_a_package_of_the_home_keeps_the_name_it_has_there(tmp_path: Path, keeper: Labels) -> None:
    Registry(tmp_path / "home").push(colors(tmp_path / "p").path, name="waste", alias="stable")
    done = export("labels", "waste@stable", tmp_path / "out", home=tmp_path / "home")
    assert done.files == ("waste/1.txt",)
    assert export("labels", tmp_path / "p", tmp_path / "other").files == ("colors/1.txt",)
