"""What an ONNX file from elsewhere says of itself, made one self-contained file; or why it cannot be taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from saccade.errors import PackageError

MAX_BYTES = 2**31 - 1
"""An ONNX file is one protobuf message, which cannot be larger."""
KNOWN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training")
"""Families of operators that the runtime brings along."""


@dataclass(frozen=True)
class Facts:
    """data: the whole graph in one file. last: by output, the operator that makes it ("" for one passed through).

    notes: what was changed, in sentences. strange: operators of families that the runtime may not know.
    """

    data: bytes
    last: dict[str, str]
    notes: tuple[str, ...]
    strange: tuple[str, ...]


def read(file: Path) -> Facts:
    """Weights that lie beside the file are taken in, weights that are listed as inputs become constants.

    Raises PackageError(onnx_invalid).
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}", code="onnx_invalid") from error
    except Exception as error:
        # The parser of protobuf has its own family of exceptions, which moved between versions.
        raise PackageError(f"{file} is no ONNX file", hint="export the model again", code="onnx_invalid") from error
    if not model.graph.node or not model.graph.output:
        raise PackageError(f"{file} holds no graph", hint="export the model again", code="onnx_invalid")
    notes = []
    beside = sorted({_place(t) for t in _tensors(model) if external_data_helper.uses_external_data(t)})
    if beside:
        _take_in(model, file, beside)
        notes.append(f"weights in {', '.join(beside)} were taken into the graph")
    weights = {t.name for t in model.graph.initializer}
    listed = [i for i in model.graph.input if i.name in weights]
    if listed:
        for one in listed:
            model.graph.input.remove(one)
        model.ir_version = max(4, model.ir_version)
        notes.append(f"{len(listed)} weights that were listed as inputs became constants")
    try:
        data = model.SerializeToString()
    except Exception as error:
        raise PackageError(f"{file} with its weights is beyond 2 GiB", code="onnx_invalid") from error
    if len(data) > MAX_BYTES:
        raise PackageError(f"{file} with its weights has {len(data)} bytes, limit {MAX_BYTES}", code="onnx_invalid")
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    own = {(f.domain, f.name) for f in model.functions}
    strange = {
        f"{n.domain}.{n.op_type}"
        for n in _nodes(model.graph)
        if n.domain not in KNOWN and (n.domain, n.op_type) not in own
    }
    last = {o.name: makers.get(o.name, "") for o in model.graph.output}
    return Facts(data, last, tuple(notes), tuple(sorted(strange)))


def _take_in(model: Any, file: Path, beside: list[str]) -> None:
    home = file.parent.resolve()
    for name in beside:
        place = home / name
        if not name or not place.resolve().is_relative_to(home):
            raise PackageError(f"{file} points at weights outside its folder: {name!r}", code="onnx_invalid")
        if not place.is_file():
            raise PackageError(
                f"{file} keeps weights in {name!r}, which is not beside it",
                hint="copy that file too",
                code="onnx_invalid",
            )
    try:
        external_data_helper.load_external_data_for_model(model, str(home))
    except Exception as error:
        raise PackageError(
            f"the weights of {file} in {', '.join(beside)} cannot be read: {error}", code="onnx_invalid"
        ) from error


def _place(tensor: Any) -> str:
    return next((e.value for e in tensor.external_data if e.key == "location"), "")


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _nodes(graph: Any) -> Iterator[Any]:
    for one in _graphs(graph):
        yield from one.node


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)
