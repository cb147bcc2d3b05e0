"""What taught a model must not test it: packages measured on data that changed since they were trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data import formats, lock
from saccade.data.dataset import Dataset
from saccade.data.splits import split
from saccade.errors import DataError, UsageError
from saccade.package.reader import open_package
from saccade.package.writer import reseal
from saccade.testing.packages import colors
from saccade.training.recipe import Recipe
from saccade.verbs import judge
from saccade.verbs.trained import as_trained

RGB = ("red", "green", "blue")


def photos(root: Path, first: int, count: int) -> Path:
    random = np.random.default_rng(first)
    for i in range(first, first + count):
        pixels = random.integers(0, 256, (30, 40, 3)).astype(np.uint8)
        folder = root / RGB[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def trained(run: Path, data: Path, seed: int = 0, *, locked: bool = True) -> tuple[Path, Dataset]:
    """A package as it lies in a run: sealed with what it was trained on."""
    dataset = split(formats.read(data)[0], seed=seed)
    sealed = open_package(colors(run / "package", exclusive=True).path)
    digest = lock.record(dataset)["digest"]
    manifest = replace(sealed.manifest, provenance={**sealed.manifest.provenance, "dataset": digest, "seed": seed})
    reseal(replace(sealed, manifest=manifest), graphs=dict(manifest.graphs), extra={})
    if locked:
        lock.write(dataset, run / "dataset.lock.json")
    return run / "package", dataset


def keys(dataset: Dataset, name: str) -> set[str]:
    return {s.key for s in dataset.splits[name]}


def test_the_same_data_give_the_same_splits(tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 0, 60)
    package, dataset = trained(tmp_path / "run", data, locked=False)
    assert keys(as_trained(formats.read(data)[0], [package], ["test"]), "test") == keys(dataset, "test")


def test_pictures_that_taught_a_model_never_test_it_though_data_were_added(tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 0, 60)
    package, dataset = trained(tmp_path / "run", data)
    photos(data, 60, 12)
    now = as_trained(formats.read(data)[0], [package], ["test"])
    assert keys(now, "test") == keys(dataset, "test")
    assert "12 new pictures are left out" in now.notes[-1]
    assert judge.evaluate(package, data).n == len(dataset.splits["test"])


def test_whoever_reads_the_figures_is_told_which_pictures_were_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photos(tmp_path / "d", 0, 60)
    package, _ = trained(tmp_path / "run", data)
    photos(data, 60, 12)
    page = tmp_path / "report.html"
    left = "12 new pictures are left out"
    for words in (
        ["evaluate", str(package), str(data), "--report", str(page)],
        ["compare", *[str(package)] * 2, str(data)],
    ):
        assert main(words) == 0
        assert left in capsys.readouterr().out
        assert main([*words, "--json"]) == 0
        assert left in json.loads(capsys.readouterr().out)["notes"][-1]
    assert left in page.read_text()


def test_without_the_run_nothing_tells_which_pictures_it_has_seen(tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 0, 60)
    package, _ = trained(tmp_path / "run", data, locked=False)
    photos(data, 60, 12)
    with pytest.raises(UsageError, match="nothing tells which pictures it has seen"):
        judge.evaluate(package, data)
    own = photos(tmp_path / "own" / "test", 200, 9)
    assert judge.evaluate(package, own.parent).n == 9, "data with a split of their own are measured as they are"


def test_two_models_meet_on_pictures_that_tested_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = photos(tmp_path / "d", 0, 60)
    old, first = trained(tmp_path / "old", data)
    photos(data, 60, 40)
    new, second = trained(tmp_path / "new", data)
    both = keys(first, "test") & keys(second, "test")
    assert both
    assert keys(as_trained(formats.read(data)[0], [old, new], ["test"]), "test") == both
    assert main(["compare", str(old), str(new), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["second_is_worse"] is False


@pytest.mark.parametrize("added", [1, 45])
def test_what_taught_a_start_is_learned_from_again(tmp_path: Path, added: int) -> None:
    """Pictures keep the side they had; new ones are shared out, or learned from where they are too few."""
    data = photos(tmp_path / "d", 0, 60)
    _, first = trained(tmp_path / "run", data)
    kept = lock.sides(tmp_path / "run" / "dataset.lock.json")
    photos(data, 60, added)
    again = split(formats.read(data)[0], seed=7, kept=kept)
    for name in ("train", "val", "test"):
        assert keys(first, name) <= keys(again, name)
    assert len(again) == 60 + added
    assert (len(again.splits["test"]) > len(first.splits["test"])) == (added > 1)
    twin = next(iter(sorted(keys(first, "train"))))
    (data / twin).with_stem("twin").write_bytes((data / twin).read_bytes())
    near = split(formats.read(data)[0], seed=7, kept=kept)
    assert any(k.endswith("twin.png") for k in keys(near, "train")), "a copy of what taught it stays with it"


def test_a_run_from_a_run_measures_on_what_neither_learned_and_goes_on_by_itself(tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 0, 60)
    small = {"smoke": True, "network": "cnn-small", "filters": "4,8", "dense": 8, "threads": 1, "cache": "none"}
    saccade.train(data, out=tmp_path / "one", **small)
    photos(data, 60, 45)
    saccade.train(data, out=tmp_path / "two", weights=str(tmp_path / "one"), seed=3, **small)
    one, two = (lock.sides(tmp_path / name / "dataset.lock.json") for name in ("one", "two"))
    assert all(two[content] == side for content, side in one.items())
    shutil.rmtree(tmp_path / "one")
    saccade.train(data, resume=tmp_path / "two")
    assert lock.sides(tmp_path / "two" / "dataset.lock.json") == two


def test_splits_that_would_measure_on_what_taught_the_start_are_refused(tmp_path: Path) -> None:
    data = photos(tmp_path / "d", 0, 60)
    _, first = trained(tmp_path / "run", data)
    (tmp_path / "run" / "recipe.toml").write_text(Recipe().to_toml())
    brought = tmp_path / "brought"
    for name, other in (("train", "test"), ("val", "val"), ("test", "train")):
        for key in keys(first, other):
            (brought / name / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / key, brought / name / key)
    with pytest.raises(DataError, match=r"pictures of val and test taught .*run"):
        saccade.train(brought, out=tmp_path / "two", weights=str(tmp_path / "run"), smoke=True)
    assert not (tmp_path / "two").exists()
