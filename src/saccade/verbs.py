"""Each verb of the house as a short story told in rooms: check, convert, train, import, evaluate, predict, push, pull."""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import saccade
from saccade import process, tasks
from saccade.bench.figures import Figures, cpu_s, figures, peak_mib
from saccade.bench.load import Load, Target, closed, kind_of, poisson, read_image
from saccade.bench.served import served
from saccade.bench.tune import tune as measure_settings
from saccade.data import annotation, formats, lock
from saccade.data import check as doctor
from saccade.data import convert as conversion
from saccade.data.check import Finding
from saccade.data.convert import Conversion
from saccade.data.dataset import Dataset
from saccade.data.format import Evidence
from saccade.data.splits import split as make_splits
from saccade.errors import DataError, PackageError, SaccadeError, StorageError, TrainingError, UsageError
from saccade.evaluation import gallery, history, slices
from saccade.evaluation.compare import Comparison, compare_packages
from saccade.evaluation.evaluate import aligned, evaluate_model, pick
from saccade.evaluation.heldout import Heldout
from saccade.evaluation.report import Report
from saccade.evaluation.slices import Slice
from saccade.images import decode, encode, preprocess
from saccade.inference import guest, record, runtimes, tuning
from saccade.inference.model import Model, adapted
from saccade.inference.runtime import OpenGraph
from saccade.inference.tuning import Tuned
from saccade.optimization import optimizers
from saccade.optimization.judge import Budget
from saccade.optimization.race import SECONDS
from saccade.optimization.search import Found, Tried, search
from saccade.package import reader
from saccade.package.manifest import NAME, GraphEntry, Manifest
from saccade.package.writer import PackageWriter, reseal
from saccade.registry.registry import Registry, home_folder
from saccade.training import listeners, trainers
from saccade.training.listener import Listener
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Graph, Trainer
from saccade.types import Array, Image, Labels, Sample, Scorecard, TensorSpec

CALIBRATED = 128
"""Training pictures that a graph is quantised on."""
GOLDENS = 8
GOLDEN_BYTES = 512 * 1024
PARITY = 1e-3
"""How far sealed scores may lie from the trainer's, for the certificate to hold."""

Hear = Callable[[Any], None]


def _silent(event: Any) -> None:
    """The listener of a caller who did not ask to hear."""


