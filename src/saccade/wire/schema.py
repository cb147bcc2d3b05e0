"""Messages and calls of the gRPC dialects, from descriptions compiled beforehand, in a descriptor pool of our own.

The stubs of tritonclient and tensorflow-serving-api put the same names into protobuf's pool of the process, where a
second description of a name is an error. In a pool of our own both live in one process.

After a change in `protos/`: python -m saccade.wire.schema (needs grpcio-tools).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from saccade.errors import ServerError

PROTOS = Path(__file__).parent / "protos"
COMPILED = Path(__file__).parent / "protos.binpb"
MAX_FIELDS = 10_000
"""Of a message, those inside it included: an empty field of two bytes becomes an object of a hundred."""


@dataclass(frozen=True)
class Rpc:
    """path: `/package.Service/Method`. request, reply: message classes. streams: either side sends more than one."""

    path: str
    request: Any
    reply: Any
    streams: bool


@cache
def pool() -> DescriptorPool:
    made = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        made.Add(file)
    return made


@cache
def message(name: str) -> Any:
    """The class of a message by its full name, `inference.ModelInferRequest`. Raises KeyError."""
    return GetMessageClass(pool().FindMessageTypeByName(name))


@cache
def service(name: str) -> Mapping[str, Rpc]:
    """The calls of a service, `inference.GRPCInferenceService`, by their short names. Raises KeyError."""
    return {
        method.name: Rpc(
            f"/{name}/{method.name}",
            message(method.input_type.full_name),
            message(method.output_type.full_name),
            method.client_streaming or method.server_streaming,
        )
        for method in pool().FindServiceByName(name).methods
    }


def fill(kind: Any, record: Mapping[str, Any]) -> Any:
    """A message from the record that JSON would hold. Raises json_format.ParseError for a field it does not have."""
    return json_format.ParseDict(record, kind(), descriptor_pool=pool())


def read(kind: Any, data: bytes) -> Any:
    """A message from a stranger's bytes. Raises ServerError(malformed_protobuf)."""
    try:
        _count(memoryview(data), 0, len(data), kind.DESCRIPTOR, MAX_FIELDS)
        return kind.FromString(data)
    except (DecodeError, IndexError):
        raise ServerError(
            "the message cannot be read", hint=f"send a {kind.DESCRIPTOR.name}", code="malformed_protobuf"
        ) from None


def _count(data: memoryview, at: int, end: int, kind: Any, left: int) -> int:
    """What is left of the fields allowed. Looks at tags alone, so that it costs little and stops
    at the first too many."""
    inner = _inner(kind)
    while at < end:
        left -= 1
        if left < 0:
            raise ServerError(
                f"the message has more than {MAX_FIELDS} fields", hint="send fewer rows", code="malformed_protobuf"
            )
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                length, at = _varint(data, at)
                if length > end - at:
                    raise DecodeError("a field ends beyond its message")
                below = inner.get(tag >> 3)
                if below is not None:
                    left = _count(data, at, at + length, below, left)
                at += length
            case _:
                raise DecodeError("groups are not used here")
    return left


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise DecodeError("a number has more than ten bytes")


@cache
def _inner(kind: Any) -> dict[int, Any]:
    """Field number to the message it holds, of fields that hold one."""
    return {field.number: field.message_type for field in kind.fields if field.message_type is not None}


def compiled() -> bytes:
    """The descriptions of `protos/`, compiled now, with grpcio-tools. Raises RuntimeError when the compiler refuses.

    In a process of its own: the compiler in its library does not live beside another that brings protobuf's C++ code.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", "--include_imports"]
        command += [f"--descriptor_set_out={out}", *(file.name for file in sorted(PROTOS.glob("*.proto")))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"protoc ended with {done.returncode}: {done.stderr.strip()}")
        return out.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
    sys.exit(0)
