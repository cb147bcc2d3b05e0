"""Requests that TensorFlow Serving runs when it loads a model: a TFRecord file of PredictionLog messages.

The messages are tensorflow_serving/apis/{prediction_log,predict,model}.proto; only the fields used here are written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"


def write(folder: Path, model: str, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """requests: signature and its inputs (arrays)."""
    file = folder / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as records:
        for signature, inputs in requests:
            records.write(_log(model, signature, inputs))


def _log(model: str, signature: str, inputs: Mapping[str, Any]) -> bytes:
    spec = _field(1, model.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    request = _field(1, spec)  # PredictRequest: model_spec, inputs
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    return _field(6, _field(1, request))  # PredictionLog: predict_log; PredictLog: request


def _field(number: int, data: bytes) -> bytes:
    """A field of protocol buffers that has a length."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
