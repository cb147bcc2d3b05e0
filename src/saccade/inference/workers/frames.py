"""Small framed messages between two of our processes: four bytes of length, then JSON; descriptors may ride along."""

import array
import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from saccade.errors import ImageError, InferenceError, PackageError, SaccadeError, UsageError

PART = 64 * 1024
FAMILIES: dict[str, type[SaccadeError]] = {"package": PackageError, "image": ImageError, "usage": UsageError}
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


def receive(
    connection: socket.socket, descriptors: int = 0, *, seconds: float = math.inf
) -> tuple[dict[str, Any], list[int]]:
    """descriptors: how many may come along. The other side says nothing more until it is answered. seconds: in which
    the whole message must have come, where `bound` holds for each part of it.

    Raises EOFError at the end, ValueError for what is no message, OSError; TimeoutError as `bound` has it.
    """
    found: list[int] = []
    try:
        if descriptors:
            ancillary = socket.CMSG_SPACE(descriptors * array.array("i").itemsize)
            data, rights, _, _ = connection.recvmsg(PART, ancillary, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            for level, kind, told in rights:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(told[: len(told) - len(told) % numbers.itemsize])
                    found += numbers
        else:
            data = connection.recv(PART)
        end = time.monotonic() + seconds
        while len(data) < 4 or len(data) < 4 + _size(data):
            if time.monotonic() > end:
                raise TimeoutError
            part = connection.recv(PART) if data else b""
            if not part:
                raise EOFError("the other process is gone")
            data += part
    except BlockingIOError as error:
        raise TimeoutError from error
    if len(data) > 4 + _size(data):
        raise ValueError("something came behind a message")
    message = json.loads(data[4:])
    if not isinstance(message, dict):
        raise ValueError("a message is an object")
    return message, found


def bound(connection: socket.socket, seconds: float) -> None:
    """From now on receive waits so long, by the kernel's own clock: one system call less for every message."""
    whole, rest = divmod(seconds, 1)
    # struct timeval: two C longs wherever Python has send_fds.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(whole), int(rest * 1e6)))


def _size(data: bytes) -> int:
    size = int.from_bytes(data[:4], "big")
    if size > LIMIT:
        raise ValueError(f"a message of {size} bytes, limit {LIMIT}")
    return size


def told(error: SaccadeError) -> dict[str, Any]:
    """An error as a message's field."""
    kind = next((name for name, family in FAMILIES.items() if isinstance(error, family)), "inference")
    return {"kind": kind, "code": error.code, "message": error.message[:2000], "hint": error.hint[:2000]}


def raised(field: Mapping[str, Any]) -> SaccadeError:
    """The error that a field tells of."""
    family = FAMILIES.get(str(field.get("kind")), InferenceError)
    return family(
        str(field.get("message", "")), hint=str(field.get("hint", "")), code=str(field.get("code", "internal"))
    )
