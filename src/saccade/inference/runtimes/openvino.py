"""ONNX and OpenVINO graphs (an .xml with its .bin) on OpenVINO."""

import contextlib
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph, Runtime
from saccade.process import cores, report_nothing
from saccade.types import Array, TensorSpec

report_nothing()
import openvino  # noqa: E402

SHORT_S = 0.02
"""A run that takes longer gains nothing from a shape that is known beforehand."""
SMALL = 32 * 1024 * 1024
"""Bytes of weights, of which another copy is worth it; nobody counted on its memory."""
GAIN, TURNS, LIKE = 1.1, 5, 1e-2
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


class _Requests:
    """Of one compiled graph. A request runs one call at a time, so each caller takes one out and puts it back."""

    def __init__(self, compiled: Any, number: int) -> None:
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._number = number
        for _ in range(number):
            self._free.put(compiled.create_infer_request())

    def run(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        request = self._free.get()
        if request is None:
            self._free.put(None)
            raise InferenceError("the graph is closed", code="not_ready")
        try:
            # share_inputs reads the caller's array in place; outputs are copied, for the request's own are reused.
            request.infer({k: np.ascontiguousarray(v) for k, v in arrays.items()}, share_inputs=True)
            return {name: request.get_output_tensor(i).data.copy() for i, name in enumerate(outputs)}
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise InferenceError("the graph failed on this input") from error
        finally:
            self._free.put(request)

    def close(self) -> None:
        """Waits for the runs at work."""
        for _ in range(self._number):
            if self._free.get() is None:
                break
        self._number = 0
        self._free.put(None)


class _Graph(OpenGraph):
    def __init__(self, compiled: Any, outputs: list[str], requests: int) -> None:
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        self.outputs = tuple(
            TensorSpec(name, *_rest(_spec(p))) for name, p in zip(outputs, compiled.outputs, strict=True)
        )
        self._names = [spec.name for spec in self.outputs]
        self._any = _Requests(compiled, requests)
        self._one: _Requests | None = None

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if self._one is not None and arrays and all(value.ndim and len(value) == 1 for value in arrays.values()):
            return self._one.run(arrays, self._names)
        return self._any.run(arrays, self._names)

    def specialise(self, of_one_row: Callable[[], _Requests]) -> None:
        """From now on single rows go that way, where a run is short, and it is faster and answers alike. Raises
        RuntimeError for a graph that has no such shape, InferenceError for one that takes no noise."""
        sides = [[side for side in spec.shape[1:] if side] for spec in self.inputs]
        if any(len(own) + 1 != len(spec.shape) or spec.shape[0] for own, spec in zip(sides, self.inputs, strict=True)):
            return  # of what size a row is, or where rows are counted, is not said
        dice = np.random.default_rng(0)
        two = {
            spec.name: dice.integers(0, 256, (2, *own)).astype(spec.dtype)
            for own, spec in zip(sides, self.inputs, strict=True)
        }
        row = {name: value[:1] for name, value in two.items()}
        if min(self._seconds(self._any, row) for _ in range(2)) >= SHORT_S:
            return
        one = of_one_row()
        turns = [(self._seconds(self._any, row), self._seconds(one, row)) for _ in range(TURNS)]
        faster = min(new for _, new in turns) * GAIN <= min(old for old, _ in turns)
        # What checks single rows checks batches only where both are the same.
        if faster and _alike(self._any.run(two, self._names), one.run(row, self._names)):
            self._one = one

    def _seconds(self, requests: _Requests, row: Mapping[str, Array]) -> float:
        began = time.perf_counter()
        requests.run(row, self._names)
        return time.perf_counter() - began

    def close(self) -> None:
        for requests in (self._any, self._one):
            if requests is not None:
                requests.close()


def _alike(several: Mapping[str, Array], one: Mapping[str, Array]) -> bool:
    """Whether the first row of several is the one, but for rounding."""
    for name, value in one.items():
        if len(several[name].shape[:1]) == 0:
            return False
        other = several[name][:1].astype(np.float64)
        if value.shape != other.shape or not np.allclose(
            value, other, 0, LIKE * max(1.0, np.abs(other).max(initial=0))
        ):
            return False
    return True


def _of_one_row(model: Any) -> Any:
    """Shapes that are known beforehand make a MobileNet a quarter faster. Raises RuntimeError for a graph that takes no
    such shape."""
    fixed = model.clone()
    shapes = {port: port.get_partial_shape() for port in fixed.inputs}
    for shape in shapes.values():
        shape[0] = 1
    fixed.reshape(shapes)
    return fixed


def _weights(graph: Path) -> int:
    beside = graph.with_suffix(".bin")
    return (beside if beside.is_file() else graph).stat().st_size


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
        opened = _Graph(compiled, [port.get_any_name() for port in model.outputs], 2 * streams)
        if name == "CPU" and model.is_dynamic() and _weights(graph) <= SMALL:

            def of_one_row() -> _Requests:
                return _Requests(core.compile_model(_of_one_row(model), name, settings), 2 * streams)

            with contextlib.suppress(RuntimeError, InferenceError):
                opened.specialise(of_one_row)
        return opened


RUNTIME = _OpenVino()
