"""Programs of torch.export (.pt2): opened only when the archive holds neither pickles nor code."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saccade.errors import PackageError
from saccade.inference.runtimes.torch.graph import Module, dtype_name, forbidden
from saccade.types import TensorSpec

_SYMBOLS = re.compile(
    r"(?:Symbol\('[su]\d+'(?:, (?:positive|integer)=True)*\)|[su]\d+|\d+|Max|Min|Mod|FloorDiv|CeilDiv|Integer"
    r"|[-+*/(),<>= ])*"
)
"""What a symbolic size may say. The library reads sizes with a parser that evaluates; nothing else may reach it."""
MAX_MODEL = 64 * 1024 * 1024
EXAMPLES = "data/sample_inputs/"


def refuse_code(graph: Path) -> None:
    """Raises PackageError when opening the archive would unpickle or evaluate anything."""
    try:
        with zipfile.ZipFile(graph) as archive:
            for entry in archive.infolist():
                inside = entry.filename.partition("/")[2]
                code = inside.startswith((EXAMPLES, "data/aotinductor/")) or inside.endswith((".so", ".pt"))
                if code and entry.file_size:
                    raise forbidden(f"{inside} is a pickle or machine code", "save it without example inputs")
                if inside.endswith(".json"):
                    if entry.file_size > MAX_MODEL:
                        raise forbidden(f"{inside} has {entry.file_size} bytes, limit {MAX_MODEL}")
                    _look(json.loads(archive.read(entry)), inside)
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        raise PackageError("the graph is no program of torch.export", code="onnx_invalid") from error


def _look(value: Any, where: str) -> None:
    if isinstance(value, dict):
        if value.get("use_pickle"):
            raise forbidden(f"{where} names a pickled tensor")
        text = value.get("expr_str", "")
        if not isinstance(text, str) or len(text) > 200 or not _SYMBOLS.fullmatch(text):
            raise forbidden(f"{where} holds a size that is no plain formula")
        for part in value.values():
            _look(part, where)
    elif isinstance(value, list):
        for part in value:
            _look(part, where)


def opened(graph: Path, device: str) -> Module:
    """Raises PackageError; whatever else the loader throws at a damaged archive comes as it is."""
    refuse_code(graph)
    program = torch.export.load(graph)
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    names = program.graph_signature.user_inputs
    inputs = tuple(_spec(name, values.get(name), f"input {name!r}") for name in names)
    args, kwargs = program.call_spec.in_spec.children()
    if kwargs.num_leaves or any(not one.is_leaf() for one in args.children()):
        raise PackageError("the program takes keywords or nested inputs, expected plain tensors", code="onnx_invalid")
    spec = program.call_spec.out_spec
    results = next(n for n in program.graph.nodes if n.op == "output").args[0]
    found = results[-spec.num_leaves :]
    flat = spec.type is dict and len(spec.context) == spec.num_leaves
    told = spec.context if flat else [f"output_{i}" for i in range(spec.num_leaves)]
    outputs = tuple(
        _spec(name, node.meta.get("val") if hasattr(node, "meta") else None, f"output {name!r}")
        for name, node in zip(told, found, strict=True)
    )
    return Module(program.module().to(device), inputs, outputs)


def _spec(name: str, value: Any, what: str) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise PackageError(f"{what} of the program is no tensor", code="onnx_invalid")
    shape = tuple(int(d) if isinstance(d, int) else None for d in value.shape)
    return TensorSpec(str(name), dtype_name(value.dtype, what), shape)


def without_examples(file: Path, target: Path) -> bool:
    """The same archive, its pickled example inputs emptied without being read; True when it had some."""
    had = False
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            examples = entry.filename.partition("/")[2].startswith(EXAMPLES)
            had |= examples and entry.file_size > 0
            new.writestr(entry.filename, b"" if examples else old.read(entry))
    return had


def operators(graph: Path) -> Mapping[str, str]:
    """By output, the last operator of the program: "Softmax", "Sigmoid" or "" for any other. The
    archive was looked at."""
    program = torch.export.load(graph)
    spec = program.call_spec.out_spec
    results = next(n for n in program.graph.nodes if n.op == "output").args[0][-spec.num_leaves :]
    flat = spec.type is dict and len(spec.context) == spec.num_leaves
    names = spec.context if flat else [f"output_{i}" for i in range(spec.num_leaves)]
    words = {"softmax": "Softmax", "_softmax": "Softmax", "sigmoid": "Sigmoid"}
    found = {}
    for name, node in zip(names, results, strict=True):
        op = str(getattr(node, "target", "")).split(".")
        found[str(name)] = words.get(op[1] if len(op) > 1 else "", ".".join(op[:2]))
    return found
