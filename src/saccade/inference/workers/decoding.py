"""The program of a confined decoder: bytes of strangers in, pixels out, one picture after the other.

python -m saccade.inference.workers.decoding PARENT LINE GIVEN ANSWERED MEMORY

LINE is a socket, GIVEN and ANSWERED are regions. Everything is imported and every decoder run once before the process
gives up what it could do (saccade/confine.py); then it says that it is ready.
"""

import contextlib
import io
import os
import signal
import socket
import sys
from typing import Any

import numpy as np
from PIL import Image as pillow

from saccade import confine, process
from saccade.errors import SaccadeError
from saccade.images import decode, preprocess
from saccade.images.header import Header, damaged
from saccade.images.preprocess import PreprocessSpec
from saccade.inference.workers import frames
from saccade.inference.workers.region import Region

MODES = ("RGB", "L", "CMYK", "RGBA", "P", "LA", "I;16", "1")


def main() -> None:
    parent, line, given, answered, memory = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.settle_child(ends_with_parent=True)
    if os.getppid() != parent:
        os._exit(0)
    process.tune_memory(process.SERVING)
    decode.one_thread_a_picture()
    connection, taken, made = socket.socket(fileno=line), Region(given), Region(answered)
    rehearse()
    try:
        confine.confine(memory)
    except SaccadeError as error:
        frames.send(connection, {"error": frames.told(error)})
        os._exit(1)
    try:
        frames.send(connection, {"ready": os.getpid()})
        while True:
            message, _ = frames.receive(connection)
            frames.send(connection, answer(message, taken, made))
    except (EOFError, OSError):
        os._exit(0)


def rehearse() -> None:
    """Runs every decoder on a picture of its own, so that no library has a file left to open."""
    pillow.init()
    for form in ("JPEG", "PNG", "WEBP"):
        for mode in MODES:
            file = io.BytesIO()
            try:
                pillow.new(mode, (64, 48)).save(file, form)
            except (OSError, ValueError):  # this format has no such pictures
                continue
            data = file.getvalue()
            header = decode.inspect(data)
            for spec in (PreprocessSpec(16, 16), PreprocessSpec(40, 40, "letterbox"), PreprocessSpec(96, 96)):
                preprocess.load_inspected(data, header, spec)
    for spoiled in (b"\xff\xd8\xff" + bytes(64), b"\x89PNG\r\n\x1a\n" + bytes(64), b"RIFF\0\0\0\0WEBP" + bytes(64)):
        for kind in ("jpeg", "png", "webp"):
            with contextlib.suppress(SaccadeError):
                decode.pixels(spoiled, Header(kind, 8, 8, components=4))


def answer(message: dict[str, Any], taken: Region, made: Region) -> dict[str, Any]:
    """What is said to one order."""
    try:
        data = taken.get(message["arrays"])["data"].tobytes()
        header = Header(**message["header"])
        if message["spec"] is None:
            return {"arrays": made.put({"image": decode.pixels(data, header)})}
        pixels, place = preprocess.load_inspected(data, header, PreprocessSpec.from_json(message["spec"]))
        told = (place.width, place.height, place.scale_x, place.scale_y, place.shift_x, place.shift_y)
        return {"arrays": made.put({"image": np.ascontiguousarray(pixels)}), "placement": told}
    except SaccadeError as error:
        return {"error": frames.told(error)}
    except MemoryError:
        return {"error": frames.told(damaged())}


if __name__ == "__main__":
    main()
