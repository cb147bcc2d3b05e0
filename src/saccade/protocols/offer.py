"""The calls of a gRPC service as methods, each with its handler and what it asks of a caller."""

from collections.abc import Collection, Mapping

from saccade.protocols.method import Method, Once, Stream
from saccade.wire import schema


def offer(
    service: str,
    handlers: Mapping[str, Once | Stream],
    refuse: Once,
    needs: Mapping[str, str],
    pictures: Collection[str],
) -> list[Method]:
    """Every call of a service by its full name: those without a handler are refused, those
    without a need want a key."""
    return [
        Method(
            rpc.path,
            rpc.request,
            rpc.reply,
            handlers.get(name, refuse),
            rpc.streams,
            needs.get(name, "use"),
            name in pictures,
        )
        for name, rpc in schema.service(service).items()
    ]
