"""A graph that another server runs becomes a package: everything but the graph is done here."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import saccade
from saccade import tasks
from saccade.errors import InferenceError, UsageError
from saccade.images import preprocess
from saccade.inference import golden, remote, runtimes
from saccade.inference.opening import adapted
from saccade.inference.remote import Remote
from saccade.inference.runtime import INPUT, OpenGraph
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Golden, Package
from saccade.package.writer import PackageWriter
from saccade.types import Array, TensorSpec

FILE = "remote.json"


def reach(url: str) -> tuple[str, Remote, OpenGraph]:
    """The runtime's name, where the graph is, and the graph, open. Raises UsageError, PackageError; InferenceError when
    nobody answers there, or not for this model."""
    name, where = remote.parse(url)
    runtime = runtimes.find(name)
    with tempfile.TemporaryDirectory(prefix="saccade-remote-") as space:
        file = Path(space) / FILE
        file.write_bytes(where.to_bytes())
        try:
            return name, where, runtime.open(file)
        except InferenceError as error:
            details = getattr(error.__cause__, "details", None)
            raise InferenceError(
                f"{url} cannot be asked: {details() if callable(details) else 'nobody answers there'}",
                hint="is the server up, and its model ready?",
                code=error.code,
            ) from error


def like(url: str, out: Path, package: Package, name: str | None) -> Package:
    """Seals a package that answers as `package` does, by the graph at url: its task, labels, preprocessing, thresholds
    and golden samples are taken over.

    Raises UsageError when the graph there takes or gives other tensors, PackageError(golden_mismatch) when it answers
    the golden samples otherwise.
    """
    runtime, where, graph = reach(url)
    try:
        own = package.manifest.graphs["default"]
        for ours, theirs in ((own.inputs, graph.inputs), (own.outputs, graph.outputs)):
            lost = [spec for spec in ours if not any(_alike(spec, other) for other in theirs)]
            if lost or len(ours) != len(theirs):
                raise UsageError(
                    f"{url} has {_told(theirs)}, the package has {_told(ours)}",
                    hint="serve the package's own graph there: saccade export",
                )
        manifest = replace(
            package.manifest,
            name=name or package.manifest.name,
            graphs={"default": GraphEntry(FILE, runtime, graph.inputs, graph.outputs)},
            provenance={**package.manifest.provenance, **facts(url), "like": package.digest},
        )
        golden.check(package, "default", tasks.find(manifest.task), lambda one: _asked(graph, manifest, one))
        with PackageWriter(out) as writer:
            writer.add(FILE, where.to_bytes())
            for file in package.manifest.files:
                if file.startswith("golden/"):
                    writer.add(file, (package.path / file).read_bytes())
            writer.add_json("certificate.json", certificate(url, runtime, len(manifest.golden), package.digest))
            return writer.seal(manifest)
    finally:
        graph.close()


def facts(url: str) -> dict[str, Any]:
    """What a manifest says of where its graph is from."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "saccade": saccade.__version__,
        "imported": url,
    }


def certificate(url: str, runtime: str, goldens: int, digest: str = "") -> dict[str, Any]:
    compared = f"answered the golden samples of package {digest} as that package does" if digest else (
        "answered the golden samples, with nothing to compare them with"
    )  # fmt: skip
    return {
        "origin": "remote",
        "graph": FILE,
        "runtime": runtime,
        "statement": f"Another server runs the graph: {url} {compared} at import, and must again whenever it is opened.",
        "golden": goldens,
    }


def _asked(graph: OpenGraph, manifest: Manifest, one: Golden) -> Mapping[str, Array]:
    face = adapted(graph, manifest)
    if one.arrays:
        return face.run({name: value[None] for name, value in one.arrays.items()})
    return face.run({INPUT: preprocess.load(one.image_bytes, manifest.preprocess)[0][None]})


def _alike(ours: TensorSpec, theirs: TensorSpec) -> bool:
    """Whether a row of the one is a row of the other; a free side fits any."""
    if (ours.name, ours.dtype, len(ours.shape)) != (theirs.name, theirs.dtype, len(theirs.shape)):
        return False
    return all(None in pair or pair[0] == pair[1] for pair in zip(ours.shape, theirs.shape, strict=True))


def _told(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{s.name!r} {s.dtype} {[-1 if side is None else side for side in s.shape]}" for s in specs)
