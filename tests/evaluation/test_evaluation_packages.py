"""Sealed packages measured and compared on data that is right, odd or wrong."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference

from saccade.cli.main import main
from saccade.data import formats, lock
from saccade.data.dataset import Dataset
from saccade.errors import DataError, PackageError, UsageError
from saccade.evaluation.compare import compare_packages
from saccade.evaluation.evaluate import UNREADABLE, _parts, evaluate_model
from saccade.evaluation.gallery import gallery
from saccade.evaluation.report import Report
from saccade.evaluation.slices import slices
from saccade.inference.model import Model
from saccade.testing import packages
from saccade.types import Labels, Sample
from saccade.verbs import judge

RGB = ("red", "green", "blue")
SEED = 5


def evaluate(package, dataset, split):
    with Model.open(package) as model:
        return evaluate_model(model, dataset, split)


def photos(n: int, classes: Sequence[int] | None = None) -> list[tuple[bytes, int]]:
    """Pictures of one colour each, whose strongest channel is mostly, not always, their class."""
    random = np.random.default_rng(SEED)
    found = []
    for i in range(n):
        truth = classes[i % len(classes)] if classes else i % 3
        colour = random.integers(0, 200, 3)
        colour[truth] = min(255, colour[truth] + 60)
        found.append((packages.png(*colour.tolist(), 40 + i % 7, 30), truth))
    return found


def dataset(samples: Sequence[tuple[bytes, Sequence[int]]], labels: Labels, split: str = "test") -> Dataset:
    made = tuple(Sample(f"{split}/{i}", p, {"classes": np.array(ids, np.int64)}) for i, (p, ids) in enumerate(samples))
    return Dataset("arrays", Path("nowhere"), labels, {split: made})


def single(n: int = 60, classes: Sequence[int] | None = None, names: tuple[str, ...] = RGB) -> Dataset:
    return dataset([(p, [t]) for p, t in photos(n, classes)], Labels(names))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.colors(tmp_path_factory.mktemp("one") / "p", exclusive=True).path


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows the same classes and mixes them up."""
    return packages.colors(tmp_path_factory.mktemp("wrong") / "p", "mixed", exclusive=True, reverse=True).path


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.colors(tmp_path_factory.mktemp("several") / "p").path


def page(package: Path, data: Dataset, split: str = "test") -> str:
    with Model.open(package) as model:
        card = evaluate_model(model, data, split)
        samples = data.splits[split]
        return Report("m", card, slices(card, samples), (), gallery(model, card, samples, {})).html()


def test_numbers_agree_with_scikit_learn(one: Path) -> None:
    data = single()
    card = evaluate(one, data, "test")
    with Model.open(one) as model:
        scores = model.outputs([s.image for s in data.splits["test"]])["scores"]
    truth = np.array([t for _, t in photos(60)])
    said = scores.argmax(1)
    assert card["accuracy"].value == pytest.approx(reference.accuracy_score(truth, said))
    assert card["macro_f1"].value == pytest.approx(reference.f1_score(truth, said, average="macro"))
    area = np.mean([reference.roc_auc_score(truth == c, scores[:, c]) for c in range(3)])
    assert card["roc_auc"].value == pytest.approx(area)
    table = next(t for t in card.tables if t.name == "Classes")
    by_class = reference.precision_recall_fscore_support(truth, said, labels=[0, 1, 2])
    for row, *expected in zip(table.rows, *by_class, strict=True):
        assert row[2:5] == pytest.approx(expected[:3])
        assert row[1] == expected[3]
    assert card.matrices[0].values == tuple(map(tuple, reference.confusion_matrix(truth, said).astype(float)))


