"""Whether how long a run takes is settled by its shapes: a graph with loops of its own may run for ever on one picture.

No thread that others wait for, the one that listens or one that decodes for all models, may run such a graph.
"""

import mmap
from pathlib import Path

MARKS = {
    # NodeProto.op_type is field 4: its tag, its length, its bytes (onnx.proto).
    ".onnx": (b"\x22\x04Loop", b"\x22\x04Scan"),
    ".xml": (b'type="Loop"', b'type="TensorIterator"'),
}
"""What a file of a graph with loops holds, by suffix; of other kinds nothing can be told."""


def steady(graph: Path) -> bool:
    """False also where it cannot be told. What looks like a loop in weights costs no more than speed."""
    marks = MARKS.get(graph.suffix)
    if marks is None or not graph.is_file() or not graph.stat().st_size:
        return False
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return all(data.find(mark) < 0 for mark in marks)
