"""Faster graphs of a package, each measured before it is kept: optimize."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade import process, tasks
from saccade.data import formats
from saccade.errors import UsageError
from saccade.evaluation.evaluate import aligned
from saccade.evaluation.heldout import Heldout
from saccade.images import preprocess
from saccade.inference import opening
from saccade.inference.model import Model
from saccade.optimization import optimizers
from saccade.optimization.judge import Budget
from saccade.optimization.race import SECONDS
from saccade.optimization.search import Found, Tried, search
from saccade.package import reader
from saccade.package.writer import reseal
from saccade.tasks.statistics import spread
from saccade.verbs.hear import Hear, silent
from saccade.verbs.trained import as_trained

CALIBRATED = 128
"""Training pictures that a graph is quantised on, spread over the split."""
FLOATS = 1 << 27
"""Numbers that these may have together, where the graph takes floats: half a gigabyte."""


@dataclass(frozen=True)
class Optimized:
    """The package as it is now: its digest, what was tried, and the variant that a server here would take."""

    package: Path
    digest: str
    tried: tuple[Tried, ...]
    serves: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        tried = [
            {**asdict(t), "kept": t.kept, "smallest_provable": t.drop.least if t.drop else None} for t in self.tried
        ]
        return {
            "package": str(self.package),
            "digest": self.digest,
            "serves": self.serves,
            "reason": self.reason,
            "host": process.host(),
            "tried": tried,
        }


def optimize(
    package: Path | str,
    data: Path | str,
    *,
    max_drop: float = 0.5,
    max_class_drop: float = 2.0,
    min_gain: float = 1.03,
    proven: bool = False,
    only: Sequence[str] = (),
    format: str | None = None,
    images: Path | None = None,
    seconds: float = SECONDS,
    listen: Hear = silent,
) -> Optimized:
    """Adds to a package folder every faster graph whose answers are as good on this host; seals it again in one step.

    Quantised on pictures of the train split, judged on the val split; the test split is never looked at. max_drop,
    max_class_drop: points. min_gain: how many times as fast a variant must be. proven: larger drops must be excluded at
    95 %, not only unseen. only: optimizers by name, none means all. seconds: of each race. Variants of an earlier run
    are made anew or go. Raises UsageError, DataError when data and package do not fit, PackageError.
    """
    folder = Path(package)
    if not folder.is_dir():
        raise UsageError(
            f"no package folder at {folder}", hint="versions in a home never change: pull one, optimise it, push it"
        )
    found_optimizers, unfit = optimizers.find(only)
    sealed = reader.open_package(folder)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    manifest = sealed.manifest
    if manifest.graphs["default"].runtime != "onnxruntime":
        raise UsageError(
            f"{folder} holds a graph of {manifest.graphs['default'].runtime}: only ONNX graphs are optimised",
            hint="import it as ONNX",
        )
    if not opening.takes_pictures(manifest):
        raise UsageError(
            f"{folder} answers tensors only, so it cannot be measured on pictures",
            hint="import it with a description of its outputs",
        )
    dataset = as_trained(dataset, [folder], ["val", "train"])
    for note in dataset.notes:
        listen(f"note {note}")
    task = tasks.find(manifest.task)
    teaching, held_back = aligned(dataset, "train", manifest.labels), aligned(dataset, "val", manifest.labels)
    # A graph from elsewhere takes floats: four bytes for each of a pixel.
    most = FLOATS // (manifest.preprocess.width * manifest.preprocess.height * 3) if manifest.adapter else CALIBRATED
    chosen = [teaching[i] for i in spread(len(teaching), max(8, min(CALIBRATED, most)))]
    pixels = np.stack([preprocess.load(s.image, manifest.preprocess)[0] for s in chosen])
    listen(f"pictures {len(chosen)} of the train split to calibrate on, {len(held_back)} of the val split to judge by")
    with tempfile.TemporaryDirectory(prefix="saccade-heldout-") as space:
        heldout = Heldout(
            held_back, manifest.preprocess, task, manifest.labels, "val", Path(space), manifest.thresholds
        )
        budget = Budget(max_drop, max_class_drop, min_gain, proven=proven)
        found = search(
            sealed, task, pixels, heldout.score, found_optimizers, budget, unfit=unfit, seconds=seconds, listen=listen
        )
    return _resealed(sealed, found)


def _resealed(sealed: reader.Package, found: Found) -> Optimized:
    """Seals the package with its variants; what a server here takes is asked of the very code that will choose."""
    before = sealed.manifest.graphs
    stays = {name: graph for name, graph in before.items() if graph.certified is None}
    if found.graphs or len(before) > len(stays):
        sealed = reseal(sealed, graphs={**stays, **found.graphs}, extra=found.files)
    with Model.open(sealed.path) as model:
        choice = model.choice
    return Optimized(sealed.path, sealed.digest, found.tried, choice.variant, choice.reason)