def test_several_classes_an_image_agree_with_scikit_learn(several: Path) -> None:
    truth = np.random.default_rng(1).random((50, 3)) < 0.5
    samples = [(packages.png(*(40 + 150 * row + i)), np.flatnonzero(row)) for i, row in enumerate(truth)]
    data = dataset([(p, ids.tolist()) for p, ids in samples], Labels(RGB, exclusive=False))
    card = evaluate(several, data, "test")
    with Model.open(several) as model:
        scores = model.outputs([p for p, _ in samples])["scores"]
    assert card["micro_f1"].value == pytest.approx(reference.f1_score(truth, scores >= 0.5, average="micro"))
    assert card["mean_average_precision"].value == pytest.approx(reference.average_precision_score(truth, scores))
    assert card.headline.name == "mean_average_precision"
    assert "exact match" in page(several, data)


def test_unreadable_images_are_counted_and_named(one: Path) -> None:
    good = [(p, [t]) for p, t in photos(9)]
    data = dataset([*good, (b"not a picture", [0]), (good[0][0][:40], [1])], Labels(RGB))
    card = evaluate(one, data, "test")
    assert card.n == 9
    table = next(t for t in card.tables if t.name == UNREADABLE)
    assert [row[0] for row in table.rows] == ["test/9", "test/10"]
    text = page(one, data)
    assert UNREADABLE in text
    assert "test/10" in text
    with pytest.raises(DataError, match="none of 1 images"):
        evaluate(one, dataset([(b"no", [0])], Labels(RGB)), "test")


def test_one_class_in_the_split_leaves_areas_undefined(one: Path) -> None:
    data = single(12, classes=[1])
    card = evaluate(one, data, "test")
    assert "roc_auc" not in {n.name for n in card.numbers}
    json.dumps(card.to_json(), allow_nan=False)
    text = page(one, data)
    assert "Not defined here" in text
    assert "Not defined on this split" in text
    assert not re.search(r"\bnan\b", re.sub(r'src="data:[^"]*"', "", text), re.IGNORECASE)


def test_images_without_any_class(several: Path) -> None:
    data = dataset([(p, []) for p, _ in photos(6)], Labels(RGB, exclusive=False))
    card = evaluate(several, data, "test")
    assert card.headline.name == "micro_f1"
    json.dumps(card.to_json(), allow_nan=False)
    assert "no image shows any class" in page(several, data)


def test_data_that_does_not_fit_is_refused(one: Path) -> None:
    with pytest.raises(DataError, match="pink unknown to the package; blue missing from the dataset"):
        evaluate(one, single(6, names=("red", "green", "pink")), "test")
    with pytest.raises(DataError, match="no images in split 'val'; it has test 6"):
        evaluate(one, single(6), "val")
    with pytest.raises(DataError, match="no images in split 'test'"):
        evaluate(one, dataset([], Labels(RGB)), "test")
    with pytest.raises(DataError, match="exactly one class"):
        evaluate(one, dataset([(photos(1)[0][0], [0])], Labels(RGB, exclusive=False)), "test")


def test_classes_are_matched_by_name_not_by_place(one: Path) -> None:
    moved = single(30, names=("blue", "red", "green"))
    names = [moved.labels.names[int(s.annotation["classes"][0])] for s in moved.splits["test"]]
    truth = [RGB.index(n) for n in names]
    with Model.open(one) as model:
        said = model.outputs([s.image for s in moved.splits["test"]])["scores"].argmax(1)
    assert evaluate(one, moved, "test")["accuracy"].value == pytest.approx(reference.accuracy_score(truth, said))


def test_mistakes_are_shown_with_an_overlay(one: Path) -> None:
    text = page(one, single())
    card = evaluate(one, single(), "test")
    assert len(card.worst) >= 2
    shown = min(12, len(card.worst))
    assert text.count("<figcaption>picture</figcaption>") == shown
    assert text.count("<figcaption>occlusion</figcaption>") == shown


def test_a_worse_package_is_called_worse(one: Path, wrong: Path) -> None:
    found = compare_packages(one, wrong, single(), "test")
    main_one = found.differences[0]
    assert main_one.metric == "accuracy"
    assert main_one.second_is_worse
    assert "first package's accuracy is higher than the second's" in found.sentence
    assert [c.label for c in found.classes] == list(RGB)
    assert sum(c.n for c in found.classes) == found.n == 60
    green = found.classes[1].difference
    assert green.value == 0
    assert all(s.latency_ms > 0 and s.graph_bytes > 0 for s in found.sides)
    back = compare_packages(wrong, one, single(), "test")
    assert not back.differences[0].second_is_worse
    assert back.differences[0].p == main_one.p
    nll = next(d for d in found.differences if d.metric == "nll")
    assert not nll.higher_is_better
    assert nll.second_is_worse


