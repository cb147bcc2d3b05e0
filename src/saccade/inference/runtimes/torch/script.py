"""TorchScript (.pt): a program in a small language of its own, opened when it holds no operator that reaches outside.

An archive says nothing of shapes, so ours carries `saccade.json`: name, dtype and shape of each input and output.
"""

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from saccade.errors import PackageError
from saccade.inference.runtimes.torch.graph import MAX_BYTES, RATIO, Module, forbidden
from saccade.types import TensorSpec

TOLD = "saccade.json"
FAMILIES = ("aten", "prim", "quantized", "torchvision", "prepacked")
OUTSIDE = re.compile(r"\b(?:torch|ops\.\w+)\.(from_file|save|_save|load|fork|wait|set_num_threads|manual_seed)\b")
"""Operators that reach files or the whole process."""
CALLED = re.compile(r"\bops\.(\w+)\.")
PARALLEL = re.compile(r"\b(?:fork|rpc_\w+)\(")


def refuse_code(graph: Path) -> None:
    """Raises PackageError for an archive that is no TorchScript, is a bomb, or whose code reaches outside."""
    try:
        with zipfile.ZipFile(graph) as archive:
            entries = archive.infolist()
            inside = [e.filename.partition("/")[2] for e in entries]
            if not any(name.startswith("code/") for name in inside):
                pickled = "data.pkl" in inside
                raise PackageError(
                    "the file holds pickled objects of PyTorch, which run code when opened"
                    if pickled
                    else "the graph is no TorchScript",
                    hint="export the model: torch.export.save, or ONNX",
                    code="package_format_forbidden" if pickled else "onnx_invalid",
                )
            if sum(e.file_size for e in entries) > MAX_BYTES or any(
                e.file_size > RATIO * max(e.compress_size, 4096) for e in entries
            ):
                raise forbidden("it would become far larger when it is read")
            for entry, name in zip(entries, inside, strict=True):
                if name.startswith("code/") and name.endswith(".py"):
                    _look(archive.read(entry).decode())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        if graph.read_bytes()[:2] == b"\x80\x02":
            raise forbidden("it is a pickle") from error
        raise PackageError("the graph is no TorchScript", code="onnx_invalid") from error


def _look(code: str) -> None:
    found = OUTSIDE.search(code) or PARALLEL.search(code)
    if found:
        raise forbidden(f"its code calls {found[0].rstrip('(')}")
    strange = sorted(set(CALLED.findall(code)) - set(FAMILIES))
    if strange:
        raise forbidden(f"its code calls operators of {strange[0]!r}, which are not PyTorch's own")


def load(graph: Path, device: str = "cpu") -> tuple[Any, dict[str, Any]]:
    """The module, and what the archive tells of its tensors ({} when it is not ours)."""
    refuse_code(graph)
    extra = {TOLD: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(graph), map_location=device, _extra_files=extra)
    return module.eval(), json.loads(extra[TOLD] or "{}")


def save(module: Any, target: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    told = {"inputs": [i.to_json() for i in inputs], "outputs": [o.to_json() for o in outputs]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(module, str(target), _extra_files={TOLD: json.dumps(told)})


def opened(graph: Path, device: str) -> Module:
    module, told = load(graph, device)
    if not told:
        raise PackageError(
            "the TorchScript does not say what it takes", hint="import it: saccade import", code="onnx_invalid"
        )
    inputs, outputs = (tuple(TensorSpec.from_json(t) for t in told[side]) for side in ("inputs", "outputs"))
    return Module(module, inputs, outputs)
