"""What manifest.json says. The page that specifies it byte by byte is docs/format.md."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from saccade.errors import DataError, PackageError
from saccade.images.preprocess import PreprocessSpec
from saccade.package.adapter import Adapter
from saccade.types import Labels, TensorSpec

FORMAT_VERSION = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_FILES = 2000
MAX_TOTAL = 4 * 1024**3
MAX_SIDE = 16_384
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}")
NAME_WORDS = "1 to 128 letters, digits, dots, dashes and underscores, the first a letter or digit"
_SAVED_MODEL = r"saved_model/(saved_model\.pb|variables/variables\.(index|data-\d{5}-of-\d{5}))"
VERSION = "runtime_version"
"""The one field of a certificate that older packages lack."""
PATH = re.compile(
    rf"(model\.(onnx|pt2|pt)|{_SAVED_MODEL}|remote\.json|certificate\.json|report\.html|golden/[a-z0-9._-]{{1,100}}"
    rf"|variants/[a-z0-9][a-z0-9._-]{{0,62}}/({_SAVED_MODEL}|[a-z0-9._-]{{1,100}}))"
)


@dataclass(frozen=True)
class FileEntry:
    """sha256: hex; size: bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Certified:
    """What a variant was found to be, on one host. file: the whole certificate, a path inside the package.

    host: process.host() there. latency_ms: median of one run by batch size ("1", "8") while as many run at once as a
    server there runs, default_ms: of the default graph in the same minutes. gain: how many times as fast.
    allowed_difference: how far its answers may lie from the golden outputs, as the task measures it; a variant rounds
    otherwise, so the default's bits cannot be asked of it. runtime_version: of the library it ran on; None where the
    package is older than the field.
    """

    file: str
    host: str
    latency_ms: Mapping[str, float]
    default_ms: Mapping[str, float]
    gain: float
    allowed_difference: float
    runtime_version: str | None = None


@dataclass(frozen=True)
class GraphEntry:
    """One graph of the package. file: path inside it. runtime: which runtime opens it. certified: of a variant."""

    file: str
    runtime: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    certified: Certified | None = None


