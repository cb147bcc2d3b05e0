"""A finished run becomes a package: exported, proven equal to its trainer, measured, sealed."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import saccade
from saccade import tasks
from saccade.data import lock
from saccade.data.dataset import Dataset
from saccade.errors import PackageError, TrainingError
from saccade.evaluation import gallery, slices
from saccade.evaluation.evaluate import evaluate_model, pick
from saccade.images import preprocess
from saccade.inference.model import Model
from saccade.inference.options import Options
from saccade.package.manifest import PATH, GraphEntry, Manifest
from saccade.package.writer import PackageWriter, reseal
from saccade.tasks.statistics import spread
from saccade.training.run import Run
from saccade.training.trainer import Graph, Trainer
from saccade.types import Array, Number, Scorecard
from saccade.verbs.golden import GOLDENS, golden_image
from saccade.verbs.hear import Hear
from saccade.verbs.judge import report_page

PARITY = 1e-3
"""How far sealed scores may lie from the trainer's, for the certificate to hold."""


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the sealed package, the report and the test scores."""

    folder: Path
    package: Path
    report: Path
    card: Scorecard


def seal(run: Run, dataset: Dataset, trainer: Trainer, name: str, listen: Hear) -> Trained:
    """Export, prove parity, add golden pictures, seal, measure, and seal again with the numbers."""
    graph = trainer.export(run, dataset, run.folder / "export")
    with PackageWriter(run.folder / "package") as writer:
        writer.add("model.onnx", graph.file.read_bytes())
        graphs = {"default": GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)}
        for runtime, file in graph.forms.items():
            graphs[runtime] = _add_form(writer, runtime, file, graph)
        goldens = _goldens(run, dataset, trainer)
        for i, (image, expected) in enumerate(goldens):
            writer.add_golden(f"{i:02d}", image, expected)
        task = run.recipe.task
        manifest = Manifest(
            name=name,
            task=task,
            labels=dataset.labels,
            preprocess=run.preprocess,
            graphs=graphs,
            golden=tuple(f"{i:02d}" for i in range(len(goldens))),
            calibration=graph.info["calibration"],
            thresholds=tasks.find(task).thresholds(graph.info["calibration"], dataset.labels),
            provenance=_provenance(run, graph),
        )
        sealed = writer.seal(manifest)
    extra: dict[str, bytes] = {}
    for runtime in graph.forms:
        with Model.open(sealed.path, options=Options(variant=runtime)) as model:
            found = _certificate(run, dataset, trainer, model, evaluate_model(model, dataset, "test").headline)
        extra[f"variants/{runtime}/certificate.json"] = _json(found)
    with Model.open(sealed.path) as model:
        card = evaluate_model(model, dataset, "test")
        certificate = _certificate(run, dataset, trainer, model, card.headline)
        listen(
            f"sealed   {sealed.path}; on {certificate['n']} test pictures the sealed graph differs from the trainer by "
            f"{certificate['largest_difference']:.1e} at most"
        )
        for runtime in graph.forms:
            listen(f"         and holds the same for {runtime}: serve --variant {runtime}")
        _gradients(run, dataset, trainer, card, listen)
        page = report_page(model, card, dataset, slices.slices(card, dataset.splits["test"]), run.folder)
    numbers = tuple(asdict(n) for n in card.numbers)
    extra |= {"certificate.json": _json(certificate), "report.html": page}
    sealed = reseal(sealed, metrics=numbers, extra=extra)
    report = run.folder / "report.html"
    report.write_bytes(page)
    return Trained(run.folder, sealed.path, report, card)


def _goldens(run: Run, dataset: Dataset, trainer: Trainer) -> list[tuple[bytes, dict[str, Array]]]:
    """Validation pictures spread over the split, with the trainer's own answers."""
    samples = dataset.splits["val"]
    encoded = [golden_image(samples[i]) for i in spread(len(samples), GOLDENS)]
    pixels = np.stack([preprocess.load(e, run.preprocess)[0] for e in encoded])
    outputs = trainer.outputs(run, pixels)
    return [(e, {k: v[i] for k, v in outputs.items()}) for i, e in enumerate(encoded)]


def _add_form(writer: PackageWriter, runtime: str, file: Path, graph: Graph) -> GraphEntry:
    """The network as another runtime opens it, with every file beside it that the format knows."""
    folder, place = file.parent.parent, f"variants/{runtime}"
    for part in sorted(p for p in file.parent.rglob("*") if p.is_file()):
        name = f"{place}/{part.relative_to(folder).as_posix()}"
        if PATH.fullmatch(name):  # TensorFlow adds a fingerprint, which digests make idle
            writer.add(name, part.read_bytes())
    return GraphEntry(f"{place}/{file.relative_to(folder).as_posix()}", runtime, graph.inputs, graph.outputs)


def _certificate(run: Run, dataset: Dataset, trainer: Trainer, model: Model, sealed: Number) -> dict[str, Any]:
    """Trainer against sealed graph over the whole test split: largest difference, and the headline on both sides.

    Raises PackageError(golden_mismatch) when they differ by more than PARITY.
    """
    samples = dataset.splits["test"]
    scorer = model.task.scorer(dataset.labels)
    scorer.thresholds = model.manifest.thresholds
    worst = 0.0
    for start in range(0, len(samples), 128):
        part = samples[start : start + 128]
        loaded = [preprocess.load(s.image, run.preprocess) for s in part]
        theirs = trainer.outputs(run, np.stack([pixels for pixels, _ in loaded]))
        ours = model.outputs([s.image for s in part])
        worst = max(worst, model.task.difference(theirs, ours))
        for answer, sample in zip(model.task.decode(theirs, [p for _, p in loaded], model.labels), part, strict=True):
            scorer.add(answer, sample)
    before = scorer.card("test").headline
    if worst > PARITY:
        raise PackageError(
            f"the sealed graph differs from the trainer by {worst:.2g}, allowed {PARITY:g}",
            hint="this network does not export faithfully; choose another",
            code="golden_mismatch",
        )
    return {
        "graph": model.manifest.graphs[model.choice.variant].file,
        "runtime": model.manifest.graphs[model.choice.variant].runtime,
        "trainer": trainer.name,
        "split": "test",
        "n": len(samples),
        "largest_difference": worst,
        "allowed_difference": PARITY,
        "metric": sealed.name,
        "metric_trainer": before.value,
        "metric_sealed": sealed.value,
        "host": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
    }


def _provenance(run: Run, graph: Graph) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "saccade": saccade.__version__,
        "dataset": lock.read(run.folder / "dataset.lock.json")["digest"],
        "seed": run.recipe.seed,
        "engine": run.recipe.engine,
        **{k: v for k, v in graph.info.items() if k != "calibration"},
    }


def _gradients(run: Run, dataset: Dataset, trainer: Trainer, card: Scorecard, listen: Hear) -> None:
    """Gradient maps of the worst mistakes into the run's samples, for the report; one line when there are none."""
    cases = [c for c in gallery.shown(card) if c.class_id is not None]
    if not cases:
        return
    samples = pick(dataset.splits[card.split], [c.key for c in cases])
    pixels = np.stack([preprocess.load(s.image, run.preprocess)[0] for s in samples])
    ids = np.array([c.class_id for c in cases], np.int64)
    try:
        heats = trainer.explain(run, pixels, ids)
    except TrainingError as error:
        listen(f"note     {error}")
        return
    run.write(run.samples / gallery.MAPS, gallery.maps_to_bytes([c.key for c in cases], ids, heats))


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode()
