"""A model configuration of Triton in protobuf's text format (model_config.proto of its protocol)."""

from collections.abc import Mapping, Sequence
from typing import Any

from saccade.wire.names import DATATYPES


class Word(str):
    """A value of an enum, written without quotes."""


def data_type(dtype: str) -> Word:
    """dtype: numpy's name."""
    return Word(f"TYPE_{DATATYPES[dtype]}")


def tensor(name: str, dtype: str, shape: Sequence[int | None], **more: Any) -> dict[str, Any]:
    """An input or output. shape: without the batch axis where the configuration has a max_batch_size; None is free.

    Triton knows no tensor without dims: a row that is one number has dims [1], reshaped to none.
    """
    dims = [-1 if side is None else side for side in shape]
    found: dict[str, Any] = {"name": name, "data_type": data_type(dtype), "dims": dims or [1]}
    if not dims:
        found["reshape"] = {"shape": []}
    return {**found, **more}


def text(record: Mapping[str, Any], indent: str = "") -> str:
    """Fields in the order given. A list of mappings is a repeated message, of plain values `[a, b]`."""
    return "".join(_field(name, value, indent) for name, value in record.items())


def _field(name: str, value: Any, indent: str) -> str:
    if isinstance(value, Mapping):
        return f"{indent}{name} {{\n{text(value, indent + '  ')}{indent}}}\n"
    if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        return "".join(_field(name, part, indent) for part in value)
    if isinstance(value, list):
        return f"{indent}{name}: [{', '.join(_plain(part) for part in value)}]\n"
    return f"{indent}{name}: {_plain(value)}\n"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word):
        return str(value)
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(value: str) -> str:
    """A string of the text format: what is not plain ASCII goes as octal bytes, which every reader knows."""
    plain = range(0x20, 0x7F)
    return (
        '"'
        + "".join("\\" + chr(b) if b in b'"\\' else chr(b) if b in plain else f"\\{b:03o}" for b in value.encode())
        + '"'
    )
