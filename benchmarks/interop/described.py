"""Our descriptions of messages beside those of a client's own stubs. Imported by the clients, in their environments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

COMPILED = Path(__file__).resolve().parents[2] / "src" / "saccade" / "wire" / "protos.binpb"
OF_FIELDS = ("name", "type", "is_repeated", "is_packed")
OF_METHODS = ("client_streaming", "server_streaming")


def differences(package: str, services: Mapping[str, Any]) -> list[str]:
    """Full names of what says another thing in files whose package begins so; empty is well.

    services: the client's descriptors of services by full name; its messages are those of its default pool.
    """
    own, theirs = descriptor_pool.DescriptorPool(), descriptor_pool.Default()
    found: list[str] = []

    def compare(message: Any) -> None:
        other = theirs.FindMessageTypeByName(message.full_name).fields_by_number
        for field in message.fields:
            same = other.get(field.number)
            if same is None or any(getattr(field, what) != getattr(same, what) for what in OF_FIELDS):
                found.append(field.full_name)
        for inner in message.nested_types:
            compare(inner)

    for file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        own.Add(file)
        if not file.package.startswith(package):
            continue
        described = own.FindFileByName(file.name)
        for message in described.message_types_by_name.values():
            compare(message)
        for enum in described.enum_types_by_name.values():
            known = theirs.FindEnumTypeByName(enum.full_name).values_by_name
            found += [v.full_name for v in enum.values if v.name not in known or known[v.name].number != v.number]
        for service in described.services_by_name.values():
            methods = services[service.full_name].methods_by_name
            found += [m.full_name for m in service.methods if _shape(m) != _shape(methods[m.name])]
    return found


def _shape(method: Any) -> tuple[Any, ...]:
    ends = method.input_type.full_name, method.output_type.full_name
    return (*ends, *(getattr(method, what) for what in OF_METHODS))
