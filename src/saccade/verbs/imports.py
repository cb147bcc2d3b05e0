"""Somebody else's graph becomes a package: import_model."""

import hashlib
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import saccade
from saccade import tasks
from saccade.errors import PackageError, UsageError
from saccade.images import encode, preprocess
from saccade.inference import guest, origins, remote, runtimes, specimens
from saccade.inference.model import Model
from saccade.inference.opening import adapted
from saccade.inference.origin import Ready, Told, spec_of
from saccade.inference.runtime import OpenGraph
from saccade.package import reader
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package
from saccade.package.writer import PackageWriter
from saccade.tasks.statistics import spread
from saccade.types import Labels, Sample, TensorSpec
from saccade.verbs import remotes
from saccade.verbs.golden import GOLDENS, check_name, golden_image, name_of


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
    like: Path | str | None = None,
    signature: str | None = None,
    inputs: Sequence[str] = (),
) -> Imported:
    """Seals a model file as a package: the graph as it is, and an adapter that says how to speak to it.

    A model may also be the address of one that another server runs (inference/remote.py, FORM). like: a package that it
    answers as; task, labels and everything else are then that package's.

    model: of any origin (inference/origins/): ONNX, a SavedModel folder, Keras, torch.export, TorchScript, a model's
    folder of Triton. preprocess: imagenet, unit, symmetric, or a TOML or JSON file (inference/guest.py, KEYS). tail:
    softmax, sigmoid or none. images: a folder whose pictures become golden samples, else a pattern does. signature: of
    a SavedModel with several. inputs: NAME:TYPE:SHAPE of each input, for files that do not say it. Without task and
    labels the package answers tensors only. What the file does not say is asked for by name, never guessed. Raises
    UsageError for what is lacking, PackageError for a graph that cannot be taken, and PackageError(already_exists) when
    `out` is there.
    """
    chosen = task or tasks.TENSORS
    tasks.find(chosen)
    check_name(name)
    if Path(out).exists():
        raise PackageError(f"{out} is already there", hint="name a new folder with --out", code="already_exists")
    told = Told(signature, tuple(spec_of(text) for text in inputs))
    wish = {**guest.description(preprocess), **({} if tail is None else {"tail": tail})}
    if not remote.is_remote(str(model)):
        if like is not None:
            raise UsageError("--like goes with the address of a model server", hint=remote.FORM)
        with _file(Path(model), told) as source:
            return _seal(source, Path(out), chosen, labels, wish, images, name)
    if signature or inputs:
        raise UsageError("a model server says what its models take", hint="leave out --signature and --input")
    if like is not None:
        if task or labels or wish or images:
            raise UsageError("with --like everything else is the package's", hint="say --like, --out and --name alone")
        return _opened(remotes.like(str(model), Path(out), reader.open_package(like), name), ())
    with _remote(str(model)) as source:
        return _seal(source, Path(out), chosen, labels, wish, images, name)


@dataclass(frozen=True)
class _Source:
    """A graph that is to be sealed. name: of the model, unless another is wished. file: what the runtime opens; files:
    all that lies in the package.

    last: by output, the operator that makes it, as far as that is known. certificate: from the number of goldens.
    labels: a file of names that lies with it. most: rows it may be given at once, 0 for any number.
    """

    name: str
    graph: OpenGraph
    runtime: str
    file: str
    files: Mapping[str, bytes]
    last: Mapping[str, str]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]
    certificate: Callable[[int], dict[str, Any]]
    labels: Path | None = None
    most: int = 0


@contextmanager
def _file(file: Path, told: Told) -> Iterator[_Source]:
    origin = origins.find(file, told)
    with tempfile.TemporaryDirectory(prefix="saccade-import-") as space:
        ready = origin.read(file, Path(space), told)
        try:
            graph = runtimes.find(ready.runtime).open(Path(space) / ready.graph)
        except PackageError as error:
            if not ready.strange:
                raise
            raise PackageError(
                f"{file} needs operators that are not here: {', '.join(ready.strange[:5])}",
                hint="export it with the standard operators",
                code="onnx_invalid",
            ) from error
        made = sorted(p for p in Path(space).rglob("*") if p.is_file())
        files = {p.relative_to(space).as_posix(): p.read_bytes() for p in made}
        provenance = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "saccade": saccade.__version__,
            "imported": file.name,
            "imported_sha256": _digest(file),
        }
        with closing(graph):
            yield _Source(
                name_of(ready.name or file), graph, ready.runtime, ready.graph, files, ready.last, ready.notes, provenance,
                lambda goldens: _imported(provenance, ready, goldens), ready.labels, ready.most,
            )  # fmt: skip


def _digest(file: Path) -> str:
    """SHA-256 (hex) of a file; of a folder, that of the lines "digest path" of all its files in order."""
    if file.is_file():
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    parts = sorted(p.relative_to(file).as_posix() for p in file.rglob("*") if p.is_file())
    return hashlib.sha256("".join(f"{_digest(file / p)} {p}\n" for p in parts).encode()).hexdigest()


