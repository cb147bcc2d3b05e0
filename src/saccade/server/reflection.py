"""Server reflection: which services there are and what their messages hold, for grpcurl and
its like. Off by default."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any

from saccade.protocols.method import Invocation, Method
from saccade.wire import schema

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
NOT_FOUND, UNIMPLEMENTED = 5, 12


class Reflection:
    """services: full names of those that are served beside this one."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted({*services, *(f"{package}.ServerReflection" for package in VERSIONS)})

    def methods(self) -> list[Method]:
        return [
            Method(rpc.path, rpc.request, rpc.reply, self.tell, streams=True)
            for package in VERSIONS
            for rpc in schema.service(f"{package}.ServerReflection").values()
        ]

    async def tell(self, call: Invocation, requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        async for request in requests:
            yield self._answer(request)

    def _answer(self, request: Any) -> Any:
        package = request.DESCRIPTOR.full_name.rpartition(".")[0]
        reply = schema.message(f"{package}.ServerReflectionResponse")(valid_host=request.host, original_request=request)
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    for name in self._services:
                        reply.list_services_response.service.add(name=name)
                case "file_by_filename":
                    found = schema.pool().FindFileByName(request.file_by_filename)
                    reply.file_descriptor_response.file_descriptor_proto.extend(_with_imports(found))
                case "file_containing_symbol":
                    found = schema.pool().FindFileContainingSymbol(request.file_containing_symbol)
                    reply.file_descriptor_response.file_descriptor_proto.extend(_with_imports(found))
                case "all_extension_numbers_of_type":
                    schema.pool().FindMessageTypeByName(request.all_extension_numbers_of_type)
                    reply.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
                case "file_containing_extension":
                    raise KeyError
                case _:
                    reply.error_response.error_code = UNIMPLEMENTED
                    reply.error_response.error_message = "nothing was asked"
        except KeyError:
            reply.error_response.error_code = NOT_FOUND
            reply.error_response.error_message = "there is nothing of this name here"
        return reply


def _with_imports(file: Any) -> Iterable[bytes]:
    """A file's description and those of what it imports, itself first."""
    waiting, found = [file], {}
    while waiting:
        one = waiting.pop(0)
        if one.name not in found:
            found[one.name] = one.serialized_pb
            waiting += one.dependencies
    return found.values()