@dataclass(frozen=True)
class Health:
    """What `check` saw: the dataset, why it was read this way, and what is wrong with it."""

    dataset: Dataset
    evidence: Evidence
    findings: tuple[Finding, ...]

    def summary(self) -> str:
        """Format, classes, splits and what was left out, as printed before every training."""
        labels, splits = self.dataset.labels, self.dataset.splits
        lines = [
            f"format   {self.evidence.format:<16} {', '.join(self.evidence.facts)}",
            f"task     {' or '.join(tasks.fitting(self.dataset.fields)) or 'none fits'}",
            f"images   {len(self.dataset):<16,} {len(self.dataset.ignored)} ignored",
            f"classes  {len(labels):<16} {', '.join(labels.names[:12])}{' ...' if len(labels) > 12 else ''}",
            "splits   " + ", ".join(f"{name} {len(samples):,}" for name, samples in splits.items()),
        ]
        if counted := self.amounts():
            total = sum(counted.values())
            most = sorted(counted, key=lambda n: -counted[n])[:12]
            if "mask" in self.dataset.fields:
                shown = ", ".join(f"{n} {100 * counted[n] / max(1, total):.1f} %" for n in most)
                lines.insert(4, f"pixels   {total:<16,} {shown}")
            else:
                lines.insert(4, f"boxes    {total:<16,} {', '.join(f'{n} {counted[n]:,}' for n in most)}")
        return "\n".join([*lines, *(f"note     {note}" for note in self.dataset.notes)])

    def amounts(self) -> dict[str, int]:
        """Boxes or pixels of each class; empty for labels of whole images. Masks that cannot be read count nothing."""
        if not self.dataset.fields & {"boxes", "mask"}:
            return {}
        total = np.zeros(len(self.dataset.labels), np.int64)
        for sample in self.dataset:
            with contextlib.suppress(DataError, OSError):
                total += annotation.amounts(sample.annotation, len(total))
        return dict(zip(self.dataset.labels.names, total.tolist(), strict=True))

    def draw(self, file: Path) -> None:
        """Writes a contact sheet of nine annotated pictures as PNG. Raises StorageError when the file is there."""
        if file.exists():
            raise StorageError(
                f"{file} is already there, and nothing is overwritten", hint="name a new file", code="already_exists"
            )
        file.write_bytes(encode.to_png(doctor.sheet(self.dataset)))

    def fix(self, out: Path | None) -> None:
        """Writes a corrected copy into the new folder `out`. Raises UsageError without one."""
        if out is None:
            raise UsageError("--fix needs --out NEW_FOLDER", hint="the data itself is never changed")
        doctor.fix(self.dataset, self.findings, out)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.evidence.format,
            "evidence": list(self.evidence.facts),
            "images": len(self.dataset),
            "classes": list(self.dataset.labels.names),
            "amounts": self.amounts(),
            "splits": {name: len(samples) for name, samples in self.dataset.splits.items()},
            "ignored": [{"path": i.path, "reason": i.reason} for i in self.dataset.ignored],
            "findings": [f.to_json() for f in self.findings],
        }


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the sealed package, the report and the test scores."""

    folder: Path
    package: Path
    report: Path
    card: Scorecard


@dataclass(frozen=True)
class Evaluation:
    """How good a package is on a split, and on which thirds of it; report: the page, when one was asked for."""

    card: Scorecard
    slices: tuple[Slice, ...] = ()
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.card.to_json(), "slices": [asdict(s) for s in self.slices]}


def check(data: Path | str, *, format: str | None = None, images: Path | None = None, full: bool = False) -> Health:
    """Reads a dataset and says what is wrong with it; never changes it. Raises DataError when it cannot be read."""
    dataset, evidence = formats.read(Path(data), format=format, images=images)
    return Health(dataset, evidence, tuple(doctor.check(dataset, full=full)))


def convert(
    data: Path | str, out: Path | str, *, to: str, format: str | None = None, images: Path | None = None
) -> Conversion:
    """Writes a dataset in another format into the new folder `out`, and says what that format cannot hold."""
    dataset, _ = formats.read(Path(data), format=format, images=images)
    return conversion.convert(dataset, to, Path(out))


def train(
    data: Path | str,
    *,
    task: str = "auto",
    out: Path | str | None = None,
    model: str | None = None,
    engine: str | None = None,
    recipe: Path | None = None,
    resume: Path | str | None = None,
    format: str | None = None,
    images: Path | None = None,
    log: Sequence[str] = (),
    listen: Hear = _silent,
    **knobs: Any,
) -> Trained:
    """From labelled images to a sealed, evaluated package.

    knobs: any field of the recipe (budget="10m", epochs=30, size=160, ...). listen hears every event of the run; log
    names libraries that hear them too ("tensorboard", "mlflow"). resume continues the run folder it names with that
    folder's recipe. Raises DataError when the doctor finds an ERROR or the data are not those the run began with,
    UsageError when more than one task fits or a resumed run is asked to change, TrainingError when the loss is lost.
    """
    kinds = [listeners.find(name) for name in log]
    wishes = {k: v for k, v in (("task", task), ("engine", engine)) if v not in (None, "auto")} | knobs
    plan = Recipe.load(recipe, wishes)
    folder = Path(out) if out else _free_run(model or Path(data).stem)
    if resume is None and folder.resolve().is_relative_to(Path(data).resolve()):
        raise UsageError(
            f"the run folder {folder} would lie inside the data, which are never written to",
            hint="name a folder elsewhere with --out",
        )
    health = check(data, format=format, images=images)
    listen(health.summary())
    errors = [f for f in health.findings if f.severity == "ERROR"]
    if errors:
        raise DataError(
            "the data cannot be learnt from: " + "; ".join(f.told() for f in errors[:3]),
            hint=f"saccade check {data} shows all",
        )
    for finding in health.findings:
        if finding.severity == "WARN":
            listen(f"warning  {finding.sentence}")
    if resume is not None:
        if out is not None or recipe is not None:
            raise UsageError("a resumed run keeps its own folder and recipe", hint="leave out and recipe away")
        run = _continued(Path(resume), wishes)
        trainer = trainers.find(run.recipe.engine)
        dataset = make_splits(health.dataset, seed=run.recipe.seed)
        lock.verify(dataset, run.folder / "dataset.lock.json")
    else:
        plan = plan.replace_from({"task": _task(plan.task, health.dataset)})
        trainer = trainers.find(plan.engine)
        dataset = make_splits(health.dataset, seed=plan.seed)
        run = Run.create(folder, plan, dataset)
        run.write(run.samples / "annotations.png", encode.to_png(doctor.sheet(dataset)))
    _fit(run, dataset, trainer, kinds, listen)
    return _seal(run, dataset, trainer, model or _name(data), listen)


@dataclass(frozen=True)
class Imported:
    """A package made of somebody else's graph. notes: what was found out about it, in sentences."""

    package: Path
    digest: str
    task: str
    labels: Labels
    golden: int
    notes: tuple[str, ...]


