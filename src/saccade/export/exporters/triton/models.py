"""The three models of an exported repository, each as the record of its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import saccade
from saccade.errors import UsageError
from saccade.export.exporters.triton.config import Word, data_type, tensor
from saccade.package.manifest import GraphEntry, Manifest
from saccade.package.reader import Package
from saccade.types import TensorSpec
from saccade.wire.names import DATATYPES, TRITON_STRING

LABELS = "labels.txt"
KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}


@dataclass(frozen=True)
class Settings:
    """See `_Triton.settings`."""

    max_batch: int
    instances: int
    delay_us: int
    device: str

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Settings":
        """Raises UsageError."""
        device = given["device"]
        if device not in KINDS:
            raise UsageError(f"device is {', '.join(KINDS)}, got {device!r}")
        most, copies = _number("max_batch", given, 1, 4096), _number("instances", given, 1, 64)
        return cls(most, copies, _number("delay_us", given, 0, 1_000_000), device)


def rows(manifest: Manifest, most: int) -> int:
    """max_batch_size: 0 when the graph takes a fixed number of rows; the dims then hold the batch axis too.

    Raises UsageError when a tensor of the graph has no axis for rows.
    """
    graph, adapter = manifest.graphs["default"], manifest.adapter
    for spec in (*graph.inputs, *graph.outputs):
        if not spec.shape:
            raise UsageError(f"the graph's {spec.name!r} has no axis for rows, without which Triton makes no batches")
    if any(spec.shape[0] is not None for spec in graph.inputs):
        return 0
    return 1 if adapter is not None and adapter.batch == 1 else most


def labelled(manifest: Manifest) -> bool:
    """Whether the first output has a number for each class, so that Triton may name classes (its classification)."""
    outputs = manifest.graphs["default"].outputs
    many = len(manifest.labels)
    return many > 0 and len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[1] == many


def graph(package: Package, name: str, rows: int, asked: Settings) -> dict[str, Any]:
    entry = package.manifest.graphs["default"]
    label = {"label_filename": LABELS} if labelled(package.manifest) else {}
    record: dict[str, Any] = {
        "name": name,
        "platform": "onnxruntime_onnx",
        "max_batch_size": rows,
        "input": [_tensor(spec, rows) for spec in entry.inputs],
        "output": [{**_tensor(spec, rows), **label} for spec in entry.outputs],
        "instance_group": [{"count": asked.instances, "kind": Word(KINDS[asked.device])}],
        "version_policy": {"latest": {"num_versions": 1}},
    }
    if rows > 1:
        record["dynamic_batching"] = {"max_queue_delay_microseconds": asked.delay_us}
    if all(side is not None for spec in entry.inputs for side in spec.shape[1:]):
        record["model_warmup"] = [_warmup(entry.inputs, rows)]
    record["parameters"] = [_parameter("saccade", saccade.__version__), _parameter("package", package.digest)]
    return record


def stage(name: str, filled: TensorSpec, rows: int) -> dict[str, Any]:
    """Encoded pictures to what the graph's input `filled` takes."""
    batching: dict[str, Any] = {"dynamic_batching": {}} if rows > 1 else {}
    return {
        "name": name,
        "backend": "python",
        "max_batch_size": rows,
        "input": [_picture()],
        "output": [{**_tensor(filled, rows), "name": "pixels"}, _placement(rows)],
        "instance_group": [{"count": 1, "kind": Word("KIND_CPU")}],
        **batching,
    }


def ensemble(name: str, pixels: str, tensors: str, entry: GraphEntry, rows: int) -> dict[str, Any]:
    """pixels, tensors: the models in a row."""
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": rows,
        "input": [_picture()],
        "output": [*(_tensor(spec, rows) for spec in entry.outputs), _placement(rows)],
        "ensemble_scheduling": {
            "step": [
                _step(pixels, {"image": "image"}, {"pixels": "pixels", "placement": "placement"}),
                _step(tensors, {entry.inputs[0].name: "pixels"}, {s.name: s.name for s in entry.outputs}),
            ]
        },
    }


def told(specs: Sequence[TensorSpec], rows: int) -> str:
    """Names, types and shapes for a sentence."""
    shapes = [[-1, *spec.shape[1:]] if rows else spec.shape for spec in specs]
    each = [[-1 if side is None else side for side in shape] for shape in shapes]
    named = zip(specs, each, strict=True)
    return ", ".join(f"{s.name!r} {DATATYPES[s.dtype]} {shape}" for s, shape in named)


def _tensor(spec: TensorSpec, rows: int) -> dict[str, Any]:
    return tensor(spec.name, spec.dtype, spec.shape[1:] if rows else spec.shape)


def _picture() -> dict[str, Any]:
    return {"name": "image", "data_type": Word(TRITON_STRING), "dims": [1]}


def _placement(rows: int) -> dict[str, Any]:
    return {"name": "placement", "data_type": Word("TYPE_FP64"), "dims": [6] if rows else [1, 6]}


def _warmup(inputs: Sequence[TensorSpec], rows: int) -> dict[str, Any]:
    zeros = [
        {
            "key": spec.name,
            "value": {"data_type": data_type(spec.dtype), "dims": _full(spec, rows), "zero_data": True},
        }
        for spec in inputs
    ]
    return {"name": "zeros", "batch_size": 1 if rows else 0, "inputs": zeros}


def _full(spec: TensorSpec, rows: int) -> list[int]:
    return [side for side in (spec.shape[1:] if rows else spec.shape) if side is not None]


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, Any]:
    maps = {"input_map": inputs, "output_map": outputs}
    pairs = {kind: [{"key": k, "value": v} for k, v in given.items()] for kind, given in maps.items()}
    return {"model_name": model, "model_version": -1, **pairs}


def _parameter(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"string_value": value}}


def _number(name: str, given: Mapping[str, str], low: int, high: int) -> int:
    text = given[name]
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not low <= int(text) <= high:
        raise UsageError(f"{name} is {low} to {high}, got {text!r}")
    return int(text)