def test_packages_with_other_classes_are_refused(one: Path, several: Path, tmp_path: Path) -> None:
    other = packages.colors(tmp_path / "p", exclusive=True)
    record = json.loads((other.path / "manifest.json").read_bytes())
    record["labels"]["classes"][2]["name"] = "pink"
    (other.path / "manifest.json").write_bytes(
        json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    )
    with pytest.raises(PackageError, match="only the first knows blue and only the second knows pink"):
        compare_packages(one, other.path, single(), "test")
    with pytest.raises(PackageError, match="one package gives exactly one class"):
        compare_packages(one, several, single(), "test")


def test_the_commands(one: Path, wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "photos"
    for i, (encoded, truth) in enumerate(photos(45)):
        folder = data / "test" / RGB[truth]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(encoded)
    assert main(["compare", str(one), str(wrong), str(data)]) == 1
    said = capsys.readouterr().out
    assert "significant at 5 %" in said
    assert "latency" in said
    assert main(["compare", str(wrong), str(one), str(data), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["second_is_worse"] is False
    assert record["differences"][0]["metric"] == "accuracy"
    assert main(["compare", str(one), str(tmp_path / "none"), str(data)]) == 2
    assert main(["compare", str(one), str(wrong), str(data), "--split", "val"]) == 2
    capsys.readouterr()
    report = tmp_path / "deep" / "report.html"
    assert main(["evaluate", str(one), str(data), "--report", str(report), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {s["trait"] for s in record["slices"]} <= {"size", "brightness", "sharpness"}
    assert record["n"] == 45
    assert report.read_text().startswith("<!doctype html>")
    assert judge.evaluate(one, data).n == 45


def test_two_runs_are_compared_on_what_both_learned_from(one: Path, wrong: Path, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    for i, (picture, truth) in enumerate(photos(60)):
        file = data / "test" / RGB[truth] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    dataset, _ = formats.read(data)
    for name, package in (("a", one), ("b", wrong)):
        folder = tmp_path / name
        shutil.copytree(package, folder / "package")
        (folder / "recipe.toml").write_text("")
        lock.write(dataset, folder / "dataset.lock.json")
    found = judge.compare(tmp_path / "a", tmp_path / "b")
    assert found.differences == judge.compare(one, wrong, data).differences
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    with pytest.raises(UsageError, match="two run folders only"):
        judge.compare(one, wrong)
    (data / "test" / "red" / "0.png").rename(tmp_path / "0.png")
    lock.write(formats.read(data)[0], tmp_path / "b" / "dataset.lock.json")
    with pytest.raises(UsageError, match="learned from different data"):
        judge.compare(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "package")
    with pytest.raises(UsageError, match="has no package yet"):
        judge.compare(tmp_path / "a", tmp_path / "b", data)


def test_few_large_answers_are_held_at_once() -> None:
    """Masks are as large as their pictures: of 24 MP ten at a time, one beyond the bound alone, small ones as ever."""

    def sample(width: int, height: int) -> Sample:
        return Sample("", np.broadcast_to(np.uint8(0), (height, width, 3)))

    photos = [sample(6000, 4000)] * 25
    assert [len(p) for p in _parts(photos, large=True)] == [10, 10, 5]
    assert [len(p) for p in _parts(photos, large=False)] == [25]
    assert [len(p) for p in _parts([sample(8, 8)] * 300, large=True)] == [256, 44]
    assert [len(p) for p in _parts([sample(20_000, 20_000), *photos[:2]], large=True)] == [1, 2]
    assert [len(p) for p in _parts([Sample("", b"no picture"), *photos[:2]], large=True)] == [1, 2]
    assert list(_parts([], large=True)) == []