@dataclass(frozen=True)
class Manifest:
    """name: model name. graphs: by variant, "default" first. metrics: a scorecard's headline numbers, as JSON.

    golden: names of the golden samples: golden/NAME.image and golden/NAME.OUTPUT.npy. files: every other file.
    adapter: how a graph that was made elsewhere is spoken to; None for a graph with the sealed names.
    """

    name: str
    task: str
    labels: Labels
    preprocess: PreprocessSpec
    graphs: Mapping[str, GraphEntry]
    golden: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)
    metrics: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    adapter: Adapter | None = None

    @property
    def golden_files(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """How the files of a golden sample end: what is asked, what is answered (in the order of the outputs).

        A graph that answers tensors only has arrays for pictures, and names of its own that no file could bear.
        """
        graph = self.graphs["default"]
        if self.adapter is None:
            return ("image",), tuple(f"{output.name}.npy" for output in graph.outputs)
        if self.adapter.outputs:
            return ("image",), tuple(f"{name}.npy" for name in self.adapter.answers)
        asked = tuple(f"in{i}.npy" for i in range(len(graph.inputs)))
        return asked, tuple(f"out{i}.npy" for i in range(len(graph.outputs)))

    def to_bytes(self) -> bytes:
        """Canonical JSON: UTF-8, sorted keys, no spaces, no NaN. Its SHA-256 is the digest of the package."""
        record: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "task": self.task,
            "labels": self.labels.to_json(),
            "preprocess": self.preprocess.to_json(),
            "graphs": {
                name: {
                    "file": g.file,
                    "runtime": g.runtime,
                    "inputs": [t.to_json() for t in g.inputs],
                    "outputs": [t.to_json() for t in g.outputs],
                    **({"certified": _told(g.certified)} if g.certified else {}),
                }
                for name, g in self.graphs.items()
            },
            "golden": list(self.golden),
            "thresholds": dict(self.thresholds),
            "calibration": dict(self.calibration),
            "metrics": [dict(m) for m in self.metrics],
            "provenance": dict(self.provenance),
            "files": {path: {"sha256": f.sha256, "size": f.size} for path, f in self.files.items()},
        }
        if self.adapter is not None:
            record["adapter"] = self.adapter.to_json()
        return _canonical(record)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Raises PackageError for anything but a manifest of this format version."""
        if len(data) > MAX_BYTES:
            raise PackageError(f"manifest.json is {len(data)} bytes, limit {MAX_BYTES}")
        try:
            record = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise PackageError(f"manifest.json is not JSON: {error}", hint="seal the package again") from error
        if not isinstance(record, dict):
            raise PackageError("manifest.json holds no object")
        _check_values(record, 1)
        canonical = _canonical(record) == data
        version = record.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise PackageError(
                f"this saccade reads package format {FORMAT_VERSION}, the package says {version!r}",
                hint="install a newer saccade" if isinstance(version, int) else "seal the package again",
            )
        try:
            made = cls(
                name=record.pop("name"),
                task=record.pop("task"),
                labels=Labels.from_json(record.pop("labels")),
                preprocess=PreprocessSpec.from_json(record.pop("preprocess")),
                graphs={k: _graph(g) for k, g in record.pop("graphs").items()},
                golden=tuple(record.pop("golden")),
                thresholds=record.pop("thresholds"),
                calibration=record.pop("calibration"),
                metrics=tuple(record.pop("metrics")),
                provenance=record.pop("provenance"),
                files={k: _file(f) for k, f in record.pop("files").items()},
                adapter=Adapter.from_json(record.pop("adapter")) if "adapter" in record else None,
            )
        except (KeyError, TypeError, AttributeError, ValueError, DataError) as error:
            raise PackageError(f"manifest.json lacks or misstates a field: {error}") from error
        if record:
            raise PackageError(f"manifest.json has unknown fields {sorted(record)}", hint="install a newer saccade")
        if not canonical:
            raise PackageError("manifest.json is not in canonical form", hint="it was edited: seal the package again")
        made._check()
        return made

    def _check(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise PackageError(f"a model name is {NAME_WORDS}, got {self.name!r}")
        wrong = [p for p in self.files if not PATH.fullmatch(p)]
        if wrong:
            raise PackageError(f"file names in a package follow a fixed pattern, got {wrong[0]!r}")
        if len(self.files) > MAX_FILES or sum(f.size for f in self.files.values()) > MAX_TOTAL:
            raise PackageError(f"a package has at most {MAX_FILES} files and {MAX_TOTAL} bytes")
        graphs = [g.file for g in self.graphs.values()]
        graphs += [g.certified.file for g in self.graphs.values() if g.certified]
        missing = [file for file in graphs if file not in self.files]
        if missing or "default" not in self.graphs:
            raise PackageError(f"graph file {missing[0] if missing else 'of variant default'} is not listed")
        for name in self.golden:
            asked, answered = self.golden_files
            lost = [f for end in (*asked, *answered) if (f := f"golden/{name}.{end}") not in self.files]
            if lost:
                raise PackageError(f"golden file {lost[0]!r} is not listed")
        for side in (self.preprocess.width, self.preprocess.height):
            if type(side) is not int or not 1 <= side <= MAX_SIDE:
                raise PackageError(f"a side of the input is 1 to {MAX_SIDE} px, got {side!r}")
        for title, numbers in (("thresholds", self.thresholds), ("calibration", self.calibration)):
            if not isinstance(numbers, Mapping) or not all(type(v) in (int, float) for v in numbers.values()):
                raise PackageError(f"{title} are numbers by name")
        if not isinstance(self.task, str) or not isinstance(self.provenance, Mapping):
            raise PackageError("task is a text, provenance an object")
        if not all(isinstance(m, Mapping) for m in self.metrics):
            raise PackageError("metrics are objects")


def _canonical(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _check_values(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PackageError(f"manifest.json is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise PackageError("manifest.json holds a number out of range")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise PackageError("manifest.json holds half a character") from error
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in parts:
        _check_values(part, depth + 1)


def _only(record: Any, keys: set[str]) -> None:
    if not isinstance(record, dict) or set(record) != keys:
        raise ValueError(f"expected exactly {sorted(keys)}")


def _file(record: Any) -> FileEntry:
    _only(record, {"sha256", "size"})
    sha256, size = record["sha256"], record["size"]
    if not isinstance(sha256, str) or not DIGEST.fullmatch(sha256) or type(size) is not int or size < 0:
        raise ValueError("a file has a SHA-256 of 64 hex digits and a size in bytes")
    return FileEntry(sha256, size)


def _graph(record: Any) -> GraphEntry:
    certified = record.pop("certified", None) if isinstance(record, dict) else None
    _only(record, {"file", "runtime", "inputs", "outputs"})
    return GraphEntry(
        str(record["file"]),
        str(record["runtime"]),
        tuple(TensorSpec.from_json(t) for t in record["inputs"]),
        tuple(TensorSpec.from_json(t) for t in record["outputs"]),
        None if certified is None else _certified(certified),
    )


def _told(certified: Certified) -> dict[str, Any]:
    """Without the version where none is known: a package is written as it was read."""
    record = asdict(certified)
    if certified.runtime_version is None:
        del record[VERSION]
    return record


def _certified(record: Any) -> Certified:
    known = {f.name for f in fields(Certified)}
    _only(record, known if VERSION in record else known - {VERSION})
    made = Certified(**record)
    times = [*made.latency_ms.values(), *made.default_ms.values(), made.gain, made.allowed_difference]
    texts = [made.file, made.host, *([made.runtime_version] if VERSION in record else [])]
    if not all(isinstance(t, str) for t in texts):
        raise ValueError("a certificate names a file, a host and maybe the version of a runtime")
    if not all(type(t) in (int, float) and t >= 0 for t in times):
        raise ValueError("times, gain and allowed_difference of a certificate are numbers from 0")
    return made


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise PackageError("manifest.json has a key twice")
    return record


def _no_constant(text: str) -> float:
    raise PackageError(f"manifest.json holds {text}, which is no number")
