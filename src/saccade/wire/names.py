"""What the dialects call numpy's types of numbers, for whoever speaks them: server, client, exporter."""

OPEN_INFERENCE = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""Datatype of the Open Inference Protocol to numpy's name, in the order of Triton's numbers from 1 on."""
DATATYPES = {dtype: name for name, dtype in OPEN_INFERENCE.items()}
TRITON = {f"TYPE_{name}": dtype for name, dtype in OPEN_INFERENCE.items()}
"""Data type of a Triton configuration (model_config.proto) to numpy's name."""
TRITON_STRING = "TYPE_STRING"
"""Strings of any length; the protocol calls them BYTES."""
TENSORFLOW = {
    "float32": ("DT_FLOAT", 1, "float_val"),
    "float64": ("DT_DOUBLE", 2, "double_val"),
    "int32": ("DT_INT32", 3, "int_val"),
    "uint8": ("DT_UINT8", 4, "int_val"),
    "int16": ("DT_INT16", 5, "int_val"),
    "int8": ("DT_INT8", 6, "int_val"),
    "int64": ("DT_INT64", 9, "int64_val"),
    "bool": ("DT_BOOL", 10, "bool_val"),
    "uint16": ("DT_UINT16", 17, "int_val"),
    "float16": ("DT_HALF", 19, "half_val"),
    "uint32": ("DT_UINT32", 22, "uint32_val"),
    "uint64": ("DT_UINT64", 23, "uint64_val"),
}
"""numpy's name to TensorFlow's DataType, its number, and the field of a TensorProto that carries the values one by one;
float16 lies there as its bits (types.proto, tensor.proto)."""
TENSORFLOW_STRING = 7
