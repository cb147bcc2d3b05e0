"""One operator of an ONNX graph, its attributes as Python has them."""

from dataclasses import dataclass
from typing import Any

import onnx
import tensorflow as tf

from saccade.export.exporters.tf_serving.tensorflow.value import Value


class Unsupported(Exception):  # noqa: N818 - gathered, and told together by name
    """What of an operator has no form here."""


@dataclass(frozen=True)
class Node:
    op: str
    name: str
    opset: int
    attributes: dict[str, Any]

    @classmethod
    def of(cls, node: Any, opset: int) -> "Node":
        return cls(node.op_type, node.name, opset, {a.name: _attribute(a) for a in node.attribute})

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def dtype(self, name: str) -> Any:
        kind = self.attributes[name]
        return tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))

    def axes(self, given: Value | None) -> list[int] | None:
        """Of a reduction, a Squeeze or an Unsqueeze: an attribute once, an input since."""
        if given is None:
            found = self.attributes.get("axes")
            return None if found is None else [int(a) for a in found]
        return [int(a) for a in constant(given, "axes").reshape(-1)]


def constant(value: Value | None, what: str) -> Any:
    """Raises Unsupported for what only a run knows."""
    if value is None or value.constant is None:
        raise Unsupported(f"{what} that only a run knows")
    return value.constant


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [v.decode() for v in value]
    return value
