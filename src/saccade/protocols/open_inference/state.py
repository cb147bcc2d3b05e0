"""What the Open Inference Protocol tells of models: metadata, configuration, statistics, the
repository. Plain records."""

from collections.abc import Sequence
from importlib.metadata import version as installed
from typing import Any

from saccade.errors import ServerError
from saccade.inference.counts import Duration
from saccade.inference.engine import Engine
from saccade.inference.shelves import Entry
from saccade.protocols.open_inference.messages import EXTENSIONS
from saccade.protocols.views import model_of
from saccade.types import TensorSpec
from saccade.wire.names import DATATYPES

STATES = {
    "loading": "LOADING",
    "ready": "READY",
    "away": "UNAVAILABLE",
    "failed": "UNAVAILABLE",
    "unloading": "UNLOADING",
}


def server() -> dict[str, Any]:
    return {"name": "saccade", "version": installed("saccade"), "extensions": list(EXTENSIONS)}


def as_sealed(parameters: Any) -> None:
    """What a load may ask for: nothing. Raises ServerError(not_implemented)."""
    if parameters:
        raise ServerError(
            "a model is loaded as it was sealed: config and file parameters are not implemented",
            code="not_implemented",
        )


def one_repository(name: str) -> None:
    """Raises ServerError(not_implemented) for a repository by name: there is one, without a name."""
    if name:
        raise ServerError("there is one repository here, without a name", hint="name none", code="not_implemented")


def metadata(engine: Engine, entry: Entry) -> dict[str, Any]:
    model = model_of(entry)
    ready = [str(v) for v, e in engine.versions(entry.name).items() if e.state == "ready"]
    return {
        "name": entry.name,
        "versions": ready,
        "platform": platform(entry),
        "inputs": [_tensor(spec) for spec in model.input_specs],
        "outputs": [_tensor(spec) for spec in model.output_specs],
    }


def platform(entry: Entry) -> str:
    model = model_of(entry)
    graph = model.manifest.graphs[model.choice.variant]
    return f"{graph.runtime}_onnx" if graph.file.endswith(".onnx") else graph.runtime


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1, *(-1 if side is None else side for side in spec.shape[1:])]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}


def config(entry: Entry, max_rows: int) -> dict[str, Any]:
    """A model configuration as Triton prints it, derived from the package. max_rows: of one request."""
    model = model_of(entry)
    runners = model.options.runners or 1
    return {
        "name": entry.name,
        "platform": platform(entry),
        "backend": platform(entry).partition("_")[0],
        "runtime": "",
        "version_policy": {"specific": {"versions": [entry.version]}},
        "max_batch_size": max_rows,
        "input": [
            {
                **_configured(spec),
                "format": "FORMAT_NONE",
                "is_shape_tensor": False,
                "allow_ragged_batch": False,
                "optional": False,
            }
            for spec in model.input_specs
        ],
        "output": [
            {**_configured(spec), "label_filename": "", "is_shape_tensor": False} for spec in model.output_specs
        ],
        "dynamic_batching": {
            "preferred_batch_size": [model.options.max_batch],
            "max_queue_delay_microseconds": 0,
            "preserve_ordering": False,
            "priority_levels": 0,
            "default_priority_level": 0,
            "priority_queue_policy": {},
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": 0,
                "allow_timeout_override": True,
                "max_queue_size": model.options.max_queue,
            },
        },
        "instance_group": [
            {
                "name": f"{entry.name}_0",
                "kind": "KIND_CPU" if model.options.device == "cpu" else "KIND_GPU",
                "count": runners,
                "gpus": [],
                "secondary_devices": [],
                "profile": [],
                "passive": False,
                "host_policy": "",
            }
        ],
        "default_model_filename": model.manifest.graphs[model.choice.variant].file,
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {},
        "model_warmup": [],
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }


def _configured(spec: TensorSpec) -> dict[str, Any]:
    sides = [-1 if side is None else side for side in spec.shape[1:]]
    return {"name": spec.name, "data_type": f"TYPE_{DATATYPES[spec.dtype]}", "dims": sides or [1]}


def statistics(entries: Sequence[Entry]) -> dict[str, Any]:
    return {"model_stats": [_stats(entry) for entry in entries]}


def _stats(entry: Entry) -> dict[str, Any]:
    counts = model_of(entry).counts
    none = {"count": 0, "ns": 0}
    return {
        "name": entry.name,
        "version": str(entry.version),
        "last_inference": counts.last_ms,
        "inference_count": counts.rows,
        "execution_count": counts.runs,
        "inference_stats": {
            "success": _duration(counts.success),
            "fail": _duration(counts.fail),
            "queue": _duration(counts.queue),
            "compute_input": _duration(counts.decode),
            "compute_infer": _duration(counts.infer),
            "compute_output": _duration(counts.post),
            "cache_hit": none,
            "cache_miss": none,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": {"count": runs.count, "ns": 0},
                "compute_infer": _duration(runs),
                "compute_output": {"count": runs.count, "ns": 0},
            }
            for size, runs in sorted(counts.batches.items())
        ],
        "memory_usage": [],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def counted(engine: Engine, name: str | None, version: int | None) -> list[Entry]:
    """The versions whose statistics are asked for: one, those of a name, or all. Raises InferenceError(not_found)."""
    if name is None:
        entries = [e for n in engine.names() for e in engine.versions(n).values()]
    elif version is not None or "@" in name:
        entries = [engine.find(name, version)]
    else:
        entries = list(engine.versions(engine.find(name).name).values())
    return [entry for entry in entries if entry.loaded]


def index(engine: Engine, available: Sequence[str], only_ready: bool) -> list[dict[str, str]]:
    """Every version that is held, and by name alone what could be loaded."""
    found = []
    for name in engine.names():
        for version, entry in engine.versions(name).items():
            reason = entry.error.code if entry.error else ""
            found.append({"name": name, "version": str(version), "state": STATES[entry.state], "reason": reason})
    found += [{"name": name} for name in available if not engine.versions(name)]
    return [entry for entry in found if not only_ready or entry.get("state") == "READY"]
