"""Whether the compressed rows of a PNG are all there: Pillow leaves the rest black when the stream ends early."""

import zlib

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_STEP = 1 << 20


def complete(data: bytes) -> bool:
    """True when the IDAT stream of a PNG, already walked to its IEND, inflates to every row of its header.

    Inflates in steps of 1 MiB and keeps nothing. Raises zlib.error when the stream is broken.
    """
    missing = _size(data)
    stream = zlib.decompressobj()
    at = 33
    while missing > 0 and data[at + 4 : at + 8] != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            rest = data[at + 8 : at + 8 + length]
            while rest and missing > 0 and not stream.eof:
                missing -= len(stream.decompress(rest, _STEP))
                rest = stream.unconsumed_tail
        at += 12 + length
    if missing > 0 and not stream.eof:
        missing -= len(stream.flush())
    return missing <= 0


def _size(data: bytes) -> int:
    """Bytes of all filtered rows (ISO/IEC 15948, 7.2 and 8.2)."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * _CHANNELS[data[25]]
    if not data[28]:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