def import_model(
    model: Path | str,
    out: Path | str,
    *,
    task: str | None = None,
    labels: Path | None = None,
    preprocess: Path | str | None = None,
    tail: str | None = None,
    images: Path | None = None,
    name: str | None = None,
) -> Imported:
    """Seals an ONNX file as a package: the graph as it is, and an adapter that says how to speak to it.

    preprocess: imagenet, unit, symmetric, or a TOML or JSON file (inference/guest.py, KEYS). tail: softmax, sigmoid or
    none. images: a folder whose pictures become golden samples, else a pattern does. Without task and labels the package
    answers tensors only. What the file does not say is asked for by name, never guessed.
    Raises UsageError for what is lacking, PackageError for a graph that cannot be taken.
    """
    from saccade.inference import onnx  # a library of its own extra, which every other verb does without

    file, chosen = Path(model), task or tasks.TENSORS
    asked = tasks.find(chosen)
    if (task is None) != (labels is None):
        lacking = "--task, what is asked of a picture," if task is None else "--labels, the names of the classes,"
        raise UsageError(f"{lacking} is written nowhere in the graph", hint="say it, or leave both for tensors only")
    if name is not None and not NAME.fullmatch(name):
        raise UsageError(f"a model name is {NAME.pattern}, got {name!r}")
    if Path(out).exists() and not (Path(out) / "manifest.json").is_file():
        raise UsageError(f"{out} is in the way and is no package", hint="name a new folder with --out")
    facts = onnx.read(file)
    with tempfile.TemporaryDirectory(prefix="saccade-import-") as space:
        graph_file = Path(space) / "model.onnx"
        graph_file.write_bytes(facts.data)
        try:
            graph = runtimes.find("onnxruntime").open(graph_file)
        except PackageError as error:
            if not facts.strange:
                raise
            raise PackageError(
                f"{file} needs operators that are not here: {', '.join(facts.strange[:5])}",
                hint="export it with the standard operators",
                code="onnx_invalid",
            ) from error
        try:
            found = _guest(graph, facts.last, asked.outputs, labels, guest.description(preprocess), tail)
            manifest = Manifest(
                name=name or _name(file),
                task=asked.name,
                labels=found.labels,
                preprocess=found.preprocess,
                graphs={"default": GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)},
                provenance={
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "saccade": saccade.__version__,
                    "imported": file.name,
                    "imported_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                    "notes": [*facts.notes, *found.notes],
                },
                adapter=found.adapter,
            )
            writer = PackageWriter(Path(out))
            try:
                writer.add("model.onnx", facts.data)
                golden = _guest_goldens(writer, adapted(graph, manifest), manifest, images)
                writer.add_json("certificate.json", _imported(manifest, len(golden)))
                sealed = writer.seal(replace(manifest, golden=golden))
            except SaccadeError:
                writer.drop()
                raise
        finally:
            graph.close()
    with Model.open(sealed.path) as opened:
        return Imported(
            sealed.path, sealed.digest, opened.task.name, opened.labels, len(golden), (*facts.notes, *found.notes)
        )


def load(package: Path | str, *, home: Path | None = None) -> Model:
    """Opens a package, or name[@alias] of the home, in this process: digests and golden outputs are checked first.

    The model is a context manager; model.predict takes a path, bytes, or uint8 pixels [H, W, 3], or a list of them.
    """
    return Model.open(_package(package, home))


