"""An open module of either kind: arrays in, arrays out, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from saccade.errors import InferenceError, PackageError
from saccade.inference.runtime import OpenGraph
from saccade.types import Array, TensorSpec

MAX_BYTES = 4 * 1024**3
RATIO = 200


@dataclass(frozen=True)
class Module:
    """call: takes tensors in the order of inputs; answers a tensor, or a flat tuple, list or dict of them."""

    call: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Graph(OpenGraph):
    def __init__(self, module: Module, device: str, threads: int | None) -> None:
        self._call: Any = module.call
        self._device = device
        self._threads = threads
        self.inputs, self.outputs = module.inputs, module.outputs

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        call = self._call
        if call is None:
            raise InferenceError("the graph is closed", code="not_ready")
        if self._threads and torch.get_num_threads() != self._threads:
            # The library counts threads for each calling thread of ours.
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                given = [torch.from_numpy(np.ascontiguousarray(arrays[i.name])).to(self._device) for i in self.inputs]
                found = leaves(call(*given))
                # A module may answer with what it was given, and an answer belongs to its caller alone.
                return {o.name: _own(v, given) for o, v in zip(self.outputs, found, strict=True)}
        except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise InferenceError("the graph failed on this input") from error

    def close(self) -> None:
        self._call = None


def _own(value: Any, given: list[Any]) -> Array:
    array: Array = value.cpu().numpy()
    return array.copy() if any(value.data_ptr() == g.data_ptr() for g in given) else array


def leaves(found: Any) -> list[Any]:
    """The tensors of an answer, in order; names of a dict are those of `names`."""
    if isinstance(found, torch.Tensor):
        return [found]
    parts = list(found.values()) if isinstance(found, dict) else list(found)
    return [leaf for part in parts for leaf in leaves(part)]


def dtype_name(dtype: torch.dtype, what: str) -> str:
    """NumPy's name. Raises PackageError for a type that it has not."""
    name = str(dtype).removeprefix("torch.")
    if name not in ("bool", "float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64"):
        raise PackageError(f"{what} of the graph is {name}, which NumPy does not have", code="onnx_invalid")
    return name


def forbidden(why: str, hint: str = "export it again with torch.export, or as ONNX") -> PackageError:
    return PackageError(f"the program is not opened: {why}", hint=hint, code="package_format_forbidden")
