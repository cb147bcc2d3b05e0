"""Small framed messages between two of our processes: four bytes of length, then JSON; descriptors may ride along."""

import array
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from saccade.errors import InferenceError, PackageError, SaccadeError

LIMIT = 1024 * 1024
"""Bytes of a message. Arrays never travel in one; the longest tells the inputs and outputs of a graph."""


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Raises OSError when the other side is gone."""
    body = json.dumps(message).encode()
    data = len(body).to_bytes(4, "big") + body
    if descriptors:
        sent = socket.send_fds(connection, [data], list(descriptors))
        data = data[sent:]
    connection.sendall(data)


def receive(connection: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]]:
    """descriptors: how many may come along. Raises EOFError at the end, ValueError for what is no message, OSError."""
    found: list[int] = []
    if descriptors:
        ancillary = socket.CMSG_SPACE(descriptors * array.array("i").itemsize)
        head, rights, _, _ = connection.recvmsg(4, ancillary, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        for level, kind, data in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                found += numbers
    else:
        head = connection.recv(4)
    if not head:
        raise EOFError("the other process is gone")
    head += _exactly(connection, 4 - len(head))
    size = int.from_bytes(head, "big")
    if size > LIMIT:
        raise ValueError(f"a message of {size} bytes, limit {LIMIT}")
    message = json.loads(_exactly(connection, size))
    if not isinstance(message, dict):
        raise ValueError("a message is an object")
    return message, found


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("the other process is gone")
        data += part
    return data


def told(error: SaccadeError) -> dict[str, Any]:
    """An error as a message's field."""
    kind = "package" if isinstance(error, PackageError) else "inference"
    return {"kind": kind, "code": error.code, "message": error.message[:2000], "hint": error.hint[:2000]}


def raised(field: Mapping[str, Any]) -> SaccadeError:
    """The error that a field tells of."""
    family = PackageError if field.get("kind") == "package" else InferenceError
    return family(
        str(field.get("message", "")), hint=str(field.get("hint", "")), code=str(field.get("code", "internal"))
    )
