"""Programs of torch.export (.pt2) and TorchScript (.pt) on PyTorch. No archive is opened that
would unpickle or run more.

graph.py    an open module: arrays in, arrays out
program.py  .pt2
script.py   .pt
"""

from pathlib import Path

import torch

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.inference.runtimes.torch import program, script
from saccade.inference.runtimes.torch.graph import Graph

KINDS = {".pt2": program.opened, ".pt": script.opened}


class _Torch(Runtime):
    name = "torch"
    suffixes = tuple(KINDS)

    def version(self) -> str:
        return str(torch.__version__)

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise InferenceError(
                f"PyTorch here has no device {device!r}", hint="use cpu, or a torch for CUDA", code="not_found"
            )
        if graph.suffix not in KINDS:
            raise PackageError(f"PyTorch opens {', '.join(KINDS)}, not {graph.suffix!r}", code="onnx_invalid")
        try:
            return Graph(KINDS[graph.suffix](graph, device), device, threads)
        except PackageError:
            raise
        except Exception as error:
            # Whatever the loader throws at a damaged archive, the archive is at fault.
            if isinstance(error, OSError | MemoryError):
                raise
            raise PackageError("the graph is no program of PyTorch", code="onnx_invalid") from error


RUNTIME = _Torch()
