"""Models of others, imported and asked: does each give the outputs that were written down for it elsewhere?

python -m benchmarks.imports FOLDER [--seconds 2] [--form onnx --form savedmodel]

FOLDER holds ONNX files and golden_onnx.json: for every file the sum, the largest magnitude and the first eight values
of each output, for inputs whose element i is ((i * 37) mod 256) / 255. Form onnx: the file is imported as tensors,
opened, and asked that. Form savedmodel: that package is exported for TensorFlow Serving, the SavedModel imported again,
opened in its own process, and asked the same. One line each: largest relative difference, and runs per second of the
file as it is in ONNX Runtime and through the package, one after the other with the same threads. Exit code 1 when a
model is refused or differs by more than 1e-3.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import saccade
from benchmarks.machine import describe
from saccade.inference import guest
from saccade.inference.model import Model
from saccade.types import Array
from saccade.verbs.export import export

ALLOWED = 1e-3
NOISE = 3e-7
"""Of float32 about 1, not counted: ONNX Runtime's own Sigmoid gives 0 for what is 1.04e-7, where TensorFlow gives
that."""


def apart(output: Array, golden: dict[str, Any]) -> float:
    """The largest difference to what was written down, in shares of the largest magnitude (of the sum: of all)."""
    flat = output.astype(np.float64).ravel()
    top = max(golden["absmax"], 1e-9)
    gaps = [max(0.0, abs(np.abs(flat).max() - golden["absmax"]) - NOISE) / top]
    gaps += [max(0.0, abs(a - b) - NOISE) / top for a, b in zip(flat[:8], golden["first8"], strict=False)]
    gaps.append(max(0.0, abs(flat.sum() - golden["sum"]) - NOISE * flat.size) / max(np.abs(flat).sum(), 1e-9))
    return float(max(gaps))


def rate(ask: Callable[[], object], seconds: float) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        ask()
        count += 1
    return count / (time.perf_counter() - began)


def forms(file: Path, space: Path, wished: list[str]) -> Iterator[tuple[str, Path]]:
    """Form and package of a model, each made of the one before."""
    made = saccade.import_model(file, space / "onnx")
    if "onnx" in wished:
        yield "onnx", made.package
    if "savedmodel" in wished:
        export("tf-serving", made.package, space / "served", name="m")
        yield "savedmodel", saccade.import_model(space / "served" / "m" / "1", space / "again").package


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate")
    parser.add_argument("--form", action="append", choices=("onnx", "savedmodel"), help="default: both")
    options = parser.parse_args()
    known = json.loads((options.folder / "golden_onnx.json").read_text("utf-8"))["models"]
    print(describe())
    failed = count = 0
    for name, record in known.items():
        file = options.folder / name
        with tempfile.TemporaryDirectory() as space:
            for form, package in forms(file, Path(space), options.form or ["onnx", "savedmodel"]):
                with Model.open(package) as model:
                    numbers = guest.numbers(model._graph)
                    assert numbers is not None, f"{name} leaves sides open: its golden shapes are not used here yet"
                    asked = {key: value[None] for key, value in numbers.items()}
                    answers = model._graph.run(asked)
                    worst = max(apart(answers[golden["name"]], golden) for golden in record["outputs"])
                    how = onnxruntime.SessionOptions()
                    how.log_severity_level = 3
                    how.intra_op_num_threads = model.options.threads or 0
                    how.add_session_config_entry("session.intra_op.allow_spinning", "0")
                    session = onnxruntime.InferenceSession(file, how)
                    own = {i.name: v for i, v in zip(session.get_inputs(), asked.values(), strict=True)}
                    plain = rate(lambda s=session, a=own: s.run(None, a), options.seconds)  # type: ignore[misc]
                    ours = rate(lambda g=model._graph, a=asked: g.run(a), options.seconds)  # type: ignore[misc]
                count += 1
                failed += worst > ALLOWED
                mark = "pass" if worst <= ALLOWED else "FAIL"
                print(
                    f"{name:<58} {form:<10} {mark} {worst:8.1e}  ONNX Runtime {plain:8.1f}/s  package {ours:8.1f}/s  "
                    f"{ours / plain:5.2f}",
                    flush=True,
                )
    print(f"{count} packages of {len(known)} models, {failed} differ by more than {ALLOWED:g}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