def predict(
    package: Path | str,
    images: Sequence[Path],
    *,
    top_k: int = 5,
    threshold: float | None = None,
    mask: str = "png",
    tile: bool = False,
    draw: Path | None = None,
    home: Path | None = None,
) -> list[dict[str, Any]]:
    """Asks a package about pictures; one record each, an unusable picture gets {"error": ...}.

    threshold: instead of the package's own, by class. mask: "png", "rle", "polygons" or "none". tile: pictures
    larger than the network are asked in overlapping tiles. draw: a folder that receives every picture with its answer. Raises UsageError for a top_k below 1 or a threshold beyond 0..1.
    """
    if top_k < 1:
        raise UsageError(f"top_k is at least 1, got {top_k}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold is 0 to 1, got {threshold:g}")
    records: list[dict[str, Any]] = []
    with load(package, home=home) as model:
        for path, found in zip(images, model.results(list(images), tile=tile), strict=True):
            try:
                if isinstance(found, SaccadeError):
                    raise found
                seen = model.shown(found, top_k=top_k, threshold=threshold)
                told = record.record(seen, model.labels, mask)
            except SaccadeError as error:
                records.append({"error": {"code": error.code, "detail": str(error)}})
                continue
            records.append({"model": model.manifest.name, "task": model.task.name, **told})
            if draw is not None:
                _write_picture(model.task.draw(decode.decode(path), seen, model.labels), path, draw)
    return records


def draw_answer(answer: Mapping[str, Any], labels: Mapping[str, Any], image: Path, folder: Path) -> Path:
    """Writes a picture with what a server answered about it; returns the file.

    answer, labels: as the server gives them; a mask as PNG. Raises UsageError when the task is not known here,
    InferenceError(unexpected_answer), ImageError.
    """
    picture = tasks.find(str(answer.get("task"))).draw(
        decode.decode(image), record.read(answer), Labels.from_json(labels)
    )
    return _write_picture(picture, image, folder)


