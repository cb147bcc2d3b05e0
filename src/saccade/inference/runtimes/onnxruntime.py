"""ONNX graphs on ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.process import report_nothing
from saccade.types import Array, TensorSpec

report_nothing()
import onnxruntime  # noqa: E402

_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise PackageError(f"graph tensor {node.name!r} has type {node.type}, expected a number", code="onnx_invalid")
    shape = tuple(d if isinstance(d, int) else None for d in node.shape)
    return TensorSpec(node.name, _DTYPES[node.type], shape)


class _Graph(OpenGraph):
    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_spec(n) for n in session.get_inputs())
        self.outputs = tuple(_spec(n) for n in session.get_outputs())
        self._names = [o.name for o in self.outputs]

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise InferenceError("the graph is closed", code="not_ready")
        try:
            return dict(zip(self._names, self._session.run(self._names, dict(arrays)), strict=True))
        except (RuntimeError, ValueError) as error:
            raise InferenceError("the graph failed on this input") from error
        except Exception as error:
            # The library's own exceptions share no base class but Exception.
            if type(error).__module__.startswith("onnxruntime"):
                raise InferenceError("the graph failed on this input") from error
            raise

    def close(self) -> None:
        self._session = None


class _OnnxRuntime(Runtime):
    name = "onnxruntime"
    suffixes = (".onnx",)

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        # Spinning threads steal the cores that decode the next pictures; on a small machine that costs throughput.
        return self._open(graph, device, threads, {"session.intra_op.allow_spinning": "0"})

    def open_wide(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        # They wait for each other at work, which is sooner over, and sleep once the run ends.
        spinning = {"session.intra_op.allow_spinning": "1", "session.force_spinning_stop": "1"}
        return self._open(graph, device, threads, spinning)

    def _open(self, graph: Path, device: str, threads: int | None, entries: Mapping[str, str]) -> OpenGraph:
        provider = _PROVIDERS.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise InferenceError(
                f"ONNX Runtime here has no device {device!r}",
                hint="use cpu, or install onnxruntime-gpu",
                code="not_found",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        for name, value in entries.items():
            options.add_session_config_entry(name, value)
        try:
            return _Graph(onnxruntime.InferenceSession(graph, options, providers=[provider]))
        except PackageError:
            raise
        except Exception as error:
            # Whatever the parser throws at a damaged file, the file is at fault.
            if isinstance(error, OSError | MemoryError):
                raise
            raise PackageError("the graph is no ONNX model this runtime can open", code="onnx_invalid") from error


RUNTIME = _OnnxRuntime()