@contextmanager
def _remote(url: str) -> Iterator[_Source]:
    runtime, where, graph = remotes.reach(url)
    notes = (f"the graph stays at {where.address}: that server must be there whenever the package is opened or asked",)
    with closing(graph):
        yield _Source(
            name_of(where.model), graph, runtime, remotes.FILE, {remotes.FILE: where.to_bytes()}, {}, notes, remotes.facts(url),
            lambda goldens: remotes.certificate(url, runtime, goldens),
        )  # fmt: skip


def _seal(
    source: _Source,
    out: Path,
    task: str,
    labels: Path | None,
    wish: dict[str, Any],
    images: Path | None,
    name: str | None,
) -> Imported:
    graph, asked = source.graph, task != tasks.TENSORS
    labels = labels or (source.labels if asked else None)
    if asked != (labels is not None):
        lacking = "--labels, the names of the classes," if asked else "--task, what is asked of a picture,"
        raise UsageError(f"{lacking} is written nowhere in the graph", hint="say it, or leave both for tensors only")
    found = _guest(graph, source.last, tasks.find(task).outputs, labels, wish)
    if source.most and not found.adapter.batch:
        found = replace(found, adapter=replace(found.adapter, most=source.most))
    notes = (*source.notes, *found.notes)
    manifest = Manifest(
        name=name or source.name,
        task=task,
        labels=found.labels,
        preprocess=found.preprocess,
        graphs={"default": GraphEntry(source.file, source.runtime, graph.inputs, graph.outputs)},
        provenance={**source.provenance, "notes": list(notes)},
        adapter=found.adapter,
    )
    with PackageWriter(out) as writer:
        for path, data in source.files.items():
            writer.add(path, data)
        golden = _guest_goldens(writer, adapted(graph, manifest), manifest, images)
        writer.add_json("certificate.json", source.certificate(len(golden)))
        sealed = writer.seal(replace(manifest, golden=golden))
    return _opened(sealed, notes)


def _opened(sealed: Package, notes: tuple[str, ...]) -> Imported:
    """Opens it as whoever serves it will."""
    with Model.open(sealed.path) as model:
        golden = len(sealed.manifest.golden)
        return Imported(sealed.path, sealed.digest, model.task.name, model.labels, golden, notes)


def _guest(
    graph: OpenGraph,
    last: Mapping[str, str],
    outputs: Callable[[Labels], tuple[TensorSpec, ...]],
    labels: Path | None,
    wish: dict[str, Any],
) -> guest.Guest:
    if labels is not None:
        ledger = guest.labels(labels)
        wanted = tuple(spec.name for spec in outputs(ledger))
        return guest.understand(graph, last, wanted, ledger, wish)
    if wish:
        raise UsageError("a model without a task answers tensors: nothing is done to pictures", hint="say --task")
    return guest.tensors_only(graph)


def _guest_goldens(writer: PackageWriter, graph: OpenGraph, manifest: Manifest, images: Path | None) -> tuple[str, ...]:
    """Golden samples with what this machine answers now: pictures of a folder, a pattern, or numbers for tensors."""
    asked, answered = manifest.golden_files
    if manifest.adapter is None or not manifest.adapter.outputs:
        numbers = specimens.numbers(graph)
        if numbers is None:
            return ()
        answers = graph.run({name: value[None] for name, value in numbers.items()})
        for end, value in zip((*asked, *answered), [*numbers.values(), *(v[0] for v in answers.values())], strict=True):
            writer.add_array(f"golden/00.{end}", value)
        return ("00",)
    if images is None:
        encoded = [encode.to_png(p) for p in specimens.patterns(manifest.preprocess.width, manifest.preprocess.height)]
    else:
        files = sorted(p for p in images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        if not files:
            raise UsageError(f"{images} holds no pictures", hint="a folder of JPEG, PNG or WebP files")
        encoded = [golden_image(Sample(files[i].name, files[i])) for i in spread(len(files), GOLDENS)]
    names = tuple(f"{i:02d}" for i in range(len(encoded)))
    for one, picture in zip(names, encoded, strict=True):
        pixels = preprocess.load(picture, manifest.preprocess)[0]
        answers = graph.run({"image": pixels[None]})
        writer.add_golden(one, picture, {output: value[0] for output, value in answers.items()})
    return names


def _imported(provenance: Mapping[str, Any], ready: Ready, golden: int) -> dict[str, Any]:
    """The certificate of a graph without a trainer: it states that nothing was compared."""
    return {
        "origin": "imported",
        "graph": ready.graph,
        "runtime": ready.runtime,
        "file": provenance["imported"],
        "file_sha256": provenance["imported_sha256"],
        "statement": "No trainer was here to compare with. The golden samples hold what this host answered at import.",
        "golden": golden,
        "host": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
    }