def _write_picture(picture: Image, source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{source.stem}.png"
    # Pictures of the same name from different folders stand side by side; nothing that was there is overwritten.
    number = 2
    while file.exists():
        file, number = folder / f"{source.stem}-{number}.png", number + 1
    file.write_bytes(encode.to_png(picture))
    return file


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
    """Measures a package on a split, and writes the report page when a file is named."""
    folder = _package(package, home)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    with Model.open(folder) as model:
        if split not in dataset.splits:
            dataset = make_splits(dataset, seed=int(model.manifest.provenance.get("seed", 0)))
        card = evaluate_model(model, dataset, split)
        found = slices.slices(card, dataset.splits[split])
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_bytes(_page(model, card, dataset, found, folder.parent))
    return Evaluation(card, found, report)


@dataclass(frozen=True)
class Optimized:
    """The package as it is now: its digest, what was tried, and the variant that a server here would take."""

    package: Path
    digest: str
    tried: tuple[Tried, ...]
    serves: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        tried = [{**asdict(t), "kept": t.kept} for t in self.tried]
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
    only: Sequence[str] = (),
    format: str | None = None,
    images: Path | None = None,
    seconds: float = SECONDS,
    listen: Hear = _silent,
) -> Optimized:
    """Adds to a package folder every faster graph whose answers are as good on this host; seals it again in one step.

    Quantised on pictures of the train split, judged on the val split; the test split is never looked at. max_drop,
    max_class_drop: points. min_gain: how many times as fast a variant must be. only: optimizers by name, none means all.
    seconds: of each race. Variants of an earlier run are made anew or go.
    Raises UsageError, DataError when data and package do not fit, PackageError.
    """
    folder = Path(package)
    if not folder.is_dir():
        raise UsageError(
            f"no package folder at {folder}", hint="versions in a home never change: pull one, optimise it, push it"
        )
    found_optimizers, unfit = optimizers.find(only)
    sealed = reader.open_package(folder)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    if {"train", "val"} - set(dataset.splits):
        dataset = make_splits(dataset, seed=int(sealed.manifest.provenance.get("seed", 0)))
    manifest = sealed.manifest
    if manifest.adapter is not None:
        raise UsageError(
            f"{folder} was imported: only graphs of our own are optimised", hint="optimise it before the import"
        )
    task = tasks.find(manifest.task)
    teaching, held_back = aligned(dataset, "train", manifest.labels), aligned(dataset, "val", manifest.labels)
    chosen = teaching[:: max(1, len(teaching) // CALIBRATED)][:CALIBRATED]
    pixels = np.stack([preprocess.load(s.image, manifest.preprocess)[0] for s in chosen])
    listen(f"pictures {len(chosen)} of the train split to calibrate on, {len(held_back)} of the val split to judge by")
    with tempfile.TemporaryDirectory(prefix="saccade-heldout-") as space:
        heldout = Heldout(held_back, manifest.preprocess, task, manifest.labels, "val", Path(space))
        budget = Budget(max_drop, max_class_drop, min_gain)
        found = search(
            sealed, task, pixels, heldout.score, found_optimizers, budget, unfit=unfit, seconds=seconds, listen=listen
        )
    return _resealed(sealed, found)


def _resealed(sealed: reader.Package, found: Found) -> Optimized:
    """Seals the package with its variants; what a server here takes is asked of the very code that will choose."""
    default = {"default": sealed.manifest.graphs["default"]}
    before = sealed.manifest.graphs
    if found.graphs or len(before) > 1:
        sealed = reseal(sealed, graphs={**default, **found.graphs}, extra=found.files)
    with Model.open(sealed.path) as model:
        choice = model.choice
    return Optimized(sealed.path, sealed.digest, found.tried, choice.variant, choice.reason)


@dataclass(frozen=True)
class Benched:
    """what: which graph answered which picture. figures: of one caller, of many, then of random arrivals.

    capacity_per_s: the highest random load tried whose p99 stayed below what was asked, None when not asked or none did.
    """

    host: str
    what: str
    figures: tuple[Figures, ...]
    peak_mib: float | None = None
    capacity_per_s: float | None = None
    sentence: str = ""


def bench(
    target: Path | str,
    *,
    image: Path | None = None,
    model: str | None = None,
    key: str | None = None,
    variant: str | None = None,
    concurrency: int = 16,
    seconds: float = 5.0,
    p99_s: float | None = None,
    home: Path | None = None,
    listen: Hear = _silent,
) -> Benched:
    """Loads a package behind our own server, or an http address. Raises UsageError, ServerError(unreachable)."""
    if concurrency < 1 or seconds <= 0:
        raise UsageError(f"concurrency is from 1 and seconds above 0, got {concurrency} and {seconds:g}")
    if str(target).startswith(("http://", "https://")):
        if image is None:
            raise UsageError("an address needs --image FILE, the picture that is sent")
        url = f"{str(target).rstrip('/')}/api/v1/models/{model}/predict" if model else str(target)
        picture = read_image(image)
        aim = Target.at(url, picture, kind_of(picture), key)
        return _loaded(aim, None, f"{url} with {image}", concurrency, seconds, p99_s, listen)
    folder = _package(target, home)
    picture = read_image(image) if image else _golden(folder)
    with served(folder, home_folder(home), variant) as server:
        name = reader.open_package(folder).manifest.name
        listen(f"serving  {folder}, graph {server.variant(name)}")
        aim = Target.at(f"{server.url}/api/v1/models/{name}/predict", picture, kind_of(picture))
        what = f"{name}, graph {server.variant(name)}, a picture of {len(picture):,} bytes"
        return _loaded(aim, server.pid, what, concurrency, seconds, p99_s, listen)


def _loaded(
    aim: Target, pid: int | None, what: str, concurrency: int, seconds: float, p99_s: float | None, listen: Hear
) -> Benched:
    def measured(run: Callable[[], Load]) -> Figures:
        before = cpu_s(pid) if pid else None
        done = run()
        after = cpu_s(pid) if pid else None
        found = figures(done, after - before if after is not None and before is not None else None)
        listen(f"load     {found.load}: {found.per_s:.1f} images/s, {found.errors} errors")
        return found

    closed(aim, concurrency, min(1.0, seconds))
    found = [measured(partial(closed, aim, n, seconds)) for n in (1, concurrency)]
    peak = max(f.per_s for f in found)
    best, shares = None, (0.7,) if p99_s is None else (0.95, 0.85, 0.75, 0.6, 0.45, 0.3)
    for share in shares if peak else ():
        found.append(measured(partial(poisson, aim, share * peak, seconds)))
        p99 = found[-1].p99_ms
        if p99_s is not None and p99 is not None and p99 <= 1e3 * p99_s and not found[-1].errors:
            best = found[-1].per_s
            break
    sentence = ""
    if p99_s is not None:
        limit = f"{1e3 * p99_s:g} ms"
        sentence = f"this machine: {best:.0f} images/s at p99 <= {limit}" if best else f"no load kept p99 below {limit}"
    return Benched(process.host(), what, tuple(found), peak_mib(pid) if pid else None, best, sentence)


def tune(
    package: Path | str,
    *,
    image: Path | None = None,
    variant: str | None = None,
    home: Path | None = None,
    listen: Hear = _silent,
) -> tuple[Tuned, Path]:
    """Measures how to run a package here, and keeps it in the home for its servers: what was found, and the file."""
    if str(package).startswith(("http://", "https://")):
        raise UsageError("only a package can be tuned", hint="run it on the host that serves")
    folder = _package(package, home)
    found = measure_settings(folder, read_image(image) if image else _golden(folder), variant, listen=listen)
    return found, tuning.write(home_folder(home) / "tuning", found)


def _golden(folder: Path) -> bytes:
    golden = reader.open_package(folder).golden()
    if not golden:
        raise UsageError("the package has no golden picture to send", hint="give --image FILE")
    return golden[0].image_bytes


def compare(
    first: Path | str,
    second: Path | str,
    data: Path | str,
    *,
    split: str = "test",
    format: str | None = None,
    images: Path | None = None,
    home: Path | None = None,
) -> Comparison:
    """Two packages on the same images, with a statement whether the difference could be luck.

    Raises UsageError when the data brings no such split and the two were trained on different ones, as the images that
    test one would have taught the other.
    """
    folders = _package(first, home), _package(second, home)
    dataset, _ = formats.read(Path(data), format=format, images=images)
    if split not in dataset.splits:
        seeds = {int(reader.open_package(f).manifest.provenance.get("seed", 0)) for f in folders}
        if len(seeds) > 1:
            raise UsageError(
                f"the data has no split {split!r}, and the packages were trained on splits of different seeds",
                hint="compare on data with its own test folder, which neither has seen",
            )
        dataset = make_splits(dataset, seed=seeds.pop())
    return compare_packages(*folders, dataset, split)


def verify(package: Path | str) -> dict[str, str]:
    """Checks every digest and the golden outputs of a package. Raises PackageError on the first that does not hold."""
    with load(package) as model:
        return {
            "package": str(package),
            "task": model.task.name,
            "classes": str(len(model.labels)),
            "digest": model.digest,
            "files": f"{len(model.manifest.files)} digests hold",
            "golden": f"{len(model.manifest.golden)} outputs hold",
        }


def push(
    package: Path | str, *, name: str | None = None, alias: str | None = None, home: Path | None = None
) -> tuple[str, int]:
    """Puts a package into the home as the next version of `name`; the same package again keeps its version."""
    chosen = name or reader.open_package(package).manifest.name
    return chosen, Registry(home_folder(home)).push(Path(package), chosen, alias)


def pull(model: str, out: Path | str, *, home: Path | None = None) -> Path:
    """Copies a version, name or name@alias, into the new folder `out`."""
    return Registry(home_folder(home)).pull(model, Path(out))


def models(name: str | None = None, *, home: Path | None = None) -> list[dict[str, Any]]:
    """Name, task, versions and aliases of every model in the home, or of one."""
    return [entry.to_json() for entry in Registry(home_folder(home)).models(name)]


def alias(name: str, alias: str, version: int, *, home: Path | None = None) -> None:
    """Points a movable name at a version. Raises RegistryError when there is no such version."""
    Registry(home_folder(home)).set_alias(name, alias, version)


def fsck(*, home: Path | None = None) -> list[str]:
    """What does not hold in the home, in sentences; empty when all does."""
    return Registry(home_folder(home)).fsck()


def _guest(
    graph: OpenGraph,
    last: Mapping[str, str],
    outputs: Callable[[Labels], tuple[TensorSpec, ...]],
    labels: Path | None,
    wish: dict[str, Any],
    tail: str | None,
) -> guest.Guest:
    if labels is not None:
        ledger = guest.labels(labels)
        wanted = tuple(spec.name for spec in outputs(ledger))
        return guest.understand(graph, last, wanted, ledger, wish if tail is None else {**wish, "tail": tail})
    if wish or tail:
        raise UsageError("a model without a task answers tensors: nothing is done to pictures", hint="say --task")
    return guest.tensors_only(graph)


def _guest_goldens(writer: PackageWriter, graph: OpenGraph, manifest: Manifest, images: Path | None) -> tuple[str, ...]:
    """Golden samples with what this machine answers now: pictures of a folder, a pattern, or numbers for tensors."""
    asked, answered = manifest.golden_files
    if manifest.adapter is None or not manifest.adapter.outputs:
        numbers = guest.numbers(graph)
        if numbers is None:
            return ()
        answers = graph.run({name: value[None] for name, value in numbers.items()})
        for end, value in zip((*asked, *answered), [*numbers.values(), *(v[0] for v in answers.values())], strict=True):
            writer.add_array(f"golden/00.{end}", value)
        return ("00",)
    if images is None:
        encoded = [encode.to_png(p) for p in guest.patterns(manifest.preprocess.width, manifest.preprocess.height)]
    else:
        files = sorted(p for p in images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        if not files:
            raise UsageError(f"{images} holds no pictures", hint="a folder of JPEG, PNG or WebP files")
        encoded = [_encoded(Sample(p.name, p)) for p in files[:: max(1, len(files) // GOLDENS)][:GOLDENS]]
    names = tuple(f"{i:02d}" for i in range(len(encoded)))
    for one, picture in zip(names, encoded, strict=True):
        pixels = preprocess.load(picture, manifest.preprocess)[0]
        answers = graph.run({"image": pixels[None]})
        writer.add_golden(one, picture, {output: value[0] for output, value in answers.items()})
    return names


def _imported(manifest: Manifest, golden: int) -> dict[str, Any]:
    """The certificate of a graph without a trainer: it states that nothing was compared."""
    return {
        "origin": "imported",
        "graph": "model.onnx",
        "runtime": "onnxruntime",
        "file": manifest.provenance["imported"],
        "file_sha256": manifest.provenance["imported_sha256"],
        "statement": "No trainer was here to compare with. The golden samples hold what this host answered at import.",
        "golden": golden,
        "host": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
    }


def _package(given: Path | str, home: Path | None) -> Path:
    """A package folder, or what name[@alias] means in the home."""
    if Path(given).is_dir():
        return Path(given)
    if isinstance(given, Path) or os.sep in given:
        raise UsageError(f"no package at {given}", hint="give the folder that holds manifest.json")
    return Registry(home_folder(home)).resolve(given)[2]


def _task(wish: str, dataset: Dataset) -> str:
    fits = tasks.fitting(dataset.fields)
    if wish != "auto":
        if wish not in fits:
            tasks.find(wish)
            raise DataError(f"the data lacks {', '.join(tasks.find(wish).needs)}, which {wish} learns from")
        return wish
    if len(fits) != 1:
        raise UsageError(f"{len(fits)} tasks fit this data: {', '.join(fits) or 'none'}", hint="choose with --task")
    return fits[0]


def _continued(folder: Path, wishes: Mapping[str, Any]) -> Run:
    """The run to continue. Raises UsageError when a wish is not what its recipe says."""
    run = Run.open(folder)
    wished = run.recipe.replace_from({k: v for k, v in wishes.items() if v != "auto"})
    for key in run.recipe.different(wished):
        raise UsageError(
            f"this run began with {key} = {getattr(run.recipe, key)}, and {getattr(wished, key)} was asked for",
            hint=f"leave {key} away to continue it, or start a new run",
        )
    return run


def _fit(run: Run, dataset: Dataset, trainer: Trainer, kinds: Sequence[type[Listener]], listen: Hear) -> None:
    """Learns while everybody listens; whoever stops it is told how to go on."""
    audience = listeners.Audience(run, kinds, listen)
    finished = False
    try:
        for event in trainer.fit(run, dataset):
            listen(event)
            audience.hear(event)
        finished = True
    except KeyboardInterrupt:
        listen(f"stopped  continue with --resume {run.folder}")
        raise
    finally:
        audience.close(finished)


def _free_run(name: str) -> Path:
    n = 1
    while (folder := Path("runs") / f"{name}-{n}").exists():
        n += 1
    return folder


def _name(data: Path | str) -> str:
    """A model name from the data's name."""
    text = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(data).resolve().stem).strip("._-")
    return text if NAME.fullmatch(text) else "model"


def _seal(run: Run, dataset: Dataset, trainer: Trainer, name: str, listen: Hear) -> Trained:
    """Export, prove parity, add golden pictures, seal, measure, and seal again with the numbers."""
    graph = trainer.export(run, dataset, run.folder / "export")
    writer = PackageWriter(run.folder / "package")
    writer.add("model.onnx", graph.file.read_bytes())
    goldens = _goldens(run, dataset, trainer)
    for i, (image, expected) in enumerate(goldens):
        writer.add_golden(f"{i:02d}", image, expected)
    task = run.recipe.task
    manifest = Manifest(
        name=name,
        task=task,
        labels=dataset.labels,
        preprocess=run.preprocess,
        graphs={"default": GraphEntry("model.onnx", "onnxruntime", graph.inputs, graph.outputs)},
        golden=tuple(f"{i:02d}" for i in range(len(goldens))),
        calibration=graph.info["calibration"],
        thresholds=tasks.find(task).thresholds(graph.info["calibration"], dataset.labels),
        provenance=_provenance(run, graph),
    )
    sealed = writer.seal(manifest)
    with Model.open(sealed.path) as model:
        card = evaluate_model(model, dataset, "test")
        certificate = _certificate(run, dataset, trainer, model, card)
        listen(
            f"sealed   {sealed.path}; on {certificate['n']} test pictures the sealed graph differs from the trainer by "
            f"{certificate['largest_difference']:.1e} at most"
        )
        _gradients(run, dataset, trainer, card, listen)
        page = _page(model, card, dataset, slices.slices(card, dataset.splits["test"]), run.folder)
    numbers = tuple(asdict(n) for n in card.numbers)
    extra = {"certificate.json": _json(certificate), "report.html": page}
    sealed = reseal(sealed, metrics=numbers, extra=extra)
    report = run.folder / "report.html"
    report.write_bytes(page)
    return Trained(run.folder, sealed.path, report, card)


def _goldens(run: Run, dataset: Dataset, trainer: Trainer) -> list[tuple[bytes, dict[str, Array]]]:
    """Validation pictures spread over the split, with the trainer's own answers."""
    samples = dataset.splits["val"]
    chosen = samples[:: max(1, len(samples) // GOLDENS)][:GOLDENS]
    encoded = [_encoded(s) for s in chosen]
    pixels = np.stack([preprocess.load(e, run.preprocess)[0] for e in encoded])
    outputs = trainer.outputs(run, pixels)
    return [(e, {k: v[i] for k, v in outputs.items()}) for i, e in enumerate(encoded)]


def _encoded(sample: Sample) -> bytes:
    """The file's own bytes when they are few, else its pixels as PNG."""
    if isinstance(sample.image, np.ndarray):
        return encode.to_png(decode.decode(sample.image))
    data = decode.read(sample.image)
    if len(data) <= GOLDEN_BYTES:
        return data
    pixels = decode.decode(data)
    step = int(np.ceil(max(pixels.shape[:2]) / 512))
    return encode.to_png(np.ascontiguousarray(pixels[::step, ::step]))


def _certificate(run: Run, dataset: Dataset, trainer: Trainer, model: Model, card: Scorecard) -> dict[str, Any]:
    """Trainer against sealed graph over the whole test split: largest difference, and the headline on both sides.

    Raises PackageError(golden_mismatch) when they differ by more than PARITY.
    """
    samples = dataset.splits["test"]
    scorer = model.task.scorer(dataset.labels)
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
        "graph": "model.onnx",
        "runtime": "onnxruntime",
        "trainer": trainer.name,
        "split": "test",
        "n": len(samples),
        "largest_difference": worst,
        "allowed_difference": PARITY,
        "metric": card.headline.name,
        "metric_trainer": before.value,
        "metric_sealed": card.headline.value,
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


def _page(model: Model, card: Scorecard, dataset: Dataset, found: Sequence[Slice], folder: Path) -> bytes:
    """The report. folder: the run, if the package still lies in one: its curves and gradient maps are shown too."""
    in_run = (folder / "recipe.toml").is_file()
    maps = gallery.read_maps(folder / "samples" / gallery.MAPS) if in_run else {}
    mistakes = gallery.gallery(model, card, aligned(dataset, card.split, model.labels), maps)
    curves = history.curves(folder / "metrics.csv") if in_run else ()
    facts = {"package": model.manifest.name, **model.manifest.provenance}
    return Report(model.manifest.name, card, tuple(found), curves, mistakes, facts).html().encode()


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode()
