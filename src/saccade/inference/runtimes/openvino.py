"""ONNX and OpenVINO graphs (an .xml with its .bin) on OpenVINO."""

import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.process import cores, report_nothing
from saccade.types import Array, TensorSpec

report_nothing()
import openvino  # noqa: E402

PRECISION = ["saccade", "precision"]
"""Where a graph says at which precision it wants to be run (f32, bf16); without it, f32."""


def _spec(port: Any) -> TensorSpec:
    shape = tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
    # A port may bear further names, those of layers that were folded into it: the one it was sealed with stands first.
    name = port.get_any_name()
    try:
        return TensorSpec(name, np.dtype(port.get_element_type().to_dtype()).name, shape)
    except (RuntimeError, TypeError) as error:
        raise PackageError(f"graph tensor {name!r} is of no type that NumPy has", code="onnx_invalid") from error


class _Graph(OpenGraph):
    def __init__(self, compiled: Any, outputs: list[str], requests: int) -> None:
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(
            TensorSpec(name, *_rest(_spec(p))) for name, p in zip(outputs, compiled.outputs, strict=True)
        )
        # A request runs one call at a time, so each caller takes one out and puts it back.
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests = requests
        for _ in range(requests):
            self._free.put(compiled.create_infer_request())

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        request = self._free.get()
        if request is None:
            self._free.put(None)
            raise InferenceError("the graph is closed", code="not_ready")
        try:
            # share_inputs reads the caller's array in place; outputs are copied, for the request's own are reused.
            request.infer({k: np.ascontiguousarray(v) for k, v in arrays.items()}, share_inputs=True)
            return {o.name: request.get_output_tensor(i).data.copy() for i, o in enumerate(self.outputs)}
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise InferenceError("the graph failed on this input") from error
        finally:
            self._free.put(request)

    def close(self) -> None:
        """Waits for the runs at work."""
        for _ in range(self._requests):
            if self._free.get() is None:
                break
        self._requests = 0
        self._free.put(None)


def _rest(spec: TensorSpec) -> tuple[str, tuple[int | None, ...]]:
    return spec.dtype, spec.shape


class _OpenVino(Runtime):
    name = "openvino"
    suffixes = (".xml", ".onnx")

    def version(self) -> str:
        return str(openvino.__version__)

    def open(self, graph: Path, device: str = "cpu", threads: int | None = None) -> OpenGraph:
        core = openvino.Core()
        name = {"cpu": "CPU", "cuda": "", "gpu": "GPU"}.get(device, "")
        if name not in core.available_devices:
            raise InferenceError(
                f"OpenVINO here has no device {device!r}", hint="use cpu, or another runtime", code="not_found"
            )
        try:
            model = core.read_model(graph)
        except RuntimeError as error:
            raise PackageError("the graph is none that OpenVINO can open", code="onnx_invalid") from error
        precision = model.get_rt_info(PRECISION).astype(str) if model.has_rt_info(PRECISION) else "f32"
        have = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in have:
            raise InferenceError("this CPU has no bf16 arithmetic", hint="use another variant", code="not_found")
        each = threads or cores()
        streams = max(1, cores() // each)
        settings = {
            # Said aloud: on CPUs that have it, OpenVINO would take bf16 for a graph that was sealed as f32.
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": each * streams,
            # Pinned threads would fight with those that decode the next pictures.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(model, name, settings if name == "CPU" else {})
        except RuntimeError as error:
            raise PackageError("OpenVINO cannot compile the graph", code="onnx_invalid") from error
        return _Graph(compiled, [port.get_any_name() for port in model.outputs], 2 * streams)


RUNTIME = _OpenVino()
