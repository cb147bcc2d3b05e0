"""An ONNX graph told again in TensorFlow's operators. What has no form here is refused by name, all of it at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from saccade.errors import UsageError
from saccade.export.exporters.tf_serving.tensorflow import axes, elementwise, layers
from saccade.export.exporters.tf_serving.tensorflow.node import Node, Unsupported
from saccade.export.exporters.tf_serving.tensorflow.value import Value

OPS: dict[str, Callable[..., Any]] = {**elementwise.OPS, **layers.OPS, **axes.OPS}
"""Every operator that has a form here; a handler takes the node and its inputs, and gives one value or a list."""
OPSETS = range(7, 24)
MAX_WEIGHTS = 1_900_000_000
"""A GraphDef is one protocol buffer and holds the weights: 2 GiB is its end."""


class Told:
    """A graph ready to be traced: call it with tensors by name."""

    def __init__(self, file: Path) -> None:
        """Raises UsageError for operators without a form, opsets beyond, or too large a graph."""
        self._model = onnx.load(file)
        versions = {o.domain: o.version for o in self._model.opset_import}
        self._opset = versions.get("", versions.get("ai.onnx", 0))
        graph = self._model.graph
        self._weights = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self._nodes = [(Node.of(n, self._opset), list(n.input), list(n.output)) for n in graph.node]
        strange = sorted({f"{n.domain}.{n.op_type}" if n.domain not in ("", "ai.onnx") else n.op_type
                          for n in graph.node if n.domain not in ("", "ai.onnx") or n.op_type not in OPS})  # fmt: skip
        if strange:
            raise UsageError(f"the graph has operators without a form in TensorFlow here: {', '.join(strange)}")
        if self._opset not in OPSETS:
            raise UsageError(f"the graph is of opset {self._opset}, known are {OPSETS[0]} to {OPSETS[-1]}")
        if sum(w.nbytes for w in self._weights.values()) > MAX_WEIGHTS:
            raise UsageError(
                f"the graph's weights are beyond {MAX_WEIGHTS:,} bytes, which no SavedModel of one graph holds"
            )
        self.inputs = [i.name for i in graph.input if i.name not in self._weights]
        self.outputs = [o.name for o in graph.output]

    def __call__(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """given: tensors by the names of `inputs`. Raises UsageError naming what an operator asks too much."""
        values: dict[str, Value] = {name: Value(array) for name, array in self._weights.items()}
        values |= {name: Value(tensor) for name, tensor in given.items()}
        for node, inputs, outputs in self._nodes:
            taken = [values[name] if name else None for name in inputs]
            while taken and taken[-1] is None:
                taken.pop()
            try:
                found = _told(node, taken, len(outputs))
            except Unsupported as error:
                raise UsageError(
                    f"{node.op} {node.name!r} of the graph has no form in TensorFlow here: {error}"
                ) from error
            values |= dict(zip(outputs, found, strict=False))
        return {name: tf.identity(values[name].plain) for name in self.outputs}


def _told(node: Node, taken: list[Value | None], outputs: int) -> list[Value]:
    if node.op == "Split":
        node.attributes.setdefault("outputs", node.get("num_outputs", outputs))
    if node.op != "Constant" and all(v is None or v.constant is not None for v in taken):
        # Known before anything runs: computed now, so that shapes and axes made of it are known as well.
        with tf.init_scope():
            found = _list(OPS[node.op](node, *taken))
            return [Value(np.asarray(v.plain)) for v in found]
    return _list(OPS[node.op](node, *taken))


def _list(found: Any) -> list[Value]:
    return found if isinstance(found, list) else [found]
