"""Programs of torch.export (.pt2) on PyTorch. Only archives without pickles and without code are opened."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.types import Array, TensorSpec

_SYMBOLS = re.compile(
    r"(?:Symbol\('[su]\d+'(?:, (?:positive|integer)=True)*\)|[su]\d+|\d+|Max|Min|Mod|FloorDiv|CeilDiv|Integer"
    r"|[-+*/(),<>= ])*"
)
"""What a symbolic size may say. The library reads sizes with a parser that evaluates; nothing else may reach it."""
MAX_MODEL = 64 * 1024 * 1024


def _refuse_code(graph: Path) -> None:
    """Raises PackageError when opening the archive would unpickle or evaluate anything."""
    try:
        with zipfile.ZipFile(graph) as archive:
            for entry in archive.infolist():
                inside = entry.filename.partition("/")[2]
                code = inside.startswith(("data/sample_inputs/", "data/aotinductor/")) or inside.endswith(
                    (".so", ".pt")
                )
                if code and entry.file_size:
                    raise _forbidden(f"{inside} is a pickle or machine code")
                if inside.endswith(".json"):
                    if entry.file_size > MAX_MODEL:
                        raise _forbidden(f"{inside} has {entry.file_size} bytes, limit {MAX_MODEL}")
                    _look(json.loads(archive.read(entry)), inside)
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise PackageError("the graph is no program of torch.export", code="onnx_invalid") from error


def _look(value: Any, where: str) -> None:
    if isinstance(value, dict):
        if value.get("use_pickle"):
            raise _forbidden(f"{where} names a pickled tensor")
        text = value.get("expr_str", "")
        if not isinstance(text, str) or len(text) > 200 or not _SYMBOLS.fullmatch(text):
            raise _forbidden(f"{where} holds a size that is no plain formula")
        for part in value.values():
            _look(part, where)
    elif isinstance(value, list):
        for part in value:
            _look(part, where)


def _forbidden(why: str) -> PackageError:
    return PackageError(
        f"the program is not opened: {why}", hint="save it without example inputs", code="package_format_forbidden"
    )


class _Graph(OpenGraph):
    def __init__(self, program: Any, device: str, threads: int | None) -> None:
        self._module: Any = program.module().to(device)
        self._device = device
        self._threads = threads
        shapes = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
        self.inputs = tuple(_spec(name, shapes[name]) for name in program.graph_signature.user_inputs)
        names = program.call_spec.out_spec.context
        results = next(n for n in program.graph.nodes if n.op == "output").args[0]
        found = results[-len(names) :]
        self.outputs = tuple(_spec(name, node.meta["val"]) for name, node in zip(names, found, strict=True))

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        module = self._module
        if module is None:
            raise InferenceError("the graph is closed", code="not_ready")
        if self._threads and torch.get_num_threads() != self._threads:
            # The library counts threads for each calling thread of ours.
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                given = [torch.from_numpy(np.ascontiguousarray(arrays[i.name])).to(self._device) for i in self.inputs]
                found = module(*given)
                return {o.name: found[o.name].cpu().numpy() for o in self.outputs}
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise InferenceError("the graph failed on this input") from error

    def close(self) -> None:
        self._module = None


def _spec(name: str, value: Any) -> TensorSpec:
    shape = tuple(int(d) if isinstance(d, int) else None for d in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)


class _Torch(Runtime):
    name = "torch"
    suffixes = (".pt2",)

    def version(self) -> str:
        return str(torch.__version__)

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise InferenceError(
                f"PyTorch here has no device {device!r}", hint="use cpu, or a torch for CUDA", code="not_found"
            )
        _refuse_code(graph)
        try:
            return _Graph(torch.export.load(graph), device, threads)
        except PackageError:
            raise
        except Exception as error:
            # Whatever the loader throws at a damaged archive, the archive is at fault.
            if isinstance(error, OSError | MemoryError):
                raise
            raise PackageError("the graph is no program of torch.export", code="onnx_invalid") from error


RUNTIME = _Torch()
