"""Verbs that measure packages on a dataset: evaluate and compare."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saccade.data import formats, lock
from saccade.data.dataset import Dataset
from saccade.errors import StorageError, UsageError
from saccade.evaluation import gallery, history, slices
from saccade.evaluation.compare import Comparison, compare_packages
from saccade.evaluation.evaluate import aligned, evaluate_model
from saccade.evaluation.report import Report
from saccade.evaluation.slices import Slice
from saccade.images import fonts
from saccade.inference.model import Model
from saccade.package import reader
from saccade.storage.files import Files
from saccade.types import Scorecard
from saccade.verbs.home import package_folder
from saccade.verbs.trained import as_trained


@dataclass(frozen=True)
class Evaluation:
    """How good a package is on a split, and on which thirds of it.

    report: the page, when one was asked for. notes: what is to be known of the images, such as which were left out.
    """

    card: Scorecard
    slices: tuple[Slice, ...] = ()
    report: Path | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**self.card.to_json(), "slices": [asdict(s) for s in self.slices], "notes": list(self.notes)}


def evaluate(package: Path | str, data: Path | str, *, split: str = "test", home: Path | None = None) -> Scorecard:
    """Measures a sealed package on a split of a dataset, with the code that will serve it."""
    return evaluation(package, data, split=split, home=home).card


def evaluation(
    package: Path | str,
    data: Path | str,
    *,
    split: str = "test",
    report: Path | None = None,
    format: str | None = None,
    images: Path | None = None,
    home: Path | None = None,
) -> Evaluation:
    """Measures a package on a split, and writes the report page when a file is named. Raises UsageError for a file
    inside a package, StorageError when it cannot be written."""
    if report is not None:
        _refuse_sealed(report)
    folder = package_folder(package, home)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    with Model.open(folder) as model:
        dataset = as_trained(dataset, [folder], [split])
        card = evaluate_model(model, dataset, split)
        found = slices.slices(card, dataset.splits[split])
        if report is not None:
            page = report_page(model, card, dataset, found, folder.parent)
            try:
                report.parent.mkdir(parents=True, exist_ok=True)
                Files().replace(report, page)
            except OSError as error:
                raise StorageError.of(error, f"{report} could not be written", room="free some space there") from error
    return Evaluation(card, found, report, dataset.notes)


def _refuse_sealed(report: Path) -> None:
    package = next((folder for folder in report.resolve().parents if reader.is_package(folder)), None)
    if package is not None:
        raise UsageError(
            f"{report} would lie inside the package {package}, whose seal it would break",
            hint="name a file elsewhere with --report",
        )


def compare(
    first: Path | str,
    second: Path | str,
    data: Path | str | None = None,
    *,
    split: str = "test",
    format: str | None = None,
    images: Path | None = None,
    home: Path | None = None,
) -> Comparison:
    """Two packages or runs on the same images, with a statement whether the difference could be luck.

    data: needed unless both are run folders that learned from the same data, which still lie where they lay.
    Where the data brings no such split, those pictures count that were in it when both were trained. Raises UsageError
    when nothing tells which those are.
    """
    folders = package_folder(first, home), package_folder(second, home)
    if data is None:
        data, format = _common_data(Path(first), Path(second))
    dataset, _ = formats.read(Path(data), format=format, images=images)
    dataset = as_trained(dataset, folders, [split])
    return replace(compare_packages(*folders, dataset, split), notes=dataset.notes)


def _common_data(first: Path, second: Path) -> tuple[Path, str]:
    """What both runs learned from, and its format, by their locks. Raises UsageError when that is not one thing."""
    files = first / "dataset.lock.json", second / "dataset.lock.json"
    if not all(f.is_file() for f in files):
        raise UsageError("DATA may be left away for two run folders only", hint="name the data to measure both on")
    one, other = (lock.read(f) for f in files)
    if one["digest"] != other["digest"]:
        raise UsageError("the two runs learned from different data or splits", hint="name the data to measure both on")
    origin = Path(str(one.get("origin", "")))
    if not one.get("origin") or not origin.exists():
        raise UsageError(f"the data of both runs no longer lie at {origin}", hint="name where they are now")
    return origin, str(one["format"])


def report_page(model: Model, card: Scorecard, dataset: Dataset, found: Sequence[Slice], folder: Path) -> bytes:
    """The report. folder: the run, if the package still lies in one: its curves and gradient maps are shown too."""
    in_run = (folder / "recipe.toml").is_file()
    maps = gallery.read_maps(folder / "samples" / gallery.MAPS) if in_run else {}
    mistakes = gallery.gallery(model, card, aligned(dataset, card.split, model.labels), maps)
    curves = history.curves(folder / "metrics.csv") if in_run else ()
    facts = {"package": model.manifest.name, **model.manifest.provenance}
    if dataset.notes:
        facts["images"] = "; ".join(dataset.notes)
    called = fonts.legend(model.labels.names)
    return Report(model.manifest.name, card, tuple(found), curves, mistakes, facts, called).html().encode()
